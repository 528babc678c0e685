//! Process: drives a task through its handlers, in the transaction that claimed it.

use super::Worker;
use super::claim::Stored;
use super::dispatch;
use super::task::Task;
use crate::error::{Failure, PgError};
use crate::handler::{self, Stop};
use crate::pg::jsonb;
use crate::processor::{Context, Product, Started};
use crate::shared::Interrupted;
use pg_errand_calls::prepared::Prepared;
use pgrx::pg_sys;

/// Runs of a task at most, if each ends in a serialization failure or deadlock.
pub const MAX_RUNS: i32 = 10;

/// Where a step has led.
pub enum Step {
    Done(End),
    /// The request is to be stored, then sent.
    Call(Prepared),
}

/// How a task ends.
pub struct End {
    pub succeeded: bool,
    /// What was said besides success.
    pub outcome: Option<String>,
    pub failures: Vec<Failure>,
}

/// Deaths of workers that ran a task before it is given up.
const MAX_DEATHS: u32 = 3;
/// Commands that interrupted a task soon after its start before it is given up: its handler may have caused them.
const MAX_EVICTIONS: u32 = 5;

/// True if a task must not be run again because its earlier runs ended with their workers.
pub fn is_given_up(earlier: &Interrupted) -> bool {
    earlier.deaths >= MAX_DEATHS || earlier.early_evictions >= MAX_EVICTIONS
}

/// The first step of a claimed task.
pub fn start(worker: &mut Worker, task: &Task, earlier: &Interrupted) -> Result<Step, Stop> {
    if task.is_given_up {
        // Its error row has been written.
        return Ok(Step::Done(End { succeeded: false, outcome: None, failures: Vec::new() }));
    }
    if is_given_up(earlier) {
        let what = format!("{} {}", task.task_type, task.main_handler());
        let failure = Failure::new("58000", &what, &given_up(earlier));
        // The error handler is called once: its worker may end, too.
        if earlier.deaths > MAX_DEATHS || earlier.early_evictions > MAX_EVICTIONS {
            return Ok(Step::Done(End { succeeded: false, outcome: None, failures: vec![failure] }));
        }
        return conclude(worker, task, Err(failure)).map(Step::Done);
    }
    if let Some(problem) = &task.problem {
        let failure = Failure::new("54000", &task.task_type, problem);
        return conclude(worker, task, Err(failure)).map(Step::Done);
    }
    let processor = match dispatch::select(&task.task_type) {
        Ok(processor) => processor,
        Err(failure) => return conclude(worker, task, Err(failure)).map(Step::Done),
    };
    match processor.start(task, &mut context(worker, task))? {
        Started::Call(prepared) => Ok(Step::Call(prepared)),
        Started::Done(result) => conclude(worker, task, result).map(Step::Done),
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

/// What is recorded of a task whose end could not be written, if `error` is the reason.
pub fn left_alone(what: &str, error: &PgError) -> Failure {
    let reason = format!("{}; the task is left alone until that is possible", error.message);
    Failure {
        error: PgError { hint: error.hint.clone(), ..PgError::new("09000", format!("{what}: {reason}")) },
        handler: None,
    }
}

/// The last step of a task whose call has been answered.
pub fn resume(worker: &mut Worker, stored: &Stored, earlier: &Interrupted) -> Result<End, Stop> {
    if is_given_up(earlier) {
        let what = format!("{} {}", stored.task.task_type, stored.task.main_handler());
        let failures = vec![Failure::new("58000", &what, &given_up(earlier))];
        return Ok(End { succeeded: stored.failure.is_none(), outcome: None, failures });
    }
    let result = match (&stored.failure, stored.answer) {
        (None, Some(worker_payload)) => Ok(Product { worker_payload, outcome: None }),
        (failure, _) => {
            let reason = failure.as_deref().unwrap_or("the call was not answered");
            Err(stored.task.failure_of_call("08000", reason))
        }
    };
    conclude(worker, &stored.task, result)
}

/// Calls the success or the error handler. A success handler that fails is an error of its own: the
/// task has succeeded.
pub fn conclude(worker: &mut Worker, task: &Task, result: Result<Product, Failure>) -> Result<End, Stop> {
    let (end, handler) = match result {
        Ok(product) => {
            let end = End { succeeded: true, outcome: product.outcome, failures: Vec::new() };
            let argument = || handler::build(task.payload, "worker_payload", || product.worker_payload);
            let handler = task.success_handler.as_deref();
            (end, handler.map(|name| ("success_handler", name, argument())))
        }
        Err(failure) => {
            let message = failure.error.message.clone();
            let argument = || handler::build(task.payload, "error", || jsonb::string(&message));
            let end = End { succeeded: false, outcome: None, failures: vec![failure] };
            let handler = task.error_handler.as_deref();
            (end, handler.map(|name| ("error_handler", name, argument())))
        }
    };
    match handler {
        None => Ok(end),
        Some((kind, name, argument)) => call_last(worker, task, end, kind, name, argument),
    }
}

fn call_last(
    worker: &mut Worker,
    task: &Task,
    mut end: End,
    kind: &'static str,
    name: &str,
    argument: Result<pg_sys::Datum, PgError>,
) -> Result<End, Stop> {
    let what = format!("{} {kind} {name}", task.task_type);
    let returned = match argument {
        Ok(argument) => context(worker, task).invoke(task, kind, name, argument)?,
        Err(error) => Err(Failure::caught(&what, error).of_handler(name)),
    };
    match returned.map(|returned| returned.verdict()) {
        Err(failure) => end.failures.push(failure),
        Ok(crate::envelope::Verdict::Failure(reason)) => {
            end.failures.push(Failure::new("P0001", &what, &reason).of_handler(name));
        }
        Ok(crate::envelope::Verdict::Unsuccessful(outcome)) => {
            end.outcome.get_or_insert(format!("{kind}: {outcome}"));
        }
        Ok(crate::envelope::Verdict::Success) => {}
    }
    Ok(end)
}

fn context<'a>(worker: &'a mut Worker, task: &Task) -> Context<'a> {
    let may_repeat = task.attempt() < MAX_RUNS && worker.repeats(task.id) < MAX_RUNS as u32;
    Context {
        handlers: &mut worker.handlers,
        slot: worker.slot,
        ready: &worker.calls,
        find_provider: dispatch::find_provider,
        may_repeat,
    }
}
