//! The columns of `queues.task` and `queues.call` that are read and changed without a statement, by name. They are
//! defined in sql/20_task.sql and sql/40_call.sql.

use crate::pg::shape::{Column, Inserts, Shape, columns};
use crate::pg::table::Table;
use crate::pg::table::order::Order;
use pgrx::pg_sys::Oid;

columns! { TASK_COLUMNS:
    TASK_ID = "task_id bigint not null",
    TASK_TYPE = "task_type text not null",
    PAYLOAD = "payload jsonb not null",
    ENQUEUED_AT = "enqueued_at timestamp with time zone not null",
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
    QUEUE_KEY = "queue_key text",
    IDEMPOTENCY_KEY = "idempotency_key text",
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

/// The predicate of the index of ready tasks without a priority.
const READY: &str =
    "((finished_at IS NULL) AND (NOT calling) AND (priority IS NULL) AND (queue_key IS NULL))";

/// The index of unfinished tasks of queue keys, in the order of each key, and its place in the list of orders.
const KEYED_INDEX: &str = "USING btree (origin, hashtextextended(task_type, (0)::bigint), \
    hashtextextended(queue_key, (0)::bigint), scheduled_at, task_id) \
    WHERE ((finished_at IS NULL) AND (queue_key IS NOT NULL))";
pub const KEYED: Order = Order(0);
/// The index of those that keep their key busy although no worker runs them.
const BUSY_INDEX: &str = "USING btree (origin, hashtextextended(task_type, (0)::bigint), \
    hashtextextended(queue_key, (0)::bigint)) \
    WHERE ((finished_at IS NULL) AND (queue_key IS NOT NULL) AND (calling OR leased))";
pub const BUSY: Order = Order(1);

static TASKS: Shape = Shape::new(
    TASK_COLUMNS,
    &[DEQUEUED_AT, ATTEMPTS, LEASED, NOT_BEFORE, CALLING, FINISHED_AT, FINAL_STATUS, OUTCOME],
    // Each of these changes ends the task, or begins its call and clears not_before. Rows with a unique key are changed by
    // statements, and so is the begin of the call of a task with a queue key.
    &[
        READY,
        "((finished_at IS NULL) AND (NOT calling) AND (priority IS NOT NULL) AND (queue_key IS NULL))",
        "((finished_at IS NULL) AND (queue_key IS NOT NULL))",
        "((finished_at IS NULL) AND (queue_key IS NOT NULL) AND (calling OR leased))",
        "((finished_at IS NULL) AND (not_before IS NOT NULL))",
        "(unique_key IS NOT NULL)",
        // A task that does not succeed is ended by a statement.
        "((finished_at IS NOT NULL) AND (final_status <> 'succeeded'::text))",
    ],
    None,
    &[KEYED_INDEX, BUSY_INDEX],
);

static CALLS: Shape = Shape::new(
    CALL_COLUMNS,
    // Statements change these columns, too.
    &[CALL_OWNER, CALL_REQUEST, CALL_RESPONDED_AT, CALL_RESPONSE, CALL_FAILURE, CALL_BATCH, CALL_BATCH_SIZE],
    &["(request IS NOT NULL)"],
    Some(Inserts { trigger: None, are_false: &[] }),
    &[],
);

pub fn tasks(oid: Oid, owner: Oid) -> Table {
    Table { oid, owner, shape: &TASKS }
}

pub fn calls(oid: Oid, owner: Oid) -> Table {
    Table { oid, owner, shape: &CALLS }
}
