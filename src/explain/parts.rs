//! Parts of what is said about reasons.

use crate::pg::time::time_text;
use crate::shared::{Busy, Refusal};

/// What is said about a reason.
pub struct Text {
    pub explanation: String,
    /// The task that is in the way.
    pub task_id: Option<i64>,
    /// The process that is in the way, or that works on the task.
    pub pid: Option<i32>,
    pub hint: Option<String>,
}

impl Text {
    pub fn new(explanation: impl Into<String>) -> Text {
        Text { explanation: explanation.into(), task_id: None, pid: None, hint: None }
    }

    pub fn hint(self, hint: impl Into<String>) -> Text {
        Text { hint: Some(hint.into()), ..self }
    }

    pub fn by(self, pid: i32) -> Text {
        Text { pid: Some(pid).filter(|pid| *pid != 0), ..self }
    }

    pub fn of(self, worker: &Busy) -> Text {
        Text { task_id: Some(worker.task_id).filter(|id| *id != 0), ..self.by(worker.pid) }
    }
}

/// The names that sentences use.
pub struct Names {
    pub database: String,
    /// The role of the workers.
    pub role: String,
    pub provider: String,
    /// The version of the extension's tables.
    pub version: String,
    /// The number up to which tasks before this one are counted.
    pub counted: i64,
}

/// Why a provider admits no request.
pub fn of_refusal(refusal: Refusal) -> String {
    match refusal {
        Refusal::Paused(until) => format!("the provider has requested a pause until {}", time_text(until)),
        Refusal::Broken(until) => format!("its circuit breaker is open until {}", time_text(until)),
        Refusal::Probing(_) => "the first request after a pause is in flight".into(),
        Refusal::Rate(until) => {
            format!("its rate limit admits the next request at {}", time_text(until))
        }
        Refusal::Full => "as many calls are in flight as its max_in_flight allows".into(),
    }
}
