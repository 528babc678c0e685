//! The last step of a task whose call has been answered.

use super::cancel::cancel;
use crate::error::{Failure, PgError};
use crate::handler::Stop;
use crate::inject;
use crate::pg::{session, transaction};
use crate::shared::{Interrupted, Over, Unavailable};
use crate::task::Brief;
use crate::unwritten::Means;
use crate::worker::{Worker, claim, process, record};

/// Runs the last step of one answered task.
pub fn finish_answered(worker: &mut Worker) -> Result<bool, PgError> {
    let Some(task_id) = worker.calls.next_answered() else { return Ok(false) };
    if let Some(error) = worker.calls.refusal(task_id) {
        // No run has begun: what the slot says of a cancel is about the task before.
        let ended = write_end(worker, task_id, error.clone());
        return match ended {
            Err(error) if !error.is_unwritten() => {
                worker.calls.postpone(task_id);
                Err(error.of_task(task_id))
            }
            Err(_) => repeat_later(worker, task_id).map(|()| true),
            Ok(()) => Ok(true),
        };
    }
    let result = transaction::run(|| {
        let Some(stored) = claim::answered(worker, task_id, worker.calls.result(task_id)) else {
            return transaction::End::Commit(Ok(Resumed::NotNow(claim::is_open(worker, task_id))));
        };
        let brief = stored.task.brief();
        let earlier = match worker.slot.begin(&brief) {
            Err(Unavailable::Paused(_)) => return transaction::End::Commit(Ok(Resumed::NotNow(true))),
            earlier => earlier.unwrap_or(Interrupted::NONE),
        };
        let end = process::resume(worker, &stored, &earlier).and_then(|end| {
            record::finish(worker, &stored.task, &end, Means::Ordinary);
            inject::point("call_finished");
            worker.close(end)
        });
        match end {
            Ok(end) => transaction::End::Commit(Ok(Resumed::Ended(brief, end))),
            Err(stop) => transaction::End::RollBack(Err(stop)),
        }
    });
    match result {
        Ok(Ok(resumed)) => leave(worker, task_id, resumed),
        Ok(Err(Stop::Cancelled)) => cancel(worker, task_id)?,
        Ok(Err(Stop::Repeat | Stop::Later(..))) => repeat_later(worker, task_id)?,
        Err(error) if error.is_passing() || worker.calls.may_repeat(task_id, &error) => {
            repeat_later(worker, task_id)?;
        }
        Err(error) => end_without_handlers(worker, task_id, error)
            .or_else(|error| leave_alone(worker, task_id, error))?,
    }
    Ok(true)
}

/// The end of the task cannot be written. If a trigger or a rule is the reason, no handler is run again.
fn leave_alone(worker: &mut Worker, task_id: i64, error: PgError) -> Result<(), PgError> {
    worker.calls.postpone(task_id);
    if !error.is_unwritten() {
        return Err(error.of_task(task_id));
    }
    let brief = Brief::of_call(task_id);
    let failure = process::left_alone("call", &error);
    transaction::commit_after(|| record::give_up(worker, &brief, &failure))?;
    record::log_failure(&brief, &failure);
    worker.calls.refuse(task_id, error);
    worker.slot.end(Over::GivenBack);
    Ok(())
}

/// What came of trying to run the last step of a task.
enum Resumed {
    Ended(Brief, process::End),
    /// True if it has still to be run.
    NotNow(bool),
}

/// Only the commit failed, or a statement of ours: ends the task with what is known, so that it
/// does not come round for ever.
fn end_without_handlers(worker: &mut Worker, task_id: i64, error: PgError) -> Result<(), PgError> {
    if worker.slot.close() { write_end(worker, task_id, error) } else { cancel(worker, task_id) }
}

/// Ends a task with what is known of its call, and records the error.
fn write_end(worker: &mut Worker, task_id: i64, error: PgError) -> Result<(), PgError> {
    let resumed = transaction::commit_after(|| {
        let Some(stored) = claim::answered(worker, task_id, worker.calls.result(task_id)) else {
            return Resumed::NotNow(claim::is_open(worker, task_id));
        };
        let brief = stored.task.brief();
        let failure = Failure::caught(&stored.task.task_type, error);
        let succeeded = stored.failure.is_none();
        let end = process::End { succeeded, outcome: None, failures: vec![failure] };
        record::finish(worker, &stored.task, &end, Means::Any);
        Resumed::Ended(brief, end)
    })?;
    leave(worker, task_id, resumed);
    Ok(())
}

/// What is left to do after the last step of a task.
fn leave(worker: &mut Worker, task_id: i64, resumed: Resumed) {
    match resumed {
        Resumed::Ended(brief, end) => {
            worker.calls.forget_answered(task_id);
            worker.end(Some((brief, end)));
            worker.show_calls();
        }
        // Another session holds the row.
        Resumed::NotNow(true) => {
            worker.slot.end(Over::GivenBack);
            worker.calls.postpone(task_id);
        }
        Resumed::NotNow(false) => {
            worker.slot.end(Over::GivenBack);
            worker.calls.forget_answered(task_id);
        }
    }
}

fn repeat_later(worker: &mut Worker, task_id: i64) -> Result<(), PgError> {
    transaction::commit_after(session::discard_leftovers)?;
    worker.slot.end(Over::GivenBack);
    worker.calls.postpone(task_id);
    Ok(())
}
