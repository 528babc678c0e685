//! Counts the tasks that wait, by type and by what their rows say, but for those that are in a call, see
//! `sql/87_questions.sql`.

pub mod group;
mod turns;

use crate::home;
use crate::pg::rows::{self, Row, Which};
use crate::pg::spi::Statement;
use crate::pg::{backend, catalog, shmem};
use crate::queue_key;
use crate::shared::ToId;
use crate::task_definition::TaskDefinitions;
use group::{Class, Group, Groups, Place};
use hashbrown::HashMap;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{INT8ARRAYOID, OIDOID};
use pgrx::pg_sys::Oid;
use std::collections::HashSet;
use turns::Turns;

static INDEXES: Statement = Statement::new(include_str!("../../sql/runtime/waiting_indexes.sql"), &[OIDOID]);
static UNFINISHED: Statement =
    Statement::new(include_str!("../../sql/runtime/unfinished_of.sql"), &[INT8ARRAYOID]);
static PAUSED_KEYS: Statement = Statement::new(include_str!("../../sql/runtime/paused_keys_now.sql"), &[]);

const COLUMNS: [&std::ffi::CStr; 10] = [
    c"task_id",
    c"task_type",
    c"scheduled_at",
    c"not_before",
    c"leased",
    c"calling",
    c"finished_at",
    c"queue_key",
    c"origin",
    c"follows",
];
const TASK_ID: usize = 0;
const TASK_TYPE: usize = 1;
const SCHEDULED_AT: usize = 2;
const NOT_BEFORE: usize = 3;
const LEASED: usize = 4;
const CALLING: usize = 5;
const FINISHED_AT: usize = 6;
const QUEUE_KEY: usize = 7;
const ORIGIN: usize = 8;
const FOLLOWS: usize = 9;

/// What is counted of a type.
#[derive(Default)]
struct OfType {
    groups: Groups,
    /// By queue key.
    turns: HashMap<String, Turns>,
}

/// A task that is ready if the one that it follows has ended.
struct Follower {
    task_type: String,
    queue_key: Option<String>,
    task: Place,
    follows: i64,
}

struct Count {
    origin: i64,
    now: i64,
    /// The tasks that workers run, in order.
    active: Vec<i64>,
    types: HashMap<String, OfType>,
    followers: Vec<Follower>,
}

/// Counts the tasks; each group with its type.
pub fn count() -> Vec<(String, Group)> {
    let Some((table, origin)) = catalog::relation(c"queues", c"task").zip(home::origin()) else {
        return Vec::new();
    };
    let mut count =
        Count { origin, now: backend::now(), active: active(), types: HashMap::new(), followers: Vec::new() };
    rows::read(table, &Which::In(&indexes(table)), COLUMNS, |row| {
        count.read(row);
    });
    count.follow();
    count.take_turns();
    let groups = |(task_type, of_type): (String, OfType)| {
        of_type.groups.into_iter().map(move |group| (task_type.clone(), group))
    };
    count.types.into_iter().flat_map(groups).collect()
}

impl Count {
    /// Counts a task, in the order of `queues.explain`. `None` if it does not wait, or is counted elsewhere.
    fn read(&mut self, row: &Row) -> Option<()> {
        let is = |place| row.get::<bool>(place).unwrap_or_default();
        if !row.is_null(FINISHED_AT) {
            return None;
        }
        let task_type = row.text(TASK_TYPE)?;
        let task: Place = (row.get(SCHEDULED_AT)?, row.get(TASK_ID)?);
        let is_own = row.get(ORIGIN) == Some(self.origin);
        let queue_key = row.text(QUEUE_KEY);
        let of_type = self.types.entry_ref(&*task_type).or_default();
        if let Some(key) = queue_key.as_deref().filter(|_| is_own) {
            of_type.turns.entry_ref(key).or_insert(Turns::NOBODY).note(task);
        }
        if is(CALLING) || self.active.binary_search(&task.1).is_ok() {
            return None;
        }
        let not_before = row.get(NOT_BEFORE).filter(|time| *time > self.now);
        let (class, until) = match not_before {
            _ if !is_own => (Class::Unadopted, None),
            _ if task.0 > self.now => (Class::Scheduled, Some(task.0)),
            Some(_) if is(LEASED) => return None,
            Some(until) => (Class::Deferred, Some(until)),
            None => {
                let queue_key = queue_key.as_deref();
                match row.get(FOLLOWS) {
                    Some(follows) => self.followers.push(Follower {
                        task_type: task_type.into_owned(),
                        queue_key: queue_key.map(str::to_owned),
                        task,
                        follows,
                    }),
                    None => of_type.is_ready(queue_key, task),
                }
                return Some(());
            }
        };
        of_type.groups.add(Group::of_one(class, task, until));
        Some(())
    }

    /// Counts the followers.
    fn follow(&mut self) {
        let followers = std::mem::take(&mut self.followers);
        if followers.is_empty() {
            return;
        }
        let ids: Vec<i64> = followers.iter().map(|follower| follower.follows).collect();
        let unfinished: HashSet<i64> =
            UNFINISHED.rows(&[ids.into_datum()], |row| row.get(1)).into_iter().flatten().collect();
        for Follower { task_type, queue_key, task, follows } in followers {
            let of_type = self.types.entry_ref(&*task_type).or_default();
            if unfinished.contains(&follows) {
                of_type.groups.add(Group::of_one(Class::Follows, task, None));
            } else {
                of_type.is_ready(queue_key.as_deref(), task);
            }
        }
    }

    /// Adds the tasks of queue keys to the groups.
    fn take_turns(&mut self) {
        if self.types.values().all(|of_type| of_type.turns.is_empty()) {
            return;
        }
        let paused: HashSet<(String, String)> =
            PAUSED_KEYS.rows(&[], |row| row.get(1).zip(row.get(2))).into_iter().flatten().collect();
        let definitions = TaskDefinitions::now();
        for (task_type, of_type) in &mut self.types {
            let max_running = queue_key::limits(&definitions, task_type).max_running;
            for (key, turns) in std::mem::take(&mut of_type.turns) {
                let is_paused = !paused.is_empty() && paused.contains(&(task_type.clone(), key));
                let groups = turns.groups(is_paused, max_running);
                groups.into_iter().flatten().for_each(|group| of_type.groups.add(group));
            }
        }
    }
}

impl OfType {
    /// Counts a task that nothing but its turn keeps from starting.
    fn is_ready(&mut self, queue_key: Option<&str>, task: Place) {
        match queue_key {
            Some(key) => self.turns.entry_ref(key).or_insert(Turns::NOBODY).add(task),
            None => self.groups.add(Group::of_one(Class::Ready, task, None)),
        }
    }
}

/// The tasks that workers run, or have started since the snapshot was taken, in order.
fn active() -> Vec<i64> {
    if !shmem::available() {
        return Vec::new();
    }
    let database = backend::database().id();
    let mut active: Vec<i64> = shmem::read(|shared| {
        let live = shared.slots_of(database).filter(|slot| slot.is_live());
        live.flat_map(|slot| slot.recent.into_iter().chain([slot.task_id])).filter(|id| *id != 0).collect()
    });
    active.sort_unstable();
    active
}

/// The indexes of the tasks that are counted; none if a user has dropped one.
fn indexes(table: Oid) -> Vec<Oid> {
    let found: Option<Vec<i64>> = INDEXES.rows(&[table.into_datum()], |row| row.get(1)).pop().flatten();
    found.unwrap_or_default().into_iter().map(|index| Oid::from_u32(index as u32)).collect()
}
