//! Log lines about a task.

use super::ending::{Ending, Status};
use crate::config::LogLevel;
use crate::error::Failure;
use crate::line::Line;
use crate::pg::{backend, log};
use crate::shared::TaskId;
use crate::task::Brief;

/// The number of bytes of a handler's name that a log line shows.
pub const MAX_LOGGED_NAME: usize = 300;
/// The number of bytes of a message, a hint or an outcome that a log line shows.
pub const MAX_LOGGED_TEXT: usize = 1000;

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
    let event = match ending.status {
        Status::Succeeded => "task succeeded",
        Status::Failed => "task failed",
        Status::Cancelled => "task cancelled",
    };
    let outcome = ending.outcome.as_deref().map(|outcome| log::excerpt(outcome, MAX_LOGGED_TEXT));
    log::line(
        level,
        named(event, brief).with_any(outcome, |line, outcome| line.with_text("outcome", outcome)),
    );
}

pub fn failure(brief: &Brief, failure: &Failure) {
    let error = &failure.error;
    let line = named("error", brief)
        .with("sqlstate", error.sqlstate.as_str())
        .with_text("message", log::excerpt(&error.message, MAX_LOGGED_TEXT))
        .with_any(error.hint.as_deref(), |line, hint| line.with_hint(log::excerpt(hint, MAX_LOGGED_TEXT)));
    log::line(LogLevel::Warning, line);
}

pub fn cancelled(task_id: TaskId) {
    log::line(LogLevel::Info, Line::new("task cancelled").with_task(task_id));
}

pub fn repeated(brief: &Brief) {
    let line = Line::new("task repeated").with_task(brief.id).with("attempt", brief.attempt);
    log::line(LogLevel::Info, line);
}

/// A line with the fields that identify a task's run.
fn named(event: &'static str, brief: &Brief) -> Line {
    let took = (backend::now() - brief.started_at) / 1000;
    Line::new(event)
        .with_task(brief.id)
        .with("task_type", brief.task_type.as_str())
        .with_text("handler", log::excerpt(&brief.handler, MAX_LOGGED_NAME))
        .with("attempt", brief.attempt)
        .with("duration_ms", took)
        .with_any(brief.traceparent.as_deref(), |line, trace| line.with("traceparent", trace))
}
