//! Commands that cannot run while workers are connected to their database (DROP DATABASE and the like) quiesce it: they
//! end its workers, and the launcher starts none until the transaction of the command has ended.

use crate::pg::backend;
use crate::pg::callbacks::{self, Ended};
use crate::pg::command::Notice;
use crate::pg::wait_event::WaitEvent;
use crate::pg::{interrupt, latch, log, shmem};
use crate::shared::{Latch, SlotState, ToId};
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The pause between two checks whether the workers have exited.
const LOOK: Duration = Duration::from_millis(10);
/// The time that a command waits for workers to exit, three times what PostgreSQL allows other sessions of a database.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the launcher has to be notified of when the current transaction ends.
#[derive(Clone, Copy, Default)]
struct Pending {
    quiesces: bool,
    changes: bool,
    settings: bool,
    created: bool,
    dropped: bool,
    /// The extension was dropped, and may have been created again.
    renewed: bool,
}

const NOTHING: Pending = Pending {
    quiesces: false,
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
    callbacks::on_transaction_end(at_transaction_end);
    callbacks::on_savepoint_rollback(at_savepoint_rollback);
}

/// Records what the launcher has to be notified of at the end of the transaction, and quiesces a database if the
/// command requires it.
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
                quiesces: true,
                dropped: true,
                created: false,
                renewed: true,
                changes: true,
                ..pending
            });
            end_workers(backend::database());
        }
        Notice::Quiesce(database) => {
            PENDING.set(Pending { quiesces: true, changes: true, ..pending });
            end_workers(database);
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

/// Refuses a command of a task that would have to wait until the task's own worker has exited.
pub fn refuse_task() -> ! {
    log::refuse(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        "a task cannot run a command for which the workers of its database have to leave".into(),
        "Run the command in a session of your own, not in a handler.".into(),
    )
}

/// True if this session is the connection of a handler to its own database, by dblink for instance.
pub fn is_of_worker(database: Oid) -> bool {
    let is_worker = |pid| shmem::read(|shared| shared.slots_of(database.id()).any(|slot| slot.pid == pid));
    backend::client_pid().is_some_and(is_worker)
}

/// Terminates the workers of `database` and waits until they have exited.
fn end_workers(database: Oid) {
    if is_of_worker(database) {
        refuse_task();
    }
    let end = Instant::now() + PATIENCE;
    let pids = loop {
        if let Some(pids) =
            shmem::write(|shared| shared.quiesce(database.id(), backend::pid(), backend::now()))
        {
            break pids;
        }
        // Too many sessions quiesce databases at the same time.
        interrupt::check();
        latch::wait(WaitEvent::Quiesce, None, LOOK);
    };
    pids.iter().filter(|pid| **pid != 0).for_each(|pid| backend::signal(*pid, libc::SIGTERM));
    while shmem::read(|shared| shared.slots_of(database.id()).any(|slot| slot.state != SlotState::Free)) {
        interrupt::check();
        if Instant::now() > end {
            refuse_busy(database);
        }
        latch::wait(WaitEvent::Quiesce, None, LOOK);
    }
}

/// Refuses a command because a worker does not exit: its handler does not react to signals, and may even wait for this
/// command.
fn refuse_busy(database: Oid) -> ! {
    let left = shmem::read(|shared| {
        let left = shared.slots_of(database.id()).find(|slot| slot.state != SlotState::Free);
        left.map(|slot| format!("worker process {} runs task {}", slot.pid, slot.task_id))
    });
    log::refuse(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        format!("a worker of the database has not left: {}", left.unwrap_or_default()),
        "The worker was told to end. Run the command again when its handler has stopped.".into(),
    )
}

/// The commands that were rolled back may include DROP EXTENSION, so a worker has to check whether the extension
/// exists.
fn at_savepoint_rollback() {
    let pending = PENDING.get();
    PENDING.set(Pending { created: pending.created || pending.dropped, dropped: false, ..pending });
}

/// Runs in the middle of the commit, so it neither allocates nor fails.
fn at_transaction_end(ended: Ended) {
    let pending = PENDING.take();
    if !(pending.quiesces || pending.changes) || !shmem::available() {
        return;
    }
    let (database, pid) = (backend::database().id(), backend::pid());
    shmem::write_journal(|shared, journal| {
        if pending.renewed && ended == Ended::Committed {
            // A new extension assigns the same numbers to other tasks.
            journal.forget_all(database);
        }
        if pending.quiesces {
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
        if ended != Ended::Aborted || pending.quiesces {
            shared.catalog_changes += 1;
            shared.settings_changes += u64::from(pending.settings);
        }
        shared.launcher.set();
    });
}
