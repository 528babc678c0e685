//! Handles a step that was rolled back. On this one path, its task is repeated, cancelled, ended with the error, or
//! deferred.

use super::record;
use super::tables::Tables;
use super::task_log;
use crate::error::{Failure, PgError};
use crate::handler::Stop;
use crate::pg::{session, transaction};
use crate::shared::Over;
use crate::slot::MySlot;
use crate::task::Brief;

/// A task whose step was rolled back. Claimed tasks and answered calls differ in how they are locked again, and in
/// where they wait.
pub trait RolledBack {
    fn slot(&self) -> MySlot;
    fn tables(&self) -> Tables;
    fn brief(&self) -> Brief;

    /// True if a repetition of the step may succeed.
    fn may_repeat(&self, error: &PgError) -> bool;

    /// Schedules a repetition of the step.
    fn repeat(&mut self) -> Result<(), PgError>;

    /// Ends the task as cancelled.
    fn cancel(&mut self) -> Result<(), PgError>;

    /// Ends the task with `error`, in a transaction that invokes its error handler. `None` if that handler need not or
    /// cannot be invoked.
    fn end_with_handler(&mut self, error: &PgError) -> Option<Result<(), Stop>>;

    /// Ends the task with `error` without invoking a handler.
    fn end_without_handlers(&mut self, error: PgError) -> Result<(), PgError>;

    /// Defers the task for a while.
    fn defer(&mut self);

    /// Notes that the end cannot be written, so that no handler of the task is invoked again.
    fn refuse(&mut self, error: PgError);
}

/// Decides how to continue with a task whose step was rolled back.
///
/// # Errors
/// If the database does not allow it now. The task is then deferred for a while.
pub fn resolve(task: &mut impl RolledBack, why: Result<Stop, PgError>) -> Result<(), PgError> {
    match why {
        Ok(Stop::Cancelled) => task.cancel(),
        Ok(Stop::Repeat | Stop::Later(..)) => task.repeat(),
        Err(error) if task.may_repeat(&error) => task.repeat(),
        Err(error) => end(task, error).or_else(|error| leave_alone(task, error)),
    }
}

/// Ends the task with an error that was raised outside of its handlers, for instance at the commit.
fn end(task: &mut impl RolledBack, error: PgError) -> Result<(), PgError> {
    match task.end_with_handler(&error) {
        Some(Ok(())) => return Ok(()),
        Some(Err(Stop::Cancelled)) => return task.cancel(),
        Some(Err(Stop::Repeat | Stop::Later(..))) | None => {}
    }
    if task.slot().close() { task.end_without_handlers(error) } else { task.cancel() }
}

/// Defers a task whose end cannot be written, so that other tasks run. If a trigger or a rule prevents the end, the
/// handlers are not invoked again.
pub fn leave_alone(task: &mut impl RolledBack, error: PgError) -> Result<(), PgError> {
    task.defer();
    let (tables, brief) = (task.tables(), task.brief());
    if !error.is_unwritten() {
        return Err(error.of_task(brief.id));
    }
    if brief.is_given_up {
        transaction::commit_after(session::discard_leftovers)?;
    } else {
        let failure = cannot_be_written(&brief.name(), &error);
        transaction::commit_after(|| record::give_up(&tables, &brief, &failure))?;
        task_log::failure(&brief, &failure);
    }
    task.refuse(error);
    task.slot().end(Over::GivenBack);
    Ok(())
}

/// The failure that is recorded for a task whose end could not be written because of `error`.
fn cannot_be_written(what: &str, error: &PgError) -> Failure {
    let reason = format!("{}; the task is left alone until that is possible", error.message);
    Failure {
        error: PgError { hint: error.hint.clone(), ..PgError::new("09000", format!("{what}: {reason}")) },
        handler: None,
    }
}
