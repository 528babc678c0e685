//! The state of a worker, and the steps that it can take from there.

use super::database::{Answer, Row, Status};
use super::state::{Task, WORKERS};

/// The state of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hand {
    Free,
    /// Its row is locked.
    Claimed(At),
    /// The slot shows the task; its handlers run next.
    Shown(At),
    /// The handlers have run, nothing is committed, and the task cannot be cancelled any more.
    Closed(At, Did),
    /// The transaction is committed; the slot still shows the task.
    Committed(Task, Then),
    /// Used only by protocols that write effect and end separately: the first of them is committed.
    Half(At, Did),
    /// The transaction is rolled back, the row is unlocked, and the slot still shows the task.
    RolledBack(At, Why),
    /// The commit failed; the row is locked again for the error handler.
    Failing(At),
    /// The worker has stored responses, and flushes them next.
    Settling,
    /// The worker's call was cancelled; the transaction that ends it is next.
    GivingUp(Task),
    /// The worker has read which workers are live, to take over calls of the others.
    Listed {
        live: [u8; WORKERS],
        bound: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct At {
    pub task: Task,
    /// True for the step after the provider's response.
    pub last: bool,
}

/// The result of the handlers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Did {
    /// `before_handler` has built a request.
    Call,
    End {
        status: Status,
        handler_failed: bool,
    },
}

/// What a worker does after its slot stops showing the task.
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
    /// The handlers are invoked; then `MySlot::close`.
    Run(Did),
    /// `MySlot::set_handler` or `MySlot::close` reports the cancellation, or a handler is interrupted.
    Stop,
    SerializationFailure,
    Commit,
    CommitFails,
    /// `MySlot::end`.
    EndSlot,
    /// `record::cancel`.
    RecordCancel,
    RecordCancelFails,
    /// `record::repeat`, `AnsweredCalls::postpone`.
    GiveBack,
    /// `failing::resolve`, `end_without_handlers`.
    Fail,
    /// `Shared::detach`, after the transaction of a dying worker is rolled back.
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

    /// The effects of the transaction besides the end.
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
