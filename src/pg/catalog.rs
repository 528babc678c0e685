//! Catalogs: the shared ones are read also by a process that is connected to no database.

use pgrx::{FromDatum, pg_sys};
use std::ffi::{CStr, CString};

/// A row of `pg_database`.
pub struct DatabaseRow {
    pub oid: pg_sys::Oid,
    pub name: String,
    pub is_template: bool,
    pub allows_connections: bool,
}

/// All databases.
pub fn databases() -> Vec<DatabaseRow> {
    scan(pg_sys::DatabaseRelationId, |tuple, _| {
        // SAFETY: a row of pg_database; its fixed part maps onto the struct.
        let row = unsafe { &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>() };
        DatabaseRow {
            oid: row.oid,
            name: name_text(&row.datname),
            is_template: row.datistemplate,
            // -2: left invalid by an interrupted DROP DATABASE (DATCONNLIMIT_INVALID_DB).
            allows_connections: row.datallowconn && row.datconnlimit != -2,
        }
    })
}

/// What the launcher needs to know of a role.
pub struct Role {
    pub oid: pg_sys::Oid,
    pub can_login: bool,
}

/// The role of that name, if there is one.
pub fn role(name: &str) -> Option<Role> {
    let name = CString::new(name).ok()?;
    // SAFETY: a pinned syscache entry, read with the descriptor of its table and released before the return.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::AUTHNAME as i32,
            pg_sys::Datum::from(name.as_ptr()),
        );
        if tuple.is_null() {
            return None;
        }
        let table = pg_sys::table_open(pg_sys::AuthIdRelationId, pg_sys::AccessShareLock as _);
        let column = |name: &CStr| {
            let mut null = false;
            let number = pg_sys::SPI_fnumber((*table).rd_att, name.as_ptr());
            pg_sys::heap_getattr(tuple, number, (*table).rd_att, &mut null)
        };
        let oid = pg_sys::Oid::from_datum(column(c"oid"), false);
        let can_login = bool::from_datum(column(c"rolcanlogin"), false);
        pg_sys::table_close(table, pg_sys::AccessShareLock as _);
        pg_sys::ReleaseSysCache(tuple);
        Some(Role { oid: oid?, can_login: can_login? })
    }
}

/// The name of a role, if there is one of that number.
pub fn role_name(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: a catalog look-up; the name is copied.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// True if the current user has the rights of the owner of the queue's tables.
pub fn has_rights_of_owner() -> bool {
    owner_of(c"queues", c"task").is_some_and(has_rights_of)
}

/// True if the relation is a member of the extension of that name.
pub fn is_member(relation: pg_sys::Oid, extension: &CStr) -> bool {
    // SAFETY: catalog look-ups.
    unsafe {
        let of = pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, relation);
        of != pg_sys::InvalidOid && of == pg_sys::get_extension_oid(extension.as_ptr(), true)
    }
}

/// The name of the schema of a function.
pub fn schema_of_function(function: pg_sys::Oid) -> Option<String> {
    // SAFETY: look-ups in catalogs; null for what is not there.
    unsafe { owned_text(pg_sys::get_namespace_name(pg_sys::get_func_namespace(function))) }
}

/// True for an aggregate function.
pub fn is_aggregate(function: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in a catalog.
    unsafe { pg_sys::get_func_prokind(function) as u8 == pg_sys::PROKIND_AGGREGATE }
}

/// The type that a function returns.
pub fn type_of_result(function: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a look-up in a catalog.
    unsafe { pg_sys::get_func_rettype(function) }
}

/// The name of the extension that a function is a member of.
pub fn extension_of_function(function: pg_sys::Oid) -> Option<String> {
    // SAFETY: look-ups in catalogs; null for what is not there.
    unsafe {
        let extension = pg_sys::getExtensionOfObject(pg_sys::ProcedureRelationId, function);
        if extension == pg_sys::InvalidOid {
            return None;
        }
        owned_text(pg_sys::get_extension_name(extension))
    }
}

/// `pg_language` (catalog/pg_language.h), which is not among pgrx's bindings.
const LANGUAGES: pg_sys::Oid = pg_sys::Oid::from_u32(2612);

/// The names of the libraries that procedural languages are in, without folder and ending.
pub fn libraries_of_languages() -> Vec<String> {
    let handlers = scan(LANGUAGES, |tuple, shape| {
        // SAFETY: a row with its descriptor; the column is an OID.
        unsafe {
            let mut null = false;
            let column = pg_sys::SPI_fnumber(shape, c"lanplcallfoid".as_ptr());
            pg_sys::Oid::from_datum(pg_sys::heap_getattr(tuple, column, shape, &mut null), null)
        }
    });
    let files = handlers.into_iter().flatten().filter_map(library_of_function);
    files.map(|file| file.rsplit('/').next().unwrap_or_default().trim_end_matches(".so").to_owned()).collect()
}

/// The library of a function in C, as its declaration names it.
fn library_of_function(function: pg_sys::Oid) -> Option<String> {
    // SAFETY: the row stays valid until it is released; the text is copied.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return None;
        }
        let mut null = false;
        let file = pg_sys::SysCacheGetAttr(cache, tuple, pg_sys::Anum_pg_proc_probin as _, &mut null);
        let file = String::from_datum(file, null);
        pg_sys::ReleaseSysCache(tuple);
        file
    }
}

/// A terminated text that was allocated for the caller; `None` for null.
unsafe fn owned_text(text: *mut std::os::raw::c_char) -> Option<String> {
    // SAFETY: on the caller's promise; the copy is what is used from here on.
    unsafe {
        let owned = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())?;
        pg_sys::pfree(text.cast());
        Some(owned)
    }
}

/// The relation that a trigger belongs to, also of one that the current command has made.
pub fn relation_of_trigger(trigger: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let (catalog, index) = (pg_sys::TriggerRelationId, pg_sys::TriggerOidIndexId);
    row_of(catalog, index, pg_sys::Anum_pg_trigger_oid, trigger, |tuple, _| {
        // SAFETY: a row of pg_trigger; its fixed part maps onto the struct.
        unsafe { (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_trigger>()).tgrelid }
    })
}

/// A foreign key.
pub struct ForeignKey {
    /// The table that it refers to.
    pub referenced: pg_sys::Oid,
    /// Whether a column that refers is of a type that is not PostgreSQL's own: then its casts are users' code.
    pub has_users_type: bool,
}

/// `pg_constraint` and the index of its OIDs (catalog/pg_constraint.h), which are not among pgrx's bindings.
pub const CONSTRAINTS: pg_sys::Oid = pg_sys::Oid::from_u32(2606);
const CONSTRAINTS_BY_OID: u32 = 2667;

/// The foreign key of this OID, also one that the current command has made; `None` for another constraint.
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

/// Maps the row of a catalog that has this OID, also one that the current command has made. `column`: that of the OID,
/// of which `index` is.
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

/// True if `role` may connect to `database`.
pub fn may_connect(database: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let result = pg_sys::pg_database_aclcheck(database, role, pg_sys::ACL_CONNECT as _);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let result =
            pg_sys::object_aclcheck(pg_sys::DatabaseRelationId, database, role, pg_sys::ACL_CONNECT as _);
        result == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// True if the current user owns `database`.
pub fn owns_database(database: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_database_ownercheck(database, pg_sys::GetUserId());
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, pg_sys::GetUserId());
    }
}

/// Whether the current user owns the extension of that name; `None` if there is none.
pub fn owns_extension(name: &CStr) -> Option<bool> {
    // SAFETY: catalog look-ups.
    unsafe {
        let oid = pg_sys::get_extension_oid(name.as_ptr(), true);
        if oid == pg_sys::InvalidOid {
            return None;
        }
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return Some(pg_sys::pg_extension_ownercheck(oid, pg_sys::GetUserId()));
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return Some(pg_sys::object_ownercheck(pg_sys::ExtensionRelationId, oid, pg_sys::GetUserId()));
    }
}

/// True if the current user may read the relation `schema.name`.
pub fn may_select(schema: &CStr, name: &CStr) -> bool {
    // SAFETY: a catalog look-up.
    relation(schema, name).is_some_and(|relation| unsafe {
        pg_sys::pg_class_aclcheck(relation, pg_sys::GetUserId(), pg_sys::ACL_SELECT as _)
            == pg_sys::AclResult::ACLCHECK_OK
    })
}

/// The relation `schema.name`, if there is one.
pub fn relation(schema: &CStr, name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: catalog look-ups.
    let oid = unsafe {
        let namespace = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), namespace)
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The owner of the relation `schema.name`, if there is one.
pub fn owner_of(schema: &CStr, name: &CStr) -> Option<pg_sys::Oid> {
    let relation = relation(schema, name)?;
    // SAFETY: a syscache entry, released before the return.
    unsafe {
        let tuple =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, pg_sys::Datum::from(relation));
        if tuple.is_null() {
            return None;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}

/// True if the current user may act as `role`.
pub fn has_rights_of(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), role) }
}

/// The database of that name.
pub fn database_oid(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up.
    let oid = unsafe { pg_sys::get_database_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Maps every row of a catalog, or of a small table that is read like one; within a transaction.
pub(super) fn scan<R>(
    relation: pg_sys::Oid,
    mut map: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc) -> R,
) -> Vec<R> {
    let mut rows = Vec::new();
    // SAFETY: as autovacuum.c's get_database_list: a catalog scan with its own snapshot; tuples are
    // used before the next one is fetched.
    unsafe {
        let table = pg_sys::table_open(relation, pg_sys::AccessShareLock as _);
        let scan = pg_sys::table_beginscan_catalog(table, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            rows.push(map(tuple, (*table).rd_att));
        }
        pg_sys::table_endscan(scan);
        pg_sys::table_close(table, pg_sys::AccessShareLock as _);
    }
    rows
}

fn name_text(name: &pg_sys::NameData) -> String {
    // SAFETY: NameData is NUL-padded.
    unsafe { CStr::from_ptr(name.data.as_ptr()) }.to_string_lossy().into_owned()
}
