//! The last step of a task whose call has been answered.

use super::cancel::cancel;
use super::rows::{is_open, lock_answered};
use super::state::Calls;
use crate::error::{Failure, PgError};
use crate::handler::Stop;
use crate::inject;
use crate::pg::session;
use crate::pg::transaction::{self, End as Transaction};
use crate::shared::{Interrupted, Over, TaskId, Unavailable};
use crate::slot::MySlot;
use crate::task::Brief;
use crate::unwritten::Means;
use crate::worker::ending::Ending;
use crate::worker::failing::{self, RolledBack};
use crate::worker::repetition::MAX_RUNS;
use crate::worker::runner::Runner;
use crate::worker::tables::Tables;
use crate::worker::{counting, process, record};

/// Runs the last step of one answered call; false if there is none.
pub fn finish_answered(runner: &mut Runner, calls: &mut Calls) -> Result<bool, PgError> {
    let Some(task_id) = calls.next_answered() else { return Ok(false) };
    if let Some(error) = calls.answered.refusal(task_id).cloned() {
        AnsweredCall { runner, calls, task_id }.end_refused(error)?;
        return Ok(true);
    }
    let result = transaction::run(|| {
        let Some(stored) = lock_answered(&runner.tables, task_id, calls.answered.result(task_id)) else {
            return Transaction::Commit(Ok(Resumed::of_unlocked(&runner.tables, task_id)));
        };
        let brief = stored.task.brief();
        let earlier = match runner.slot.begin_last_step(&brief) {
            Err(Unavailable::Paused(_)) => return Transaction::Commit(Ok(Resumed::NotNow)),
            earlier => earlier.unwrap_or(Interrupted::NONE),
        };
        let mut context = runner.context(&stored.task, calls, calls.repeats(task_id));
        let ending = process::resume(&stored, &earlier, &mut context).and_then(|ending| {
            record::finish(&runner.tables, &stored.task, &ending, Means::Ordinary);
            inject::point("call_finished");
            runner.close(ending)
        });
        match ending {
            Ok(ending) => Transaction::Commit(Ok(Resumed::Ended(brief, ending))),
            Err(stop) => Transaction::RollBack(Err(stop)),
        }
    });
    let mut call = AnsweredCall { runner, calls, task_id };
    match result {
        Ok(Ok(resumed)) => call.leave(resumed),
        Ok(Err(stop)) => failing::resolve(&mut call, Ok(stop))?,
        Err(error) => failing::resolve(&mut call, Err(error))?,
    }
    Ok(true)
}

/// The result of an attempt to run the last step of a task.
enum Resumed {
    Ended(Brief, Ending),
    /// The step has not run yet.
    NotNow,
    /// The task has ended otherwise.
    Gone,
}

impl Resumed {
    /// The result for a task that could not be locked.
    fn of_unlocked(tables: &Tables, task_id: TaskId) -> Resumed {
        if is_open(tables, task_id) { Resumed::NotNow } else { Resumed::Gone }
    }
}

/// An answered call whose last step is run.
struct AnsweredCall<'a> {
    runner: &'a mut Runner,
    calls: &'a mut Calls,
    task_id: TaskId,
}

impl AnsweredCall<'_> {
    /// Updates the state of the call after its last step.
    fn leave(&mut self, resumed: Resumed) {
        match resumed {
            Resumed::Ended(brief, ending) => {
                self.calls.answered.remove(self.task_id);
                self.runner.end(&brief, &ending);
                self.calls.show();
            }
            Resumed::NotNow => {
                self.runner.slot.end(Over::GivenBack);
                self.calls.answered.postpone(self.task_id);
            }
            Resumed::Gone => {
                self.runner.slot.end(Over::GivenBack);
                self.calls.answered.remove(self.task_id);
                self.calls.show();
            }
        }
    }

    /// Tries again to end a task whose end could not be written. No run has begun, so a cancellation that the slot
    /// shows concerns an earlier task.
    fn end_refused(&mut self, error: PgError) -> Result<(), PgError> {
        match self.end_without_handlers(error) {
            Err(error) if !error.is_unwritten() => {
                self.defer();
                Err(error.of_task(self.task_id))
            }
            Err(_) => self.postpone(|| {}),
            Ok(()) => Ok(()),
        }
    }

    /// Runs the last step again after a while.
    fn postpone(&mut self, note: impl FnOnce()) -> Result<(), PgError> {
        transaction::commit_after(|| {
            session::discard_leftovers();
            note();
        })?;
        self.runner.slot.end(Over::GivenBack);
        self.defer();
        Ok(())
    }
}

impl RolledBack for AnsweredCall<'_> {
    fn slot(&self) -> MySlot {
        self.runner.slot
    }

    fn tables(&self) -> Tables {
        self.runner.tables
    }

    fn brief(&self) -> Brief {
        Brief::of_call(self.task_id)
    }

    fn may_repeat(&self, error: &PgError) -> bool {
        error.is_passing() || error.is_transient() && self.calls.repeats(self.task_id) < MAX_RUNS as u32
    }

    fn repeat(&mut self) -> Result<(), PgError> {
        let brief = self.calls.brief_of(self.task_id);
        self.postpone(|| counting::repeated(&brief))
    }

    fn cancel(&mut self) -> Result<(), PgError> {
        cancel(self.calls, self.task_id)
    }

    /// The handler of the call's result has run already, and is not invoked again.
    fn end_with_handler(&mut self, _: &PgError) -> Option<Result<(), Stop>> {
        None
    }

    fn end_without_handlers(&mut self, error: PgError) -> Result<(), PgError> {
        let (tables, task_id) = (self.runner.tables, self.task_id);
        let resumed = transaction::commit_after(|| {
            let Some(stored) = lock_answered(&tables, task_id, self.calls.answered.result(task_id)) else {
                return Resumed::of_unlocked(&tables, task_id);
            };
            let brief = stored.task.brief();
            let failure = Failure::caught(&stored.task.task_type, error);
            let ending = Ending { status: stored.status(), outcome: None, failures: vec![failure] };
            record::finish(&tables, &stored.task, &ending, Means::Any);
            Resumed::Ended(brief, ending)
        })?;
        self.leave(resumed);
        Ok(())
    }

    fn defer(&mut self) {
        self.calls.answered.postpone(self.task_id);
    }

    fn refuse(&mut self, error: PgError) {
        self.calls.answered.refuse(self.task_id, error);
    }
}
