//! Messages about workers outside the database.

use crate::config::LogLevel;
use crate::pg::{backend, log, shmem};
use crate::shared::ToId;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// True if this process has already warned; used where there is no shared memory.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Warns that the lease of a task has ended before the task, which therefore runs again. The warning appears once for a
/// database until the server restarts, since a worker that never ends its tasks causes this for each of them.
pub fn tell_of_ended_lease(task_id: i64) {
    let was_told = if shmem::available() {
        let database = backend::database();
        shmem::write(|shared| {
            let entry = shared.database_or_new(database.id());
            entry.is_some_and(|entry| std::mem::replace(&mut entry.reported_lease, true))
        })
    } else {
        TOLD.swap(true, Relaxed)
    };
    if !was_told {
        log::event_with_hint(
            LogLevel::Warning,
            format!("the lease of task {task_id} ended, and its worker outside had not ended the task; it is run again"),
            "Have workers outside call queues.complete_task() or queues.fail_task() before the lease ends \
             (pg_errand.lease_duration). If yours never do, set pg_errand.lease_duration = 0: then a task counts as \
             finished when it is handed out. This is said once."
                .into(),
        );
    }
}
