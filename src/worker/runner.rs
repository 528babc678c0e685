//! What a worker needs to run a step of a task.

use super::dispatch;
use super::ending::{Ending, Status};
use super::repetition::MAX_RUNS;
use super::tables::Tables;
use super::task_log;
use crate::handler::{Handlers, Stop};
use crate::processor::{Context, OpenBatches};
use crate::shared::Over;
use crate::slot::{MySlot, Signals};
use crate::task::{Brief, Task};

pub struct Runner {
    pub slot: MySlot,
    pub tables: Tables,
    handlers: Handlers,
    /// The signals that were read when the last task ended.
    signals: Option<Signals>,
}

impl Runner {
    pub const fn new(slot: MySlot, tables: Tables, handlers: Handlers) -> Runner {
        Runner { slot, tables, handlers, signals: None }
    }

    /// Reads what other processes request of this worker.
    pub fn signals(&mut self) -> Signals {
        self.signals.take().unwrap_or_else(|| self.slot.signals())
    }

    /// The context in which the handlers of a task are invoked. `repeats`: how often its last step has been repeated.
    pub fn context<'a>(&'a mut self, task: &Task, batches: &'a dyn OpenBatches, repeats: u32) -> Context<'a> {
        let may_repeat = task.attempt() < MAX_RUNS && repeats < MAX_RUNS as u32;
        Context {
            handlers: &mut self.handlers,
            slot: self.slot,
            batches,
            find_provider: dispatch::find_provider,
            may_repeat,
        }
    }

    /// Makes the current task impossible to cancel from here on.
    pub fn close<T>(&self, value: T) -> Result<T, Stop> {
        if self.slot.close() { Ok(value) } else { Err(Stop::Cancelled) }
    }

    /// Notes that the current task has ended, after the commit.
    pub fn end(&mut self, brief: &Brief, ending: &Ending) {
        self.signals = Some(self.slot.end(match ending.status {
            Status::Succeeded => Over::Succeeded,
            Status::Failed => Over::Failed,
            Status::Cancelled => Over::Cancelled,
        }));
        task_log::ended(brief, ending);
    }

    /// Notes that the current task has been given back.
    pub fn give_back(&mut self) {
        self.signals = Some(self.slot.end(Over::GivenBack));
    }
}
