//! Wake: a committing transaction announces what it enqueued, and wakes a worker.

use crate::inject;
use crate::pg::backend;
use crate::pg::callbacks::{self, Ended};
use crate::pg::{catalog, remote, shmem, transaction};
use crate::shared::{Announcement, Lane, Position, ToId};
use std::cell::RefCell;

thread_local! {
    /// What the current transaction of this process will announce.
    static PENDING: RefCell<Announcement> = const { RefCell::new(Announcement::NOTHING) };
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
    PENDING.with_borrow_mut(|pending| pending.task(lane, position));
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
                }
                if pending.prepared {
                    shared.announce_prepared(database, now);
                }
                if pending.tasks() > 0 {
                    shared.announce(database, pending, now);
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
