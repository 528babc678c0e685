//! Wake: both halves. A committing transaction wakes a worker; a worker without work waits for
//! that, for the time when a task falls due, or for a provider's answer.

use super::Worker;
use crate::config;
use crate::error::PgError;
use crate::inject;
use crate::pg::backend;
use crate::pg::callbacks::{self, Ended};
use crate::pg::spi::Statement;
use crate::pg::{activity, catalog, latch, remote, session, shmem, transaction};
use crate::shared::{Announcement, Lane, NEVER, Position, Rest};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, pg_sys};
use std::cell::RefCell;
use std::time::Duration;

static NEXT_DUE: Statement =
    Statement::new(include_str!("../../sql/runtime/next_due.sql"), &[TIMESTAMPTZOID, INT8OID]);

thread_local! {
    /// What the current transaction of this process will announce.
    static PENDING: RefCell<Announcement> = const { RefCell::new(Announcement::NOTHING) };
}

/// Has this process announce at each commit what its transaction enqueued.
pub fn init() {
    callbacks::on_transaction_end(at_transaction_end);
    callbacks::before_commit(before_commit);
}

/// A transaction with a part on another server must not lose its local part in a crash: its task would be run again,
/// or never.
fn before_commit() {
    if transaction::is_own() {
        if remote::is_open() { remote::secure_commit() } else { transaction::skip_wait_if_allowed() }
    } else if backend::has_written()
        && remote::is_distributed()
        && catalog::relation(c"queues", c"task").is_some_and(remote::has_written)
    {
        remote::secure_commit();
    }
}

/// A task was enqueued in the current transaction, or put in another place.
pub fn note_task(lane: Lane, place: Position) {
    PENDING.with_borrow_mut(|pending| pending.task(lane, place));
}

/// Something becomes ready at `due` by what the current transaction did.
pub fn note_due(due: i64) {
    PENDING.with_borrow_mut(|pending| pending.due(due));
}

/// A task of another database has come in the current transaction.
pub fn note_held() {
    PENDING.with_borrow_mut(|pending| pending.held = true);
}

/// Calls whose worker is gone have come in the current transaction.
pub fn note_orphans() {
    PENDING.with_borrow_mut(|pending| pending.orphans = true);
}

/// The current transaction has changed what types of tasks there are, or where they go.
pub fn note_definitions() {
    PENDING.with_borrow_mut(|pending| pending.kinds = true);
}

/// The current command commits what another session has prepared, before its own transaction ends.
pub fn note_prepared() {
    PENDING.with_borrow_mut(|pending| pending.prepared = true);
}

/// In the middle of the commit: neither allocates nor fails.
///
/// A savepoint that was rolled back may leave an announcement without a task; then a worker looks
/// and finds nothing.
fn at_transaction_end(ended: Ended) {
    PENDING.with_borrow_mut(|pending| {
        if !pending.is_nothing() {
            if shmem::available() {
                tell(ended, pending);
            }
            *pending = Announcement::NOTHING;
        }
    });
}

fn tell(ended: Ended, pending: &Announcement) {
    let database = backend::database();
    match ended {
        Ended::Committed => {
            inject::point("announce");
            let now = backend::now();
            shmem::write(|shared| {
                shared.announce_copied(database, pending.held, pending.orphans);
                if pending.kinds {
                    shared.forget_queue(database, now);
                }
                if pending.prepared {
                    shared.announce_prepared(database, now);
                }
                if pending.tasks() > 0 {
                    shared.announce(database, pending, now);
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

/// Looks for the work to come, in a transaction of its own. `looked_at`: before the claim that found nothing, so
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
        calls => activity::running(format_args!("waiting for {calls} provider calls")),
    }
}

/// Waits until there may be work again. `announced` was read before the worker last looked.
/// `limit`: at most so long. Returns false at once if something was announced meanwhile.
pub fn wait(worker: &mut Worker, announced: u64, rest: Option<Rest>, limit: Duration) -> bool {
    inject::point("looked");
    let Some(next_due) = worker.slot.settle(announced, rest) else { return false };
    report_waiting(worker);
    let until_due = Duration::from_micros(next_due.saturating_sub(backend::now()).max(0) as u64);
    let poll = config::POLL_INTERVAL.duration();
    latch::wait(worker.readable(), limit.min(poll).min(until_due));
    worker.calls.clear();
    true
}
