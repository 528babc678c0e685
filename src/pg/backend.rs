//! Facts about this process and this server.

use pgrx::pg_sys;

/// True while the postmaster loads `shared_preload_libraries`.
pub fn preloading() -> bool {
    // SAFETY: a plain flag.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// True if pg_upgrade has started this server; then no tasks may be processed.
pub fn upgrading() -> bool {
    // SAFETY: a plain flag.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// True if this process is connected to a database and the current transaction has written to it.
pub fn has_written() -> bool {
    // SAFETY: state of this process.
    unsafe {
        pg_sys::MyDatabaseId != pg_sys::InvalidOid
            && pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId
    }
}

/// The bootstrap superuser, which every cluster has.
pub const SYSTEM: pg_sys::Oid = pg_sys::Oid::from_u32(pg_sys::BOOTSTRAP_SUPERUSERID);

pub fn pid() -> i32 {
    // SAFETY: set at process start.
    unsafe { pg_sys::MyProcPid }
}

/// The database this process is connected to.
pub fn database() -> pg_sys::Oid {
    // SAFETY: set when the connection was initialized.
    unsafe { pg_sys::MyDatabaseId }
}

/// The name of that database.
pub fn database_name() -> String {
    // SAFETY: within a transaction; copied. No name if the database was dropped.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        if name.is_null() {
            return String::new();
        }
        std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// True if the server is a standby, or still recovers.
pub fn is_standby() -> bool {
    // SAFETY: state of this process.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// The role this process is connected as.
pub fn user_name() -> String {
    // SAFETY: set at process start.
    name_of(unsafe { pg_sys::GetSessionUserId() })
}

/// The role whose privileges are in effect.
pub fn current_user_name() -> String {
    // SAFETY: within a transaction.
    name_of(unsafe { pg_sys::GetUserId() })
}

fn name_of(role: pg_sys::Oid) -> String {
    // SAFETY: copied; no name if the role was dropped.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            return String::new();
        }
        std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// The process of the client, if this session uses a Unix-domain socket and the system reports the process.
pub fn client_pid() -> Option<i32> {
    #[cfg(target_os = "linux")]
    // SAFETY: the port lives as long as the session. It begins with the socket (libpq/libpq-be.h, 15 to 18), and pgrx has
    // no bindings for it. getsockopt writes no more than the given size. A socket of another family leaves pid 0.
    unsafe {
        let socket = *pg_sys::MyProcPort.cast::<libc::c_int>().as_ref()?;
        let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut size = size_of::<libc::ucred>() as libc::socklen_t;
        let result =
            libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &mut size);
        (result == 0 && peer.pid != 0).then_some(peer.pid)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The wall clock: microseconds since 2000-01-01, PostgreSQL's timestamptz.
pub fn now() -> i64 {
    // SAFETY: gettimeofday.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// True if transactions can be prepared, which any session may commit at any time.
pub fn may_have_prepared() -> bool {
    unsafe extern "C" {
        // access/twophase.h, not among pgrx's bindings
        static max_prepared_xacts: std::os::raw::c_int;
    }
    // SAFETY: a plain setting.
    unsafe { max_prepared_xacts > 0 }
}

/// Returns large pieces of memory to the system when they are freed. By default, glibc raises the threshold for such
/// pieces with each one that is freed (mallopt(3), M_MMAP_THRESHOLD), so that after one task with a message of some
/// megabytes this process would keep some hundred.
pub fn return_large_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * 1024);
    }
}

/// Sends `signal` to a process of this server. It is no error if the process has ended.
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: a system call.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// True in a worker of logical replication, which applies the changes of another database.
pub fn replicates() -> bool {
    // SAFETY: a plain value of this process.
    unsafe { pg_sys::IsLogicalWorker() }
}

/// True in a session that restores a dump: pg_dump turns `check_function_bodies` off.
pub fn is_restoring() -> bool {
    // SAFETY: a plain setting; main thread.
    unsafe { !pg_sys::check_function_bodies }
}

/// Ends the process through PostgreSQL's exit callbacks.
pub fn exit(code: i32) -> ! {
    // SAFETY: runs the callbacks and never returns.
    #[allow(unreachable_code, clippy::diverging_sub_expression)]
    unsafe {
        pg_sys::proc_exit(code);
        unreachable!("proc_exit returned")
    }
}
