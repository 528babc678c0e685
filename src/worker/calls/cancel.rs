//! Calls that are cancelled.

use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::{log, transaction};
use crate::shared::Over;
use crate::task::Brief;
use crate::worker::{Worker, record};

/// Gives up the calls that were cancelled. `new`: there are such since the last time.
pub fn cancel_calls(worker: &mut Worker, new: bool) -> Result<bool, PgError> {
    if new {
        let new = worker.slot.take_cancels();
        worker.calls.to_cancel.extend(new);
    }
    let mut any = false;
    while let Some(task_id) = worker.calls.to_cancel.last().copied() {
        cancel(worker, task_id)?;
        worker.calls.to_cancel.pop();
        any = true;
    }
    Ok(any)
}

/// Ends the task of a call as cancelled; its answer is not waited for any more.
pub(super) fn cancel(worker: &mut Worker, task_id: i64) -> Result<(), PgError> {
    let over = if worker.calls.knows(task_id) {
        match transaction::commit_after(|| record::cancel(worker, &Brief::of_call(task_id))) {
            Ok(()) => {
                worker.calls.forget(task_id);
                log::event(LogLevel::Info, format!("task cancelled task_id={task_id}"));
                Over::Cancelled
            }
            // Another attempt would fail, too: the call goes on.
            Err(error) if error.is_unwritten() => {
                worker.faults.say("a call cannot be cancelled", &error.of_task(task_id));
                Over::GivenBack
            }
            Err(error) => return Err(error),
        }
    } else {
        Over::GivenBack
    };
    worker.slot.forget_cancelled(task_id);
    worker.slot.end(over);
    Ok(())
}
