//! `call`: a provider is called. A `before_handler` builds the request, or the payload holds it.

use super::{Context, Processor, Started};
use crate::envelope;
use crate::error::Failure;
use crate::handler::Stop;
use crate::kind::Kinds;
use crate::pg::jsonb;
use crate::provider::{Prepared, Service};
use crate::worker::task::Task;
use serde_json::Value;
use std::sync::Arc;

pub struct Call;

impl Processor for Call {
    fn name(&self) -> &'static str {
        "call"
    }

    fn calls(&self) -> bool {
        true
    }

    fn start(&self, task: &Task, context: &mut Context) -> Result<Started, Stop> {
        let kinds = Kinds::known();
        let service = match kinds.find(&task.task_type).map(|kind| kinds.service_of(kind)) {
            Some(Ok(service)) => service,
            Some(Err(reason)) => return Ok(failed(Failure::new("F0000", &task.task_type, &reason))),
            None => return Ok(failed(Failure::new("22023", &task.task_type, "there is no such task type"))),
        };
        context.admit(&service)?;
        prepare(task, context, service)
    }
}

fn failed(failure: Failure) -> Started {
    Started::Done(Err(failure))
}

/// Has the request built and made ready.
fn prepare(task: &Task, context: &mut Context, service: Arc<Service>) -> Result<Started, Stop> {
    let (what, payload) = match &task.before_handler {
        Some(name) => match context.call(task, "before_handler", name, task.payload)? {
            Ok(returned) => {
                let what = format!("{} before_handler {name}", task.task_type);
                (what, envelope::provider_payload(&returned.text()))
            }
            Err(failure) => return Ok(failed(failure)),
        },
        None => (task.task_type.clone(), request_in_payload(task, &service)),
    };
    let refused = |sqlstate: &str, reason: String| {
        let failure = Failure::new(sqlstate, &what, &reason);
        failed(Failure { handler: task.before_handler.clone(), ..failure })
    };
    let prepared = payload.and_then(|payload| Prepared::new(service.clone(), &payload));
    Ok(match prepared {
        Ok(prepared) => match service.provider.credentials(&service, &prepared.request) {
            Ok(_) => Started::Call(prepared),
            // No call is stored that could not be made.
            Err(reason) => refused("F0000", reason),
        },
        Err(reason) => refused(if task.before_handler.is_some() { "P0001" } else { "22023" }, reason),
    })
}

/// The request that the payload holds.
fn request_in_payload(task: &Task, service: &Service) -> Result<Value, String> {
    let missing =
        "before_handler is missing in the payload; it has to name the function that builds the request";
    if !service.provider.takes_request_from_payload() {
        return Err(missing.into());
    }
    let payload: Value = serde_json::from_str(&jsonb::to_text(task.payload)).unwrap_or_default();
    match payload.get("request") {
        Some(request) if !request.is_null() => Ok(request.clone()),
        _ => Err(format!("{missing}; or give the request itself as \"request\"")),
    }
}
