//! Wake: both halves. A committing transaction wakes a worker; a worker without work waits for
//! that, for the time when a task falls due, or for a provider's answer.

use super::Worker;
use crate::config;
use crate::error::PgError;
use crate::inject;
use crate::pg::backend::{self, Ended};
use crate::pg::spi::Statement;
use crate::pg::{activity, latch, session, shmem, transaction};
use crate::shared::NEVER;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, pg_sys};
use std::cell::Cell;
use std::time::Duration;

static NEXT_DUE: Statement =
    Statement::new(include_str!("../../sql/runtime/next_due.sql"), &[TIMESTAMPTZOID, INT8OID]);

/// What the current transaction of this process will announce.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Announcement {
    tasks: u32,
    /// The earliest time at which one of them is due.
    due: i64,
    /// Tasks of another database have come,
    held: bool,
    /// calls whose worker is gone,
    orphans: bool,
    /// and what another session has prepared.
    prepared: bool,
}

const NOTHING: Announcement =
    Announcement { tasks: 0, due: NEVER, held: false, orphans: false, prepared: false };

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
    PENDING.set(Announcement {
        tasks: pending.tasks.saturating_add(1),
        due: pending.due.min(due),
        ..pending
    });
}

/// A task of another database has come in the current transaction.
pub fn note_held() {
    PENDING.set(Announcement { held: true, ..PENDING.get() });
}

/// Calls whose worker is gone have come in the current transaction.
pub fn note_orphans() {
    PENDING.set(Announcement { orphans: true, ..PENDING.get() });
}

/// The current command commits what another session has prepared, before its own transaction ends.
pub fn note_prepared() {
    PENDING.set(Announcement { prepared: true, ..PENDING.get() });
}

/// In the middle of the commit: neither allocates nor fails.
///
/// A savepoint that was rolled back may leave an announcement without a task; then a worker looks
/// and finds nothing.
fn at_transaction_end(ended: Ended) {
    let pending = PENDING.replace(NOTHING);
    if pending == NOTHING || !shmem::available() {
        return;
    }
    let database = backend::database();
    match ended {
        Ended::Committed => {
            inject::point("announce");
            let now = backend::now();
            shmem::write(|shared| {
                shared.announce_copied(database, pending.held, pending.orphans);
                if pending.prepared {
                    shared.announce_prepared(database, now);
                }
                if pending.tasks > 0 {
                    shared.announce(database, pending.tasks, pending.due, now);
                }
            });
        }
        // It is committed later, by whom nobody knows: have workers look by themselves.
        Ended::Prepared => shmem::write(|shared| {
            if let Some(entry) = shared.database_or_new(database) {
                entry.unannounced = true;
                entry.announced += 1;
            }
        }),
        Ended::Aborted => {}
    }
}

/// What a worker that found nothing to do knows of the work to come.
pub struct Rest {
    /// When a task becomes ready by time alone.
    pub next_due: i64,
    /// No prepared transaction can bring tasks unannounced.
    pub nothing_prepared: bool,
}

/// Looks for it, in a transaction of its own. `looked_at`: before the claim that found nothing, so
/// that nothing falls due unseen in between.
pub fn look_ahead(worker: &Worker, looked_at: i64) -> Result<Rest, PgError> {
    transaction::commit_after(|| rest(worker, looked_at))
}

/// Has somebody watch for the next task that falls due, while this worker is busy with one. In the
/// transaction that has claimed it.
pub fn pass_on_due(worker: &Worker, looked_at: i64) {
    worker.slot.note_due(rest(worker, looked_at).next_due);
}

fn rest(worker: &Worker, looked_at: i64) -> Rest {
    session::as_owner(worker.owner, || {
        NEXT_DUE.row(&[Some(pg_sys::Datum::from(looked_at)), worker.origin.into_datum()], |row| Rest {
            next_due: row.get::<TimestampWithTimeZone>(1).map_or(NEVER, i64::from),
            nothing_prepared: row.get(2).unwrap_or_default(),
        })
    })
    .unwrap_or(Rest { next_due: NEVER, nothing_prepared: false })
}

/// Shows in `pg_stat_activity` what a worker without work waits for.
pub fn report_waiting(worker: &Worker) {
    match worker.in_flight() {
        0 => activity::idle(),
        calls => activity::running(&format!("waiting for {calls} provider calls")),
    }
}

/// Waits until there may be work again. `announced` was read before the worker last looked.
/// `limit`: at most so long. Returns false at once if something was announced meanwhile.
pub fn wait(worker: &mut Worker, announced: u64, rest: &Rest, limit: Duration) -> bool {
    inject::point("looked");
    if !worker.slot.settle(announced, rest) {
        return false;
    }
    report_waiting(worker);
    let until_due = Duration::from_micros(rest.next_due.saturating_sub(backend::now()).max(0) as u64);
    let poll = config::POLL_INTERVAL.duration();
    latch::wait(worker.readable(), limit.min(poll).min(until_due));
    true
}
