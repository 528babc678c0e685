//! The rows of `queues.task`, and the statements that read them.

use pg_errand_queue::{Ageing, Candidate, Class, Key, Lane, NEVER, Position, Read};

/// A row. Its index is `task_id - 1`.
#[derive(Clone, Debug)]
pub struct Row {
    pub lane: Lane,
    pub key: Option<Key>,
    pub scheduled_at: i64,
    pub priority: i16,
    pub not_before: Option<i64>,
    /// A worker outside has leased it until `not_before`.
    pub is_leased: bool,
    pub is_committed: bool,
    pub ends: u32,
    /// The identity of the worker that owns the call of this task.
    pub owner: Option<i64>,
    /// Another session has locked the row.
    pub is_locked: bool,
    /// It was announced when it was due.
    pub is_told: bool,
    /// The task need not be found before the next sweep.
    pub is_disturbed: bool,
    /// The step in which its place in the order was committed last.
    pub placed_in: u64,
}

impl Row {
    pub fn is_open(&self) -> bool {
        self.is_committed && self.ends == 0
    }

    /// True if the task is between the steps of a call, or leased.
    pub fn is_busy(&self, now: i64) -> bool {
        self.is_open()
            && (self.owner.is_some() || self.is_leased && self.not_before.is_some_and(|until| until > now))
    }

    pub fn is_ready(&self, now: i64) -> bool {
        self.is_open()
            && self.owner.is_none()
            && self.scheduled_at <= now
            && self.not_before.is_none_or(|until| until <= now)
    }
}

pub fn task_id(index: usize) -> i64 {
    index as i64 + 1
}

pub fn index(task_id: i64) -> usize {
    (task_id - 1) as usize
}

pub fn position(rows: &[Row], index: usize) -> Position {
    Position {
        scheduled_at: rows[index].scheduled_at,
        task_id: task_id(index),
        priority: rows[index].priority,
    }
}

fn candidate(rows: &[Row], index: usize) -> Candidate {
    Candidate { position: position(rows, index), address: None }
}

/// The result of a read, see [`pg_errand_queue::Read`].
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    pub tasks: Vec<Candidate>,
    pub all_due_at: Option<i64>,
    pub is_unused: bool,
}

impl Found {
    pub fn of(&self, lane: Lane, class: Class) -> Read<'_> {
        Read { lane, class, tasks: &self.tasks, all_due_at: self.all_due_at, is_unused: self.is_unused }
    }
}

/// `read.sql` and `read_prioritized.sql`: the ready tasks of a line after a position, in the order of the line.
pub fn read(
    rows: &[Row],
    (lane, class): (Lane, Class),
    ageing: Ageing,
    after: Position,
    now: i64,
    limit: usize,
) -> Found {
    let place = |position| if class == Class::Prioritized { ageing.place(position) } else { position };
    let is_wanted = |index: &usize| {
        let row = &rows[*index];
        let position = position(rows, *index);
        let is_of = row.lane == lane && row.key.is_none() && position.class() == class;
        is_of && row.is_ready(now) && place(position) > after
    };
    let mut found: Vec<Candidate> =
        (0..rows.len()).filter(is_wanted).map(|index| candidate(rows, index)).collect();
    found.sort_by_key(|candidate| place(candidate.position));
    found.truncate(limit);
    let is_all = found.len() < limit;
    let is_used =
        rows.iter().any(|row| row.priority != 0 && row.key.is_none() && row.is_open() && row.owner.is_none());
    let is_unused = class == Class::Prioritized && after == Position::START && !is_used;
    Found { tasks: found, all_due_at: is_all.then_some(now), is_unused }
}

/// `read::read_due`: the prioritized tasks that have fallen due since a time, up to `now`.
pub fn read_due(rows: &[Row], (lane, ageing): (Lane, Ageing), since: i64, now: i64, limit: usize) -> Found {
    let is_wanted = |index: &usize| {
        let row = &rows[*index];
        let is_of = row.lane == lane && row.key.is_none() && row.priority != 0;
        is_of && row.is_ready(now) && row.scheduled_at > since
    };
    let mut tasks: Vec<Candidate> =
        (0..rows.len()).filter(is_wanted).map(|index| candidate(rows, index)).collect();
    tasks.sort_by_key(|candidate| ageing.place(candidate.position));
    tasks.truncate(limit);
    let all_due_at = (tasks.len() < limit).then_some(now);
    Found { tasks, all_due_at, is_unused: false }
}

/// `read_deferred.sql`: tasks whose deferral has ended.
pub fn read_deferred(rows: &[Row], lane: Lane, now: i64, limit: usize) -> Vec<Candidate> {
    let is_wanted = |index: &usize| {
        let row = &rows[*index];
        row.lane == lane && row.key.is_none() && row.not_before.is_some() && row.is_ready(now)
    };
    (0..rows.len()).filter(is_wanted).take(limit).map(|index| candidate(rows, index)).collect()
}

/// `next_due.sql`: when the next task becomes ready by time alone.
pub fn next_due(rows: &[Row], after: i64) -> i64 {
    let open = rows.iter().filter(|row| row.is_open() && row.owner.is_none());
    let times = open.flat_map(|row| [Some(row.scheduled_at), row.not_before]).flatten();
    times.filter(|time| *time > after).min().unwrap_or(NEVER)
}
