//! The tables `queues.task` and `queues.call`, for those who read and change their rows without a
//! statement: see sql/20_task.sql and sql/40_call.sql.

use crate::pg::shape::Shape;
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
pub const NOT_BEFORE: usize = 9;
pub const CALLING: usize = 10;
pub const FINISHED_AT: usize = 11;
pub const FINAL_STATUS: usize = 12;
pub const OUTCOME: usize = 13;
pub const ORIGIN: usize = 14;

// Numbers of the columns of `queues.call`.
pub const CALL_OWNER: usize = 2;
pub const CALL_REQUEST: usize = 5;
pub const CALL_ANSWERED_AT: usize = 7;
pub const CALL_ANSWER: usize = 8;
pub const CALL_FAILURE: usize = 9;
pub const CALL_BATCH: usize = 10;
pub const CALL_BATCH_SIZE: usize = 11;

static TASKS: Shape = Shape::new(
    &[
        "task_id bigint not null",
        "task_type text not null",
        "payload jsonb not null",
        "enqueued_at timestamp with time zone not null",
        "scheduled_at timestamp with time zone not null",
        "dequeued_at timestamp with time zone",
        "attempts integer not null",
        "leased boolean not null",
        "not_before timestamp with time zone",
        "calling boolean not null",
        "finished_at timestamp with time zone",
        "final_status text",
        "outcome text",
        "origin bigint not null",
    ],
    &[
        DEQUEUED_AT as i16,
        ATTEMPTS as i16,
        LEASED as i16,
        NOT_BEFORE as i16,
        CALLING as i16,
        FINISHED_AT as i16,
        FINAL_STATUS as i16,
        OUTCOME as i16,
    ],
    // Each change ends the task, or has it wait for its call and clears not_before.
    &["((finished_at IS NULL) AND (NOT calling))", "((finished_at IS NULL) AND (not_before IS NOT NULL))"],
    false,
);

static CALLS: Shape = Shape::new(
    &[
        "task_id bigint not null",
        "owner bigint not null",
        "provider text not null",
        "idempotency_key text not null",
        "request jsonb",
        "requested_at timestamp with time zone not null default clock_timestamp()",
        "responded_at timestamp with time zone",
        "response jsonb",
        "failure jsonb",
        "batch bigint",
        "batch_size integer",
    ],
    // By statements, too.
    &[
        CALL_OWNER as i16,
        CALL_REQUEST as i16,
        CALL_ANSWERED_AT as i16,
        CALL_ANSWER as i16,
        CALL_FAILURE as i16,
        CALL_BATCH as i16,
        CALL_BATCH_SIZE as i16,
    ],
    &["(request IS NOT NULL)"],
    true,
);

pub fn tasks(oid: Oid, owner: Oid) -> Table {
    Table { oid, owner, shape: &TASKS }
}

pub fn calls(oid: Oid, owner: Oid) -> Table {
    Table { oid, owner, shape: &CALLS }
}
