//! Reads the queue keys that may have a task to run, each with one search in the index.

use super::columns;
use super::key_heads;
use super::tables::Tables;
use crate::inject;
use crate::pg::backend;
use crate::pg::spi::{Arg, Row, Statement, text, timestamp};
use crate::queue_key;
use crate::shared::{Class, Key, KeyEntry, Lane, LaneSet, Queue, ReadKeys};
use crate::slot::MySlot;
use crate::task_definition::TaskDefinitions;
use pgrx::IntoDatum;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT4OID, INT8OID, TIMESTAMPTZOID};

static NEXT_TYPE: Statement =
    Statement::new(include_str!("../../sql/runtime/next_key_type.sql"), &[INT8OID, INT8OID]);
static READ_KEYS: Statement = Statement::new(
    include_str!("../../sql/runtime/read_keys.sql"),
    &[INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, BOOLOID, INT4OID],
);
static READ_DUE: Statement = Statement::new(
    include_str!("../../sql/runtime/read_keys_due.sql"),
    &[INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID],
);
static END_PAUSES: Statement =
    Statement::new(include_str!("../../sql/runtime/end_key_pauses.sql"), &[TIMESTAMPTZOID]);

/// How many keys one step of a read or sweep looks at, at most.
const MAX_STEPS: usize = 512;
/// How many tasks that have fallen due are read one by one.
const MAX_DUE: usize = 64;

/// The keys that were found to have a task to run.
struct Found {
    entries: Vec<KeyEntry>,
    /// The key up to which was read; `None`: to the last one.
    end: Option<Key>,
    is_unused: bool,
}

/// Reads the next keys of a lane whose reader this worker is, in the current transaction.
pub fn fill(slot: MySlot, tables: &Tables, definition_changes: u64, lane: Lane, after: Key) {
    tables.tasks.lock_for_writing();
    let now = backend::now();
    let limit = Queue::window(lane, Class::Plain);
    let Found { entries, end, is_unused } = scan(tables, lane, after, limit, now);
    inject::point("keys_read");
    let read = ReadKeys { entries: &entries, end, now, is_unused };
    slot.publish_keys(lane, &read, definition_changes);
}

/// Looks for keys whose tasks were not announced, a few at a time, and continues there with the next sweep.
pub fn sweep(slot: MySlot, tables: &Tables, definition_changes: u64, lane: Lane) {
    let Found { entries, end, .. } = scan(tables, lane, slot.keys_swept(lane), MAX_STEPS, backend::now());
    let found: Vec<(Lane, KeyEntry)> = entries.into_iter().map(|entry| (lane, entry)).collect();
    slot.add_keys(&found, Some((lane, end.unwrap_or(Key::FIRST))), definition_changes);
}

/// Adds the keys of tasks that have become ready since a time, up to `now`, and those whose pause has ended.
pub fn add_due(slot: MySlot, tables: &Tables, definition_changes: u64, since: i64, now: i64) {
    let definitions = TaskDefinitions::known();
    let args: [Arg; 4] =
        [tables.origin.into_datum(), timestamp(since), timestamp(now), (MAX_DUE as i32).into_datum()];
    let mut found = tables.as_owner(|| READ_DUE.rows(&args, |row| due(&definitions, row)));
    if found.len() >= MAX_DUE {
        slot.rewind_keys(LaneSet::ALL);
    }
    if tables.may_have_paused_keys() {
        found
            .extend(tables.as_owner(|| END_PAUSES.rows(&[timestamp(now)], |row| resumed(&definitions, row))));
    }
    slot.add_keys(&found, None, definition_changes);
}

fn resumed(definitions: &TaskDefinitions, row: &Row) -> (Lane, KeyEntry) {
    let text = |column: i32| row.get::<String>(column).unwrap_or_default();
    queue_key::entry_now(definitions, &text(1), &text(2))
}

fn due(definitions: &TaskDefinitions, row: &Row) -> (Lane, KeyEntry) {
    let task_type: String = row.get(c"task_type").unwrap_or_default();
    let key = Key { queue_key: row.get(c"digest").unwrap_or_default(), ..queue_key::key_of(&task_type, "") };
    let since = row.get::<TimestampWithTimeZone>(c"since").map_or(i64::MIN, i64::from);
    queue_key::entry(definitions, &task_type, key, since, row.get(c"priority").unwrap_or_default())
}

/// Looks at the keys of a lane, until `limit` are found whose first task is ready, or `MAX_STEPS` have been looked at.
fn scan(tables: &Tables, lane: Lane, after: Key, limit: usize, now: i64) -> Found {
    let definitions = TaskDefinitions::known();
    let mut found = Found { entries: Vec::new(), end: None, is_unused: after == Key::FIRST };
    let (mut least, mut steps) = (Some(after.task_type), 0);
    while let Some((digest, task_type)) = least.and_then(|least| next_type(tables, least)) {
        found.is_unused = false;
        least = digest.checked_add(1);
        if definitions.lane_of_type(&task_type) != lane {
            continue;
        }
        let mut last = if digest == after.task_type { after.queue_key } else { i64::MIN };
        let max_running = queue_key::limits(&definitions, &task_type).max_running;
        loop {
            let wanted = limit - found.entries.len();
            let keys =
                read(tables, &Wanted { task_type: digest, after: last, max_running, limit: wanted, now });
            let Some((end, _)) = keys.last() else { break };
            last = end.key.queue_key;
            steps += keys.len();
            let is_all = keys.len() < wanted;
            found.entries.extend(keys.iter().filter(|(_, is_ready)| *is_ready).map(|(entry, _)| *entry));
            if found.entries.len() == limit || steps >= MAX_STEPS {
                found.end = Some(Key { task_type: digest, queue_key: last });
                return found;
            }
            if is_all {
                break;
            }
        }
    }
    found
}

/// The next type whose tasks have keys, and its digest.
fn next_type(tables: &Tables, least: i64) -> Option<(i64, String)> {
    let args: [Arg; 2] = [tables.origin.into_datum(), least.into_datum()];
    tables.as_owner(|| {
        NEXT_TYPE.row(&args, |row| (row.get(1).unwrap_or_default(), row.get(2).unwrap_or_default()))
    })
}

/// Up to `limit` keys of a type after the one with this digest.
struct Wanted {
    task_type: i64,
    after: i64,
    max_running: u32,
    limit: usize,
    now: i64,
}

/// The keys, and whether the first task of each is ready.
fn read(tables: &Tables, wanted: &Wanted) -> Vec<(KeyEntry, bool)> {
    read_directly(tables, wanted).unwrap_or_else(|| read_by_statement(tables, wanted))
}

/// Does the same as read_keys.sql without the executor, except for pauses; `None` if this is not possible.
fn read_directly(tables: &Tables, wanted: &Wanted) -> Option<Vec<(KeyEntry, bool)>> {
    let Wanted { task_type, after, max_running, limit, now } = *wanted;
    if tables.may_have_paused_keys() {
        return None;
    }
    let mut found = Vec::with_capacity(limit);
    let is_read = tables.tasks.firsts(columns::KEYED, &[tables.origin, task_type], after, |row| {
        let head = key_heads::head_of_row(row, None, 0, now);
        let queue_key = row.get(columns::QUEUE_KEY).and_then(text)?;
        let key = Key { task_type, ..queue_key::key_of("", &queue_key) };
        let since = head.place.scheduled_at;
        let is_ready = head.is_due && (max_running > 1 || head.is_free);
        found.push((KeyEntry { key, since, priority: head.priority, max_running, after: None }, is_ready));
        (found.len() < limit).then_some(key.queue_key)
    });
    is_read.then_some(found)
}

fn read_by_statement(tables: &Tables, wanted: &Wanted) -> Vec<(KeyEntry, bool)> {
    let Wanted { task_type, after, max_running, limit, now } = *wanted;
    let args: [Arg; 6] = [
        tables.origin.into_datum(),
        task_type.into_datum(),
        after.into_datum(),
        timestamp(now),
        (max_running == 1).into_datum(),
        (limit as i32).into_datum(),
    ];
    tables.as_owner(|| {
        READ_KEYS.rows(&args, |row| {
            let entry = KeyEntry {
                key: Key { task_type, queue_key: row.get(c"digest").unwrap_or_default() },
                since: row.get::<TimestampWithTimeZone>(c"scheduled_at").map_or(i64::MIN, i64::from),
                priority: row.get(c"priority").unwrap_or_default(),
                max_running,
                after: None,
            };
            (entry, row.get(c"is_ready") == Some(true))
        })
    })
}
