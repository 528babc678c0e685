//! A limit on the time a handler may run.

use super::interrupt;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary as boundary;
use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// The pause between two interruptions of a handler that continues, in milliseconds.
const AGAIN_MS: c_int = 50;

static ID: AtomicI32 = AtomicI32::new(-1);
static FIRED: AtomicBool = AtomicBool::new(false);
static TIMES: AtomicU32 = AtomicU32::new(0);

/// The number of interruptions that a handler may catch before its worker is terminated.
const PATIENCE: u32 = 40;

/// Asks RegisterTimeout for a free id. Any value from `USER_TIMEOUT` of utils/timeout.h on does, which is 10 to 13,
/// depending on the major version.
const ANY_USER_TIMEOUT: c_int = 13;

unsafe extern "C-unwind" {
    // utils/timeout.h, not among pgrx's bindings
    fn RegisterTimeout(id: c_int, handler: Option<unsafe extern "C-unwind" fn()>) -> c_int;
    fn enable_timeout_every(id: c_int, first: i64, delay_ms: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
}

/// Registers the timeout; once per process, after the database connection is initialized.
pub fn register() {
    // SAFETY: InitPostgres has run InitializeTimeouts.
    ID.store(unsafe { boundary(|| RegisterTimeout(ANY_USER_TIMEOUT, Some(on_timeout))) }, Relaxed);
}

/// Interrupts what runs after `limit` (zero: no limit), until [`disarm`] is invoked.
pub fn arm(limit: Duration) {
    FIRED.store(false, Relaxed);
    TIMES.store(0, Relaxed);
    if !limit.is_zero() {
        let milliseconds = limit.as_millis().clamp(1, i32::MAX as u128) as c_int;
        let id = ID.load(Relaxed);
        let first = super::backend::now() + i64::from(milliseconds) * 1000;
        // The timeout repeats, since a handler may catch the first interruption and continue.
        // SAFETY: the id was registered; main thread.
        unsafe { boundary(|| enable_timeout_every(id, first, AGAIN_MS)) }
    }
}

/// Disarms the timeout; true if it has interrupted something.
pub fn disarm() -> bool {
    // SAFETY: as in `arm`; disabling an idle timeout does nothing.
    unsafe { boundary(|| disable_timeout(ID.load(Relaxed), false)) }
    FIRED.swap(false, Relaxed)
}

/// Runs in SIGALRM's handler, so it only sets flags.
unsafe extern "C-unwind" fn on_timeout() {
    FIRED.store(true, Relaxed);
    if TIMES.fetch_add(1, Relaxed) < PATIENCE {
        interrupt::cancel_myself();
    } else {
        interrupt::terminate_myself();
    }
}
