//! Orphaned calls.

use crate::pg::jsonb;
use crate::pg::spi::{Arg, Row, Statement};
use crate::shared::{Owner, TaskId};
use crate::slot::MySlot;
use crate::worker::tables::Tables;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{INT4OID, INT8ARRAYOID, INT8OID};

static ORPHANS: Statement = Statement::new(
    include_str!("../../../../sql/runtime/call_orphans.sql"),
    &[INT8ARRAYOID, INT8OID, INT8OID],
);
static LAST_OWNER: Statement = Statement::new(include_str!("../../../../sql/runtime/last_owner.sql"), &[]);
static CALL_RECLAIM: Statement = Statement::new(
    include_str!("../../../../sql/runtime/call_reclaim.sql"),
    &[INT8OID, INT8ARRAYOID, INT8OID, INT4OID, INT8OID],
);

/// Size limit of a stored request as text, in bytes. Because of escapes, the text is longer than what is sent.
const MAX_REQUEST_TEXT: usize = 512 * 1024 * 1024;

/// A call whose worker no longer exists.
pub struct Orphan {
    pub task_id: TaskId,
    pub task_type: String,
    pub provider: String,
    pub key: String,
    /// JSON text of the stored request, or the reason why there is none.
    pub request: Result<String, String>,
    pub answered: bool,
    /// Seconds since the request was stored.
    pub age: f64,
    /// The first task of the batch in which the request was sent.
    pub batch: Option<TaskId>,
    /// The number of tasks of that batch.
    pub batch_size: usize,
}

/// The latest owner of an open call.
pub fn last_owner(tables: &Tables) -> Option<Owner> {
    tables.as_owner(|| LAST_OWNER.row(&[], |row| row.get(1)).flatten()).map(Owner::new)
}

/// Takes over up to `limit` orphaned calls.
pub fn take(slot: MySlot, tables: &Tables, limit: usize) -> Vec<Orphan> {
    let (live, bound) = slot.live_owners();
    let args: [Arg; 5] = [
        tables.worker.get().into_datum(),
        live.into_datum(),
        bound.into_datum(),
        (limit as i32).into_datum(),
        tables.origin.into_datum(),
    ];
    tables.locking_tasks(|| tables.changing_owners(|| CALL_RECLAIM.rows(&args, orphan)))
}

fn orphan(row: &Row) -> Orphan {
    Orphan {
        task_id: TaskId::new(row.get(c"task_id").unwrap_or_default()),
        task_type: row.get(c"task_type").unwrap_or_default(),
        provider: row.get(c"provider").unwrap_or_default(),
        key: row.get(c"idempotency_key").unwrap_or_default(),
        request: row.keep(c"request").ok_or_else(|| "there is none".to_owned()).and_then(|request| {
            let too_long = |_| format!("it has more than {MAX_REQUEST_TEXT} bytes as text");
            jsonb::to_text(request, MAX_REQUEST_TEXT).map_err(too_long)
        }),
        answered: row.get(c"is_answered").unwrap_or_default(),
        age: row.get(c"age").unwrap_or_default(),
        batch: row.get(c"batch").map(TaskId::new),
        batch_size: row.get::<i32>(c"batch_size").unwrap_or(1) as usize,
    }
}

/// True if there are orphaned calls.
pub fn exist(slot: MySlot, tables: &Tables) -> bool {
    let (live, bound) = slot.live_owners();
    let args: [Arg; 3] = [live.into_datum(), bound.into_datum(), tables.origin.into_datum()];
    tables.as_owner(|| ORPHANS.row(&args, |row| row.get(1)).flatten()) == Some(true)
}
