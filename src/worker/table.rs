//! The tables `queues.task` and `queues.call`, for those who read and change their rows without a
//! statement: see sql/20_task.sql and sql/40_call.sql.

use crate::pg::table::Table;
use pgrx::pg_sys::Oid;

// Numbers of the columns of `queues.task`.
pub const TASK_ID: usize = 1;
pub const TASK_TYPE: usize = 2;
pub const PAYLOAD: usize = 3;
pub const SCHEDULED_AT: usize = 5;
pub const DEQUEUED_AT: usize = 6;
pub const ATTEMPTS: usize = 7;
pub const LEASED: usize = 8;
pub const HELD_UNTIL: usize = 9;
pub const CALLING: usize = 10;
pub const FINISHED_AT: usize = 11;
pub const FINAL_STATUS: usize = 12;
pub const OUTCOME: usize = 13;
pub const ORIGIN: usize = 14;

/// The table as sql/ makes it: its primary key, `task_ready` and `task_held`; triggers before insert and
/// update, after delete and truncate.
pub fn tasks(oid: Oid) -> Table {
    Table { oid, indexes: 3, triggers: 4, filled: 9 }
}

/// The number of a column of `queues.call`.
pub const CALL_REQUEST: usize = 5;

/// Its primary key and `call_open`; no triggers.
pub fn calls(oid: Oid) -> Table {
    Table { oid, indexes: 2, triggers: 0, filled: 5 }
}
