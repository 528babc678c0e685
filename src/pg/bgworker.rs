//! Background worker processes: registering, starting, connecting.

use super::majors::since_17;
use pgrx::pg_sys;

/// The description with which a background worker is registered.
pub struct Registration<'a> {
    /// The name in log lines of the postmaster.
    pub name: &'a str,
    /// `backend_type` in `pg_stat_activity`.
    pub kind: &'a str,
    /// The exported function that the process runs, see `pg::entry`.
    pub function: &'a str,
    pub argument: i32,
    /// Seconds after which the process is restarted if its exit code is not 0; `None` means never.
    pub restart_after: Option<i32>,
}

/// Registers a static worker while libraries are preloaded. It starts when recovery has ended; on a standby, that is
/// its promotion.
pub fn register(registration: &Registration) {
    let mut worker = describe(registration, 0);
    // SAFETY: a complete description, copied by the postmaster.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) }
}

/// A dynamic worker, for the process that started it.
pub struct Handle(*mut pg_sys::BackgroundWorkerHandle);

impl Handle {
    /// False once the process has ended or could not be started.
    pub fn is_alive(&self) -> bool {
        let mut pid = 0;
        // SAFETY: a handle from RegisterDynamicBackgroundWorker, allocated for good.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) };
        status != pg_sys::BgwHandleStatus::BGWH_STOPPED
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: palloc'd by RegisterDynamicBackgroundWorker, owned by this value.
        unsafe { pg_sys::pfree(self.0.cast()) }
    }
}

/// Starts a worker; the caller's latch is set when its state changes. Returns `None` if `max_worker_processes` is
/// reached.
pub fn start(registration: &Registration) -> Option<Handle> {
    let mut worker = describe(registration, super::backend::pid());
    let mut handle = std::ptr::null_mut();
    // SAFETY: the description is copied. The handle is allocated in TopMemoryContext, since it must outlive
    // transactions.
    let started = unsafe {
        let previous = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let started = pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle);
        pg_sys::MemoryContextSwitchTo(previous);
        started
    };
    started.then(|| Handle(handle))
}

fn describe(registration: &Registration, notify: i32) -> pg_sys::BackgroundWorker {
    let mut worker = pg_sys::BackgroundWorker {
        bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32,
        bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
        bgw_restart_time: registration.restart_after.unwrap_or(pg_sys::BGW_NEVER_RESTART),
        bgw_main_arg: pg_sys::Datum::from(registration.argument),
        bgw_notify_pid: notify,
        ..Default::default()
    };
    copy(&mut worker.bgw_name, registration.name);
    copy(&mut worker.bgw_type, registration.kind);
    copy(&mut worker.bgw_library_name, "pg_errand");
    copy(&mut worker.bgw_function_name, registration.function);
    worker
}

fn copy<const N: usize>(to: &mut [std::os::raw::c_char; N], text: &str) {
    for (to, from) in to.iter_mut().zip(text.bytes().take(N - 1)) {
        *to = from as _;
    }
}

/// Connects this process to no database, so that it can read shared catalogs only.
pub fn connect_to_none() {
    // SAFETY: once, at the start of a background worker.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
    }
}

/// Connects this process as the bootstrap superuser.
pub fn connect_as_system(database: pg_sys::Oid) {
    // SAFETY: once, at the start of a background worker; ends the process if it is refused.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
    }
}

/// Whether a worker can connect as a role that may not log in.
pub const IGNORES_LOGIN: bool = since_17::CONNECT_FLAGS != 0;

/// Connects this process as `role`; before 17, the role must be allowed to log in.
pub fn connect(database: pg_sys::Oid, role: pg_sys::Oid) {
    // SAFETY: once, at the start of a background worker; ends the process if it is refused.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(database, role, since_17::CONNECT_FLAGS) }
}
