//! The head of a database's queue: the tasks that are handed out next, in order, and the positions up to which the
//! table has been read.
//!
//! All of it is a hint. A worker that takes a task from here still has to lock the row. A sweep, which reads the table
//! from its start, finds the tasks that are missing here.

use super::line::{Known, Line, NOBODY, Window};
use crate::ids::DatabaseId;
use crate::key_line::{Key, KeyEntry, KeyLine};
use crate::lane::{LANES, Lane, LaneSet};
use crate::numbers::NEVER;
use crate::position::{Candidate, Class, Position};

/// The number of tasks in the window of the local lane.
pub const WINDOW: usize = 64;
/// The number of tasks in the window of a lane of a provider or of a task type, and in that of each lane's prioritized
/// tasks.
pub const CALL_WINDOW: usize = 8;

/// A time before all tasks that fall due, about 4300 BC, in microseconds since 2000-01-01. Each correction of the clock
/// makes it earlier.
const LONG_AGO: i64 = -200_000_000_000_000_000;

/// The result of a worker's search for a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    Task(Lane, Candidate),
    /// The worker has to read the tasks of this class after this position, in the order of
    /// [`Ageing::place`](crate::Ageing::place) if the lane's tasks age, and pass them to [`Queue::publish`].
    Read(Lane, Class, Position),
    /// A key that may have a task to run, which the worker's slot shows from now on.
    Key(Lane, KeyEntry),
    /// The worker has to read the keys of the lane after this one and pass them to `Shared::publish_keys`.
    ReadKeys(Lane, Key),
    /// Another worker is reading.
    Wait,
    Nothing,
}

/// The tasks that a worker has read.
pub struct Read<'a> {
    pub lane: Lane,
    /// The class that was read. [`Queue::add`] takes tasks of both.
    pub class: Class,
    /// In the order of the line.
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
    pub(crate) key_lines: [KeyLine; LANES],
    pub(crate) local_keys: [KeyEntry; WINDOW],
    pub(crate) lane_keys: [[KeyEntry; CALL_WINDOW]; LANES - 1],
    /// No task with a key was there when the table was read last, and none has been announced since.
    pub(crate) keys_unused: bool,
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
        key_lines: [KeyLine::NEW; LANES],
        local_keys: [KeyEntry::NONE; WINDOW],
        lane_keys: [[KeyEntry::NONE; CALL_WINDOW]; LANES - 1],
        keys_unused: false,
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

    /// Opens all lanes of task types that wait for the end of a task.
    pub(super) fn open_types(&mut self) {
        let first = Lane::of_type(0).index();
        for line in self.lines[first..].iter_mut().filter(|line| line.opens_at == NEVER) {
            (line.opens_at, line.account) = (i64::MIN, 0);
        }
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
            None => read.tasks.last().map_or(line.cursor, |task| line.ageing.place(task.position)),
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
            let line = self.line_of(read.lane, read.class).line;
            line.rewind(line.ageing.place(last.position));
        }
    }

    /// Ends the reads of the worker of `slot`, which publishes nothing.
    pub fn stop_reading(&mut self, slot: usize) {
        self.all_lines().filter(|line| line.reader == slot as u32).for_each(Line::stop_reading);
        self.key_lines.iter_mut().filter(|line| line.reader == slot as u32).for_each(KeyLine::stop_reading);
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
        let line = self.line_of(lane, first.class()).line;
        // Others of these tasks may come before it if they age.
        line.rewind(if line.ageing.is_none() { first.before() } else { Position::START });
    }

    /// Lets all tasks be read again.
    pub fn rewind_all(&mut self) {
        self.unused = false;
        self.all_lines().for_each(|line| line.rewind(Position::START));
        self.note_keys();
        self.rewind_keys(LaneSet::ALL);
    }

    /// Forgets all known tasks, since they may wait in other lanes or in another order now. They are read again.
    pub(super) fn forget_known(&mut self) {
        self.all_lines().for_each(|line| line.len = 0);
        self.key_lines.iter_mut().for_each(|line| line.len = 0);
        self.rewind_all();
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
mod take;
#[cfg(test)]
mod tests;
