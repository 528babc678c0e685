//! `temp_buffers`: PostgreSQL allocates the buffers for temporary tables once in a process and refuses later changes of
//! the setting. A handler must not be affected by temporary tables of earlier tasks.

use super::guc;
use pgrx::pg_sys;
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// PostgreSQL's own check hook.
static CHECK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

type Check = unsafe extern "C-unwind" fn(*mut c_int, *mut *mut c_void, pg_sys::GucSource::Type) -> bool;

/// Allows changes of the setting although earlier tasks had temporary tables. They do not affect buffers that have been
/// allocated.
pub fn prepare() {
    // SAFETY: main thread; the record is this process's own, and that of an integer.
    unsafe {
        let Some(record) = guc::record(c"temp_buffers") else { return };
        let record = &mut *std::ptr::from_mut(record).cast::<pg_sys::config_int>();
        if let Some(check) = record.check_hook {
            CHECK.store(check as *mut (), Relaxed);
            record.check_hook = Some(check_for_task);
        }
    }
}

unsafe extern "C-unwind" fn check_for_task(
    value: *mut c_int,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: calls the previous hook with the same arguments; the function was stored as this very type.
    unsafe {
        if pg_sys::MyXactFlags & pg_sys::XACT_FLAGS_ACCESSEDTEMPNAMESPACE as c_int == 0 {
            return true;
        }
        std::mem::transmute::<*mut (), Check>(CHECK.load(Relaxed))(value, extra, source)
    }
}

/// True if a new session would allocate another number of buffers than this session has.
pub fn differ() -> bool {
    // SAFETY: state of this process.
    unsafe { pg_sys::NLocBuffer != 0 && pg_sys::NLocBuffer != pg_sys::num_temp_buffers }
}
