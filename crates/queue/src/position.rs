//! The order in which tasks are handed out.

use crate::address::Address;

/// The position of a task in the order of the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// Microseconds since 2000-01-01.
    pub scheduled_at: i64,
    pub task_id: i64,
}

impl Position {
    pub const START: Position = Position { scheduled_at: i64::MIN, task_id: i64::MIN };
    pub const END: Position = Position { scheduled_at: i64::MAX, task_id: i64::MAX };

    /// The position after every task that is due at `time`.
    pub fn after_all_due(time: i64) -> Position {
        Position { scheduled_at: time, task_id: i64::MAX }
    }

    /// The position right before this one.
    pub(super) fn before(self) -> Position {
        Position { task_id: self.task_id.saturating_sub(1), ..self }
    }
}

/// A task in the window. The worker that takes it still has to lock its row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Candidate {
    pub position: Position,
    /// The address of its row. It is unknown if the task was announced and not read.
    pub address: Option<Address>,
}

impl Candidate {
    pub(super) const NONE: Candidate = Candidate { position: Position::END, address: None };
}
