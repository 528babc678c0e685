//! Callbacks at the ends of transactions, of subtransactions and of the process.

use pgrx::pg_sys;
use std::cell::Cell;
use std::os::raw::c_void;

/// How a top-level transaction has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Committed,
    Aborted,
    Prepared,
}

type EndCallback = fn(Ended);

/// The callbacks of this process.
struct Callbacks {
    before_commit: Cell<Option<fn()>>,
    registered: Cell<[Option<EndCallback>; 6]>,
    /// How the transaction that is ending has ended.
    ended: Cell<Option<Ended>>,
}

thread_local! {
    static CALLBACKS: Callbacks = const {
        Callbacks {
            before_commit: Cell::new(None),
            registered: Cell::new([None; 6]),
            ended: Cell::new(None),
        }
    };
}

/// Calls `callback` at the end of every top-level transaction of this process and of processes forked from it. It runs
/// in the middle of the commit, where an error would take the whole server down: it must not allocate, raise an error
/// or panic.
///
/// By then all effects of the transaction are visible to others: its rows, its catalog changes (the invalidation
/// messages have been sent) and the release of its locks.
pub fn on_transaction_end(callback: EndCallback) {
    CALLBACKS.with(|end| {
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

/// Calls `callback` before every commit of a top-level transaction of this process and of processes forked from it.
/// There can be one such callback, which runs before those of libraries that were loaded earlier and may raise an
/// error. Requires [`on_transaction_end`].
pub fn before_commit(callback: fn()) {
    CALLBACKS.with(|end| end.before_commit.set(Some(callback)));
}

/// Calls `callback` for every subtransaction of this process and of processes forked from it that is rolled back. It
/// must not allocate, raise an error or panic. There can be one such callback.
pub fn on_savepoint_rollback(callback: fn()) {
    // SAFETY: a static function; the list lives in TopMemoryContext.
    unsafe { pg_sys::RegisterSubXactCallback(Some(on_sub_xact), callback as *mut c_void) }
}

/// Calls `callback` at the end of every subtransaction of this process and of processes forked from it, with its nesting level
/// and whether its effects are kept. It must not allocate, raise an error or panic. There can be one such callback.
pub fn on_savepoint_end(callback: fn(i32, bool)) {
    // SAFETY: a static function; the list lives in TopMemoryContext.
    unsafe { pg_sys::RegisterSubXactCallback(Some(on_sub_xact_end), callback as *mut c_void) }
}

unsafe extern "C-unwind" fn on_sub_xact_end(
    event: pg_sys::SubXactEvent::Type,
    _id: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    callback: *mut c_void,
) {
    let is_kept = match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => true,
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => false,
        _ => return,
    };
    // SAFETY: registered as this very type; a value of this process.
    unsafe {
        let callback = std::mem::transmute::<*mut c_void, fn(i32, bool)>(callback);
        callback(pg_sys::GetCurrentTransactionNestLevel(), is_kept);
    }
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

/// PostgreSQL invokes this before [`on_release`], with an event for how the transaction ends.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_xact(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    let ended = match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => {
            if let Some(callback) = CALLBACKS.with(|end| end.before_commit.get()) {
                callback();
            }
            return;
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => Ended::Committed,
        pg_sys::XactEvent::XACT_EVENT_ABORT => Ended::Aborted,
        pg_sys::XactEvent::XACT_EVENT_PREPARE => Ended::Prepared,
        // Parallel workers insert nothing, and after a "pre" event the transaction may still fail.
        _ => return,
    };
    CALLBACKS.with(|end| end.ended.set(Some(ended)));
}

/// PostgreSQL invokes this for each resource owner after everything else. Only the first invocation counts.
unsafe extern "C-unwind" fn on_release(
    phase: pg_sys::ResourceReleasePhase::Type,
    _is_commit: bool,
    is_top_level: bool,
    _arg: *mut c_void,
) {
    if is_top_level && phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS {
        CALLBACKS.with(|end| {
            if let Some(ended) = end.ended.take() {
                end.registered.get().into_iter().flatten().for_each(|callback| callback(ended));
            }
        });
    }
}

/// Calls `callback` when this process ends. Callbacks run in reverse order of registration, so one that is registered
/// before the process connects to a database runs after its transaction was rolled back.
pub fn on_exit(callback: fn()) {
    // SAFETY: a static function, and its address as the argument.
    unsafe { pg_sys::before_shmem_exit(Some(on_exit_call), pg_sys::Datum::from(callback as usize)) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_exit_call(_code: i32, callback: pg_sys::Datum) {
    // SAFETY: registered as this very type.
    unsafe { std::mem::transmute::<usize, fn()>(callback.value())() }
}
