//! What is said about each reason: a sentence, the task and the process that are in the way, and what to do.

use super::obstacle;
use super::parts::{Names, Text, lease_of, of_refusal};
use super::paused;
use super::rows::TaskRow;
use super::running;
use crate::pg::time::time_text;
use crate::shared::{NEVER, Reason, Refusal};

/// What is said about the reason for which a task waits. `problem` is why it will fail when it is started.
pub fn describe(row: &TaskRow, reason: Reason, names: &Names, problem: Option<&str>) -> Text {
    let text = sentence(row, reason, names);
    match problem {
        None => text,
        Some(problem) => Text {
            explanation: format!("{} When it starts it will fail: {problem}.", text.explanation),
            ..text
        },
    }
}

fn sentence(row: &TaskRow, reason: Reason, names: &Names) -> Text {
    match reason {
        Reason::Finished => finished(row),
        Reason::Uncommitted => {
            Text::new("The transaction that enqueued the task is this one, and is still open.")
                .hint("Commit the transaction: workers see the task from then on.")
        }
        Reason::NotPreloaded => not_preloaded(),
        Reason::Standby => Text::new("The server is a standby, and workers run on the primary only.")
            .hint("Ask the primary; workers start here when this server is promoted."),
        Reason::Running(worker) => running::sentence(worker, names.blocker.as_ref()),
        Reason::Unadopted => Text::new("The task came from another database, of which this one is a copy.")
            .hint(
                "Run: SELECT queues.adopt(); once the original database will not run the task, or delete it.",
            ),
        Reason::Leased(until) => {
            let until = time_text(until);
            Text::new(format!("A worker outside the database has dequeued it; its lease ends at {until}."))
                .hint(lease_of(row.task_id))
        }
        Reason::Scheduled(until) => Text::new(format!("It is not due until {}.", time_text(until))),
        Reason::Deferred(until) => {
            let until = time_text(until);
            Text::new(format!(
                "Its last attempt ended with a serialization failure or a deadlock, and the next one begins at {until}."
            ))
        }
        Reason::Paused(paused) => paused::sentence(paused, names),
        Reason::Locked(0) => Text::new("A prepared transaction has locked its row.")
            .hint("See pg_prepared_xacts, and COMMIT PREPARED or ROLLBACK PREPARED."),
        Reason::Locked(pid) => Text::new(format!("Process {pid} has locked its row.")).by(pid).hint(format!(
            "See pg_stat_activity. The task can start when the transaction of process {pid} has ended."
        )),
        Reason::Follows(task_id) => Text {
            task_id: Some(task_id),
            ..Text::new(format!("Task {task_id} of the same unique key has to end first."))
        },
        Reason::KeyPaused(NEVER) => Text::new(format!("Its queue key \"{}\" is paused.", names.queue_key))
            .hint("See queues.paused_key. queues.resume_key ends the pause."),
        Reason::KeyPaused(until) => {
            Text::new(format!("Its queue key \"{}\" is paused until {}.", names.queue_key, time_text(until)))
                .hint("See queues.paused_key. queues.resume_key ends the pause earlier.")
        }
        Reason::KeyBusy(task_id) => {
            let text = Text::new(format!(
                "Task {task_id} of the queue key \"{}\" has to end first.",
                names.queue_key
            ));
            let hint = if names.is_key_leased {
                lease_of(task_id)
            } else {
                format!("See: SELECT * FROM queues.explain({task_id});")
            };
            Text { task_id: Some(task_id), ..text }.hint(hint)
        }
        Reason::VersionMismatch => version_mismatch(names),
        Reason::Behind { tasks, busy } => behind(tasks, busy, names),
        Reason::Next if names.takes_turns => Text::new(
            "It is ready, and a free worker takes it when the queue keys before it have had their turns.",
        ),
        Reason::Next => Text::new("It is ready, and is the next task that a free worker takes."),
        Reason::Obstacle(obstacle) => obstacle::sentence(obstacle, names),
        Reason::CallAnswered(_)
        | Reason::CallQueued(..)
        | Reason::CallInFlight(_)
        | Reason::CallOpen(_)
        | Reason::CallOrphaned => of_call(row, reason, names),
    }
}

pub fn not_preloaded() -> Text {
    Text::new("The library is not preloaded, so the server has no workers.")
        .hint("Add pg_errand to shared_preload_libraries in postgresql.conf and restart the server.")
}

pub fn version_mismatch(names: &Names) -> Text {
    Text::new(format!(
        "The extension in this database has version {}, the library {}.",
        names.version,
        env!("CARGO_PKG_VERSION")
    ))
    .hint("Run: ALTER EXTENSION pg_errand UPDATE; or restart the server if the library was replaced.")
}

fn behind(tasks: i64, busy: u32, names: &Names) -> Text {
    let more = if tasks >= names.counted { "at least " } else { "" };
    let (noun, verb) = if tasks == 1 { ("task", "comes") } else { ("tasks", "come") };
    let workers = match busy {
        0 => String::new(),
        1 => "; the only worker for it is busy".into(),
        busy => format!("; all {busy} workers for it are busy"),
    };
    Text::new(format!("It is ready, and {more}{tasks} ready {noun} {verb} first{workers}."))
        .hint("To see what the workers do, run: SELECT * FROM queues.running;")
}

fn finished(row: &TaskRow) -> Text {
    let (status, at) = (row.final_status.as_deref().unwrap_or_default(), row.finished_at.unwrap_or_default());
    let text = Text::new(format!("It ended at {} with the status {status}.", time_text(at)));
    match status {
        "failed" => text.hint(format!("See: SELECT * FROM queues.error WHERE task_id = {};", row.task_id)),
        _ => text,
    }
}

fn of_call(row: &TaskRow, reason: Reason, names: &Names) -> Text {
    let provider = row.provider.as_deref().unwrap_or_default();
    match reason {
        Reason::CallAnswered(pid) => {
            let text = Text::new(format!(
                "The result of its call to provider \"{provider}\" has arrived, and waits for worker {pid} to invoke the handler."
            ));
            match row.locked_by {
                Some(locker) if locker != 0 && locker != pid => text
                    .by(locker)
                    .hint(format!("Process {locker} has locked its row, for which the worker waits.")),
                _ => text.by(pid),
            }
        }
        Reason::CallQueued(pid, refusal) => {
            let why = refusal.map_or("is about to be sent".to_owned(), |refusal| {
                format!("waits: {}", of_refusal(refusal))
            });
            let is_paused = matches!(refusal, Some(Refusal::ByOperator(_)));
            let why = if is_paused { format!("waits: the provider is paused{}", paused::details(names)) } else { why };
            let text =
                Text::new(format!("Worker {pid} holds its request to provider \"{provider}\", which {why}.")).by(pid);
            match refusal {
                Some(Refusal::ByOperator(_)) => text.hint(paused::resume(provider)),
                Some(Refusal::Broken(_)) => text.hint(paused::close_breaker(provider)),
                _ => text,
            }
        }
        Reason::CallInFlight(pid) => Text::new(format!(
            "Worker {pid} has sent its request to provider \"{provider}\", or is about to, and waits for the response."
        ))
        .by(pid),
        Reason::CallOpen(pid) => Text::new(format!(
            "Worker {pid} holds its request to provider \"{provider}\": it is in flight, or waits until the provider admits it."
        ))
        .by(pid),
        _ => Text::new(format!(
            "The worker of its call to provider \"{provider}\" is gone; another worker takes the call over."
        )),
    }
}
