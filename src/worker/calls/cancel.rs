//! Cancels calls.

use super::state::Calls;
use crate::error::PgError;
use crate::pg::transaction;
use crate::shared::{Over, TaskId};
use crate::worker::{record, task_log};

/// Gives up the calls that were cancelled; true if there were any. `are_new`: calls were cancelled since the last time.
pub fn cancel_calls(calls: &mut Calls, are_new: bool) -> Result<bool, PgError> {
    if are_new {
        calls.to_cancel.extend(calls.slot.take_cancels());
    }
    let mut any = false;
    while let Some(task_id) = calls.to_cancel.last().copied() {
        cancel(calls, task_id)?;
        calls.to_cancel.pop();
        any = true;
    }
    Ok(any)
}

/// Ends the task of a call as cancelled, without waiting for the response any longer.
pub fn cancel(calls: &mut Calls, task_id: TaskId) -> Result<(), PgError> {
    let over = if calls.holds(task_id) {
        let (tables, brief) = (calls.tables, calls.brief_of(task_id));
        match transaction::commit_after(|| record::cancel(&tables, &brief)) {
            Ok(()) => {
                calls.forget(task_id);
                task_log::cancelled(task_id);
                Over::Cancelled
            }
            // Another attempt would fail, too, so the call continues.
            Err(error) if error.is_unwritten() => {
                calls.faults.log("a call cannot be cancelled", &error.of_task(task_id));
                Over::GivenBack
            }
            Err(error) => return Err(error),
        }
    } else {
        Over::GivenBack
    };
    calls.slot.forget_cancelled(task_id);
    calls.slot.end(over);
    // The task does not count towards the limit of its type any more.
    calls.show();
    Ok(())
}
