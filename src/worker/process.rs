//! Process: invokes the handlers of a task, in the transaction that claimed it.

use super::calls::rows::StoredCall;
use super::dispatch;
use super::ending::Ending;
use crate::envelope::Verdict;
use crate::error::{Failure, PgError};
use crate::handler::{self, Stop};
use crate::pg::jsonb;
use crate::processor::{Context, Product, Started};
use crate::shared::Interrupted;
use crate::task::Task;
use pg_errand_calls::prepared::Prepared;
use pgrx::pg_sys;

/// The result of a first step.
pub enum Step {
    Done(Ending),
    /// The request has to be stored, and then sent.
    Call(Prepared),
}

/// A task is given up after its workers have died more often than this.
const MAX_DEATHS: u32 = 3;
/// A task is given up after more commands than this have interrupted it soon after its start, since its handler may
/// have caused them.
const MAX_EVICTIONS: u32 = 5;

/// True if a task must not run again because earlier runs ended together with their workers.
pub fn is_given_up(earlier: &Interrupted) -> bool {
    earlier.deaths >= MAX_DEATHS || earlier.early_evictions >= MAX_EVICTIONS
}

/// Runs the first step of a claimed task.
pub fn start(task: &Task, earlier: &Interrupted, context: &mut Context) -> Result<Step, Stop> {
    if task.is_given_up {
        // The row of the failure has been written.
        return Ok(Step::Done(Ending::failed(Vec::new())));
    }
    if is_given_up(earlier) {
        let what = format!("{} {}", task.task_type, task.main_handler());
        let failure = Failure::new("58000", &what, &given_up(earlier));
        // The error handler is invoked only once, since its worker may die, too.
        if earlier.deaths > MAX_DEATHS || earlier.early_evictions > MAX_EVICTIONS {
            return Ok(Step::Done(Ending::failed(vec![failure])));
        }
        return conclude(task, Err(failure), context).map(Step::Done);
    }
    if let Some(problem) = &task.problem {
        let failure = Failure::new("54000", &task.task_type, problem);
        return conclude(task, Err(failure), context).map(Step::Done);
    }
    let processor = match dispatch::select(&task.task_type) {
        Ok(processor) => processor,
        Err(failure) => return conclude(task, Err(failure), context).map(Step::Done),
    };
    match processor.start(task, context)? {
        Started::Call(prepared) => Ok(Step::Call(prepared)),
        Started::Done(result) => conclude(task, result, context).map(Step::Done),
    }
}

fn given_up(earlier: &Interrupted) -> String {
    match earlier {
        Interrupted { deaths, .. } if *deaths >= MAX_DEATHS => {
            format!("its worker ended {deaths} times while it ran; it is not run again")
        }
        Interrupted { early_evictions, .. } => format!(
            "{early_evictions} times its worker had to leave for a command (ALTER EXTENSION pg_errand, \
             DROP DATABASE and the like) that was run just after its start; it is not run again"
        ),
    }
}

/// Runs the last step of a task whose call has been answered.
pub fn resume(stored: &StoredCall, earlier: &Interrupted, context: &mut Context) -> Result<Ending, Stop> {
    let task = &stored.task;
    if is_given_up(earlier) {
        let what = format!("{} {}", task.task_type, task.main_handler());
        let failures = vec![Failure::new("58000", &what, &given_up(earlier))];
        return Ok(Ending { status: stored.status(), outcome: None, failures });
    }
    let result = match (&stored.failure, stored.response) {
        (None, Some(worker_payload)) => Ok(Product { worker_payload, outcome: None }),
        (failure, _) => {
            let reason = failure.as_deref().unwrap_or("the call was not answered");
            Err(task.failure_of_call("08000", reason))
        }
    };
    conclude(task, result, context)
}

/// Invokes the success handler or the error handler. A failure of the success handler is recorded as an error of its
/// own, since the task has succeeded.
pub fn conclude(
    task: &Task,
    result: Result<Product, Failure>,
    context: &mut Context,
) -> Result<Ending, Stop> {
    let (ending, handler) = match result {
        Ok(product) => {
            let argument = || handler::build(task.payload, "worker_payload", || product.worker_payload);
            let handler = task.success_handler.as_deref();
            let handler = handler.map(|name| ("success_handler", name, argument()));
            (Ending::succeeded(product.outcome), handler)
        }
        Err(failure) => {
            let message = failure.error.message.clone();
            let argument = || handler::build(task.payload, "error", || jsonb::string(&message));
            let handler = task.error_handler.as_deref();
            let handler = handler.map(|name| ("error_handler", name, argument()));
            (Ending::failed(vec![failure]), handler)
        }
    };
    match handler {
        None => Ok(ending),
        Some((role, name, argument)) => invoke_last(task, ending, role, name, argument, context),
    }
}

fn invoke_last(
    task: &Task,
    mut ending: Ending,
    role: &'static str,
    name: &str,
    argument: Result<pg_sys::Datum, PgError>,
    context: &mut Context,
) -> Result<Ending, Stop> {
    let what = format!("{} {role} {name}", task.task_type);
    let returned = match argument {
        Ok(argument) => context.invoke(task, role, name, argument)?,
        Err(error) => Err(Failure::caught(&what, error).of_handler(name)),
    };
    match returned.map(|returned| returned.verdict()) {
        Err(failure) => ending.failures.push(failure),
        Ok(Verdict::Failure(reason)) => {
            let failure = Failure::new("P0001", &what, &reason.text).with_hint(reason.hint);
            ending.failures.push(failure.of_handler(name));
        }
        Ok(Verdict::Unsuccessful(outcome)) => {
            ending.outcome.get_or_insert(format!("{role}: {outcome}"));
        }
        Ok(Verdict::Success) => {}
    }
    Ok(ending)
}
