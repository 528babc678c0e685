//! Facts about this process and this server.

use pgrx::pg_sys;
use std::cell::Cell;
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

/// True if this process is connected to a database, and the current transaction has changed something there.
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

/// The role this process is connected as.
pub fn user_name() -> String {
    // SAFETY: set at process start.
    name_of(unsafe { pg_sys::GetSessionUserId() })
}

/// The role whose rights count now.
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

/// The client's process, if this session is connected through a Unix-domain socket and the system tells the process.
pub fn client_pid() -> Option<i32> {
    #[cfg(target_os = "linux")]
    // SAFETY: the port of a session lives as long as it and begins with its socket (libpq/libpq-be.h, 14 to 18),
    // which is not among pgrx's bindings; getsockopt writes the struct, of the size that it is told. A socket of
    // another family leaves pid 0.
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

/// True if an interval, as text, is longer than `limit`; months count 30 days. Raises if it is no interval.
pub fn is_longer(interval: &str, limit: std::time::Duration) -> bool {
    let text = std::ffi::CString::new(interval).unwrap_or_default();
    // SAFETY: interval_in takes a terminated text, an oid and a number, and returns an interval.
    unsafe {
        let args = [
            Some(pg_sys::Datum::from(text.as_ptr())),
            Some(pg_sys::Datum::from(pg_sys::InvalidOid)),
            Some(pg_sys::Datum::from(-1i32)),
        ];
        let Some(value) = pgrx::direct_function_call_as_datum(pg_sys::interval_in, &args) else {
            return false;
        };
        let pg_sys::Interval { time, day, month } = *value.cast_mut_ptr();
        let days = i128::from(month) * 30 + i128::from(day);
        i128::from(time) + days * 86_400_000_000 > limit.as_micros() as i128
    }
}

/// A time as PostgreSQL's log shows it.
pub fn time_text(time: i64) -> String {
    // SAFETY: returns a terminated string, copied at once.
    unsafe { std::ffi::CStr::from_ptr(pg_sys::timestamptz_to_str(time)) }.to_string_lossy().into_owned()
}

/// Ends of a top-level transaction that callbacks are told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Committed,
    Aborted,
    Prepared,
}

type EndCallback = fn(Ended);

/// What is called at the end of a transaction, and how the one that is ending has ended.
struct EndCallbacks {
    before_commit: Cell<Option<fn()>>,
    registered: Cell<[Option<EndCallback>; 3]>,
    ended: Cell<Option<Ended>>,
}

thread_local! {
    static END: EndCallbacks = const {
        EndCallbacks {
            before_commit: Cell::new(None),
            registered: Cell::new([None; 3]),
            ended: Cell::new(None),
        }
    };
}

/// Registers `callback` for the end of every top-level transaction of this process and of those
/// forked from it. It runs in the middle of the commit, where an error would take the whole server
/// down: it must not allocate, raise or panic.
///
/// It runs when others can see all that the transaction did: its rows, the catalog changes (the
/// invalidation messages have been sent), and that its locks are gone.
pub fn on_transaction_end(callback: EndCallback) {
    END.with(|end| {
        let mut registered = end.registered.get();
        if registered.iter().all(Option::is_none) {
            // SAFETY: static functions; the lists live in TopMemoryContext.
            unsafe {
                pg_sys::RegisterXactCallback(Some(on_xact), std::ptr::null_mut());
                pg_sys::RegisterResourceReleaseCallback(Some(on_release), std::ptr::null_mut());
            }
        }
        let free = registered.iter_mut().find(|place| place.is_none());
        *free.expect("a place for each callback there is") = Some(callback);
        end.registered.set(registered);
    });
}

/// Registers `callback` for the moment before every top-level transaction of this process, and of those forked
/// from it, commits; one callback at most. It runs before those of libraries that were loaded earlier, and may
/// raise. Needs [`on_transaction_end`].
pub fn before_commit(callback: fn()) {
    END.with(|end| end.before_commit.set(Some(callback)));
}

/// Registers `callback` for each subtransaction of this process, and of those forked from it, that is
/// rolled back; once. It must not allocate, raise or panic.
pub fn on_savepoint_rollback(callback: fn()) {
    // SAFETY: a static function; the list lives in TopMemoryContext.
    unsafe { pg_sys::RegisterSubXactCallback(Some(on_sub_xact), callback as *mut c_void) }
}

unsafe extern "C-unwind" fn on_sub_xact(
    event: pg_sys::SubXactEvent::Type,
    _id: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    callback: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        // SAFETY: registered as this very type.
        unsafe { std::mem::transmute::<*mut c_void, fn()>(callback)() }
    }
}

/// Comes first, and knows how the transaction ends.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_xact(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    let ended = match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => {
            if let Some(callback) = END.with(|end| end.before_commit.get()) {
                callback();
            }
            return;
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => Ended::Committed,
        pg_sys::XactEvent::XACT_EVENT_ABORT => Ended::Aborted,
        pg_sys::XactEvent::XACT_EVENT_PREPARE => Ended::Prepared,
        // Parallel workers insert nothing; "pre" events may still fail.
        _ => return,
    };
    END.with(|end| end.ended.set(Some(ended)));
}

/// Comes when all is done; for each resource owner, so only the first call counts.
unsafe extern "C-unwind" fn on_release(
    phase: pg_sys::ResourceReleasePhase::Type,
    _is_commit: bool,
    is_top_level: bool,
    _arg: *mut c_void,
) {
    if is_top_level && phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS {
        END.with(|end| {
            if let Some(ended) = end.ended.take() {
                end.registered.get().into_iter().flatten().for_each(|callback| callback(ended));
            }
        });
    }
}

/// True if transactions can be prepared, and so be committed by anyone at any time.
pub fn may_have_prepared() -> bool {
    unsafe extern "C" {
        // access/twophase.h, not among pgrx's bindings
        static max_prepared_xacts: std::os::raw::c_int;
    }
    // SAFETY: a plain setting.
    unsafe { max_prepared_xacts > 0 }
}

/// Calls `callback` when this process ends. Callbacks run last-in first-out, so one registered
/// before the database connection runs after its transaction was rolled back.
pub fn on_exit(callback: fn()) {
    // SAFETY: a static function, and its address as the argument.
    unsafe { pg_sys::before_shmem_exit(Some(on_exit_call), pg_sys::Datum::from(callback as usize)) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_exit_call(_code: i32, callback: pg_sys::Datum) {
    // SAFETY: registered as this very type.
    unsafe { std::mem::transmute::<usize, fn()>(callback.value())() }
}

/// Has large pieces of memory go back to the system when they are freed. By default glibc raises what
/// it takes for large with each such piece (mallopt(3), M_MMAP_THRESHOLD), so that one task with a message
/// of megabytes would make this process keep some hundred.
pub fn return_large_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * 1024);
    }
}

/// Sends `signal` to a process of this server; one that is gone is no error.
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

/// True in a session that restores a dump: pg_dump has function bodies left unchecked.
pub fn is_restoring() -> bool {
    // SAFETY: a plain setting; main thread.
    unsafe { !pg_sys::check_function_bodies }
}
