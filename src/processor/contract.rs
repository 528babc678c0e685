//! The contract of processors, and what they work with.

use crate::error::Failure;
use crate::handler::{Handlers, Invocation, Returned, Stop};
use crate::provider;
use crate::shared::{Admission, Terms};
use crate::slot::MySlot;
use crate::task::Task;
use pg_errand_calls::prepared::Prepared;
use pg_errand_calls::provider::Provider;
use pgrx::pg_sys;
use std::sync::Arc;

/// Serves tasks of certain types.
pub trait Processor: Sync {
    /// The name in `queues.task_definition.processor`.
    fn name(&self) -> &'static str;

    /// True if its tasks need a provider call.
    fn calls(&self) -> bool;

    /// The first step of a task, in the transaction that claimed it.
    ///
    /// # Errors
    /// [`Stop`] if the transaction has to be rolled back. A failure of the task is [`Started::Done`].
    fn start(&self, task: &Task, context: &mut Context) -> Result<Started, Stop>;
}

/// Batches that are admitted and not sent yet.
pub trait OpenBatches {
    /// True if another request to this provider may join one of them.
    fn have_room_for(&self, provider: &Arc<Provider>) -> bool;
}

/// The context in which processors work.
pub struct Context<'a> {
    pub handlers: &'a mut Handlers,
    pub slot: MySlot,
    pub batches: &'a dyn OpenBatches,
    /// Finds the provider of a task type.
    pub find_provider: fn(&str) -> Result<Arc<Provider>, Failure>,
    /// Whether a serialization failure lets the task run again.
    pub may_repeat: bool,
}

impl Context<'_> {
    /// Invokes one of the task's handlers.
    pub fn invoke(
        &mut self,
        task: &Task,
        role: &'static str,
        name: &str,
        payload: pg_sys::Datum,
    ) -> Result<Result<Returned, Failure>, Stop> {
        let invocation = Invocation {
            role,
            name,
            payload,
            task_id: task.id.get(),
            task_type: &task.task_type,
            may_repeat: self.may_repeat,
        };
        self.handlers.invoke(self.slot, &invocation)
    }

    /// Reserves one request to a provider. Returns what has to be given back if the request is not sent after all.
    ///
    /// # Errors
    /// [`Stop::Later`] if the provider accepts no further request now.
    pub fn admit(&self, provider: &Arc<Provider>) -> Result<Option<Terms>, Stop> {
        if self.batches.have_room_for(provider) {
            return Ok(None);
        }
        let terms = provider::terms(provider);
        match self.slot.admit(&terms) {
            Admission::Admitted => Ok(Some(terms)),
            refused => Err(Stop::Later(refused, terms)),
        }
    }
}

/// The result of a task's first step.
pub enum Started {
    Done(Result<Product, Failure>),
    /// A call has to be made; its response is the product.
    Call(Prepared),
}

/// What a task has produced.
pub struct Product {
    /// The success handler's `worker_payload`.
    pub worker_payload: pg_sys::Datum,
    /// The outcome, if the handler returned one.
    pub outcome: Option<String>,
}
