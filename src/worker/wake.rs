//! Wake: both halves. A committing transaction wakes a worker; a worker without work waits for
//! that, for the time when a task falls due, or for a provider's answer.

use super::Worker;
use crate::config;
use crate::pg::backend::{self, Ended};
use crate::pg::spi::Statement;
use crate::pg::{activity, latch, session, shmem, transaction};
use crate::shared::NEVER;
use std::cell::Cell;
use std::time::Duration;

static NEXT_DUE: Statement = Statement::new(include_str!("../../sql/runtime/next_due.sql"), &[]);

/// What the current transaction of this process will announce.
#[derive(Clone, Copy)]
struct Announcement {
    tasks: u32,
    /// The earliest time at which one of them is due.
    due: i64,
}

const NOTHING: Announcement = Announcement { tasks: 0, due: NEVER };

thread_local! {
    static PENDING: Cell<Announcement> = const { Cell::new(NOTHING) };
}

/// Has this process announce at each commit what its transaction enqueued.
pub fn init() {
    backend::on_transaction_end(at_transaction_end);
}

/// A task due at `due` was enqueued in the current transaction.
pub fn note(due: i64) {
    let pending = PENDING.get();
    PENDING.set(Announcement { tasks: pending.tasks.saturating_add(1), due: pending.due.min(due) });
}

/// In the middle of the commit: neither allocates nor fails.
///
/// A savepoint that was rolled back may leave an announcement without a task; then a worker looks
/// and finds nothing.
fn at_transaction_end(ended: Ended) {
    let pending = PENDING.replace(NOTHING);
    if pending.tasks == 0 || !shmem::available() {
        return;
    }
    let database = backend::database();
    match ended {
        Ended::Committed => {
            let now = backend::now();
            shmem::write(|shared| shared.announce(database, pending.tasks, pending.due, now));
        }
        // It is committed later, by whom nobody knows: have workers look by themselves.
        Ended::Prepared => shmem::write(|shared| {
            if let Some(entry) = shared.database_or_new(database) {
                entry.unannounced = true;
            }
        }),
        Ended::Aborted => {}
    }
}

/// Waits until there may be work again. `announced` was read before the worker last looked.
/// `limit`: at most so long. Returns false at once if something was announced meanwhile.
pub fn wait(worker: &mut Worker, announced: u64, next_due: i64, limit: Duration) -> bool {
    if !worker.slot.settle(announced, next_due) {
        return false;
    }
    if worker.in_flight() == 0 {
        activity::idle();
    } else {
        activity::running(&format!("waiting for {} provider calls", worker.in_flight()));
    }
    let until_due = Duration::from_micros(next_due.saturating_sub(backend::now()).max(0) as u64);
    let poll = config::POLL_INTERVAL.duration();
    latch::wait(worker.readable(), limit.min(poll).min(until_due));
    true
}

/// When a task becomes ready by time alone. In a transaction of its own, after the one that found
/// nothing.
pub fn next_due(worker: &Worker) -> Result<i64, crate::error::PgError> {
    transaction::commit_after(|| {
        session::as_owner(worker.owner, || {
            NEXT_DUE.row(&[], |row| row.get::<pgrx::datum::TimestampWithTimeZone>(1)).flatten()
        })
        .map_or(NEVER, i64::from)
    })
}
