//! Triggers and foreign keys in the catalogs, including those that the current command has created.

use pgrx::{FromDatum, pg_sys};
use std::ffi::CStr;

/// The relation that a trigger belongs to; the current command may have created the trigger.
pub fn relation_of_trigger(trigger: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let (catalog, index) = (pg_sys::TriggerRelationId, pg_sys::TriggerOidIndexId);
    row_of(catalog, index, pg_sys::Anum_pg_trigger_oid, trigger, |tuple, _| {
        // SAFETY: a row of pg_trigger; its fixed part maps onto the struct.
        unsafe { (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_trigger>()).tgrelid }
    })
}

/// A foreign key.
pub struct ForeignKey {
    /// The referenced table.
    pub referenced: pg_sys::Oid,
    /// True if a referencing column has a type that is not PostgreSQL's own: then its casts run users' code.
    pub has_users_type: bool,
}

/// `pg_constraint` and the index of its OIDs (catalog/pg_constraint.h), which are not among pgrx's bindings.
pub const CONSTRAINTS: pg_sys::Oid = pg_sys::Oid::from_u32(2606);
const CONSTRAINTS_BY_OID: u32 = 2667;

/// The foreign key with this OID, which the current command may have created; `None` for another constraint.
pub fn foreign_key(constraint: pg_sys::Oid) -> Option<ForeignKey> {
    // The OID is the first column.
    let found = row_of(CONSTRAINTS, CONSTRAINTS_BY_OID, 1, constraint, |tuple, shape| {
        // SAFETY: a row with its descriptor; columns are found by name, since their numbers differ between versions.
        let column = |name: &CStr| unsafe {
            let mut null = false;
            let datum =
                pg_sys::heap_getattr(tuple, pg_sys::SPI_fnumber(shape, name.as_ptr()), shape, &mut null);
            (!null).then_some(datum)
        };
        if column(c"contype").is_none_or(|kind| kind.value() as u8 != b'f') {
            return None;
        }
        let oid =
            |name| column(name).map_or(pg_sys::InvalidOid, |datum| pg_sys::Oid::from(datum.value() as u32));
        let table = oid(c"conrelid");
        // SAFETY: an array of smallint; look-ups in catalogs.
        let has_users_type = unsafe {
            let columns = column(c"conkey").and_then(|datum| Vec::<i16>::from_datum(datum, false));
            columns.into_iter().flatten().any(|column| {
                let base = pg_sys::getBaseType(pg_sys::get_atttype(table, column));
                base.to_u32() >= pg_sys::FirstNormalObjectId
            })
        };
        Some(ForeignKey { referenced: oid(c"confrelid"), has_users_type })
    });
    found.flatten()
}

/// Maps the row of a catalog with this OID, which the current command may have inserted. `column` is the number of the
/// OID column, and `index` its index.
fn row_of<R>(
    catalog: pg_sys::Oid,
    index: u32,
    column: u32,
    oid: pg_sys::Oid,
    map: impl FnOnce(pg_sys::HeapTuple, pg_sys::TupleDesc) -> R,
) -> Option<R> {
    // SAFETY: an index scan of a catalog; its row is used before the scan ends.
    unsafe {
        let catalog = pg_sys::table_open(catalog, pg_sys::AccessShareLock as _);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            column as _,
            pg_sys::BTEqualStrategyNumber as _,
            pg_sys::Oid::from(pg_sys::F_OIDEQ),
            pg_sys::Datum::from(oid),
        );
        let snapshot = &raw mut pg_sys::SnapshotSelfData;
        let index = pg_sys::Oid::from(index);
        let scan = pg_sys::systable_beginscan(catalog, index, true, snapshot, 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        let found = (!tuple.is_null()).then(|| map(tuple, (*catalog).rd_att));
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as _);
        found
    }
}
