//! The signals of a worker, and when they take effect.
//!
//! SIGTERM ends the process at the next CHECK_FOR_INTERRUPTS. SIGINT (`pg_cancel_backend`, `queues.cancel`) takes
//! effect only while a handler runs. At all other times cancellations are held off, so that they never interrupt the
//! worker's own statements.

pub use super::backend::exit;
use super::majors::since_18::pqsignal;
use super::runaway;
use pgrx::pg_sys;
use std::os::raw::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

unsafe extern "C-unwind" {
    // postmaster/interrupt.h and tcop/tcopprot.h: handlers, so without pgrx's error boundary.
    fn SignalHandlerForConfigReload(signal: c_int);
    fn die(signal: c_int);
    fn StatementCancelHandler(signal: c_int);
    fn SignalHandlerForCrashExit(signal: c_int);
}

/// Whether a transaction is being committed. SIGINT is then ignored: it would interrupt the wait for a synchronous
/// standby, and a commit that is not flushed there would be taken for one that is.
static COMMITTING: AtomicBool = AtomicBool::new(false);

/// Ignores cancellations until it is invoked with false.
pub fn ignore_cancel(ignore: bool) {
    COMMITTING.store(ignore, Relaxed);
}

/// SIGINT's handler.
unsafe extern "C-unwind" fn cancel(signal: c_int) {
    if !COMMITTING.load(Relaxed) {
        // SAFETY: in a signal handler, as PostgreSQL calls it.
        unsafe { StatementCancelHandler(signal) }
    }
}

/// Installs the handlers of a background worker that runs SQL, and unblocks signals.
pub fn install() {
    // SAFETY: called once, at the start of a background worker, with signals still blocked.
    unsafe {
        pqsignal(libc::SIGHUP, Some(SignalHandlerForConfigReload));
        pqsignal(libc::SIGTERM, Some(terminate));
        pqsignal(libc::SIGINT, Some(cancel));
        pqsignal(libc::SIGQUIT, Some(on_quit));
        runaway::install();
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// SIGTERM's handler.
unsafe extern "C-unwind" fn terminate(signal: c_int) {
    // SAFETY: in a signal handler, as PostgreSQL calls it.
    unsafe { die(signal) }
    runaway::watch();
}

/// The signals that a worker handles.
const SIGNALS: [c_int; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGALRM,
    libc::SIGPIPE,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGVTALRM,
];

/// The handlers of [`SIGNALS`] in this process, as they were installed.
static HANDLERS: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

/// Remembers the signal handlers for [`restore_handlers`]. Called once, when all handlers are installed.
pub fn remember_handlers() {
    let _ = HANDLERS.set(SIGNALS.map(|signal| {
        // SAFETY: a system call that writes the struct.
        unsafe {
            let mut action = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action);
            action
        }
    }));
}

/// Restores signal handlers that a task may have replaced, as PL/Perl allows (`%SIG`).
pub fn restore_handlers() {
    if !runaway::has_interpreter() {
        return;
    }
    for (signal, action) in SIGNALS.iter().zip(HANDLERS.get().into_iter().flatten()) {
        // SAFETY: the description that the kernel returned for the same signal.
        unsafe {
            libc::sigaction(*signal, action, std::ptr::null_mut());
        }
    }
}

/// SIGQUIT's handler: the postmaster has all processes end immediately, because one has crashed or the server is shut
/// down.
unsafe extern "C-unwind" fn on_quit(signal: c_int) {
    super::journal::spare_me();
    // SAFETY: what SIGQUIT does otherwise; it ends the process.
    unsafe { SignalHandlerForCrashExit(signal) }
}

/// Holds cancellations off until [`allow_cancel`] (HOLD_CANCEL_INTERRUPTS; an ERROR resets the count).
pub fn hold_cancel() {
    // SAFETY: plain counters of this process.
    unsafe { pg_sys::QueryCancelHoldoffCount = 1 }
}

/// Allows cancellations to take effect.
pub fn allow_cancel() {
    // SAFETY: as above.
    unsafe { pg_sys::QueryCancelHoldoffCount = 0 }
}

/// Discards a cancellation that arrived too late.
pub fn forget_cancel() {
    // SAFETY: as above; the flag is a sig_atomic_t.
    unsafe { pg_sys::QueryCancelPending = 0 }
}

/// Requests a cancellation of what this process runs, as SIGINT would.
///
/// It may be invoked in a signal handler.
pub fn cancel_myself() {
    // SAFETY: sig_atomic_t flags and this process's own latch.
    unsafe {
        pg_sys::QueryCancelPending = 1;
        pg_sys::InterruptPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Requests the end of this process, as SIGTERM would.
///
/// It may be invoked in a signal handler.
pub fn terminate_myself() {
    // SAFETY: as in `cancel_myself`.
    unsafe {
        pg_sys::ProcDiePending = 1;
        pg_sys::InterruptPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
    runaway::watch();
}

/// CHECK_FOR_INTERRUPTS: handles barriers, and requests to end this process.
pub fn check() {
    // SAFETY: main thread, at a point where an ERROR or FATAL may be raised.
    unsafe {
        if std::ptr::read_volatile(&raw const pg_sys::InterruptPending) != 0 {
            pg_sys::ProcessInterrupts();
        }
    }
}

/// Reloads the configuration files if SIGHUP has arrived; true if it has.
pub fn reload_if_asked() -> bool {
    // SAFETY: main thread, outside transactions (as every PostgreSQL main loop does it).
    unsafe {
        if std::ptr::read_volatile(&raw const pg_sys::ConfigReloadPending) == 0 {
            return false;
        }
        pg_sys::ConfigReloadPending = 0;
    }
    reload();
    true
}

/// Reloads the configuration files.
pub fn reload() {
    // SAFETY: as above.
    unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) }
}
