//! How a task ends.

use crate::error::Failure;

/// The final status of a task, in `queues.task.final_status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Succeeded,
    Failed,
    Cancelled,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }
}

/// The end of a task, as it is recorded.
pub struct Ending {
    pub status: Status,
    /// What a handler reported besides success.
    pub outcome: Option<String>,
    /// The failures, each of which becomes a row of `queues.error`.
    pub failures: Vec<Failure>,
}

impl Ending {
    pub const fn succeeded(outcome: Option<String>) -> Ending {
        Ending { status: Status::Succeeded, outcome, failures: Vec::new() }
    }

    pub const fn failed(failures: Vec<Failure>) -> Ending {
        Ending { status: Status::Failed, outcome: None, failures }
    }
}
