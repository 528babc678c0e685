//! A step that was rolled back: the one path on which its task is repeated, cancelled, ended with the error, or left
//! alone.

use super::record;
use super::tables::Tables;
use super::task_log;
use crate::error::{Failure, PgError};
use crate::handler::Stop;
use crate::pg::{session, transaction};
use crate::shared::Over;
use crate::slot::MySlot;
use crate::task::Brief;

/// A task whose step was rolled back. A claimed task and an answered call differ in how they are locked again, and in
/// where they wait.
pub trait RolledBack {
    fn slot(&self) -> MySlot;
    fn tables(&self) -> Tables;
    fn brief(&self) -> Brief;

    /// True if the step may succeed when it is run again.
    fn may_repeat(&self, error: &PgError) -> bool;

    /// Has the step run again later.
    fn repeat(&mut self) -> Result<(), PgError>;

    /// Ends the task as cancelled.
    fn cancel(&mut self) -> Result<(), PgError>;

    /// Ends the task with `error`, in a transaction in which its error handler is invoked. `None` if that handler is not
    /// to be invoked, or cannot be.
    fn end_with_handler(&mut self, error: &PgError) -> Option<Result<(), Stop>>;

    /// Ends the task with `error`, and invokes no handler.
    fn end_without_handlers(&mut self, error: PgError) -> Result<(), PgError>;

    /// Leaves the task alone for a while.
    fn defer(&mut self);

    /// Notes that the end cannot be written: no handler of the task is invoked again.
    fn refuse(&mut self, error: PgError);
}

/// Decides what becomes of a task whose step was rolled back.
///
/// # Errors
/// When the database does not allow it now; then the task is left alone for a while.
pub fn resolve(task: &mut impl RolledBack, why: Result<Stop, PgError>) -> Result<(), PgError> {
    match why {
        Ok(Stop::Cancelled) => task.cancel(),
        Ok(Stop::Repeat | Stop::Later(..)) => task.repeat(),
        Err(error) if task.may_repeat(&error) => task.repeat(),
        Err(error) => end(task, error).or_else(|error| leave_alone(task, error)),
    }
}

/// Ends the task with an error that came outside of its handlers, at the commit for instance.
fn end(task: &mut impl RolledBack, error: PgError) -> Result<(), PgError> {
    match task.end_with_handler(&error) {
        Some(Ok(())) => return Ok(()),
        Some(Err(Stop::Cancelled)) => return task.cancel(),
        Some(Err(Stop::Repeat | Stop::Later(..))) | None => {}
    }
    if task.slot().close() { task.end_without_handlers(error) } else { task.cancel() }
}

/// Leaves a task alone whose end cannot be written, so that other tasks go on. If a trigger or a rule prevents it, the
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

/// The failure that is recorded of a task whose end could not be written because of `error`.
fn cannot_be_written(what: &str, error: &PgError) -> Failure {
    let reason = format!("{}; the task is left alone until that is possible", error.message);
    Failure {
        error: PgError { hint: error.hint.clone(), ..PgError::new("09000", format!("{what}: {reason}")) },
        handler: None,
    }
}
