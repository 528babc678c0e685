//! Log lines about a task.

use super::ending::{Ending, Status};
use crate::config::LogLevel;
use crate::error::Failure;
use crate::pg::{backend, log};
use crate::shared::TaskId;
use crate::task::Brief;

/// The number of bytes of a handler's name that a log line shows.
pub const MAX_LOGGED_NAME: usize = 300;
/// The number of bytes of a message or an outcome that a log line shows.
const MAX_LOGGED_TEXT: usize = 1000;

/// Logs the end of a task and its failures, after the commit.
pub fn ended(brief: &Brief, ending: &Ending) {
    // Ordinary successes are logged only at a debug level.
    let level = match ending {
        Ending { status: Status::Succeeded, outcome: None, .. } => LogLevel::Debug,
        Ending { status: Status::Succeeded, .. } => LogLevel::Info,
        _ => LogLevel::Warning,
    };
    if ending.failures.is_empty() && !log::is_wanted(level) {
        return;
    }
    ending.failures.iter().for_each(|error| failure(brief, error));
    let named = named(brief);
    let outcome = ending
        .outcome
        .as_deref()
        .map(|outcome| format!(" outcome={:?}", log::excerpt(outcome, MAX_LOGGED_TEXT)))
        .unwrap_or_default();
    log::event(level, format!("task {} {named}{outcome}", ending.status.as_str()));
}

pub fn failure(brief: &Brief, failure: &Failure) {
    let (named, error) = (named(brief), &failure.error);
    let message = log::excerpt(&error.message, MAX_LOGGED_TEXT);
    log::event(LogLevel::Warning, format!("error {named} sqlstate={} message={message:?}", error.sqlstate));
}

pub fn cancelled(task_id: TaskId) {
    log::event(LogLevel::Info, format!("task cancelled task_id={task_id}"));
}

pub fn repeated(brief: &Brief) {
    log::event(LogLevel::Info, format!("task repeated task_id={} attempt={}", brief.id, brief.attempt));
}

/// The fields of a log line that identify a task's run.
fn named(brief: &Brief) -> String {
    let took = (backend::now() - brief.started_at) / 1000;
    format!(
        "task_id={} task_type={} handler={:?} attempt={} duration_ms={took}",
        brief.id,
        brief.task_type,
        log::excerpt(&brief.handler, MAX_LOGGED_NAME),
        brief.attempt
    )
}
