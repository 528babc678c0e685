//! What replies mean for tasks.

use super::parcel::Member;
use super::{CallFailure, CallResult};
use crate::call::{Outcome, redact};
use crate::config::LogLevel;
use crate::interface::{Answer, Provider, Reply, Request, reply};
use crate::pg::log;

/// How much of a response the log shows, in bytes.
const LOGGED: usize = 200;

/// What a call came to for a task. What its status says was done was done, whatever there is to read.
pub fn interpret(
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

/// # Errors
/// What the provider said instead, or that a response which is all that was wanted is not there.
fn judge(provider: &Provider, request: &Request, reply: &Reply) -> Result<Answer, String> {
    let answer = provider.interface.answer(provider, request, reply);
    match (&reply.flaw, answer) {
        (None, answer) => answer,
        (Some(flaw), Ok(_)) if request.only_reads() => Err(format!("HTTP {}: {}", reply.status, flaw.reason)),
        (Some(flaw), Ok(_)) => Ok(Answer::Flawed(flaw.reason.clone())),
        (Some(flaw), Err(reason)) => Err(format!("{reason}; {}", flaw.reason)),
    }
}

/// A text from outside without what gives access to something: the query of URLs. Those that mail servers name lead to
/// an explanation.
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
            Ok(answer) => Some(answer),
            Err(failure) => failure.response.as_ref(),
        };
        let text = response.map(|response| shown(&member.request, &response.to_string())).unwrap_or_default();
        let start = log::excerpt(&text, LOGGED);
        log::event(LogLevel::Debug, format!("call response task_id={task_id} response={start}"));
    }
}
