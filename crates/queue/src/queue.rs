//! The head of a database's queue: the tasks that are handed out next, in order, and the positions up to which the
//! table has been read.
//!
//! All of it is a hint. A worker that takes a task from here still has to lock the row. A sweep, which reads the table
//! from its start, finds the tasks that are missing here.

use super::line::{Known, Line, NOBODY, Window};
use crate::ids::DatabaseId;
use crate::lane::{LANES, Lane, LaneSet, Sources};
use crate::numbers::NEVER;
use crate::position::{Candidate, Position};

/// The number of tasks in the window of the local lane.
pub const WINDOW: usize = 64;
/// The number of tasks in the window of a provider's lane.
pub const CALL_WINDOW: usize = 8;

/// How long a requested sweep waits while tasks are known, in microseconds.
const SWEEP_PATIENCE: i64 = 10_000;

/// The result of a worker's search for a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    Task(Lane, Candidate),
    /// The worker has to read the tasks after this position and pass them to [`Queue::publish`].
    Read(Lane, Position),
    /// Another worker is reading.
    Wait,
    Nothing,
}

/// Which tasks a sweep looks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sweep {
    /// Deferred tasks whose time has come.
    Deferred,
    /// All ready tasks, from the start of the table.
    All,
}

/// The tasks that a worker has read.
pub struct Read<'a> {
    pub lane: Lane,
    /// Ordered by position.
    pub tasks: &'a [Candidate],
    /// The time as of which every ready task was read, in microseconds since 2000-01-01. `None` means that there may be
    /// more tasks.
    pub all_due_at: Option<i64>,
}

/// The head of a database's queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Queue<const WINDOW: usize = 64, const CALL_WINDOW: usize = 8> {
    /// The database, or [`DatabaseId::NONE`] if the entry is free.
    pub database: DatabaseId,
    lines: [Line; LANES],
    local: [Candidate; WINDOW],
    calls: [[Candidate; CALL_WINDOW]; LANES - 1],
    /// The time of some deferred tasks may have come.
    pub deferred_due: bool,
    /// The time by which a requested sweep has to begin, in microseconds since 2000-01-01; `NEVER` if none is requested.
    sweep_by: i64,
    /// The start of the last sweep, in microseconds since 2000-01-01.
    pub swept_at: i64,
    /// The earliest time of the next periodic sweep, in microseconds since 2000-01-01.
    pub no_sweep_before: i64,
}

impl<const WINDOW: usize, const CALL_WINDOW: usize> Queue<WINDOW, CALL_WINDOW> {
    /// The queue of a database whose workers have read nothing yet.
    pub fn new(database: DatabaseId) -> Self {
        Queue { database, ..Self::FREE }
    }

    /// The size of a lane's window.
    pub fn window(lane: Lane) -> usize {
        if lane == Lane::LOCAL { WINDOW } else { CALL_WINDOW }
    }

    pub const FREE: Self = Queue {
        database: DatabaseId::NONE,
        lines: [Line::NEW; LANES],
        local: [Candidate::NONE; WINDOW],
        calls: [[Candidate::NONE; CALL_WINDOW]; LANES - 1],
        deferred_due: false,
        sweep_by: NEVER,
        swept_at: i64::MIN,
        no_sweep_before: i64::MIN,
    };

    fn lane(&mut self, lane: Lane) -> Window<'_> {
        let tasks = match lane.index() {
            0 => &mut self.local[..],
            call => &mut self.calls[call - 1][..],
        };
        Window { line: &mut self.lines[lane.index()], tasks }
    }

    /// Removes the next task from the window for the worker of `slot`, or returns what the worker has to do first.
    /// `occupied` is true for pages on which another worker is briefly busy. Workers use different pages, since they
    /// would otherwise wait for each other's page locks.
    pub fn take(&mut self, slot: usize, sources: Sources, now: i64, occupied: impl Fn(u32) -> bool) -> Next {
        let mut reading = false;
        let mut first: Option<(Position, Lane)> = None;
        for lane in sources.lanes.iter() {
            if self.lines[lane.index()].opens_at > now && !sources.shut_too.holds(lane) {
                continue;
            }
            let window = self.lane(lane);
            if window.wants_reading() {
                if window.line.reader == NOBODY {
                    window.line.reader = slot as u32;
                    return Next::Read(lane, window.line.cursor);
                }
                reading = true;
            }
            if let Some(next) = window.next()
                && first.is_none_or(|(known, _)| next < known)
            {
                first = Some((next, lane));
            }
        }
        match first.and_then(|(_, lane)| Some((lane, self.lane(lane).take(occupied)?))) {
            Some((lane, task)) => Next::Task(lane, task),
            None if reading => Next::Wait,
            None => Next::Nothing,
        }
    }

    /// True if a worker that takes from `lanes` would find a task, or tasks to read.
    pub fn has_more(&self, lanes: LaneSet, now: i64) -> bool {
        let lines = lanes.iter().map(|lane| &self.lines[lane.index()]).filter(|line| line.opens_at <= now);
        lines.into_iter().any(|line| line.len > 0 || line.is_unread())
    }

    fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.len == 0)
    }

    /// Hands out no task of a lane before `opens_at`, or before `account` (0: none) accepts requests again.
    pub fn shut(&mut self, lane: Lane, opens_at: i64, account: u64) {
        let line = &mut self.lines[lane.index()];
        (line.opens_at, line.account) = (opens_at, account);
    }

    /// Opens the lanes that wait for the end of a call of `account`; true if there are any. `resumed` also opens lanes that
    /// wait for a time, because the provider accepts requests again.
    pub fn open(&mut self, account: u64, resumed: bool) -> bool {
        let mut any = false;
        let is_it = |line: &&mut Line| line.account == account && (resumed || line.opens_at == NEVER);
        for line in self.lines.iter_mut().filter(is_it) {
            (line.opens_at, line.account) = (i64::MIN, 0);
            any = true;
        }
        any
    }

    /// The lanes that have tasks in their window.
    pub fn waiting(&self) -> LaneSet {
        let waits = |lane: &Lane| self.lines[lane.index()].len > 0;
        LaneSet::ALL.iter().filter(waits).fold(LaneSet::NONE, LaneSet::with)
    }

    /// The time at which the next lane opens that may have tasks.
    pub fn opens_at(&self, now: i64) -> i64 {
        let shut = self.lines.iter().filter(|line| line.opens_at > now && (line.len > 0 || line.is_unread()));
        shut.map(|line| line.opens_at).min().unwrap_or(NEVER)
    }

    /// Adds what the reader of a lane has found. `running` is true for tasks that a worker runs.
    pub fn publish(&mut self, read: &Read, running: impl Fn(i64) -> bool) {
        let mut window = self.lane(read.lane);
        let line = &mut *window.line;
        line.known = match read.all_due_at {
            None => Known::Part,
            Some(_) if line.low == Position::END => Known::All,
            Some(_) => Known::Announced,
        };
        let end = match read.all_due_at {
            Some(time) => Position::after_all_due(time),
            None => read.tasks.last().map_or(line.cursor, |task| task.position),
        };
        line.cursor = line.cursor.max(end);
        line.stop_reading();
        let new = read.tasks.iter().filter(|task| !running(task.position.task_id));
        new.for_each(|task| window.insert(*task));
    }

    /// Adds what a sweep has found. If it has found all, and every announced task is known, the cursor moves after it.
    pub fn sweep(&mut self, read: &Read, running: impl Fn(i64) -> bool) {
        self.add(read, running);
        let line = &mut self.lines[read.lane.index()];
        if let Some(time) = read.all_due_at.filter(|_| line.known == Known::All && line.reader == NOBODY) {
            line.cursor = line.cursor.max(Position::after_all_due(time));
        }
    }

    /// Adds tasks that were found otherwise than by reading on from the cursor.
    pub fn add(&mut self, read: &Read, running: impl Fn(i64) -> bool) {
        let mut window = self.lane(read.lane);
        let new = read.tasks.iter().filter(|task| !running(task.position.task_id));
        new.for_each(|task| window.insert(*task));
        if read.all_due_at.is_none()
            && let Some(last) = read.tasks.last()
        {
            window.line.rewind(last.position);
        }
    }

    /// The sweep that the caller has to do at `now`. `interval` is the time between periodic sweeps, in microseconds.
    pub fn begin_sweep(&mut self, now: i64, interval: i64) -> Option<Sweep> {
        if !self.wants_sweep(now, interval) {
            return None;
        }
        self.deferred_due = false;
        if self.sweep_by == NEVER && !self.is_swept_late(now, interval) {
            return Some(Sweep::Deferred);
        }
        self.sweep_by = NEVER;
        self.swept_at = now;
        Some(Sweep::All)
    }

    pub fn wants_sweep(&self, now: i64, interval: i64) -> bool {
        let asked = self.sweep_by <= now || self.sweep_by != NEVER && self.is_empty();
        self.deferred_due || asked || self.is_swept_late(now, interval)
    }

    /// Requests a sweep. Known tasks are handed out first, for `SWEEP_PATIENCE` at most.
    pub fn ask_for_sweep(&mut self, now: i64) {
        self.sweep_by = self.sweep_by.min(now + SWEEP_PATIENCE);
    }

    fn is_swept_late(&self, now: i64, interval: i64) -> bool {
        self.swept_at.saturating_add(interval) <= now && self.no_sweep_before <= now
    }

    /// Ends the reads of the worker of `slot`, which publishes nothing.
    pub fn stop_reading(&mut self, slot: usize) {
        self.lines.iter_mut().filter(|line| line.reader == slot as u32).for_each(Line::stop_reading);
    }

    /// Adds a single announced task. `all_due_known` is true if every task that has fallen due has been looked for.
    pub fn hand_over(&mut self, lane: Lane, task: Position, all_due_known: bool) {
        self.lane(lane).hand_over(task, all_due_known);
    }

    /// Takes back a task that was handed out.
    pub fn hand_back(&mut self, lane: Lane, task: Position) {
        self.lane(lane).hand_over(task, false);
    }

    /// Moves the cursor back to `first`, the first of several announced tasks.
    pub fn rewind(&mut self, lane: Lane, first: Position) {
        self.lines[lane.index()].rewind(first.before());
    }

    /// Makes workers look for a task that has fallen due. Such a task is after the cursor, but a read that is in
    /// progress may have begun too early to see it.
    pub fn note_due(&mut self) {
        self.deferred_due = true;
        self.lines.iter_mut().for_each(|line| line.rewind(Position::END.before()));
    }
}

#[cfg(feature = "inspect")]
impl<const WINDOW: usize, const CALL_WINDOW: usize> Queue<WINDOW, CALL_WINDOW> {
    pub fn line(&self, lane: Lane) -> &Line {
        &self.lines[lane.index()]
    }

    pub fn line_mut(&mut self, lane: Lane) -> &mut Line {
        &mut self.lines[lane.index()]
    }

    pub fn sweep_by(&self) -> i64 {
        self.sweep_by
    }

    /// The tasks in the window of a lane, the next one last.
    pub fn known(&self, lane: Lane) -> &[Candidate] {
        let tasks = match lane.index() {
            0 => &self.local[..],
            call => &self.calls[call - 1][..],
        };
        &tasks[..self.line(lane).len]
    }
}

#[cfg(test)]
mod tests;
