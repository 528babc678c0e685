//! The window and the cursor of one line: the tasks of a lane that are of one class.

use crate::ageing::Ageing;
use crate::position::{Candidate, Position};

/// The knowledge of the tasks after the cursor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Known {
    /// No task is after the cursor.
    All,
    /// Some tasks after the cursor were announced.
    Announced,
    /// The last read found as many tasks as it requested, so there may be more.
    Part,
}

/// The value of [`Line::reader`] while no worker reads.
pub const NOBODY: u32 = u32::MAX;

/// The state of a line. A lane is shut by its line of plain tasks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    /// How its tasks age. The window, `cursor` and `low` are in the order of [`Ageing::place`].
    pub ageing: Ageing,
    /// The position from which the table is read next. Every ready task before it has been handed out, or was announced
    /// and is covered by `low`.
    pub cursor: Position,
    /// The position before the first task that was announced during the current read.
    pub low: Position,
    /// The slot of the worker that reads, or [`NOBODY`].
    pub reader: u32,
    pub known: Known,
    /// The number of tasks in the window.
    pub len: usize,
    /// The provider of the lane accepts no request before this time, in microseconds since 2000-01-01. `NEVER` means
    /// not before a call of `account` has ended.
    pub opens_at: i64,
    /// The account that the lane waits for; 0 if there is none.
    pub account: u64,
}

/// A lane together with the tasks of its window. The next task is the last of the slice.
pub(super) struct Window<'a> {
    pub line: &'a mut Line,
    pub tasks: &'a mut [Candidate],
}

impl Line {
    pub(super) const NEW: Line = Line {
        ageing: Ageing::NONE,
        cursor: Position::START,
        low: Position::END,
        reader: NOBODY,
        known: Known::Part,
        len: 0,
        opens_at: i64::MIN,
        account: 0,
    };

    /// True if there may be tasks after the cursor and no worker is reading.
    pub(super) fn is_unread(&self) -> bool {
        self.known != Known::All && self.reader == NOBODY
    }

    /// Makes the next read start at `position` or earlier.
    pub(super) fn rewind(&mut self, position: Position) {
        if self.known == Known::All {
            self.known = Known::Announced;
        }
        if self.reader == NOBODY {
            self.cursor = self.cursor.min(position);
        } else {
            self.low = self.low.min(position);
        }
    }

    /// Changes how its tasks age. The window, which has the former order, is read again.
    pub(super) fn age(&mut self, ageing: Ageing) {
        if self.ageing != ageing {
            (self.ageing, self.len) = (ageing, 0);
            self.rewind(Position::START);
        }
    }

    /// Ends the current read, and moves the cursor back to what was announced during it.
    pub(super) fn stop_reading(&mut self) {
        self.reader = NOBODY;
        self.cursor = self.cursor.min(self.low);
        self.low = Position::END;
    }
}

impl Window<'_> {
    pub fn next(&self) -> Option<Position> {
        self.line.len.checked_sub(1).map(|last| self.tasks[last].position)
    }

    /// Takes the first task of the highest priority whose page is not occupied, or else the first task. Tasks that age
    /// have different effective priorities.
    pub fn take(&mut self, occupied: impl Fn(u32) -> bool) -> Option<Candidate> {
        let priority = self.next()?.priority;
        let is_free = |task: &Candidate| {
            self.line.ageing.is_none()
                && task.position.priority == priority
                && !task.address.is_some_and(|address| occupied(address.page))
        };
        let index = self.tasks[..self.line.len].iter().rposition(is_free);
        let index = index.or(self.line.len.checked_sub(1))?;
        let task = self.tasks[index];
        self.tasks.copy_within(index + 1..self.line.len, index);
        self.line.len -= 1;
        Some(task)
    }

    /// True if the table has to be read before the next task is taken: the window is nearly empty, or a task that
    /// precedes those in the window was announced.
    pub fn wants_reading(&self) -> bool {
        // The next read starts early enough for other workers to continue with the rest of the window.
        let enough = if self.line.known == Known::Part { self.tasks.len() * 3 / 8 } else { 0 };
        self.line.known != Known::All
            && (self.line.len <= enough || self.line.cursor < self.place(self.tasks[0].position))
    }

    /// The position of a task in the order of the line.
    fn place(&self, task: Position) -> Position {
        self.line.ageing.place(task)
    }

    /// Adds a task. A full window drops its last task, which is read again later.
    pub fn insert(&mut self, task: Candidate) {
        let place = self.place(task.position);
        let known = &self.tasks[..self.line.len];
        let index = match known.binary_search_by(|known| place.cmp(&self.place(known.position))) {
            Ok(_) => return,
            Err(index) => index,
        };
        if self.line.len == self.tasks.len() {
            let dropped = if index == 0 { task } else { self.tasks[0] };
            self.line.rewind(self.place(dropped.position).before());
            if index > 0 {
                self.tasks.copy_within(1..index, 0);
                self.tasks[index - 1] = task;
            }
        } else {
            self.tasks.copy_within(index..self.line.len, index + 1);
            self.tasks[index] = task;
            self.line.len += 1;
        }
    }

    /// Adds a task that is due. It is added to the window if all earlier tasks are known; otherwise it is read later.
    /// `passes` is true if no unknown task before it is due; the cursor then moves past the task.
    pub fn hand_over(&mut self, task: Position, passes: bool) {
        if self.line.known == Known::All && self.line.reader == NOBODY && self.line.len < self.tasks.len() {
            self.insert(Candidate { position: task, address: None });
            if passes {
                self.line.cursor = self.line.cursor.max(self.place(task));
            }
        } else {
            self.line.rewind(self.place(task).before());
        }
    }
}
