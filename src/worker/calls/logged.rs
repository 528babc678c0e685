//! The log lines about calls.

use crate::config::LogLevel;
use crate::line::Line;
use crate::pg::{log, time};
use crate::shared::{Breaker, TaskId};
use crate::task::Brief;
use crate::worker::task_log::MAX_LOGGED_NAME;
use pg_errand_calls::prepared::Prepared;
use pg_errand_calls::request::Request;
use std::time::Duration;

/// The number of bytes shown of a message that is only logged.
const MAX_LOGGED_MESSAGE: usize = 4096;

/// Logs that the call of a task starts.
pub fn log_start(brief: &Brief, prepared: &Prepared) {
    let provider = &prepared.provider.name;
    if let Request::Local { message: Some(message), .. } = &prepared.request
        && log::is_wanted(LogLevel::Info)
    {
        // The log line shows developers the request that would have been sent.
        let message = message.to_string();
        let line = Line::new("not sent, only logged")
            .with_task(brief.id)
            .with("task_type", brief.task_type.as_str())
            .with("provider", provider.as_str())
            .with_json("message", log::excerpt(&message, MAX_LOGGED_MESSAGE));
        log::line(LogLevel::Info, line);
    }
    if !log::is_wanted(LogLevel::Debug) {
        return;
    }
    let line = Line::new("call started")
        .with_task(brief.id)
        .with("task_type", brief.task_type.as_str())
        .with_text("handler", log::excerpt(&brief.handler, MAX_LOGGED_NAME))
        .with("provider", provider.as_str())
        .with_any(brief.traceparent.as_deref(), |line, trace| line.with("traceparent", trace));
    log::line(LogLevel::Debug, line);
}

/// Logs that a call waits because its provider requests a pause.
pub fn log_postponed(task_id: TaskId, provider: &str, pause: Duration) {
    let line = Line::new("call postponed")
        .with_task(task_id)
        .with("provider", provider)
        .with_duration("pause_ms", pause);
    log::line(LogLevel::Info, line);
}

/// Logs that a circuit breaker has opened or closed. `failures`: the number of consecutive calls that have failed.
pub fn log_breaker(provider: &str, breaker: Breaker, failures: u32) {
    match breaker {
        Breaker::Opened(until) => log::line(
            LogLevel::Warning,
            Line::new("circuit breaker opened")
                .with_text("provider", provider)
                .with_text("until", &time::time_text(until))
                .with("failures_in_a_row", failures)
                .with_hint(
                    "select * from queues.provider_status; shows what the provider has answered. A change of its row in \
                     queues.provider closes the circuit breaker at once.",
                ),
        ),
        Breaker::Closed => {
            let line = Line::new("circuit breaker closed").with_text("provider", provider);
            log::line(LogLevel::Info, line);
        }
    }
}
