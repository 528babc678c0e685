//! Wake: a committing transaction announces what it enqueued, and wakes a worker.

use crate::inject;
use crate::pg::backend;
use crate::pg::callbacks::{self, Ended};
use crate::pg::{catalog, invalidation, remote, shmem, transaction};
use crate::queue_key;
use crate::shared::{Announcement, KeyEntry, Lane, Position, ToId};
use crate::task_definition::TaskDefinitions;
use std::cell::RefCell;

thread_local! {
    /// What the current transaction of this process will announce.
    static PENDING: RefCell<Announcement> = const { RefCell::new(Announcement::NOTHING) };
    /// The keys that the current transaction has locked, which it announces however it ends.
    static LOCKED: RefCell<Announcement> = const { RefCell::new(Announcement::NOTHING) };
}

/// Installs the callbacks that announce at each commit what the transaction has enqueued.
pub fn init() {
    callbacks::on_transaction_end(at_transaction_end);
    callbacks::before_commit(before_commit);
}

/// Ensures that a transaction with a part on another server does not lose its local part in a crash: its task would
/// otherwise run again, or never.
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

/// Notes that the current transaction has enqueued a task, or moved it to another position.
pub fn note_task(lane: Lane, position: Position) {
    if lane == Lane::PAUSED {
        return note_paused();
    }
    PENDING.with_borrow_mut(|pending| pending.task(lane, position));
}

/// Notes that the current transaction has enqueued a task that a pause keeps from starting.
fn note_paused() {
    let as_of = TaskDefinitions::known().as_of();
    PENDING.with_borrow_mut(|pending| pending.paused(as_of));
}

/// Notes that the current transaction has enqueued a task with a queue key, or lets another task of the key run.
pub fn note_key(lane: Lane, entry: KeyEntry) {
    if lane == Lane::PAUSED {
        return note_paused();
    }
    PENDING.with_borrow_mut(|pending| pending.key(lane, entry));
}

/// Notes that a task of a queue key may run from `time` on, of a priority that is unknown.
pub fn note_key_at(task_type: &str, queue_key: &str, time: i64) {
    let definitions = TaskDefinitions::known();
    let (lane, entry) =
        queue_key::entry(&definitions, task_type, queue_key::key_of(task_type, queue_key), time, i16::MAX);
    note_key(lane, entry);
}

/// Notes that the current transaction has locked a key.
pub fn note_locked_key(lane: Lane, entry: KeyEntry) {
    LOCKED.with_borrow_mut(|locked| locked.key(lane, entry));
}

/// Notes that the current transaction makes a task ready at `due`.
pub fn note_due(due: i64) {
    PENDING.with_borrow_mut(|pending| pending.due(due));
}

/// Notes that the current transaction adds a task of another database.
pub fn note_unadopted() {
    PENDING.with_borrow_mut(|pending| pending.unadopted = true);
}

/// Notes that the current transaction adds orphaned calls.
pub fn note_orphans() {
    PENDING.with_borrow_mut(|pending| pending.orphans = true);
}

/// Notes that the current transaction has changed the task types, or the providers of their tasks.
pub fn note_definitions() {
    PENDING.with_borrow_mut(|pending| pending.definitions = true);
}

/// Notes that the current transaction has changed pauses.
pub fn note_pauses() {
    PENDING.with_borrow_mut(|pending| pending.pauses = true);
}

/// Notes that the current command commits a transaction that another session has prepared.
pub fn note_prepared() {
    PENDING.with_borrow_mut(|pending| pending.prepared = true);
}

/// Announces at the end of a transaction. This runs in the middle of the commit: it neither allocates nor fails. A
/// savepoint that was rolled back may leave an announcement without a task; a worker then looks and finds nothing.
fn at_transaction_end(ended: Ended) {
    PENDING.with_borrow_mut(|pending| {
        if !pending.is_nothing() {
            if shmem::available() {
                announce(ended, pending);
            }
            *pending = Announcement::NOTHING;
        }
    });
    LOCKED.with_borrow_mut(|locked| {
        if !locked.is_nothing() {
            if shmem::available() {
                let (database, now) = (backend::database().id(), backend::now());
                shmem::write(|shared| shared.announce(database, locked, now));
            }
            *locked = Announcement::NOTHING;
        }
    });
}

fn announce(ended: Ended, pending: &Announcement) {
    let database = backend::database().id();
    match ended {
        Ended::Committed => {
            inject::point("announce");
            let now = backend::now();
            shmem::write(|shared| {
                shared.announce_unadopted(database, pending.unadopted, pending.orphans);
                if pending.definitions {
                    shared.forget_queue(database, now);
                } else if pending.pauses {
                    shared.change_pauses(database, now);
                }
                if pending.prepared {
                    shared.announce_prepared(database, now);
                }
                if pending.tasks() > 0 {
                    shared.announce(database, pending, now);
                }
                if let Some(as_of) = pending.paused_as_of
                    && !shared.announce_paused(database, as_of, now)
                {
                    invalidation::note_stale();
                }
            });
        }
        // The later commit is not announced, so workers have to look for it.
        Ended::Prepared => shmem::write(|shared| {
            if let Some(entry) = shared.database_or_new(database) {
                entry.unannounced = true;
                entry.announced += 1;
            }
        }),
        Ended::Aborted => {}
    }
}
