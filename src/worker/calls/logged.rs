//! The log lines about calls.

use crate::config::LogLevel;
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
        log::event(
            LogLevel::Info,
            format!(
                "not sent, only logged task_id={} task_type={} provider={provider} message={}",
                brief.id,
                brief.task_type,
                log::excerpt(&message, MAX_LOGGED_MESSAGE)
            ),
        );
    }
    if !log::is_wanted(LogLevel::Debug) {
        return;
    }
    log::event(
        LogLevel::Debug,
        format!(
            "call started task_id={} task_type={} handler={:?} provider={provider}",
            brief.id,
            brief.task_type,
            log::excerpt(&brief.handler, MAX_LOGGED_NAME)
        ),
    );
}

/// Logs that a call waits because its provider requests a pause.
pub fn log_postponed(task_id: TaskId, provider: &str, pause: Duration) {
    log::event(
        LogLevel::Info,
        format!("call postponed task_id={task_id} provider={provider} pause_ms={}", pause.as_millis()),
    );
}

/// Logs that a circuit breaker has opened or closed. `failures`: the number of consecutive calls that have failed.
pub fn log_breaker(provider: &str, breaker: Breaker, failures: u32) {
    match breaker {
        Breaker::Opened(until) => log::event_with_hint(
            LogLevel::Warning,
            format!(
                "circuit breaker opened provider={provider:?} until={:?}: calls that failed in a row: {failures}",
                time::time_text(until)
            ),
            "A change of its row in queues.provider closes the circuit breaker at once.".into(),
        ),
        Breaker::Closed => {
            log::event(LogLevel::Info, format!("circuit breaker closed provider={provider:?}"));
        }
    }
}
