//! Read: fills the windows of the queue's lanes, from which workers claim. Each read continues where the last one
//! ended. A sweep occasionally starts again at the beginning of the table, to find tasks that were not announced.

use super::{read_keys, tables::Tables};
use crate::config;
use crate::error::PgError;
use crate::inject;
use crate::pg::spi::{Arg, Row, Statement, timestamp};
use crate::pg::{activity, backend, transaction};
use crate::shared::{Candidate, Class, Lane, Position, Queue, Read, Sweep};
use crate::slot::MySlot;
use crate::task_definition::TaskDefinitions;
use pgrx::IntoDatum;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT2OID, INT4OID, INT8OID, TEXTARRAYOID, TIMESTAMPTZOID};

static READ: Statement = Statement::new(
    include_str!("../../sql/runtime/read.sql"),
    &[INT8OID, TEXTARRAYOID, BOOLOID, TIMESTAMPTZOID, INT8OID, INT4OID, TIMESTAMPTZOID],
);
static READ_PRIORITIZED: Statement = Statement::new(
    include_str!("../../sql/runtime/read_prioritized.sql"),
    &[INT8OID, TEXTARRAYOID, BOOLOID, TIMESTAMPTZOID, INT8OID, INT4OID, TIMESTAMPTZOID, INT2OID],
);
static NEXT_PRIORITY: Statement =
    Statement::new(include_str!("../../sql/runtime/next_priority.sql"), &[INT8OID, INT2OID]);
static READ_DEFERRED: Statement = Statement::new(
    include_str!("../../sql/runtime/read_deferred.sql"),
    &[INT8OID, TEXTARRAYOID, BOOLOID, INT4OID],
);

/// Sweeps use at most this fraction of a worker's time, whatever `pg_errand.poll_interval` is. While an old snapshot is
/// held, a sweep scans the entries of all tasks that have finished since.
const SWEEP_SHARE: i64 = 50;

/// Reads the next tasks of a line whose reader this worker is, in the current transaction.
pub fn fill(
    slot: MySlot,
    tables: &Tables,
    definition_changes: u64,
    (lane, class): (Lane, Class),
    after: Position,
) {
    tables.tasks.lock_for_writing();
    let found = read(tables, lane, class, after);
    inject::point("read");
    slot.publish(&found.of(lane, class), definition_changes);
}

/// The result of a read, see [`Read`].
struct Found {
    tasks: Vec<Candidate>,
    all_due_at: Option<i64>,
    is_unused: bool,
}

impl Found {
    fn of(&self, lane: Lane, class: Class) -> Read<'_> {
        let Found { ref tasks, all_due_at, is_unused } = *self;
        Read { lane, class, tasks, all_due_at, is_unused }
    }
}

/// The ready tasks of a class after a position. If there are no more, also the time as of which they were read.
fn read(tables: &Tables, lane: Lane, class: Class, after: Position) -> Found {
    match class {
        Class::Plain => read_plain(tables, lane, after),
        Class::Prioritized => read_prioritized(tables, lane, after),
    }
}

fn read_plain(tables: &Tables, lane: Lane, after: Position) -> Found {
    let (now, limit) = (backend::now(), Queue::window(lane, Class::Plain));
    let tasks =
        tables.as_owner(|| READ.rows(&args(tables, lane, after, limit, now), |row| candidate(row, 0)));
    let is_all = tasks.len() < limit;
    Found { tasks, all_due_at: is_all.then_some(now), is_unused: false }
}

/// Reads one priority after the other, from the priority of the position; if tasks of the lane age, from the first one.
fn read_prioritized(tables: &Tables, lane: Lane, after: Position) -> Found {
    let now = backend::now();
    let ageing = TaskDefinitions::known().ageing_of(lane);
    let first = if ageing.is_none() { after.priority } else { i16::MAX };
    let mut priorities = priorities(tables, first).peekable();
    let is_unused = priorities.peek().is_none() && after == Position::START;
    let starts = priorities.map(|priority| match priority == after.priority || !ageing.is_none() {
        true => ageing.at_place(after, priority),
        false => Position { priority, ..Position::START },
    });
    Found { is_unused, ..read_levels(tables, lane, starts, now) }
}

/// The prioritized tasks that have fallen due since a time, up to `now`.
fn read_due(tables: &Tables, lane: Lane, since: i64, now: i64) -> Found {
    let after = Class::Plain.after_all_due(since);
    let starts = priorities(tables, i16::MAX).map(|priority| Position { priority, ..after });
    read_levels(tables, lane, starts, now)
}

/// The ready tasks of each of these priorities after its position. If tasks of the lane age, the first ones of each
/// priority are put into their common order.
fn read_levels(tables: &Tables, lane: Lane, starts: impl Iterator<Item = Position>, now: i64) -> Found {
    let limit = Queue::window(lane, Class::Prioritized);
    let ageing = TaskDefinitions::known().ageing_of(lane);
    let mut tasks: Vec<Candidate> = Vec::new();
    for after in starts {
        let rest = if ageing.is_none() { limit - tasks.len() } else { limit };
        let args = args(tables, lane, after, rest, now);
        let args: Vec<Arg> = args.into_iter().chain([after.priority.into_datum()]).collect();
        tasks.extend(tables.as_owner(|| READ_PRIORITIZED.rows(&args, |row| candidate(row, after.priority))));
        if ageing.is_none() && tasks.len() == limit {
            break;
        }
    }
    let is_all = tasks.len() < limit;
    if !ageing.is_none() {
        tasks.sort_unstable_by_key(|task| ageing.place(task.position));
        tasks.truncate(limit);
    }
    Found { tasks, all_due_at: is_all.then_some(now), is_unused: false }
}

/// The priorities in use that are not above this one, the highest first.
fn priorities(tables: &Tables, most: i16) -> impl Iterator<Item = i16> {
    let below = |priority: &i16| priority.checked_sub(1).and_then(|most| next_priority(tables, most));
    std::iter::successors(next_priority(tables, most), below)
}

/// The arguments of read.sql.
fn args(tables: &Tables, lane: Lane, after: Position, limit: usize, now: i64) -> [Arg; 7] {
    [
        tables.origin.into_datum(),
        TaskDefinitions::known().types_for(lane).into_datum(),
        (lane != Lane::LOCAL).into_datum(),
        timestamp(after.scheduled_at),
        after.task_id.into_datum(),
        (limit as i32).into_datum(),
        timestamp(now),
    ]
}

/// The highest priority in use that is not above this one.
fn next_priority(tables: &Tables, most: i16) -> Option<i16> {
    let args: [Arg; 2] = [tables.origin.into_datum(), most.into_datum()];
    tables.as_owner(|| NEXT_PRIORITY.row(&args, |row| row.get(c"priority"))).flatten()
}

/// The tasks of a lane whose deferral has ended.
fn read_deferred(tables: &Tables, lane: Lane) -> Vec<Candidate> {
    let args: [Arg; 4] = [
        tables.origin.into_datum(),
        TaskDefinitions::known().types_for(lane).into_datum(),
        (lane != Lane::LOCAL).into_datum(),
        (Queue::window(lane, Class::Plain) as i32).into_datum(),
    ];
    tables.as_owner(|| READ_DEFERRED.rows(&args, |row| candidate(row, row.get(4).unwrap_or_default())))
}

/// A row of these statements. Columns are named by their numbers, which takes less time for each task.
fn candidate(row: &Row, priority: i16) -> Candidate {
    let position = Position {
        scheduled_at: row.get::<TimestampWithTimeZone>(1).map_or(i64::MIN, i64::from),
        task_id: row.get(2).unwrap_or_default(),
        priority,
    };
    Candidate { position, address: row.address(3) }
}

/// Sweeps the lanes for ready tasks that were not announced: once per `pg_errand.poll_interval`, when a deferred task
/// falls due, and when another process requests it.
pub fn sweep_if_due(slot: MySlot, tables: &Tables, definition_changes: u64) -> Result<(), PgError> {
    let now = backend::now();
    let Some(wanted) = slot.begin_sweep(now, config::poll_interval()) else { return Ok(()) };
    activity::running(format_args!("looking for tasks"));
    // In this order, so that the clock was not set back between the two unless this is noticed.
    let (due_since, now) = (slot.due_since(), backend::now());
    let swept = transaction::commit_after(|| {
        for lane in TaskDefinitions::known().lanes().iter() {
            let deferred = read_deferred(tables, lane);
            if deferred.len() == Queue::window(lane, Class::Plain) && wanted == Sweep::Due {
                slot.ask_for_sweep();
            }
            let deferred = Found { tasks: deferred, all_due_at: Some(now), is_unused: false };
            slot.add(&deferred.of(lane, Class::Plain), definition_changes);
            if let Some(since) = due_since.filter(|_| wanted == Sweep::Due) {
                let found = read_due(tables, lane, since, now);
                slot.add(&found.of(lane, Class::Prioritized), definition_changes);
            }
            if wanted == Sweep::All {
                read_keys::sweep(slot, tables, definition_changes, lane);
            }
            for class in Class::ALL.into_iter().filter(|_| wanted == Sweep::All) {
                let found = read(tables, lane, class, Position::START);
                slot.sweep(&found.of(lane, class), definition_changes);
            }
        }
        if let Some(since) = due_since {
            read_keys::add_due(slot, tables, definition_changes, since, now);
            slot.note_looked_for(since, now);
        }
    });
    if wanted == Sweep::All {
        // The time at which a task falls due may not have been announced, either.
        slot.change_database(|database| database.due_unknown = true);
        slot.pause_sweeps(now.saturating_add((backend::now() - now).saturating_mul(SWEEP_SHARE)));
    }
    if swept.is_err() {
        slot.ask_for_sweep();
    }
    swept
}
