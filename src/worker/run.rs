//! Run: claims the next task and runs its first step.

use super::admission::{self, Refusal};
use super::calls::{self, Calls};
use super::claim::{self, Claimed};
use super::claimed_task::ClaimedTask;
use super::deferred::{self, Deferred};
use super::ending::Ending;
use super::failing::{self, RolledBack};
use super::process::{self, Step};
use super::record;
use super::rest;
use super::runner::Runner;
use crate::error::PgError;
use crate::handler::Stop;
use crate::inject;
use crate::pg::transaction::{self, End as Transaction};
use crate::pg::wait_event::WaitEvent;
use crate::pg::{key_lock, latch};
use crate::shared::{Admission, Interrupted, Over, Sources, TaskId, Terms, Unavailable};
use crate::slot::MySlot;
use crate::task::{Brief, Task};
use crate::task_definition::TaskDefinitions;
use crate::unwritten::Means;
use pg_errand_calls::prepared::Prepared;
use std::time::Duration;

/// The pause while another worker reads the next tasks.
const READING_PAUSE: Duration = Duration::from_millis(1);

/// The source from which tasks are claimed.
pub struct Claimable<'a> {
    pub sources: Sources<'a>,
    pub definitions: &'a TaskDefinitions,
    /// The value of `Database::definition_changes` as of when the task types were read.
    pub definition_changes: u64,
    /// Since when another worker has to wait for the next task that falls due, if this is required.
    pub pass_on_due_since: Option<i64>,
}

/// The result of an attempt to run a task.
enum Ran {
    Nothing,
    /// Another worker is reading the next tasks.
    NotYet,
    /// Another worker is about to record the result of the task.
    Elsewhere,
    /// The task is not run for this number of microseconds.
    Paused(TaskId, i64),
    /// The limits of the task's type allow no further start.
    Refused(Refusal),
    /// The task was in a lane of another type, and a pause keeps it from starting. It is read again when the pause ends.
    InPause,
    Ended(Ending),
    Calling(Prepared),
    Stopped(Stop),
}

/// Claims the next ready task and runs its first step; false if there was none.
pub fn run_next(
    runner: &mut Runner,
    calls: &mut Calls,
    deferred: &mut Deferred,
    from: &Claimable,
) -> Result<bool, PgError> {
    let ran = run_one(runner, calls, deferred, from);
    key_lock::end_run();
    ran
}

fn run_one(
    runner: &mut Runner,
    calls: &mut Calls,
    deferred: &mut Deferred,
    from: &Claimable,
) -> Result<bool, PgError> {
    let mut claimed = None;
    let ran = transaction::run(|| claim_and_start(runner, calls, deferred, from, &mut claimed));
    let Some(brief) = claimed else {
        return go_on_without_task(runner.slot, deferred, from.definition_changes, ran?);
    };
    if ran.is_ok() {
        inject::point("committed");
    }
    if !matches!(ran, Ok(Ran::Calling(_))) && needs_call(&brief) {
        // The provider had admitted a request that no longer counts towards its limits.
        calls.show();
    }
    go_on(runner, calls, deferred, from.definition_changes, brief, ran)?;
    Ok(true)
}

/// Claims a task and runs its first step in the current transaction. `claimed` is set to the task once it is published
/// as running.
fn claim_and_start(
    runner: &mut Runner,
    calls: &Calls,
    deferred: &mut Deferred,
    from: &Claimable,
    claimed: &mut Option<Brief>,
) -> Transaction<Ran> {
    let slot = runner.slot;
    let mut task = match claim::next(slot, &runner.tables, from.sources, from.definition_changes, deferred) {
        Claimed::Task(task) => task,
        Claimed::Nothing => return Transaction::Commit(Ran::Nothing),
        Claimed::NotYet => return Transaction::Commit(Ran::NotYet),
    };
    inject::point("claimed");
    // This precedes the publication of the task as running: a cancellation from then on must reach its handler.
    if let Some(looked_at) = from.pass_on_due_since {
        rest::pass_on_due(slot, &runner.tables, looked_at);
    }
    if from.definitions.pause_of_type(&task.task_type).is_some() {
        return Transaction::RollBack(Ran::InPause);
    }
    if let Some(refusal) = admission::refuse(slot, &runner.tables, from.definitions, &task.task_type) {
        return Transaction::RollBack(Ran::Refused(refusal));
    }
    let brief = task.brief();
    let earlier = match slot.begin(&brief) {
        Ok(earlier) => earlier,
        Err(Unavailable::Elsewhere) => return Transaction::RollBack(Ran::Elsewhere),
        Err(Unavailable::Paused(until)) => {
            return Transaction::RollBack(Ran::Paused(task.id, until - task.started_at));
        }
    };
    // A task that was cancelled when its worker died, or that is given up, is only ended now.
    let runs_again = !earlier.cancelled && !process::is_given_up(&earlier);
    task.uncounted = earlier.runs as i32 + i32::from(runs_again);
    *claimed = Some(Brief { attempt: task.attempt(), uncounted: task.uncounted, ..brief });
    inject::point("begun");
    match first_step(runner, calls, &task, &earlier) {
        Ok(ran) => Transaction::Commit(ran),
        Err(stop) => Transaction::RollBack(Ran::Stopped(stop)),
    }
}

/// Continues after an attempt that began no task; false if there was none.
fn go_on_without_task(
    slot: MySlot,
    deferred: &mut Deferred,
    definition_changes: u64,
    ran: Ran,
) -> Result<bool, PgError> {
    match ran {
        Ran::Nothing => return Ok(false),
        Ran::NotYet => latch::wait(WaitEvent::Read, None, READING_PAUSE),
        Ran::Paused(id, pause) => defer_for(slot, deferred, id, pause),
        Ran::Refused(Refusal { admission, limits, lane }) => {
            slot.shut_start(admission, &limits, lane, definition_changes);
        }
        // The next search for a task drops it.
        Ran::InPause => {}
        _ => slot.leave_to_other(),
    }
    Ok(true)
}

/// Continues after the transaction of a task's first step.
fn go_on(
    runner: &mut Runner,
    calls: &mut Calls,
    deferred: &mut Deferred,
    definition_changes: u64,
    brief: Brief,
    ran: Result<Ran, PgError>,
) -> Result<(), PgError> {
    let slot = runner.slot;
    match ran {
        Ok(Ran::Ended(ending)) => runner.end(&brief, &ending),
        Ok(Ran::Calling(prepared)) => begin_call(slot, calls, &brief, prepared),
        Ok(Ran::Stopped(Stop::Later(admission, terms))) => {
            if !slot.close() {
                return ClaimedTask { runner, calls, deferred, brief }.cancel();
            }
            shut_lane(slot, admission, &terms, definition_changes);
        }
        Ok(Ran::Stopped(stop)) => {
            return failing::resolve(&mut ClaimedTask { runner, calls, deferred, brief }, Ok(stop));
        }
        Ok(_) => slot.leave_to_other(),
        // The error may be temporary, and no provider was called.
        Err(error) if error.is_passing() => {
            deferred.defer(slot, brief.id, deferred::WHILE_PASSING);
            return Err(error.of_task(brief.id));
        }
        Err(error) => {
            let is_given_up = brief.is_given_up;
            let mut task = ClaimedTask { runner, calls, deferred, brief };
            return if is_given_up {
                failing::leave_alone(&mut task, error)
            } else {
                failing::resolve(&mut task, Err(error))
            };
        }
    }
    Ok(())
}

/// True if a task's type needs a provider call.
fn needs_call(brief: &Brief) -> bool {
    TaskDefinitions::known().find(&brief.task_type).is_some_and(|definition| definition.calls())
}

/// Runs the first step of a claimed task, and records its result.
fn first_step(runner: &mut Runner, calls: &Calls, task: &Task, earlier: &Interrupted) -> Result<Ran, Stop> {
    let repeats = calls.repeats(task.id);
    match process::start(task, earlier, &mut runner.context(task, calls, repeats))? {
        Step::Done(ending) => {
            let means = if task.is_given_up { Means::Any } else { Means::Ordinary };
            record::finish(&runner.tables, task, &ending, means);
            inject::point("recorded");
            Ok(Ran::Ended(runner.close(ending)?))
        }
        Step::Call(prepared) => {
            record::begin_call(&runner.tables, task, &prepared);
            inject::point("call_recorded");
            Ok(Ran::Calling(runner.close(prepared)?))
        }
    }
}

fn begin_call(slot: MySlot, calls: &mut Calls, brief: &Brief, prepared: Prepared) {
    calls::log_start(brief, &prepared);
    calls.note_type(brief.id, &brief.task_type, Some(brief.started_at));
    slot.end(Over::Calling);
    inject::point("call_prepared");
    calls.send(brief.id, prepared);
    calls.show();
}

/// Closes the lane of a task whose provider admits no request now. The task waits at its position, and its lane behind
/// it.
fn shut_lane(slot: MySlot, admission: Admission, terms: &Terms, definition_changes: u64) {
    slot.shut(admission, terms, definition_changes);
    slot.end(Over::GivenBack);
}

/// Defers a task that must not run for this number of microseconds, so that other tasks run.
fn defer_for(slot: MySlot, deferred: &mut Deferred, task_id: TaskId, pause: i64) {
    let pause = Duration::from_micros(pause.max(0) as u64);
    deferred.hold(task_id, pause, slot.taken());
    slot.end(Over::GivenBack);
}
