//! What is said about a task that a worker runs.

use super::parts::{Blocker, Text};
use super::rows;
use crate::pg::time::time_text;
use crate::pg::{backend, shmem};
use crate::shared::{Busy, ToId};

/// What keeps the worker waiting that runs a task.
pub fn blocker(worker: Busy) -> Option<Blocker> {
    let pids = rows::blockers(worker.pid);
    let pid = *pids.iter().find(|pid| **pid != 0).or(pids.first())?;
    let database = backend::database().id();
    let task = shmem::read(|shared| shared.busy_worker(database, pid));
    Some(Blocker { pid, task, others: pids.len() - 1 })
}

pub fn sentence(worker: Busy, blocker: Option<&Blocker>) -> Text {
    let runs = format!("Worker {} has been running it since {}", worker.pid, time_text(worker.since));
    let Some(Blocker { pid, task, others }) = blocker else {
        return Text::new(format!("{runs}.")).by(worker.pid);
    };
    let others = if *others == 0 { String::new() } else { format!(", as {others} others do") };
    let waits = |who: String| Text::new(format!("{runs}, and waits for a lock that {who}."));
    match task {
        _ if *pid == 0 => waits(format!("a prepared transaction holds{others}"))
            .hint("See pg_prepared_xacts, and COMMIT PREPARED or ROLLBACK PREPARED."),
        Some(task) => waits(format!("worker {pid} holds{others}, which runs task {}", task.task_id))
            .of(task)
            .hint(format!("See: SELECT * FROM queues.explain({});", task.task_id)),
        None => waits(format!("process {pid} holds{others}")).by(*pid).hint(format!(
            "See: SELECT * FROM pg_stat_activity WHERE pid = {pid}; SELECT pg_terminate_backend({pid}); ends that session."
        )),
    }
}
