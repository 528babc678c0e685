//! PostgreSQL 18 instruments index scans, and has renamed a function.

use pgrx::pg_sys;

#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
pub use pg_sys::pqsignal;
#[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
pub use pg_sys::pqsignal_be as pqsignal;

/// Begins a scan with one key.
///
/// # Safety
/// Open relations, and a snapshot that lives as long as the scan.
pub(in crate::pg) unsafe fn begin_index_scan(
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
) -> pg_sys::IndexScanDesc {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        return pg_sys::index_beginscan(relation, index, snapshot, 1, 0);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        return pg_sys::index_beginscan(relation, index, snapshot, std::ptr::null_mut(), 1, 0);
    }
}
