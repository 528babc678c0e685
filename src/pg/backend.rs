//! Facts about this process and this server.

use pgrx::pg_sys;
use std::os::raw::c_void;

/// True while the postmaster loads `shared_preload_libraries`.
pub fn preloading() -> bool {
    // SAFETY: a plain flag.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// True when PostgreSQL runs for pg_upgrade, where nothing may work off tasks.
pub fn upgrading() -> bool {
    // SAFETY: a plain flag.
    unsafe { pg_sys::IsBinaryUpgrade }
}

pub fn pid() -> i32 {
    // SAFETY: set at process start.
    unsafe { pg_sys::MyProcPid }
}

/// The database this process is connected to.
pub fn database() -> pg_sys::Oid {
    // SAFETY: set when the connection was initialized.
    unsafe { pg_sys::MyDatabaseId }
}

/// The role this process is connected as.
pub fn user_name() -> String {
    // SAFETY: copied; the session user exists while its session does, or the name is a fallback.
    unsafe {
        let name = pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), true);
        if name.is_null() {
            return String::new();
        }
        std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// The wall clock: microseconds since 2000-01-01, PostgreSQL's timestamptz.
pub fn now() -> i64 {
    // SAFETY: gettimeofday.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Ends of a top-level transaction that callbacks are told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Committed,
    Aborted,
    Prepared,
}

/// Registers `callback` for the end of every top-level transaction of this process and of those
/// forked from it. It runs in the middle of the commit, where an error would take the whole server
/// down: it must not allocate, raise or panic.
pub fn on_transaction_end(callback: fn(Ended)) {
    // SAFETY: a static function; the list lives in TopMemoryContext.
    unsafe { pg_sys::RegisterXactCallback(Some(xact_callback), callback as *mut c_void) }
}

unsafe extern "C-unwind" fn xact_callback(event: pg_sys::XactEvent::Type, callback: *mut c_void) {
    let ended = match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => Ended::Committed,
        pg_sys::XactEvent::XACT_EVENT_ABORT => Ended::Aborted,
        pg_sys::XactEvent::XACT_EVENT_PREPARE => Ended::Prepared,
        // Parallel workers insert nothing; "pre" events may still fail.
        _ => return,
    };
    // SAFETY: registered as this very type.
    let callback = unsafe { std::mem::transmute::<*mut c_void, fn(Ended)>(callback) };
    callback(ended);
}

/// Calls `callback` when this process ends. Callbacks run last-in first-out, so one registered
/// before the database connection runs after its transaction was rolled back.
pub fn on_exit(callback: unsafe extern "C-unwind" fn(i32, pg_sys::Datum)) {
    // SAFETY: a static function.
    unsafe { pg_sys::before_shmem_exit(Some(callback), pg_sys::Datum::null()) }
}

/// Sends `signal` to a process of this server; one that is gone is no error.
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: a system call.
    unsafe {
        libc::kill(pid, signal);
    }
}
