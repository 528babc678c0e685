//! Workers outside the database: the starts that sessions reserve for them, and messages about them.

use crate::config::LogLevel;
use crate::pg::callbacks::{self, Ended};
use crate::pg::{backend, log, shmem};
use crate::shared::{Outside, StartLimits, ToId};
use crate::task_definition::TaskDefinitions;
use std::cell::Cell;
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

thread_local! {
    /// The current transaction has reserved starts.
    static HAS_RESERVED: Cell<bool> = const { Cell::new(false) };
}

/// Installs the callback that ends reservations together with their transaction.
pub fn init() {
    callbacks::on_transaction_end(end_reservations);
}

/// Reserves the start of a task until the transaction ends, if the limits of its type allow it. `leased`: the number of
/// tasks of the type that are leased.
pub fn reserve_start(task_type: &str, leased: i64) -> bool {
    let Some((session, limits)) = session_for(task_type, leased) else { return true };
    let now = backend::now();
    let is_reserved = shmem::write(|shared| shared.start_outside(&session, &limits, now));
    if is_reserved {
        HAS_RESERVED.set(true);
    }
    is_reserved
}

/// Whether the limits of a type allow another start, as [`reserve_start`].
pub fn has_start(task_type: &str, leased: i64) -> bool {
    let Some((session, limits)) = session_for(task_type, leased) else { return true };
    let now = backend::now();
    shmem::read(|shared| shared.has_start_outside(&session, &limits, now))
}

/// This session, and the limits of a type; `None` if there are none.
fn session_for(task_type: &str, leased: i64) -> Option<(Outside, StartLimits)> {
    let definitions = TaskDefinitions::now();
    let (limits, _) = definitions.limits_of(task_type).filter(|_| shmem::available())?;
    let leased = u32::try_from(leased).unwrap_or(u32::MAX / 2);
    Some((Outside { database: backend::database().id(), session: backend::pid(), leased }, limits))
}

/// Ends the reservations of the transaction. This runs in the middle of the commit: it neither allocates nor fails.
fn end_reservations(_: Ended) {
    if HAS_RESERVED.replace(false) {
        let session = backend::pid();
        shmem::write(|shared| shared.end_outside(session));
    }
}
