//! Processors: ways to work off a task, which `queues.task_definition` names. A new one is a file, and a line in
//! [`ALL`].

mod call;
mod db_function;

use crate::error::Failure;
use crate::handler::{self, Handlers, Stop};
use crate::interface::{Prepared, Provider};
use crate::shared::{Admission, Terms};
use crate::slot::MySlot;
use crate::task::Task;
use pgrx::pg_sys;
use std::sync::Arc;

/// Every processor.
pub static ALL: &[&dyn Processor] = &[&db_function::DbFunction, &call::Call];

/// Serves tasks of certain types.
pub trait Processor: Sync {
    /// As `queues.task_definition.processor` has it.
    fn name(&self) -> &'static str;

    /// True if its tasks need a provider call.
    fn calls(&self) -> bool;

    /// The first step of a task, in the transaction that claimed it.
    ///
    /// # Errors
    /// [`Stop`] if the transaction has to be rolled back; what fails is [`Started::Done`].
    fn start(&self, task: &Task, context: &mut Context) -> Result<Started, Stop>;
}

/// Batches that are admitted and not sent yet.
pub trait OpenBatches {
    /// True if another request to this provider may join one of them.
    fn have_room_for(&self, provider: &Arc<Provider>) -> bool;
}

/// What processors work with.
pub struct Context<'a> {
    pub handlers: &'a mut Handlers,
    pub slot: MySlot,
    pub batches: &'a dyn OpenBatches,
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
        let call = handler::Call {
            kind,
            name,
            payload,
            task_id: task.id.get(),
            task_type: &task.task_type,
            may_repeat: self.may_repeat,
        };
        self.handlers.call(self.slot, &call)
    }

    /// Asks for leave to send a provider one more request. Returns what is to be given back if it is not sent after all.
    ///
    /// # Errors
    /// [`Stop::Later`] if it is not to be sent now.
    pub fn admit(&self, provider: &Arc<Provider>) -> Result<Option<Terms>, Stop> {
        if self.batches.have_room_for(provider) {
            return Ok(None);
        }
        let terms = provider.terms();
        match self.slot.admit(&terms) {
            Admission::Admitted => Ok(Some(terms)),
            refused => Err(Stop::Later(refused, terms)),
        }
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

/// The processor of that name.
pub fn find(name: &str) -> Option<&'static dyn Processor> {
    ALL.iter().copied().find(|processor| processor.name() == name)
}
