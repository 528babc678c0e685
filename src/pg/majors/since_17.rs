//! PostgreSQL 17 lets background workers connect as roles that cannot log in, limits the duration of transactions, and has
//! wait events of extensions. Its function for the sequence of an identity column takes the open table.

use pgrx::pg_sys;
use std::ffi::CStr;

/// The flags with which a background worker connects as a role, whether or not the role may log in if possible.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const CONNECT_FLAGS: u32 = 0;
/// The flags with which a background worker connects as a role, whether or not the role may log in if possible.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub const CONNECT_FLAGS: u32 = pg_sys::BGWORKER_BYPASS_ROLELOGINCHECK;

/// The settings that would end a worker with the transaction of a handler, with their harmless values.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const FATAL_LIMITS: &[(&CStr, &CStr)] = &[];
/// The settings that would end a worker with the transaction of a handler, with their harmless values.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub const FATAL_LIMITS: &[(&CStr, &CStr)] = &[(c"transaction_timeout", c"0")];

/// The number of a wait event; one for all before PostgreSQL 17.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub fn wait_event(_name: &CStr) -> u32 {
    pg_sys::PG_WAIT_EXTENSION
}

/// The number of a wait event, which is registered if no process has done so.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub fn wait_event(name: &CStr) -> u32 {
    // SAFETY: main thread, with shared memory; a terminated name of less than 64 bytes, which is copied.
    unsafe { pg_sys::WaitEventExtensionNew(name.as_ptr()) }
}

/// The sequence of an identity column; invalid if it has none.
///
/// # Safety
/// An open relation that is locked.
pub(in crate::pg) unsafe fn identity_sequence(relation: pg_sys::Relation, column: i16) -> pg_sys::Oid {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::getIdentitySequence((*relation).rd_id, column, true);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::getIdentitySequence(relation, column, true);
    }
}
