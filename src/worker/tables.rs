//! The extension's tables in the worker's database.

use crate::pg::table::Table;
use crate::pg::{catalog, session};
use crate::shared::Owner;
use pgrx::pg_sys;

/// The extension's tables, and what the worker's own statements need to read and write them.
#[derive(Clone, Copy)]
pub struct Tables {
    /// The extension's owner, as which the worker's own statements run.
    pub owner: pg_sys::Oid,
    pub tasks: Table,
    pub calls: Table,
    /// Only tasks of this origin are run here.
    pub origin: i64,
    /// This worker's identity in `queues.call.owner`.
    pub worker: Owner,
}

impl Tables {
    /// Runs one of the worker's own statements.
    pub fn as_owner<R>(&self, statement: impl FnOnce() -> R) -> R {
        session::as_owner(self.owner, statement)
    }

    /// Runs a statement that locks rows of `queues.task` which are changed later in the same transaction.
    pub fn locking_tasks<R>(&self, statement: impl FnOnce() -> R) -> R {
        self.tasks.lock_for_writing();
        self.as_owner(statement)
    }

    /// False if certainly no queue key is paused: the table has no page, and therefore no row.
    pub fn may_have_paused_keys(&self) -> bool {
        !catalog::relation(c"queues", c"paused_key").is_some_and(catalog::has_no_page)
    }

    /// Runs a statement that changes which worker owns a call, or which calls go out in one request. Users' triggers
    /// and rules must not change that, so they are not applied.
    pub fn changing_owners<R>(&self, statement: impl FnOnce() -> R) -> R {
        self.calls.lock_for_writing();
        self.as_owner(
            || if self.calls.is_plain() { statement() } else { session::without_triggers(statement) },
        )
    }
}
