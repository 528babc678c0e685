//! The head of a database's queue: the tasks that are handed out next, in order, and the positions up to which the
//! table has been read.
//!
//! All of it is a hint. A worker that takes a task from here still has to lock the row. A sweep, which reads the table
//! from its start, finds the tasks that are missing here.

use super::line::{Known, Line, NOBODY, Window};
use crate::ids::DatabaseId;
use crate::lane::{LANES, Lane, LaneSet, Sources};
use crate::numbers::NEVER;
use crate::position::{Candidate, Class, Position};

/// The number of tasks in the window of the local lane.
pub const WINDOW: usize = 64;
/// The number of tasks in the window of a provider's lane, and in that of each lane's prioritized tasks.
pub const CALL_WINDOW: usize = 8;

/// A time before all tasks that fall due, about 4300 BC, in microseconds since 2000-01-01. Each correction of the clock
/// makes it earlier.
const LONG_AGO: i64 = -200_000_000_000_000_000;

/// The result of a worker's search for a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    Task(Lane, Candidate),
    /// The worker has to read the tasks of this class after this position and pass them to [`Queue::publish`].
    Read(Lane, Class, Position),
    /// Another worker is reading.
    Wait,
    Nothing,
}

/// The tasks that a worker has read.
pub struct Read<'a> {
    pub lane: Lane,
    /// The class that was read. [`Queue::add`] takes tasks of both.
    pub class: Class,
    /// Ordered by position.
    pub tasks: &'a [Candidate],
    /// The time as of which every ready task was read, in microseconds since 2000-01-01. `None` means that there may be
    /// more tasks.
    pub all_due_at: Option<i64>,
    /// The database has no unfinished prioritized task, of any lane and time.
    pub is_unused: bool,
}

/// The head of a database's queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Queue<const WINDOW: usize = 64, const CALL_WINDOW: usize = 8> {
    /// The database, or [`DatabaseId::NONE`] if the entry is free.
    pub database: DatabaseId,
    lines: [Line; LANES],
    local: [Candidate; WINDOW],
    calls: [[Candidate; CALL_WINDOW]; LANES - 1],
    prioritized_lines: [Line; LANES],
    prioritized: [[Candidate; CALL_WINDOW]; LANES],
    /// No prioritized task was there when the table was read last, and none has been announced since.
    unused: bool,
    /// Prioritized tasks before the cursors that were due at this time have been looked for, in microseconds since
    /// 2000-01-01.
    looked_for: i64,
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

    /// The size of the window of a lane's tasks of one class.
    pub fn window(lane: Lane, class: Class) -> usize {
        if (lane, class) == (Lane::LOCAL, Class::Plain) { WINDOW } else { CALL_WINDOW }
    }

    pub const FREE: Self = Queue {
        database: DatabaseId::NONE,
        lines: [Line::NEW; LANES],
        local: [Candidate::NONE; WINDOW],
        calls: [[Candidate::NONE; CALL_WINDOW]; LANES - 1],
        prioritized_lines: [Line::NEW; LANES],
        prioritized: [[Candidate::NONE; CALL_WINDOW]; LANES],
        unused: false,
        looked_for: LONG_AGO,
        deferred_due: false,
        sweep_by: NEVER,
        swept_at: i64::MIN,
        no_sweep_before: i64::MIN,
    };

    fn line_of(&mut self, lane: Lane, class: Class) -> Window<'_> {
        let index = lane.index();
        if class == Class::Prioritized {
            let (line, tasks) = (&mut self.prioritized_lines[index], &mut self.prioritized[index][..]);
            return Window { line, tasks };
        }
        let tasks = match index {
            0 => &mut self.local[..],
            call => &mut self.calls[call - 1][..],
        };
        Window { line: &mut self.lines[index], tasks }
    }

    fn lines_of(&self, lane: Lane) -> [&Line; 2] {
        [&self.prioritized_lines[lane.index()], &self.lines[lane.index()]]
    }

    fn all_lines(&mut self) -> impl Iterator<Item = &mut Line> {
        self.prioritized_lines.iter_mut().chain(&mut self.lines)
    }

    fn is_open(&self, lane: Lane, now: i64) -> bool {
        self.lines[lane.index()].opens_at <= now
    }

    /// Removes the next task from the window for the worker of `slot`, or returns what the worker has to do first.
    /// `occupied` is true for pages on which another worker is briefly busy. Workers use different pages, since they
    /// would otherwise wait for each other's page locks.
    pub fn take(&mut self, slot: usize, sources: Sources, now: i64, occupied: impl Fn(u32) -> bool) -> Next {
        let mut reading = false;
        let mut first: Option<(Position, Lane)> = None;
        for lane in sources.lanes.iter() {
            if !self.is_open(lane, now) && !sources.shut_too.holds(lane) {
                continue;
            }
            for class in Class::ALL {
                let window = self.line_of(lane, class);
                if window.wants_reading() {
                    if window.line.reader == NOBODY {
                        window.line.reader = slot as u32;
                        return Next::Read(lane, class, window.line.cursor);
                    }
                    reading = true;
                }
                if let Some(next) = window.next()
                    && first.is_none_or(|(known, _)| next < known)
                {
                    first = Some((next, lane));
                }
            }
        }
        match first.and_then(|(next, lane)| Some((lane, self.line_of(lane, next.class()).take(occupied)?))) {
            Some((lane, task)) => Next::Task(lane, task),
            None if reading => Next::Wait,
            None => Next::Nothing,
        }
    }

    /// True if a worker that takes from `lanes` would find a task, or tasks to read.
    pub fn has_more(&self, lanes: LaneSet, now: i64) -> bool {
        lanes.iter().any(|lane| self.is_open(lane, now) && self.may_have_tasks(lane))
    }

    fn may_have_tasks(&self, lane: Lane) -> bool {
        self.lines_of(lane).iter().any(|line| line.len > 0 || line.is_unread())
    }

    fn is_empty(&self) -> bool {
        self.waiting() == LaneSet::NONE
    }

    /// Hands out no task of a lane before `opens_at`, or before `account` (0: none) accepts requests again.
    pub fn shut(&mut self, lane: Lane, opens_at: i64, account: u64) {
        let line = &mut self.lines[lane.index()];
        (line.opens_at, line.account) = (opens_at, account);
    }

    /// When a closed lane opens; `None` if it is open.
    pub fn closed(&self, lane: Lane, now: i64) -> Option<i64> {
        Some(self.lines[lane.index()].opens_at).filter(|opens_at| *opens_at > now)
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
        let waits = |lane: &Lane| self.lines_of(*lane).iter().any(|line| line.len > 0);
        LaneSet::ALL.iter().filter(waits).fold(LaneSet::NONE, LaneSet::with)
    }

    /// The time at which the next lane opens that may have tasks.
    pub fn opens_at(&self, now: i64) -> i64 {
        let shut = LaneSet::ALL.iter().filter(|lane| !self.is_open(*lane, now) && self.may_have_tasks(*lane));
        shut.map(|lane| self.lines[lane.index()].opens_at).min().unwrap_or(NEVER)
    }

    /// Adds what the reader of a lane has found. `running` is true for tasks that a worker runs.
    pub fn publish(&mut self, read: &Read, running: impl Fn(i64) -> bool) {
        let mut window = self.line_of(read.lane, read.class);
        let line = &mut *window.line;
        let is_unused = read.is_unused && line.low == Position::END;
        line.known = match read.all_due_at {
            None => Known::Part,
            Some(_) if line.low == Position::END => Known::All,
            Some(_) => Known::Announced,
        };
        let end = match read.all_due_at {
            Some(time) => read.class.after_all_due(time),
            None => read.tasks.last().map_or(line.cursor, |task| task.position),
        };
        line.cursor = line.cursor.max(end);
        line.stop_reading();
        let new = read.tasks.iter().filter(|task| !running(task.position.task_id));
        new.for_each(|task| window.insert(*task));
        self.unused |= is_unused;
    }

    /// Adds what a sweep has found. If it has found all, and every announced task is known, the cursor moves after it.
    pub fn sweep(&mut self, read: &Read, running: impl Fn(i64) -> bool) {
        self.add(read, running);
        let line = self.line_of(read.lane, read.class).line;
        if let Some(time) = read.all_due_at.filter(|_| line.known == Known::All && line.reader == NOBODY) {
            line.cursor = line.cursor.max(read.class.after_all_due(time));
        }
    }

    /// Adds tasks that were found otherwise than by reading on from the cursor.
    pub fn add(&mut self, read: &Read, running: impl Fn(i64) -> bool) {
        let new = read.tasks.iter().filter(|task| !running(task.position.task_id));
        new.for_each(|task| self.line_of(read.lane, task.position.class()).insert(*task));
        if read.all_due_at.is_none()
            && let Some(last) = read.tasks.last()
        {
            self.line_of(read.lane, read.class).line.rewind(last.position);
        }
    }

    /// Ends the reads of the worker of `slot`, which publishes nothing.
    pub fn stop_reading(&mut self, slot: usize) {
        self.all_lines().filter(|line| line.reader == slot as u32).for_each(Line::stop_reading);
    }

    /// Adds a single announced task. `all_due_known` is true if every task that has fallen due has been looked for.
    pub fn hand_over(&mut self, lane: Lane, task: Position, all_due_known: bool) {
        self.line_of(lane, task.class()).hand_over(task, all_due_known);
    }

    /// Takes back a task that was handed out.
    pub fn hand_back(&mut self, lane: Lane, task: Position) {
        self.line_of(lane, task.class()).hand_over(task, false);
    }

    /// Moves the cursor back to `first`, the first of several announced tasks.
    pub fn rewind(&mut self, lane: Lane, first: Position) {
        self.line_of(lane, first.class()).line.rewind(first.before());
    }

    /// Lets all tasks be read again.
    pub fn rewind_all(&mut self) {
        self.unused = false;
        self.all_lines().for_each(|line| line.rewind(Position::START));
    }

    /// Notes that there may be prioritized tasks, also such that are not due.
    pub fn note_prioritized(&mut self) {
        self.unused = false;
        // A read that is in progress may have begun too early to see them.
        let read = self.prioritized_lines.iter_mut().filter(|line| line.reader != NOBODY);
        read.for_each(|line| line.rewind(Position::END.before()));
    }

    /// Makes workers look for a task that has fallen due. A plain one is after the cursor, but a read that is in
    /// progress may have begun too early to see it. A prioritized one may be anywhere, and is looked for by a sweep.
    pub fn note_due(&mut self) {
        self.deferred_due = true;
        self.lines.iter_mut().for_each(|line| line.rewind(Position::END.before()));
    }
}

#[cfg(feature = "inspect")]
mod inspect;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;
