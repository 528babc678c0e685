//! Task types whose tasks have queue keys, and the statements that read such tasks.

use crate::row::{Row, task_id};
use crate::world::lane;
use pg_errand_queue::{Key, KeyEntry, KeyPlace, Lane, ReadKeys};
use std::collections::HashMap;

/// The number of such types.
pub const KEY_TYPES: usize = 4;
/// The number of keys that a read looks at, at most.
pub const MAX_STEPS: usize = 8;
/// The number of keys that a sweep looks at, at most.
pub const MAX_SWEPT: usize = 20;
/// The number of tasks that have fallen due which are read one by one.
pub const MAX_DUE: usize = 5;

/// What a task definition says of the keys of its tasks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct KeyType {
    pub lane: Lane,
    pub max_running: u32,
}

pub type KeyTypes = [KeyType; KEY_TYPES];

/// `queues.paused_key`: until when keys are paused.
pub type Pauses = HashMap<Key, i64>;

pub fn key_types() -> KeyTypes {
    let of = |lane, max_running| KeyType { lane, max_running };
    [of(Lane::LOCAL, 1), of(Lane::LOCAL, 2), of(lane(1), 1), of(Lane::of_type(1), 1)]
}

pub fn key(key_type: usize, number: usize) -> Key {
    Key { task_type: key_type as i64, queue_key: number as i64 }
}

pub fn type_of_key(types: &KeyTypes, key: Key) -> KeyType {
    types[key.task_type as usize]
}

/// `queue_key::entry`.
pub fn entry(types: &KeyTypes, key: Key, since: i64, priority: i16) -> (Lane, KeyEntry) {
    let KeyType { lane, max_running } = type_of_key(types, key);
    (lane, KeyEntry { key, since, priority, max_running, after: None })
}

/// The unfinished tasks of a key, in order.
pub fn tasks_of(rows: &[Row], key: Key) -> Vec<usize> {
    let is_of = |task: &usize| rows[*task].key == Some(key) && rows[*task].is_open();
    let mut tasks: Vec<usize> = (0..rows.len()).filter(is_of).collect();
    tasks.sort_by_key(|task| (rows[*task].scheduled_at, task_id(*task)));
    tasks
}

/// The result of `key_head.sql`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Head {
    pub task: usize,
    is_due: bool,
    /// It is neither between the steps of a call nor deferred.
    pub is_free: bool,
    is_paused: bool,
    /// The priority of a second task that is due.
    pub follower: Option<i16>,
    pub busy: u32,
}

impl Head {
    /// True if a worker looks for a task of the key.
    pub fn is_due(&self) -> bool {
        self.is_due && !self.is_paused
    }
}

/// The first task of a key after a place, or of all if there is none.
pub fn head(rows: &[Row], pauses: &Pauses, key: Key, after: Option<KeyPlace>, now: i64) -> Option<Head> {
    let mut tasks = tasks_of(rows, key);
    let busy = tasks.iter().filter(|task| rows[**task].is_busy(now)).count() as u32;
    let is_behind = |task: &usize| {
        let KeyPlace { scheduled_at, task_id } = place(rows, *task);
        after.is_none_or(|after| (scheduled_at, task_id) > (after.scheduled_at, after.task_id))
    };
    if tasks.iter().any(is_behind) {
        tasks.retain(is_behind);
    }
    let task = *tasks.first()?;
    let row = &rows[task];
    Some(Head {
        task,
        is_due: row.scheduled_at <= now,
        is_free: row.owner.is_none() && row.not_before.is_none_or(|time| time <= now),
        is_paused: pauses.get(&key).is_some_and(|until| *until > now),
        follower: tasks
            .get(1)
            .map(|second| &rows[*second])
            .filter(|second| second.scheduled_at <= now)
            .map(|second| second.priority),
        busy,
    })
}

pub fn place(rows: &[Row], task: usize) -> KeyPlace {
    KeyPlace { scheduled_at: rows[task].scheduled_at, task_id: task_id(task) }
}

/// The keys that a worker has read.
#[derive(Clone, PartialEq, Debug)]
pub struct FoundKeys {
    pub entries: Vec<KeyEntry>,
    pub end: Option<Key>,
    pub is_unused: bool,
    pub now: i64,
}

impl FoundKeys {
    pub fn read(&self) -> ReadKeys<'_> {
        let FoundKeys { ref entries, end, is_unused, now } = *self;
        ReadKeys { entries, end, now, is_unused }
    }
}

/// What a reader knows, and where it reads.
pub struct Scan<'a> {
    pub types: &'a KeyTypes,
    pub pauses: &'a Pauses,
    pub lane: Lane,
    pub after: Key,
    pub limit: usize,
    pub steps: usize,
    pub now: i64,
}

/// `read_keys::scan`.
pub fn scan(rows: &[Row], from: &Scan) -> FoundKeys {
    let mut keys: Vec<Key> = rows.iter().filter(|row| row.is_open()).filter_map(|row| row.key).collect();
    keys.sort();
    keys.dedup();
    let is_unused = from.after == Key::FIRST && keys.is_empty();
    let mut found = FoundKeys { entries: Vec::new(), end: None, is_unused, now: from.now };
    let mut steps = 0;
    for key in keys.into_iter().filter(|key| *key > from.after) {
        let KeyType { lane, max_running } = type_of_key(from.types, key);
        let Some(head) = head(rows, from.pauses, key, None, from.now).filter(|_| lane == from.lane) else {
            continue;
        };
        if head.is_due() && (max_running > 1 || head.is_free) {
            let row = &rows[head.task];
            found.entries.push(entry(from.types, key, row.scheduled_at, row.priority).1);
        }
        steps += 1;
        if found.entries.len() == from.limit || steps >= from.steps {
            found.end = Some(key);
            return found;
        }
    }
    found
}

/// `read_keys_due.sql`.
pub fn read_due(rows: &[Row], types: &KeyTypes, since: i64, now: i64) -> Vec<(Lane, KeyEntry)> {
    let has_become = |time: i64| time > since && time <= now;
    let with_key = || rows.iter().filter(|row| row.is_open()).filter_map(|row| Some((row, row.key?)));
    let scheduled = with_key().map(|(row, key)| (row.scheduled_at, row, key));
    let deferred = with_key().filter_map(|(row, key)| Some((row.not_before?, row, key)));
    let first = |found: &mut dyn Iterator<Item = (i64, &Row, Key)>| {
        let mut found: Vec<_> = found
            .filter(|(time, ..)| has_become(*time))
            .map(|(time, row, key)| entry(types, key, time, row.priority))
            .collect();
        found.sort_by_key(|(_, entry)| entry.since);
        found.truncate(MAX_DUE);
        found
    };
    let mut found = first(&mut { scheduled });
    found.extend(first(&mut { deferred }));
    found
}
