//! When caches have to be read again: the rows of two tables, and which functions may be handlers. PostgreSQL sends
//! invalidation messages, also to the session that makes the change.

use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The relation that stands for the cached tables; 0 if it is not known.
static WATCHED: AtomicU32 = AtomicU32::new(0);
/// Whether the tables are being read.
static READING: AtomicBool = AtomicBool::new(false);
/// Whether the tables may have changed since they were read.
static STALE: AtomicBool = AtomicBool::new(true);
/// Whether the callbacks are registered.
static REGISTERED: AtomicBool = AtomicBool::new(false);
/// Counts changes of functions, roles and members of extensions.
static FUNCTIONS: AtomicU64 = AtomicU64::new(0);

/// True if the tables may have changed since they were read.
pub fn is_stale() -> bool {
    STALE.load(Relaxed) || READING.load(Relaxed)
}

/// Lets this process read the tables again. Neither allocates nor fails.
pub fn note_stale() {
    STALE.store(true, Relaxed);
}

/// Called before the tables are read. Changes from then on make the cache stale.
pub fn begin_reading(relation: pg_sys::Oid) {
    if !REGISTERED.swap(true, Relaxed) {
        // SAFETY: once per process; the callback lives as long as the library.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(on_change), pg_sys::Datum::null());
            use pg_sys::SysCacheIdentifier::{AUTHMEMMEMROLE, AUTHOID, PROCOID};
            for cache in [PROCOID, AUTHOID, AUTHMEMMEMROLE] {
                let callback = Some(on_function_change as _);
                pg_sys::CacheRegisterSyscacheCallback(cache as i32, callback, pg_sys::Datum::null());
            }
        }
    }
    WATCHED.store(relation.to_u32(), Relaxed);
    READING.store(true, Relaxed);
    STALE.store(false, Relaxed);
}

/// Called when the tables have been read without an error.
pub fn end_reading() {
    READING.store(false, Relaxed);
}

/// Neither allocates nor fails.
unsafe extern "C-unwind" fn on_change(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || relation.to_u32() == WATCHED.load(Relaxed) {
        STALE.store(true, Relaxed);
        FUNCTIONS.fetch_add(1, Relaxed);
    }
}

/// Neither allocates nor fails.
unsafe extern "C-unwind" fn on_function_change(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    FUNCTIONS.fetch_add(1, Relaxed);
}

/// A number that changes when functions, their privileges, roles or the members of extensions may have changed; in a
/// process that has read the tables.
pub fn functions_as_of() -> u64 {
    FUNCTIONS.load(Relaxed)
}

/// Notifies all sessions, when the current transaction commits, that the tables for which `relation` stands have
/// changed. This session is notified at its next command.
pub fn announce(relation: pg_sys::Oid) {
    // SAFETY: within a transaction that holds a lock on the relation, or on one that changes along with it.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) }
}
