//! Interprets a provider's response for the tasks of a batch.

use super::batch::{Batch, Member};
use super::result::{CallResult, response_of};
use crate::config::LogLevel;
use crate::line::Line;
use crate::pg::log;
use crate::shared::TaskId;
use pg_errand_calls::interface::contract::BatchResponse;
use pg_errand_calls::job::Outcome;
use pg_errand_calls::provider::Provider;
use pg_errand_calls::response::Response;
use pg_errand_calls::result::{judge, shown};

/// The number of bytes of a response that the log shows.
const LOGGED: usize = 200;

/// The result of a batch's call.
pub enum BatchResult {
    /// The result of each task.
    Results(Vec<(TaskId, CallResult)>),
    /// The provider has carried out nothing, so each request has to be sent on its own.
    Refused(Batch),
}

/// The result of a batch's call for each of its tasks that has not ended.
pub fn interpret(batch: Batch, outcome: &Outcome) -> BatchResult {
    let batching = batch.provider.interface.batching().filter(|_| batch.key.is_some());
    let count = batch.members.len();
    let responses: Vec<Result<Response, String>> = match (batching, &outcome.response) {
        (None, response) => vec![response.clone()],
        (Some(_), Err(reason)) => vec![Err(reason.clone()); count],
        (Some(batching), Ok(response)) => match batching.split(response, count) {
            BatchResponse::Each(responses) => responses.into_iter().map(Ok).collect(),
            // The provider may have accepted the batch when it was sent before, and may no longer recognize its key.
            BatchResponse::Refused
                if batch.recognized_until.is_some() && !matches!(response.status, 400 | 422) =>
            {
                let reason =
                    format!("outcome unknown: sent again, it was refused with HTTP {}", response.status);
                vec![Err(reason); count]
            }
            BatchResponse::Refused => return BatchResult::Refused(batch),
        },
    };
    let live = batch.members.into_iter().zip(responses).filter(|(member, _)| !member.given_up);
    BatchResult::Results(
        live.map(|(member, response)| {
            (member.task_id, interpret_response(&batch.provider, &member, response.as_ref(), outcome))
        })
        .collect(),
    )
}

/// Evaluates the outcome of a call for one task, and logs it.
fn interpret_response(
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
    let line = Line::new("call made, but not its whole response can be used")
        .with_task(member.task_id)
        .with("provider", provider.name.as_str())
        .with_text("reason", flaw)
        .with_hint("The call counts as made. See the page docs/providers.md about responses.");
    log::line(LogLevel::Warning, line);
}

/// Logs the end of a call. A response may contain secrets or signed URLs, so it is logged only at a debug level.
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
    let line = Line::new("call ended")
        .with_task(member.task_id)
        .with("provider", provider.name.as_str())
        .with_duration("duration_ms", outcome.took)
        .with_any(status, |line, status| line.with("status", status))
        .with("result", if result.is_ok() { "succeeded" } else { "failed" });
    log::line(LogLevel::Info, line);
    if log::is_wanted(LogLevel::Debug) {
        let text = response_of(result)
            .map(|response| shown(&member.request, &response.to_string()))
            .unwrap_or_default();
        let start = log::excerpt(&text, LOGGED);
        let line = Line::new("call response").with_task(member.task_id).with_json("response", start);
        log::line(LogLevel::Debug, line);
    }
}
