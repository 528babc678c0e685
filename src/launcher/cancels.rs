//! Repeats the signals for cancelled tasks, since a handler may catch the first ones.

use crate::pg::{backend, shmem};
use crate::shared::NEVER;

/// The pause between two signals, in microseconds.
const INTERVAL: i64 = 20_000;
/// The time after which a worker is terminated whose handler catches all signals, in microseconds.
const PATIENCE: i64 = 1_000_000;

/// Signals the workers that still run a cancelled task. Returns when to do so again.
pub fn repeat_signals(now: i64) -> i64 {
    // The lock ensures that a signal reaches a worker only while it has the task.
    let any = shmem::write(|shared| {
        let mut any = false;
        for slot in shared.still_to_cancel() {
            any = true;
            if slot.cancelled_at + PATIENCE < now {
                slot.retire = true;
                backend::signal(slot.pid, libc::SIGTERM);
            } else {
                backend::signal(slot.pid, libc::SIGINT);
            }
        }
        any
    });
    if any { now + INTERVAL } else { NEVER }
}
