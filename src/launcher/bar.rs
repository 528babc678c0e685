//! Commands that cannot run beside workers (DROP DATABASE and its like): they bar their database,
//! have its workers ended, and lift the bar when their transaction is over.

use crate::pg::backend::{self, Ended};
use crate::pg::command::Notice;
use crate::pg::{interrupt, latch, log, shmem};
use crate::shared::{Latch, SlotState, ToId};
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How often workers that should end are looked after.
const LOOK: Duration = Duration::from_millis(10);
/// How long a command waits for workers to leave: three times as long as PostgreSQL waits for other sessions of a
/// database.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the current transaction of this process has to tell the launcher at its end.
#[derive(Clone, Copy, Default)]
struct Pending {
    barred: bool,
    changes: bool,
    settings: bool,
    created: bool,
    dropped: bool,
    /// The extension that was there is gone, whatever has come after it.
    renewed: bool,
}

const NOTHING: Pending = Pending {
    barred: false,
    changes: false,
    settings: false,
    created: false,
    dropped: false,
    renewed: false,
};

thread_local! {
    static PENDING: Cell<Pending> = const { Cell::new(NOTHING) };
}

pub fn init() {
    backend::on_transaction_end(at_transaction_end);
    backend::on_savepoint_rollback(at_savepoint_rollback);
}

/// Notes what the launcher has to know at the end of the transaction, and makes room where that is needed.
pub fn on_command(notice: Notice) {
    let pending = PENDING.get();
    match notice {
        Notice::Create => PENDING.set(Pending { created: true, dropped: false, changes: true, ..pending }),
        Notice::Changes => PENDING.set(Pending { changes: true, ..pending }),
        Notice::Settings | Notice::OwnRole => {
            PENDING.set(Pending { settings: true, changes: true, ..pending });
        }
        Notice::Drop => {
            PENDING.set(Pending {
                barred: true,
                dropped: true,
                created: false,
                renewed: true,
                changes: true,
                ..pending
            });
            clear(backend::database());
        }
        Notice::Clear(database) => {
            PENDING.set(Pending { barred: true, changes: true, ..pending });
            clear(database);
        }
        Notice::CommitPrepared
        | Notice::Members
        | Notice::NotTheirs
        | Notice::FutureRights
        | Notice::Trigger
        | Notice::AllTriggers
        | Notice::ForeignKey => {}
    }
}

/// Refuses a command of a task that would have to wait until the task's own worker has left.
pub fn refuse_task() -> ! {
    log::refuse(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        "a task cannot run a command for which the workers of its database have to leave".into(),
        "Run the command in a session of your own, not in a handler.".into(),
    )
}

/// Ends the workers of `database` and waits until they are gone.
fn clear(database: Oid) {
    // A handler's own connection to its database (dblink, for instance).
    let client = backend::client_pid();
    if client
        .is_some_and(|pid| shmem::read(|shared| shared.slots_of(database.id()).any(|slot| slot.pid == pid)))
    {
        refuse_task();
    }
    let end = Instant::now() + PATIENCE;
    let pids = loop {
        if let Some(pids) =
            shmem::write(|shared| shared.quiesce(database.id(), backend::pid(), backend::now()))
        {
            break pids;
        }
        // Many sessions at once, which make databases from one template for instance.
        interrupt::check();
        latch::wait(None, LOOK);
    };
    pids.iter().filter(|pid| **pid != 0).for_each(|pid| backend::signal(*pid, libc::SIGTERM));
    while shmem::read(|shared| shared.slots_of(database.id()).any(|slot| slot.state != SlotState::Free)) {
        interrupt::check();
        if Instant::now() > end {
            refuse_busy(database);
        }
        latch::wait(None, LOOK);
    }
}

/// Refuses a command because a worker does not leave: signals have no effect on its handler, which may even wait for
/// this command.
fn refuse_busy(database: Oid) -> ! {
    let left = shmem::read(|shared| {
        let left = shared.slots_of(database.id()).find(|slot| slot.state != SlotState::Free);
        left.map(|slot| format!("worker process {} runs task {}", slot.pid, slot.task_id))
    });
    log::refuse(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        format!("a worker of the database has not left: {}", left.unwrap_or_default()),
        "It has been told to end, and will when its handler lets it. Then run the command again.".into(),
    )
}

/// Whether a DROP EXTENSION is among what was rolled back, nobody knows: a worker has to look.
fn at_savepoint_rollback() {
    let pending = PENDING.get();
    PENDING.set(Pending { created: pending.created || pending.dropped, dropped: false, ..pending });
}

/// In the middle of the commit: neither allocates nor fails.
fn at_transaction_end(ended: Ended) {
    let pending = PENDING.take();
    if !(pending.barred || pending.changes) || !shmem::available() {
        return;
    }
    let (database, pid) = (backend::database().id(), backend::pid());
    shmem::write_journal(|shared, journal| {
        if pending.renewed && ended == Ended::Committed {
            // Its numbers are given to other tasks.
            journal.forget_all(database);
        }
        if pending.barred {
            shared.end_quiesce(pid, backend::now());
        }
        if ended == Ended::Committed && (pending.created || pending.dropped) {
            match shared.database_or_new(database) {
                Some(entry) => {
                    entry.look = pending.created;
                    entry.announced += 1;
                    entry.no_extension = pending.dropped;
                }
                None => shared.missed_extension = true,
            }
        }
        if ended != Ended::Aborted || pending.barred {
            shared.catalog_changes += 1;
            shared.settings_changes += u64::from(pending.settings);
        }
        shared.launcher.set();
    });
}
