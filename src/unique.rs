//! One of a kind: enqueues tasks with a unique key. Rows decide, by the unique index on unfinished tasks of a key;
//! locks of src/pg/key_lock.rs tell whether a task runs, and order those who enqueue a task that follows a running one.

use crate::home;
use crate::pg::spi::{self, Arg, Statement};
use crate::pg::{backend, key_lock, log, session, shmem, transaction};
use crate::shared::ToId;
use crate::unwritten;
use pgrx::pg_sys::BuiltinOid::{INT2OID, INT8OID, INTERVALOID, JSONBOID, TEXTOID, TIMESTAMPTZOID};
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};
use std::time::Duration;

static FIND: Statement =
    Statement::new(include_str!("../sql/runtime/unique_find.sql"), &[TEXTOID, TEXTOID, INT8OID, INT8OID]);
static FIND_FINISHED: Statement = Statement::new(
    include_str!("../sql/runtime/unique_find_finished.sql"),
    &[TEXTOID, TEXTOID, INT8OID, INTERVALOID],
);
static INSERT: Statement = Statement::new(
    include_str!("../sql/runtime/unique_insert.sql"),
    &[TEXTOID, JSONBOID, TIMESTAMPTZOID, INT2OID, TEXTOID, INTERVALOID, INT8OID, TEXTOID],
);
static REPLACE: Statement = Statement::new(
    include_str!("../sql/runtime/unique_replace.sql"),
    &[INT8OID, JSONBOID, TIMESTAMPTZOID, INT2OID, INTERVALOID, TEXTOID],
);
static WITHDRAW: Statement = Statement::new(include_str!("../sql/runtime/unique_withdraw.sql"), &[INT8OID]);

/// The number of times that a task is looked for and enqueued in vain, because others end and enqueue tasks of the same
/// key meanwhile. More than that means that something suppresses the row.
const MAX_TURNS: usize = 200;

/// The time between two looks whether a worker runs a task that it has locked, and the number of looks.
const LOOK: Duration = Duration::from_millis(1);
const MAX_LOOKS: usize = 1000;

/// True if a worker shows that it runs a task, as far as is known.
fn is_shown(id: i64) -> bool {
    let database = backend::database().id();
    !shmem::available() || shmem::read(|shared| shared.runner_of(database, id).is_some())
}

/// What happens while an unfinished task with the key exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfExists {
    Keep,
    Replace,
    Debounce,
    Error,
}

impl IfExists {
    pub const ALL: [(&str, IfExists); 4] = [
        ("keep", IfExists::Keep),
        ("replace", IfExists::Replace),
        ("debounce", IfExists::Debounce),
        ("error", IfExists::Error),
    ];

    pub fn named(name: &str) -> Option<IfExists> {
        IfExists::ALL.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// A task with a unique key, to be enqueued in this database.
pub struct UniqueTask<'a> {
    /// The owner of `queues.task`, whose privileges are used.
    pub owner: pg_sys::Oid,
    pub task_type: &'a str,
    pub key: &'a str,
    pub payload: Arg,
    pub scheduled_at: Arg,
    pub priority: Arg,
    pub if_exists: IfExists,
    /// Finished tasks count if they were enqueued within this interval.
    pub unique_for: Arg,
    /// The longest time from when the task was first enqueued to when it is scheduled.
    pub debounce_limit: Arg,
    pub queue_key: Arg,
}

/// The last unfinished task of a key: the only one, or the one that follows it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    id: i64,
    /// It is between the steps of a provider call, or leased by a worker outside.
    is_under_way: bool,
}

impl UniqueTask<'_> {
    /// Enqueues the task unless there is one with its key; returns the id of the task that counts.
    pub fn enqueue(&self) -> i64 {
        for _ in 0..MAX_TURNS {
            let id = match self.find(0) {
                Some(found) => self.meet(found),
                None => self.finished().or_else(|| self.begin()),
            };
            if let Some(id) = id {
                return id;
            }
        }
        unwritten::refuse_task()
    }

    /// The last unfinished task with the key as of now, without counting the task `except`.
    fn find(&self, except: i64) -> Option<Found> {
        let args = [
            self.task_type.into_datum(),
            self.key.into_datum(),
            home::origin().into_datum(),
            except.into_datum(),
        ];
        session::as_owner(self.owner, || {
            FIND.rows_as_of_now(&args, |row| Found {
                id: row.get(1).unwrap_or_default(),
                is_under_way: row.get(2) == Some(true),
            })
        })
        .pop()
    }

    /// The last finished task that counts, if any does.
    fn finished(&self) -> Option<i64> {
        self.unique_for?;
        let args = [
            self.task_type.into_datum(),
            self.key.into_datum(),
            home::origin().into_datum(),
            self.unique_for,
        ];
        let id = session::as_owner(self.owner, || {
            FIND_FINISHED.rows_as_of_now(&args, |row| row.get::<i64>(1).unwrap_or_default())
        })
        .pop()?;
        if self.if_exists == IfExists::Error {
            self.refuse(id);
        }
        Some(id)
    }

    /// Enqueues the task as the only one of its key; `None` if there is another one.
    fn begin(&self) -> Option<i64> {
        let id = self.insert(None)?;
        // A task that follows one which has ended since is not in the way of the new row, but is visible now.
        key_lock::wait_for_followers(self.task_type, self.key);
        if self.find(id).is_some() || self.unique_for.is_some() && self.finished().is_some() {
            self.withdraw(id);
            return None;
        }
        Some(id)
    }

    /// Decides what happens to the task that exists. `None` if it has changed meanwhile.
    fn meet(&self, found: Found) -> Option<i64> {
        match self.if_exists {
            IfExists::Keep => Some(found.id),
            IfExists::Error => self.refuse(found.id),
            IfExists::Replace | IfExists::Debounce => match self.replace_unless_running(found.id) {
                None | Some(Replacement::UnderWay) => self.follow(found.id),
                Some(Replacement::Done) => Some(found.id),
                Some(Replacement::Changed) => None,
            },
        }
    }

    /// Replaces a task; `None` if a worker runs it. A worker that only looks whether it may run the task locks it for a
    /// moment.
    fn replace_unless_running(&self, id: i64) -> Option<Replacement> {
        for _ in 0..MAX_LOOKS {
            let tried = key_lock::while_not_running(id, || self.replace(id));
            if tried.is_some() || is_shown(id) {
                return tried;
            }
            pgrx::check_for_interrupts!();
            std::thread::sleep(LOOK);
        }
        None
    }

    /// Replaces a task that no worker can start meanwhile.
    fn replace(&self, id: i64) -> Replacement {
        match self.find(0) {
            Some(found) if found.id == id && found.is_under_way => return Replacement::UnderWay,
            Some(found) if found.id == id => {}
            _ => return Replacement::Changed,
        }
        let args = [
            id.into_datum(),
            self.payload,
            self.scheduled_at,
            self.priority,
            self.debounce_limit,
            self.queue_key,
        ];
        if self.write(&REPLACE, &args).is_some() {
            return Replacement::Done;
        }
        if transaction::has_one_snapshot() {
            log::refuse(
                PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
                "could not serialize access due to concurrent update".into(),
                "The transaction might succeed if retried.".into(),
            );
        }
        Replacement::Changed
    }

    /// Enqueues a task that starts after a running one; `None` if the situation has changed meanwhile.
    fn follow(&self, running: i64) -> Option<i64> {
        key_lock::lock_follower(self.task_type, self.key);
        let id = self.insert_follower(running);
        if id.is_none() {
            // The lock must not be held while the insertion of a first task waits for another one.
            key_lock::unlock_follower(self.task_type, self.key);
        }
        id
    }

    fn insert_follower(&self, running: i64) -> Option<i64> {
        if self.find(0)?.id != running {
            return None;
        }
        let id = self.insert(Some(running))?;
        // If the running task has ended, another session may have enqueued one that is not in the way of this row.
        if self.find(id).is_none_or(|found| found.id != running) {
            self.withdraw(id);
            return None;
        }
        Some(id)
    }

    fn insert(&self, follows: Option<i64>) -> Option<i64> {
        let args = [
            self.task_type.into_datum(),
            self.payload,
            self.scheduled_at,
            self.priority,
            self.key.into_datum(),
            self.debounce_limit,
            follows.and_then(IntoDatum::into_datum),
            self.queue_key,
        ];
        self.write(&INSERT, &args)
    }

    fn withdraw(&self, id: i64) {
        if self.write(&WITHDRAW, &[id.into_datum()]).is_none() {
            pgrx::error!("task {id} could not be withdrawn");
        }
    }

    fn write(&self, statement: &Statement, args: &[Arg]) -> Option<i64> {
        session::as_definer(self.owner, || statement.row_as_is(args, |row: &spi::Row| row.get(1)).flatten())
    }

    fn refuse(&self, id: i64) -> ! {
        let shown = log::excerpt(self.key, 100);
        log::refuse(
            PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
            format!("task {id} of type \"{}\" has the unique key \"{shown}\" already", self.task_type),
            "To have its id returned instead, set _if_exists to keep, replace or debounce.".into(),
        )
    }
}

/// The result of an attempt to replace a task.
#[derive(Clone, Copy)]
enum Replacement {
    Done,
    UnderWay,
    /// It has ended, or another one follows it.
    Changed,
}
