//! What a worker is at, and the steps it can take from there.

use super::database::{Answer, Row, Status};
use super::state::{Task, WORKERS};

/// What a worker is at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hand {
    Free,
    /// Its row is locked.
    Claimed(At),
    /// The slot shows it; its handlers are next.
    Shown(At),
    /// The handlers have run, nothing is committed, and it cannot be cancelled any more.
    Closed(At, Did),
    /// It is committed; the slot still shows it.
    Committed(Task, Then),
    /// Only in protocols that write effect and end apart: the first is committed.
    Half(At, Did),
    /// Its transaction is rolled back, its row is free, the slot still shows it.
    RolledBack(At, Why),
    /// Its commit failed; its row is locked again for the error handler.
    Failing(At),
    /// It has stored answers; the wait for the disk is next.
    Settling,
    /// Its call was cancelled; the transaction that ends it is next.
    GivingUp(Task),
    /// It has read who lives, to take over calls of those who don't.
    Listed {
        live: [u8; WORKERS],
        bound: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct At {
    pub task: Task,
    /// The step after the provider's answer.
    pub last: bool,
}

/// What the handlers came to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Did {
    /// `before_handler` has built a request.
    Call,
    End {
        status: Status,
        handler_failed: bool,
    },
}

/// What a worker does once its slot shows the task no more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Then {
    Nothing,
    Send,
    Forget,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Why {
    Cancelled,
    SerializationFailure,
    CommitFailed,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// `claim.sql`.
    Claim(Task),
    /// `MySlot::begin`.
    Show,
    /// Handlers are called; then `MySlot::close`.
    Run(Did),
    /// `MySlot::set_handler` or `MySlot::close` says so, or a handler is interrupted.
    Stop,
    SerializationFailure,
    Commit,
    CommitFails,
    /// `MySlot::end`.
    EndSlot,
    /// `record::cancel`.
    RecordCancel,
    RecordCancelFails,
    /// `record::repeat`, `calls::repeat_later`.
    GiveBack,
    /// `Worker::fail`, `calls::end_without_handlers`.
    Fail,
    /// `Shared::detach`, after the transaction of a dying worker is undone.
    Detach,
}

impl Step {
    pub fn is_fault(self) -> bool {
        matches!(self, Step::SerializationFailure | Step::CommitFails | Step::RecordCancelFails)
    }
}

impl Hand {
    /// True if its transaction holds the lock of the task's row.
    pub fn locks(&self, task: Task) -> bool {
        use Hand::{Claimed, Closed, Failing, Half, Shown};
        matches!(self, Claimed(at) | Shown(at) | Closed(at, _) | Half(at, _) | Failing(at) if at.task == task)
    }
}

impl Did {
    pub const SUCCEEDED: Did = Did::End { status: Status::Succeeded, handler_failed: false };
    pub const FAILED: Did = Did::End { status: Status::Failed, handler_failed: false };

    pub fn after_answer(answer: Answer, handler_failed: bool) -> Did {
        let accepted = answer == Answer::Accepted;
        let status = if accepted { Status::Succeeded } else { Status::Failed };
        Did::End { status, handler_failed }
    }

    /// What the transaction leaves besides the end.
    pub fn leave_effects(self, row: &mut Row) {
        match self {
            Did::Call => {}
            Did::End { handler_failed: true, .. } => row.complaint = true,
            Did::End { status: Status::Succeeded, .. } => row.effects += 1,
            Did::End { .. } => row.error_effects += 1,
        }
    }

    pub fn end(self, row: &mut Row) {
        if let Did::End { status, .. } = self {
            row.finish(status);
        }
    }
}
