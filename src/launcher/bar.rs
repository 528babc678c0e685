//! Commands that cannot run beside workers (DROP DATABASE and its like): they bar their database,
//! have its workers ended, and lift the bar when their transaction is over.

use crate::pg::backend::{self, Ended};
use crate::pg::command::Notice;
use crate::pg::{interrupt, latch, shmem};
use crate::shared::SlotState;
use pgrx::pg_sys::Oid;
use std::cell::Cell;
use std::time::Duration;

/// How often workers that should end are looked after.
const LOOK: Duration = Duration::from_millis(10);

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
        Notice::CommitPrepared | Notice::NotTheirs => {}
    }
}

/// Ends the workers of `database` and waits until they are gone.
fn clear(database: Oid) {
    let pids = loop {
        if let Some(pids) = shmem::write(|shared| shared.bar(database, backend::pid())) {
            break pids;
        }
        // Many sessions at once, which make databases from one template for instance.
        interrupt::check();
        latch::wait(None, LOOK);
    };
    pids.iter().filter(|pid| **pid != 0).for_each(|pid| backend::signal(*pid, libc::SIGTERM));
    while shmem::read(|shared| shared.slots_of(database).any(|slot| slot.state != SlotState::Free)) {
        interrupt::check();
        latch::wait(None, LOOK);
    }
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
    let (database, pid) = (backend::database(), backend::pid());
    shmem::write_journal(|shared, journal| {
        if pending.renewed && ended == Ended::Committed {
            // Its numbers are given to other tasks.
            journal.forget_all(database);
        }
        if pending.barred {
            shared.lift_bars(pid);
        }
        if ended == Ended::Committed
            && (pending.created || pending.dropped)
            && let Some(entry) = shared.database_or_new(database)
        {
            entry.look = pending.created;
            entry.announced += 1;
            entry.no_extension = pending.dropped;
        }
        if ended != Ended::Aborted || pending.barred {
            shared.catalog_changes += 1;
            shared.settings_changes += u64::from(pending.settings);
        }
        shared.launcher.set();
    });
}
