//! PostgreSQL 18 instruments index scans, has renamed a function, and keeps the columns of a row type elsewhere.

use pgrx::pg_sys;

#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
pub use pg_sys::pqsignal;
#[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
pub use pg_sys::pqsignal_be as pqsignal;

/// Begins a scan with this number of keys.
///
/// # Safety
/// Open relations, and a snapshot that lives as long as the scan.
pub(in crate::pg) unsafe fn begin_index_scan(
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        return pg_sys::index_beginscan(relation, index, snapshot, keys, 0);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        return pg_sys::index_beginscan(relation, index, snapshot, std::ptr::null_mut(), keys, 0);
    }
}

/// A column of a row type, by its number from 0.
///
/// # Safety
/// A row type with this column.
pub(in crate::pg) unsafe fn attribute(
    shape: pg_sys::TupleDesc,
    number: i32,
) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        return (*shape).attrs.as_ptr().add(number as usize);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        return pg_sys::TupleDescAttr(shape, number);
    }
}
