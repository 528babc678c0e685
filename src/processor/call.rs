//! `call`: the task is a provider call. A `before_handler` builds the request, or the payload contains it.

use super::contract::{Context, Processor, Started};
use crate::config::HTTP_MAX_REQUEST_SIZE;
use crate::envelope::{self, FIELDS_OF_REQUEST, Reason, Refusal};
use crate::error::Failure;
use crate::handler::Stop;
use crate::pg::jsonb_field::View;
use crate::pg::{backend, shmem};
use crate::provider;
use crate::shared::ToId;
use crate::stats;
use crate::task::Task;
use pg_errand_calls::prepared::Prepared;
use pg_errand_calls::provider::Provider;
use pg_errand_calls::traceparent;
use pg_errand_stats::Counter;
use serde_json::Value;
use std::sync::Arc;

const NAME_A_FUNCTION: &str =
    r#"Enqueue a task with the right payload, such as {"before_handler": "my_schema.my_function"}."#;
const NAME_A_FUNCTION_OR_REQUEST: &str = r#"Enqueue a task with the right payload, such as {"before_handler": "my_schema.my_function"} or {"request": {…}}."#;

pub struct Call;

impl Processor for Call {
    fn name(&self) -> &'static str {
        "call"
    }

    fn calls(&self) -> bool {
        true
    }

    fn start(&self, task: &Task, context: &mut Context) -> Result<Started, Stop> {
        let provider = match (context.find_provider)(&task.task_type) {
            Ok(provider) => provider,
            Err(failure) => return Ok(failed(failure)),
        };
        let admitted = context.admit(&provider)?;
        let started = prepare(task, context, provider);
        if !matches!(started, Ok(Started::Call(_)))
            && let Some(terms) = admitted
        {
            context.slot.give_back(&terms);
        }
        started
    }
}

fn failed(failure: Failure) -> Started {
    Started::Done(Err(failure))
}

/// Builds the request and checks that it can be sent.
fn prepare(task: &Task, context: &mut Context, provider: Arc<Provider>) -> Result<Started, Stop> {
    let (what, payload) = match &task.before_handler {
        Some(name) => match context.invoke(task, "before_handler", name, task.payload)? {
            Ok(returned) => {
                let what = format!("{} before_handler {name}", task.task_type);
                (what, envelope::provider_payload(&returned.view()))
            }
            Err(failure) => return Ok(failed(failure)),
        },
        None => (task.task_type.clone(), request_in_payload(task, &provider)),
    };
    let handler = || task.before_handler.as_deref().map(Into::into);
    let refused = |failure: Failure| failed(Failure { handler: handler(), ..failure });
    let key = task.idempotency_key.as_deref();
    Ok(match payload.and_then(|payload| equipped(&provider, &payload, key)) {
        Ok(Ok(mut prepared)) => {
            if let Some(traceparent) = &task.traceparent {
                traceparent::add(&mut prepared.request, traceparent);
            }
            Started::Call(prepared)
        }
        Ok(Err(missing)) => {
            note_unsent(task, &provider);
            failed(task.failure_of_call("F0000", &format!("{}: {missing}", provider.name)))
        }
        Err(Refusal::Said(reason)) => {
            let sqlstate = if task.before_handler.is_some() { "P0001" } else { "22023" };
            refused(Failure::new(sqlstate, &what, &reason.text).with_hint(reason.hint))
        }
        Err(Refusal::TooLarge(reason)) => refused(
            Failure::new("54000", &what, &reason)
                .with_hint("Send less, or raise pg_errand.http_max_request_size."),
        ),
    })
}

/// The request, or the setting or secret that is missing to send it. If one is missing, the task fails now, so that no
/// call is stored that cannot be made.
fn equipped(
    provider: &Arc<Provider>,
    payload: &Value,
    key: Option<&str>,
) -> Result<Result<Prepared, String>, Refusal> {
    if let Err(missing) = provider::check_settings(provider) {
        return Ok(Err(missing));
    }
    let prepared = prepared(provider.clone(), payload, key)?;
    Ok(provider::credentials(provider, &prepared.request).map(|_| prepared))
}

/// Counts a call that fails before it is stored.
fn note_unsent(task: &Task, provider: &Provider) {
    stats::count_call_as(&task.task_type, &provider.name, Counter::FailedCalls);
    let (database, now) = (backend::database().id(), backend::now());
    let account = provider::terms(provider).account;
    shmem::write(|shared| shared.note_unsent(database, account, now));
}

/// The request, if it is not too large to be sent.
fn prepared(provider: Arc<Provider>, payload: &Value, key: Option<&str>) -> Result<Prepared, Refusal> {
    let prepared = provider::prepare(provider, payload, key)
        .map_err(|problem| Refusal::Said(Reason::new(problem, FIELDS_OF_REQUEST)))?;
    let (size, limit) = (prepared.request.size(), HTTP_MAX_REQUEST_SIZE.get() as usize);
    if size > limit {
        return Err(Refusal::TooLarge(format!(
            "the request has {size} bytes; pg_errand.http_max_request_size allows {limit}"
        )));
    }
    Ok(prepared)
}

/// The request that the payload contains.
fn request_in_payload(task: &Task, provider: &Provider) -> Result<Value, Refusal> {
    let missing =
        "before_handler is missing in the payload; it has to name the function that builds the request";
    if !provider.interface.takes_request_from_payload() {
        return Err(Refusal::Said(Reason::new(missing, NAME_A_FUNCTION)));
    }
    match View::of(task.payload).get("request").filter(|request| !request.is_null()) {
        Some(request) => envelope::request_of(&request),
        None => {
            let missing = format!("{missing}; or give the request itself as \"request\"");
            Err(Refusal::Said(Reason::new(missing, NAME_A_FUNCTION_OR_REQUEST)))
        }
    }
}
