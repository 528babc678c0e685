//! What a provider's response means for the tasks of a batch.

use super::batch::{Batch, Member};
use super::result::{CallFailure, CallResult, response_of};
use crate::call::{Outcome, redact};
use crate::config::LogLevel;
use crate::interface::{Answer, Parts, Provider, Reply, Request, reply};
use crate::pg::log;
use crate::shared::TaskId;

/// How much of a response the log shows, in bytes.
const LOGGED: usize = 200;

/// The result of a batch's call.
pub enum BatchResult {
    /// The result of each task.
    Results(Vec<(TaskId, CallResult)>),
    /// The provider has done nothing: each request has to be sent on its own.
    Refused(Batch),
}

/// The result of a batch's call for each of its tasks that has not ended.
pub fn interpret(batch: Batch, outcome: &Outcome) -> BatchResult {
    let batching = batch.provider.interface.batching().filter(|_| batch.key.is_some());
    let count = batch.members.len();
    let replies: Vec<Result<Reply, String>> = match (batching, &outcome.reply) {
        (None, reply) => vec![reply.clone()],
        (Some(_), Err(reason)) => vec![Err(reason.clone()); count],
        (Some(batching), Ok(reply)) => match batching.parts(reply, count) {
            Parts::Replies(replies) => replies.into_iter().map(Ok).collect(),
            // The provider may have accepted it when it was sent before, and have forgotten its key since.
            Parts::Refused if batch.recognized_until.is_some() && !matches!(reply.status, 400 | 422) => {
                let reason =
                    format!("outcome unknown: sent again, it was refused with HTTP {}", reply.status);
                vec![Err(reason); count]
            }
            Parts::Refused => return BatchResult::Refused(batch),
        },
    };
    let live = batch.members.into_iter().zip(replies).filter(|(member, _)| !member.given_up);
    BatchResult::Results(
        live.map(|(member, reply)| {
            (member.task_id, interpret_reply(&batch.provider, &member, reply.as_ref(), outcome))
        })
        .collect(),
    )
}

/// The result of a call for a task. A status that says that the request was carried out counts, whether or not the
/// response can be read.
fn interpret_reply(
    provider: &Provider,
    member: &Member,
    reply: Result<&Reply, &String>,
    outcome: &Outcome,
) -> CallResult {
    let masked = |text: String| redact::text(&text, &outcome.credentials);
    let failure = |reason| format!("{}: {}", provider.name, shown(&member.request, &masked(reason)));
    let result = match reply {
        Err(reason) => Err(failure(reason.clone()).into()),
        Ok(reply) => match judge(provider, &member.request, reply) {
            Ok(Answer::Value(answer)) => Ok(answer),
            Ok(Answer::Flawed(flaw)) => {
                log_flaw(provider, member, &flaw);
                Ok(reply::flawed(reply, &flaw))
            }
            Err(reason) => {
                Err(CallFailure { message: failure(reason), response: Some(reply::refused(reply)) })
            }
        },
    };
    let masked = |value| redact::value(value, &outcome.credentials);
    let result = match result {
        Ok(answer) => Ok(masked(answer)),
        Err(failure) => Err(CallFailure { response: failure.response.map(masked), ..failure }),
    };
    log_end(provider, member, reply.ok().map(|reply| reply.status), &result, outcome);
    result
}

/// What the provider's interface makes of a response.
///
/// # Errors
/// What the provider said instead, or that a response is incomplete although the request only reads.
fn judge(provider: &Provider, request: &Request, reply: &Reply) -> Result<Answer, String> {
    let answer = provider.interface.answer(provider, request, reply);
    match (&reply.flaw, answer) {
        (None, answer) => answer,
        (Some(flaw), Ok(_)) if request.only_reads() => Err(format!("HTTP {}: {}", reply.status, flaw.reason)),
        (Some(flaw), Ok(_)) => Ok(Answer::Flawed(flaw.reason.clone())),
        (Some(flaw), Err(reason)) => Err(format!("{reason}; {}", flaw.reason)),
    }
}

/// A text from outside without the queries of its URLs, which may give access to something. The URLs of mail servers
/// lead to explanations and are kept.
fn shown(request: &Request, text: &str) -> String {
    match request {
        Request::Smtp(_) => text.to_owned(),
        _ => redact::urls(text),
    }
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

/// Logs the end of a call. A response may hold secrets or signed URLs, so it is logged only for debugging.
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
        let text = response_of(result)
            .map(|response| shown(&member.request, &response.to_string()))
            .unwrap_or_default();
        let start = log::excerpt(&text, LOGGED);
        log::event(LogLevel::Debug, format!("call response task_id={task_id} response={start}"));
    }
}
