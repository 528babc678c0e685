//! Processors: one for each task type. A new one is a file, and a line in [`ALL`].

mod db_function;
mod email;
mod sms;

use crate::envelope;
use crate::error::Failure;
use crate::handler::{Call, Handlers, Stop};
use crate::provider::{Prepared, Provider};
use crate::shared::Lane;
use crate::worker::slot::MySlot;
use crate::worker::task::Task;
use pgrx::pg_sys;

/// Every processor. Enqueueing, dispatch and error texts read this list.
pub static ALL: &[&dyn Processor] = &[&db_function::DbFunction, &email::Email, &sms::Sms];

/// Serves the tasks of one type.
pub trait Processor: Sync {
    fn task_type(&self) -> &'static str;

    /// True if its tasks need a provider call.
    fn calls(&self) -> bool;

    /// The first step of a task, in the transaction that claimed it.
    ///
    /// # Errors
    /// [`Stop`] if the transaction has to be rolled back; what fails is [`Started::Done`].
    fn start(&self, task: &Task, context: &mut Context) -> Result<Started, Stop>;
}

/// What processors work with.
pub struct Context<'a> {
    pub handlers: &'a mut Handlers,
    pub slot: MySlot,
    /// Whether the task may be run again after a serialization failure.
    pub may_repeat: bool,
}

impl Context<'_> {
    /// Calls one of the task's handlers.
    pub fn call(
        &mut self,
        task: &Task,
        kind: &'static str,
        name: &str,
        payload: pg_sys::Datum,
    ) -> Result<Result<crate::handler::Returned, Failure>, Stop> {
        let call = Call {
            kind,
            name,
            payload,
            task_id: task.id,
            task_type: &task.task_type,
            may_repeat: self.may_repeat,
        };
        self.handlers.call(self.slot, &call)
    }
}

/// What the first step came to.
pub enum Started {
    Done(Result<Product, Failure>),
    /// A call has to be made; its answer is the product.
    Call(Prepared),
}

/// What a task has produced.
pub struct Product {
    /// The success handler's `worker_payload`.
    pub worker_payload: pg_sys::Datum,
    /// What was said besides success.
    pub outcome: Option<String>,
}

/// The processor for a task type.
pub fn find(task_type: &str) -> Option<&'static dyn Processor> {
    ALL.iter().copied().find(|processor| processor.task_type() == task_type)
}

/// Where the tasks of a processor wait.
pub fn lane(processor: &dyn Processor) -> Lane {
    if processor.calls() { Lane::Call } else { Lane::Local }
}

/// The task types that need a provider call.
pub fn types_with_calls() -> Vec<&'static str> {
    ALL.iter().filter(|processor| processor.calls()).map(|processor| processor.task_type()).collect()
}

/// The task types there are, for messages.
pub fn known_types() -> String {
    ALL.iter().map(|processor| processor.task_type()).collect::<Vec<_>>().join(", ")
}

/// Has the `before_handler` build the request for `provider`.
fn prepare(task: &Task, context: &mut Context, provider: &'static dyn Provider) -> Result<Started, Stop> {
    let Some(name) = &task.before_handler else {
        let failure = Failure::new(
            "22023",
            &task.task_type,
            "before_handler is missing in the payload; it has to name the function that builds the request",
        );
        return Ok(Started::Done(Err(failure)));
    };
    let returned = match context.call(task, "before_handler", name, task.payload)? {
        Ok(returned) => returned,
        Err(failure) => return Ok(Started::Done(Err(failure))),
    };
    let service = std::sync::Arc::new(crate::provider::Service::plain(provider));
    let prepared = envelope::provider_payload(&returned.text())
        .and_then(|payload| Prepared::new(service.clone(), &payload))
        .map_err(|reason| {
            let what = format!("{} before_handler {name}", task.task_type);
            Failure::new("P0001", &what, &reason).of_handler(name)
        });
    Ok(match prepared {
        Ok(prepared) => match service.provider.credentials(&service) {
            Ok(_) => Started::Call(prepared),
            // No call is stored that could not be made.
            Err(reason) => {
                let what = format!("{} {name}", task.task_type);
                Started::Done(Err(Failure::new("F0000", &what, &reason).of_handler(name)))
            }
        },
        Err(failure) => Started::Done(Err(failure)),
    })
}
