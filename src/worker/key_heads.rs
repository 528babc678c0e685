//! Reads the first two tasks of a queue key, and how many of its tasks are busy without a worker that runs them.

use super::columns;
use super::tables::Tables;
use crate::pg::backend;
use crate::pg::spi::{Row, Statement, text, timestamp};
use crate::pg::table::Seen;
use crate::pg::table::order::Place;
use crate::shared::{Key, KeyEntry, KeyPlace, TaskId};
use pg_errand_queue::Address;
use pgrx::IntoDatum;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TIMESTAMPTZOID};

static KEY_HEAD: Statement = Statement::new(
    include_str!("../../sql/runtime/key_head.sql"),
    &[INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, INT8OID],
);

/// One of the first tasks of a key.
pub struct Head {
    pub place: KeyPlace,
    pub task_type: String,
    pub priority: i16,
    pub address: Option<Address>,
    pub is_due: bool,
    /// It is neither between the steps of a call nor deferred.
    pub is_free: bool,
    pub is_paused: bool,
    /// How many tasks of the key are between the steps of a call or leased.
    pub busy: u32,
}

impl Head {
    pub fn id(&self) -> TaskId {
        TaskId::new(self.place.task_id)
    }
}

/// The values of the first columns of the indexes of keys.
pub fn prefix(tables: &Tables, key: Key) -> [i64; 3] {
    [tables.origin, key.task_type, key.queue_key]
}

/// The first two tasks of a key as of now.
pub fn read(tables: &Tables, entry: &KeyEntry) -> Vec<Head> {
    tables.tasks.lock_for_writing();
    let may_be_paused = tables.may_have_paused_keys();
    let directly = |after| (!may_be_paused).then(|| read_directly(tables, entry.key, after)).flatten();
    let read_after = |after| directly(after).unwrap_or_else(|| read_by_statement(tables, entry.key, after));
    let found = entry.after.map(|after| read_after(Some(after))).unwrap_or_default();
    // Changes that were not announced may have put tasks before it.
    if found.is_empty() { read_after(None) } else { found }
}

/// Does the same as key_head.sql without the executor, except for pauses; `None` if this is not possible.
fn read_directly(tables: &Tables, key: Key, after: Option<KeyPlace>) -> Option<Vec<Head>> {
    let (prefix, now) = (prefix(tables, key), backend::now());
    let mut busy = 0;
    let is_counted = tables.tasks.in_order(columns::BUSY, &prefix, None, |row, _| {
        busy += u32::from(is_calling(row) || is_deferred(row, now));
        true
    });
    let mut heads = Vec::with_capacity(2);
    let place = after.map(|KeyPlace { scheduled_at, task_id }| Place { time: scheduled_at, id: task_id });
    let is_read = is_counted
        && tables.tasks.in_order(columns::KEYED, &prefix, place, |row, address| {
            heads.push(head_of_row(row, address, busy, now));
            heads.len() < 2
        });
    is_read.then_some(heads)
}

/// A task of a key that is not paused.
pub fn head_of_row(row: &Seen, address: Option<Address>, busy: u32, now: i64) -> Head {
    let number = |column| row.get(column).map_or(0, |datum| datum.value() as i64);
    let scheduled_at = number(columns::SCHEDULED_AT);
    Head {
        place: KeyPlace { scheduled_at, task_id: number(columns::TASK_ID) },
        task_type: row.get(columns::TASK_TYPE).and_then(text).unwrap_or_default(),
        priority: number(columns::PRIORITY) as i16,
        address,
        is_due: scheduled_at <= now,
        is_free: !is_calling(row) && !is_deferred(row, now),
        is_paused: false,
        busy,
    }
}

fn is_calling(row: &Seen) -> bool {
    row.get(columns::CALLING).is_some_and(|calling| calling.value() != 0)
}

fn is_deferred(row: &Seen, now: i64) -> bool {
    row.get(columns::NOT_BEFORE).is_some_and(|time| time.value() as i64 > now)
}

fn read_by_statement(tables: &Tables, key: Key, after: Option<KeyPlace>) -> Vec<Head> {
    let [origin, task_type, queue_key] = prefix(tables, key).map(|part| part.into_datum());
    let KeyPlace { scheduled_at, task_id } =
        after.unwrap_or(KeyPlace { scheduled_at: i64::MIN, task_id: i64::MIN });
    let args = [origin, task_type, queue_key, timestamp(scheduled_at), task_id.into_datum()];
    tables.as_owner(|| KEY_HEAD.rows_as_of_now(&args, head_of_result))
}

fn head_of_result(row: &Row) -> Head {
    Head {
        place: KeyPlace {
            scheduled_at: row.get::<TimestampWithTimeZone>(c"scheduled_at").map_or(i64::MIN, i64::from),
            task_id: row.get(c"task_id").unwrap_or_default(),
        },
        task_type: row.get(c"task_type").unwrap_or_default(),
        priority: row.get(c"priority").unwrap_or_default(),
        address: row.address(c"ctid"),
        is_due: row.get(c"is_due") == Some(true),
        is_free: row.get(c"is_free") == Some(true),
        is_paused: row.get(c"is_paused") == Some(true),
        busy: row.get::<i64>(c"busy").map_or(0, |busy| busy.try_into().unwrap_or(u32::MAX)),
    }
}
