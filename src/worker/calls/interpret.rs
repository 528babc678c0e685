//! What responses mean for tasks.

use super::CallResult;
use super::parcel::Member;
use crate::config::LogLevel;
use crate::pg::log;
use pg_errand_calls::job::Outcome;
use pg_errand_calls::provider::Provider;
use pg_errand_calls::response::Response;
use pg_errand_calls::result::{judge, shown};

/// How much of a response the log shows, in bytes.
const LOGGED: usize = 200;

/// Judges what a call came to for a task, and logs it.
pub fn interpret(
    provider: &Provider,
    member: &Member,
    response: Result<&Response, &String>,
    outcome: &Outcome,
) -> CallResult {
    let judged = judge(provider, &member.request, response, &outcome.credentials);
    if let Some(warning) = &judged.warning {
        log_flaw(provider, member, warning);
    }
    let status = response.ok().map(|response| response.status);
    log_end(provider, member, status, &judged.result, outcome);
    judged.result
}

fn log_flaw(provider: &Provider, member: &Member, flaw: &str) {
    log::event(
        LogLevel::Warning,
        format!(
            "call made, but not its whole response can be used task_id={} provider={} reason={flaw:?}",
            member.task_id, provider.name
        ),
    );
}

/// Responses may hold what is secret, or gives access to something (a signed URL): they are shown only for debugging.
fn log_end(
    provider: &Provider,
    member: &Member,
    status: Option<u16>,
    result: &CallResult,
    outcome: &Outcome,
) {
    if !log::is_wanted(LogLevel::Info) {
        return;
    }
    let (task_id, provider) = (member.task_id, &provider.name);
    let how = if result.is_ok() { "succeeded" } else { "failed" };
    let status = status.map(|status| format!(" status={status}")).unwrap_or_default();
    let took = outcome.took.as_millis();
    log::event(
        LogLevel::Info,
        format!("call ended task_id={task_id} provider={provider} duration_ms={took}{status} {how}"),
    );
    if log::is_wanted(LogLevel::Debug) {
        let response = match result {
            Ok(value) => Some(value),
            Err(failure) => failure.response.as_ref(),
        };
        let text = response.map(|response| shown(&member.request, &response.to_string())).unwrap_or_default();
        let start = log::excerpt(&text, LOGGED);
        log::event(LogLevel::Debug, format!("call response task_id={task_id} response={start}"));
    }
}
