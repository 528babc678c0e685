//! The columns of `queues.task` and `queues.call` that are read and changed without a statement, by name. They are
//! defined in sql/20_task.sql and sql/40_call.sql.

use crate::pg::shape::{Column, Shape};
use crate::pg::table::Table;
use pgrx::pg_sys::Oid;

/// Defines a [`Column`] for each entry of a list of column definitions, which shape.sql compares with the catalogs. The
/// first one is the key.
macro_rules! columns {
    ($list:ident: $($column:ident = $definition:literal,)*) => {
        const $list: &[&str] = &[$($definition),*];
        columns!(@numbered 0; $($column,)*);
    };
    (@numbered $place:expr; $column:ident, $($others:ident,)*) => {
        pub const $column: Column = Column($place);
        columns!(@numbered $place + 1; $($others,)*);
    };
    (@numbered $place:expr;) => {};
}

columns! { TASK_COLUMNS:
    TASK_ID = "task_id bigint not null",
    TASK_TYPE = "task_type text not null",
    PAYLOAD = "payload jsonb not null",
    SCHEDULED_AT = "scheduled_at timestamp with time zone not null",
    DEQUEUED_AT = "dequeued_at timestamp with time zone",
    ATTEMPTS = "attempts integer not null",
    LEASED = "leased boolean not null",
    NOT_BEFORE = "not_before timestamp with time zone",
    CALLING = "calling boolean not null",
    FINISHED_AT = "finished_at timestamp with time zone",
    FINAL_STATUS = "final_status text",
    OUTCOME = "outcome text",
    ORIGIN = "origin bigint not null",
    PRIORITY = "priority smallint",
    UNIQUE_KEY = "unique_key text",
}

columns! { CALL_COLUMNS:
    CALL_TASK_ID = "task_id bigint not null",
    CALL_OWNER = "owner bigint not null",
    CALL_PROVIDER = "provider text not null",
    CALL_KEY = "idempotency_key text not null",
    CALL_REQUEST = "request jsonb",
    CALL_REQUESTED_AT = "requested_at timestamp with time zone not null default clock_timestamp()",
    CALL_RESPONDED_AT = "responded_at timestamp with time zone",
    CALL_RESPONSE = "response jsonb",
    CALL_FAILURE = "failure jsonb",
    CALL_BATCH = "batch bigint",
    CALL_BATCH_SIZE = "batch_size integer",
}

static TASKS: Shape = Shape::new(
    TASK_COLUMNS,
    &[DEQUEUED_AT, ATTEMPTS, LEASED, NOT_BEFORE, CALLING, FINISHED_AT, FINAL_STATUS, OUTCOME],
    // Each of these changes ends the task, or begins its call and clears not_before. Rows with a unique key are changed by
    // statements.
    &[
        "((finished_at IS NULL) AND (NOT calling) AND (priority IS NULL))",
        "((finished_at IS NULL) AND (NOT calling) AND (priority IS NOT NULL))",
        "((finished_at IS NULL) AND (not_before IS NOT NULL))",
        "(unique_key IS NOT NULL)",
    ],
    false,
);

static CALLS: Shape = Shape::new(
    CALL_COLUMNS,
    // Statements change these columns, too.
    &[CALL_OWNER, CALL_REQUEST, CALL_RESPONDED_AT, CALL_RESPONSE, CALL_FAILURE, CALL_BATCH, CALL_BATCH_SIZE],
    &["(request IS NOT NULL)"],
    true,
);

pub fn tasks(oid: Oid, owner: Oid) -> Table {
    Table { oid, owner, shape: &TASKS }
}

pub fn calls(oid: Oid, owner: Oid) -> Table {
    Table { oid, owner, shape: &CALLS }
}
