//! The order in which tasks are handed out.

use crate::address::Address;
use std::cmp::Ordering;

/// Plain tasks, whose priority is 0, and prioritized ones. Each class has its own line in a lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    Plain,
    Prioritized,
}

impl Class {
    pub const ALL: [Class; 2] = [Class::Plain, Class::Prioritized];

    /// The position after every task of the class that is due at `time`. Prioritized tasks that fall due later may
    /// precede it, since their priority comes first in the order.
    pub fn after_all_due(self, time: i64) -> Position {
        match self {
            Class::Plain => Position { priority: 0, scheduled_at: time, task_id: i64::MAX },
            Class::Prioritized => Position::END,
        }
    }
}

/// The position of a task in the order of the queue: tasks of a higher priority come first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// Microseconds since 2000-01-01.
    pub scheduled_at: i64,
    pub task_id: i64,
    pub priority: i16,
}

impl Position {
    pub const START: Position = Position { priority: i16::MAX, scheduled_at: i64::MIN, task_id: i64::MIN };
    pub const END: Position = Position { priority: i16::MIN, scheduled_at: i64::MAX, task_id: i64::MAX };

    /// The class of the task at this position.
    pub fn class(self) -> Class {
        if self.priority == 0 { Class::Plain } else { Class::Prioritized }
    }

    /// The position right before this one.
    pub(super) fn before(self) -> Position {
        Position { task_id: self.task_id.saturating_sub(1), ..self }
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Position) -> Ordering {
        let by_time = || (self.scheduled_at, self.task_id).cmp(&(other.scheduled_at, other.task_id));
        other.priority.cmp(&self.priority).then_with(by_time)
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        Some(self.cmp(other))
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
