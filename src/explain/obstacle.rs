//! What is said about an obstacle.

use super::parts::{Names, Text, lease_of, of_refusal, sentence_of};
use super::paused;
use crate::config;
use crate::hindrance;
use crate::pg::guc;
use crate::pg::time::time_text;
use crate::shared::{Bound, Busy, NEVER, Obstacle, Refusal};

pub fn sentence(obstacle: Obstacle, names: &Names) -> Text {
    let database = &names.database;
    match obstacle {
        Obstacle::Launcher => {
            Text::new("The launcher has not looked at this database yet.").hint("It does so within a minute.")
        }
        Obstacle::NotServed => Text::new(format!("Database \"{database}\" is not one of those that workers serve."))
            .hint(
                "Add it to pg_errand.databases. If that is empty, all databases are served that accept connections and \
                 are no templates.",
            ),
        Obstacle::TooManyDatabases => {
            Text::new("There are more databases with the extension than can be served.")
                .hint("Name the databases that matter in pg_errand.databases.")
        }
        Obstacle::Hindered(hindrance) => {
            let (message, hint) = hindrance::describe(hindrance, database, &names.role);
            Text::new(sentence_of(&message)).hint(hint)
        }
        Obstacle::Quiesced(pid) => Text::new(format!(
            "Process {pid} runs a command for which the workers of this database have left."
        ))
        .by(pid)
        .hint("See pg_stat_activity. Workers come back when its transaction has ended."),
        Obstacle::Paused => Text::new("The database is paused: pg_errand.concurrency is 0.")
            .hint("Raise pg_errand.concurrency, for the server or for the database, and reload the configuration."),
        Obstacle::Failing { failures, until } => Text::new(format!(
            "{failures} workers in a row have ended at once; the next one starts at {}.",
            time_text(until)
        ))
        .hint("See the server log for their errors."),
        Obstacle::NoProcess => Text::new(format!(
            "The launcher can start no process for this database: all max_worker_processes ({}) are in use.",
            guc::value("max_worker_processes").unwrap_or_default()
        ))
        .hint(
            "Raise max_worker_processes (this needs a restart of the server); parallel queries and replication share it. \
             See pg_stat_activity for the processes.",
        ),
        Obstacle::NoPlace => {
            Text::new("There are as many workers as pg_errand.max_workers allows, none of them in this database.")
                .hint("Raise pg_errand.max_workers, or wait: a database with work gets the next free place.")
        }
        Obstacle::Starting => Text::new("A worker is being started."),
        Obstacle::Deferred { pid, until } => Text::new(format!(
            "Its last attempt met an error that may pass; worker {pid} tries again at {}.",
            time_text(until)
        ))
        .by(pid)
        .hint("See the server log for the error."),
        Obstacle::Interrupted(until) => Text::new(format!(
            "It has repeatedly made the workers of this database leave, and waits until {}.",
            time_text(until)
        ))
        .hint("See which commands its handler runs: some cannot run while workers are connected."),
        Obstacle::KeyBusy(first) => of_busy_key(first, names),
        Obstacle::KeyRate(until) => Text::new(format!(
            "The rate of its queue key \"{}\" lets the next task start at {}.",
            names.queue_key,
            time_text(until)
        ))
        .hint("Raise starts_per_second_per_key in the row of its task type in queues.task_definition."),
        Obstacle::TypeFull(first) => of_full_type(first, names),
        Obstacle::TypeRate(until) => Text::new(format!(
            "The rate of task type \"{}\" lets its next task start at {}.",
            names.task_type,
            time_text(until)
        ))
        .hint("Raise starts_per_second or burst in its row of queues.task_definition."),
        Obstacle::TypeUncounted => Text::new(format!(
            "Calls of a worker that is gone may count towards max_running of task type \"{}\", and have to be taken over first.",
            names.task_type
        ))
        .hint("This takes long only while a session has locked the row of such a task."),
        Obstacle::Provider(refusal) => of_provider(refusal, &names.provider),
        Obstacle::Lane(NEVER) => Text::new(
            "Its lane is closed until a call or a task ends: a provider or task type of the lane has as many as it may have.",
        ),
        Obstacle::Lane(until) => Text::new(format!(
            "Its lane is closed until {}: a provider or task type of the lane has let nothing pass.",
            time_text(until)
        )),
        Obstacle::Full => Text::new("Every worker has as many calls as pg_errand.max_in_flight allows.")
            .hint("Raise pg_errand.max_in_flight or pg_errand.concurrency."),
        Obstacle::Busy { workers, first, bound } => {
            let who = if workers == 1 { "the only worker for it is".into() } else { format!("all {workers} workers for it are") };
            let place = if names.takes_turns { "It is ready" } else { "It is the next task" };
            Text::new(format!(
                "{place}, and {who} busy; worker {} has been running task {} since {}.",
                first.pid,
                first.task_id,
                time_text(first.since)
            ))
            .of(&first)
            .hint(more_workers(bound))
        }
    }
}

/// What more workers need.
fn more_workers(bound: Option<Bound>) -> String {
    let see = "To see what the workers do, run: SELECT * FROM queues.running;";
    let max_workers = config::MAX_WORKERS.get();
    let more = match bound {
        None => return see.into(),
        Some(Bound::Concurrency(most)) if i64::from(most) < i64::from(max_workers) => {
            format!("More workers need a higher pg_errand.concurrency, which is {most}.")
        }
        Some(Bound::Concurrency(most)) => format!(
            "More workers need a higher pg_errand.concurrency, which is {most}, and pg_errand.max_workers, which is {max_workers}."
        ),
        Some(Bound::MaxWorkers) => {
            format!("More workers need a higher pg_errand.max_workers, which is {max_workers}.")
        }
        Some(Bound::Processes) => "More workers need a higher max_worker_processes (this needs a restart of the server): no further \
             process could be started."
            .into(),
    };
    format!("{see} {more}")
}

/// `first`: the task of the key that began first in a worker.
fn of_busy_key(first: Option<Busy>, names: &Names) -> Text {
    let key = &names.queue_key;
    let text = match first {
        Some(first) => Text::new(format!(
            "Worker {} has been running task {} of the queue key \"{key}\" since {}.",
            first.pid,
            first.task_id,
            time_text(first.since)
        ))
        .of(&first),
        None => Text {
            task_id: names.busy_of_key,
            ..Text::new(format!(
                "As many tasks of the queue key \"{key}\" have calls or leases as may run: {}.",
                names.max_running_per_key
            ))
        },
    };
    let limit = "max_running_per_key in its row of queues.task_definition says how many run at a time.";
    match text.task_id.filter(|_| names.is_key_leased) {
        Some(task_id) => text.hint(format!("{limit} {}", lease_of(task_id))),
        None => text.hint(limit),
    }
}

/// `first`: the task of the type that began first in a worker.
fn of_full_type(first: Option<Busy>, names: &Names) -> Text {
    let full = format!("As many tasks of type \"{}\" run as its max_running allows", names.task_type);
    let raise = "Raise max_running in its row of queues.task_definition.";
    match (first, names.leased) {
        (Some(first), _) => Text::new(format!(
            "{full}; worker {} has been running task {} since {}.",
            first.pid,
            first.task_id,
            time_text(first.since)
        ))
        .of(&first)
        .hint(raise),
        (None, Some(task_id)) => Text {
            task_id: Some(task_id),
            ..Text::new(format!("{full}; a worker outside the database has leased task {task_id}."))
        }
        .hint(format!("{raise} {}", lease_of(task_id))),
        (None, None) => Text::new(format!("{full}.")).hint(raise),
    }
}

fn of_provider(refusal: Refusal, provider: &str) -> Text {
    let text = Text::new(format!("Provider \"{provider}\" admits no request: {}.", of_refusal(refusal)));
    match refusal {
        Refusal::Broken(_) => text.hint(paused::close_breaker(provider)),
        Refusal::Rate(_) => text.hint("Raise requests_per_second or burst in its row of queues.provider."),
        Refusal::Full => text.hint("Raise max_in_flight in its row of queues.provider."),
        Refusal::ByOperator(_) => text.hint(paused::resume(provider)),
        Refusal::Paused(_) | Refusal::Probing(_) => text,
    }
}
