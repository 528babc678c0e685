//! A cancelled task is interrupted until it stops: its handler may catch the first signal, and the
//! second.

use crate::pg::{backend, shmem};
use crate::shared::NEVER;

/// Time between two signals, in microseconds.
const INTERVAL: i64 = 20_000;
/// After this time the worker of a handler that catches them all is ended, in microseconds.
const PATIENCE: i64 = 1_000_000;

/// Signals the workers whose task was cancelled and that still run it; when to look again.
pub fn insist_on_cancels(now: i64) -> i64 {
    // Under the lock, so that a signal can only reach a worker while it has that task.
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
