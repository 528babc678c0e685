//! A claimed task whose first step was rolled back: how it is claimed again, and where it waits.

use super::calls::Calls;
use super::claim;
use super::deferred::{self, Deferred};
use super::ending::Ending;
use super::failing::{self, RolledBack};
use super::process;
use super::record;
use super::repetition::MAX_RUNS;
use super::runner::Runner;
use super::tables::Tables;
use super::task_log;
use crate::error::{Failure, PgError};
use crate::handler::Stop;
use crate::pg::transaction::{self, End as Transaction};
use crate::shared::Over;
use crate::slot::MySlot;
use crate::task::{Brief, Task};
use crate::unwritten::Means;

/// A claimed task whose first step was rolled back.
pub struct ClaimedTask<'a> {
    pub runner: &'a mut Runner,
    pub calls: &'a Calls,
    pub deferred: &'a mut Deferred,
    pub brief: Brief,
}

impl ClaimedTask<'_> {
    /// Claims the task again; `None` if another worker has claimed it or it has ended.
    fn claim(&self) -> Option<Task> {
        let task = claim::again(&self.runner.tables, self.brief.id)?;
        Some(Task { uncounted: self.brief.uncounted, ..task })
    }

    fn end(&mut self, ending: Option<Ending>) {
        match ending {
            Some(ending) => self.runner.end(&self.brief, &ending),
            None => self.runner.give_back(),
        }
    }
}

impl RolledBack for ClaimedTask<'_> {
    fn slot(&self) -> MySlot {
        self.runner.slot
    }

    fn tables(&self) -> Tables {
        self.runner.tables
    }

    fn brief(&self) -> Brief {
        self.brief.clone()
    }

    fn may_repeat(&self, error: &PgError) -> bool {
        error.is_transient() && self.brief.attempt < MAX_RUNS
    }

    fn repeat(&mut self) -> Result<(), PgError> {
        let tables = self.runner.tables;
        if let Err(error) = transaction::commit_after(|| record::repeat(&tables, &self.brief)) {
            return failing::leave_alone(self, error);
        }
        task_log::repeated(&self.brief);
        self.runner.slot.end(Over::GivenBack);
        Ok(())
    }

    fn cancel(&mut self) -> Result<(), PgError> {
        let tables = self.runner.tables;
        if let Err(error) = transaction::commit_after(|| record::cancel(&tables, &self.brief)) {
            return failing::leave_alone(self, error);
        }
        task_log::cancelled(self.brief.id);
        self.runner.slot.end(Over::Cancelled);
        Ok(())
    }

    fn end_with_handler(&mut self, error: &PgError) -> Option<Result<(), Stop>> {
        let failure = Failure::caught(&self.brief.name(), error.clone());
        self.runner.slot.reopen();
        let ended = transaction::run(|| {
            let Some(task) = self.claim() else { return Transaction::Commit(Ok(None)) };
            let repeats = self.calls.repeats(task.id);
            let mut context = self.runner.context(&task, self.calls, repeats);
            let ending = process::conclude(&task, Err(failure.clone()), &mut context).and_then(|ending| {
                record::finish(&self.runner.tables, &task, &ending, Means::Any);
                self.runner.close(Some(ending))
            });
            match ending {
                Ok(ending) => Transaction::Commit(Ok(ending)),
                Err(stop) => Transaction::RollBack(Err(stop)),
            }
        });
        Some(ended.ok()?.map(|ending| self.end(ending)))
    }

    fn end_without_handlers(&mut self, error: PgError) -> Result<(), PgError> {
        let ending = Ending::failed(vec![Failure::caught(&self.brief.name(), error)]);
        transaction::commit_after(|| {
            if let Some(task) = self.claim() {
                record::finish(&self.runner.tables, &task, &ending, Means::Any);
            }
        })?;
        self.end(Some(ending));
        Ok(())
    }

    fn defer(&mut self) {
        self.deferred.defer(self.runner.slot, self.brief.id, deferred::LONGEST);
    }

    fn refuse(&mut self, _: PgError) {
        // claim.sql finds the row of the failure.
    }
}
