//! Draining a database: nothing new starts from now on, before the row of the pause is committed.

use crate::home;
use crate::launcher::quiesce;
use crate::pg::callbacks::{self, Ended};
use crate::pg::spi::{Row, Statement, timestamp};
use crate::pg::wait_event::WaitEvent;
use crate::pg::{backend, interrupt, latch, log, shmem};
use crate::shared::ToId;
use crate::worker;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, PgSqlErrorCode};
use std::cell::Cell;
use std::time::Duration;

static OUTSIDE: Statement =
    Statement::new(include_str!("../sql/runtime/drain_left.sql"), &[INT8OID, TIMESTAMPTZOID]);

/// The pause before a session tries again, while too many sessions drain the database.
const CROWDED: Duration = Duration::from_millis(10);

thread_local! {
    /// The current transaction drains the database.
    static DRAINS: Cell<bool> = const { Cell::new(false) };
}

/// What still runs.
pub struct Left {
    /// "task", "call" or "lease".
    pub what: String,
    pub task_id: i64,
    /// The worker process, if one has it.
    pub pid: Option<i32>,
}

/// Installs the callback that ends a drain together with its transaction.
pub fn init() {
    callbacks::on_transaction_end(at_transaction_end);
}

/// Lets this database start nothing until the current transaction ends. If it commits, the row of the pause counts from
/// then on.
pub fn begin() {
    if backend::is_standby() {
        log::refuse(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "a standby cannot be drained".into(),
            "Run queues.drain on the primary. No worker runs on this server.".into(),
        );
    }
    if !shmem::available() {
        return;
    }
    let database = backend::database();
    if worker::is_one() || quiesce::is_of_worker(database) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            "a task cannot drain its own database".into(),
            "It would wait for itself. Call queues.drain in a session of your own, not in a handler.".into(),
        );
    }
    DRAINS.set(true);
    while !shmem::write(|shared| shared.begin_drain(database.id(), backend::pid())) {
        interrupt::check();
        latch::wait(WaitEvent::Quiesce, None, CROWDED);
    }
}

/// What of this database still runs.
pub fn left() -> Vec<Left> {
    let mut left = inside();
    // A task that a worker has shown before has ended by now, or is committed as a call.
    let args = [home::origin().into_datum(), timestamp(backend::now())];
    let read = |row: &Row| Left {
        what: row.get(c"what").unwrap_or_default(),
        task_id: row.get(c"task_id").unwrap_or_default(),
        pid: row.get::<i64>(c"owner").and_then(pid_of),
    };
    let outside = OUTSIDE.rows_as_of_now(&args, read);
    let is_new = |found: &Left| !left.iter().any(|known| known.task_id == found.task_id);
    let outside: Vec<Left> = outside.into_iter().filter(is_new).collect();
    left.extend(outside);
    left
}

/// The tasks that workers run, or have taken.
fn inside() -> Vec<Left> {
    if !shmem::available() {
        return Vec::new();
    }
    let id = backend::database().id();
    shmem::read(|shared| {
        let busy = shared.slots_of(id).filter(|slot| slot.is_live()).filter_map(|slot| {
            let taken = slot.taken.map(|(_, task)| task.position.task_id);
            let task_id = Some(slot.task_id).filter(|id| *id != 0).or(taken).or(slot.key.map(|_| 0))?;
            Some((task_id, slot.pid))
        });
        // There are as many as slots, at most.
        busy.map(|(task_id, pid)| Left { what: "task".into(), task_id, pid: Some(pid) }).collect()
    })
}

fn pid_of(owner: i64) -> Option<i32> {
    if !shmem::available() {
        return None;
    }
    let id = backend::database().id();
    shmem::read(|shared| shared.worker_of(id, owner).map(|slot| slot.pid))
}

/// Runs in the middle of the commit, so it neither allocates nor fails.
fn at_transaction_end(_ended: Ended) {
    if DRAINS.take() {
        let now = backend::now();
        shmem::write(|shared| shared.end_drain(backend::pid(), now));
    }
}
