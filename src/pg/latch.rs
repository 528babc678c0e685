//! Waiting, and waking other processes.

use super::wait_event::WaitEvent;
use pg_errand_queue::Latch;
use pgrx::pg_sys;
use std::os::fd::RawFd;
use std::time::Duration;

/// The latch of a process of this server. It is in shared memory (PGPROC), so its address is the same in all processes.
/// A process that publishes its latch withdraws it before it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LatchRef(*mut pg_sys::Latch);

impl LatchRef {
    pub fn mine() -> LatchRef {
        // SAFETY: set at process start.
        LatchRef(unsafe { pg_sys::MyLatch })
    }
}

impl Latch for LatchRef {
    const NONE: LatchRef = LatchRef(std::ptr::null_mut());

    fn set(&mut self) {
        // Unit tests run outside of a server, and are not linked with one.
        if !cfg!(test) && !self.0.is_null() {
            // SAFETY: points into PGPROC, which lives as long as shared memory does. SetLatch
            // neither allocates nor fails, so it may be called during commit.
            unsafe { pg_sys::SetLatch(self.0) }
        }
    }
}

/// Waits until this process's latch is set, `socket` is readable or `timeout` has passed. The process ends if the
/// postmaster dies. `pg_stat_activity` shows `event` meanwhile.
pub fn wait(event: WaitEvent, socket: Option<RawFd>, timeout: Duration) {
    wait_unreset(event, socket, timeout);
    reset();
}

/// [`wait`] without resetting the latch.
pub fn wait_unreset(event: WaitEvent, socket: Option<RawFd>, timeout: Duration) {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    if socket.is_some() {
        events |= pg_sys::WL_SOCKET_READABLE;
    }
    let milliseconds = timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as i64;
    // SAFETY: main thread; an own latch and a descriptor that the caller keeps open.
    unsafe {
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as i32,
            socket.unwrap_or(-1),
            milliseconds as _,
            event.number(),
        );
    }
}

/// True if this process's latch was set since the last reset.
pub fn is_set() -> bool {
    // SAFETY: an own latch; a flag that other processes set.
    unsafe { std::ptr::read_volatile(&raw const (*pg_sys::MyLatch).is_set) != 0 }
}

pub fn reset() {
    // SAFETY: an own latch.
    unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) }
}
