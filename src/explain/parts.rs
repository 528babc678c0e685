//! Parts of what is said about reasons.

use crate::pauses::Pause;
use crate::pg::time::time_text;
use crate::shared::{Busy, NEVER, Refusal};

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

/// What keeps a handler waiting: a process that has a lock, or waits for it before.
pub struct Blocker {
    /// The process; 0 for a prepared transaction.
    pub pid: i32,
    /// The task that the process runs, if it is a worker of this database.
    pub task: Option<Busy>,
    /// The number of further processes that have such a lock.
    pub others: usize,
}

/// The names that sentences use.
#[derive(Default)]
pub struct Names {
    pub database: String,
    pub task_type: String,
    /// The first task of the type that a worker outside has leased.
    pub leased: Option<i64>,
    /// The role of the workers.
    pub role: String,
    pub provider: String,
    /// The version of the extension's tables.
    pub version: String,
    /// The number up to which tasks before this one are counted.
    pub counted: i64,
    /// The task has a queue key, or others that are due have one: keys take turns, so the order is not known.
    pub takes_turns: bool,
    pub queue_key: String,
    /// A task of the queue key that is between the steps of a call or leased.
    pub busy_of_key: Option<i64>,
    /// A worker outside has leased the task that keeps the queue key busy.
    pub is_key_leased: bool,
    /// The number of tasks of a queue key that may run at a time.
    pub max_running_per_key: u32,
    /// The pause that keeps it from starting, or its request from being sent.
    pub pause: Option<Pause>,
    /// What keeps its handler waiting.
    pub blocker: Option<Blocker>,
}

/// The hint for a task that a worker outside has leased.
pub fn lease_of(task_id: i64) -> String {
    format!(
        "Its worker outside ends it with queues.complete_task or queues.fail_task. If that worker is gone, run: SELECT \
         queues.end_lease({task_id});"
    )
}

/// Why a provider admits no request.
pub fn of_refusal(refusal: Refusal) -> String {
    match refusal {
        Refusal::ByOperator(NEVER) => "an operator has paused the provider".into(),
        Refusal::ByOperator(until) => {
            format!("an operator has paused the provider until {}", time_text(until))
        }
        Refusal::Paused(until) => format!("the provider has requested a pause until {}", time_text(until)),
        Refusal::Broken(until) => format!("its circuit breaker is open until {}", time_text(until)),
        Refusal::Probing(_) => "the first request after a pause is in flight".into(),
        Refusal::Rate(until) => {
            format!("its rate limit admits the next request at {}", time_text(until))
        }
        Refusal::Full => "as many calls are in flight as its max_in_flight allows".into(),
    }
}

/// A message as a sentence.
pub fn sentence_of(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    format!("{}{}.", first.map_or(String::new(), String::from), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_sentence() {
        assert_eq!(sentence_of("role \"x\" may not log in"), "Role \"x\" may not log in.");
        assert_eq!(sentence_of(""), ".");
    }
}
