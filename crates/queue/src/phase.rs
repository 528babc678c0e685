//! Whether the task of a worker can still be cancelled. This is an atomic, since the worker reads it between any two
//! steps without a lock.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

/// The task can be cancelled.
const OPEN: u8 = 0;
/// The task was cancelled.
const CANCELLED: u8 = 1;
/// The task is about to commit its end, and cannot be cancelled any more.
const CLOSING: u8 = 2;

#[derive(Debug)]
pub struct Phase(AtomicU8);

impl PartialEq for Phase {
    fn eq(&self, other: &Phase) -> bool {
        self.0.load(SeqCst) == other.0.load(SeqCst)
    }
}

impl Eq for Phase {}

impl Hash for Phase {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.load(SeqCst).hash(state);
    }
}

impl Clone for Phase {
    fn clone(&self) -> Phase {
        Phase(AtomicU8::new(self.0.load(SeqCst)))
    }
}

impl Phase {
    pub(super) const fn new() -> Phase {
        Phase(AtomicU8::new(OPEN))
    }

    /// Begins a task.
    pub(super) fn begin(&self, cancelled: bool) {
        self.0.store(if cancelled { CANCELLED } else { OPEN }, SeqCst);
    }

    /// Cancels the task; false if it is too late.
    pub(super) fn cancel(&self) -> bool {
        let result = self.0.compare_exchange(OPEN, CANCELLED, SeqCst, SeqCst);
        result.is_ok() || result == Err(CANCELLED)
    }

    /// Moves the task past the point up to which it can be cancelled; false if it was cancelled before.
    pub fn close(&self) -> bool {
        let result = self.0.compare_exchange(OPEN, CLOSING, SeqCst, SeqCst);
        result.is_ok() || result == Err(CLOSING)
    }

    /// Allows the task to be cancelled again.
    pub fn reopen(&self) {
        let _ = self.0.compare_exchange(CLOSING, OPEN, SeqCst, SeqCst);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(SeqCst) == CANCELLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_cancelled_or_closed_and_never_both() {
        let phase = Phase::new();
        assert!(phase.cancel() && phase.cancel() && phase.is_cancelled());
        assert!(!phase.close());
        phase.begin(false);
        assert!(phase.close() && phase.close());
        assert!(!phase.cancel() && !phase.is_cancelled());
        phase.reopen();
        assert!(phase.cancel());
    }
}
