//! The rows, and what all processes share.

use super::Model;
use super::outside::Outside;
use super::worker::Hand;
use crate::broken::Broken;

pub const TASKS: usize = 3;
pub const WORKERS: usize = 2;

/// A task's row, as it is committed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Row {
    Missing,
    Waiting,
    Calling,
    Leased,
    Ended,
}

/// What a worker's slot in shared memory says about the key.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Slot {
    /// The worker decides about a task of the key, or runs or ends one.
    pub shows: bool,
    /// The key was announced meanwhile. The worker has it looked at again when it stops showing it.
    pub again: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub rows: [Row; TASKS],
    /// Tasks that are committed, and not announced yet.
    pub unannounced: [bool; TASKS],
    /// The window has an entry for the key: a worker looks for its next task.
    pub window: bool,
    pub slots: [Slot; WORKERS],
    pub hands: [Hand; WORKERS],
    /// The workers that have found the key locked, and hand it back after a moment.
    pub kept: [bool; WORKERS],
    /// A worker outside holds the key's lock until its transaction ends.
    pub is_locked: bool,
    pub outside: Outside,
    /// The tasks that were visible when each process, a worker outside last, began to look for a task.
    pub seen: [[bool; TASKS]; WORKERS + 1],
    /// A task has started although an earlier one that was visible before waits.
    pub overtaken: bool,
    pub outside_left: u8,
    pub deaths_left: u8,
    pub repeats_left: u8,
}

impl State {
    pub fn new(model: &Model) -> State {
        State {
            rows: [Row::Missing; TASKS],
            unannounced: [false; TASKS],
            window: false,
            slots: [Slot::default(); WORKERS],
            hands: [Hand::Free; WORKERS],
            kept: [false; WORKERS],
            is_locked: false,
            outside: Outside::Free,
            seen: [[false; TASKS]; WORKERS + 1],
            overtaken: false,
            outside_left: model.outside,
            deaths_left: model.deaths,
            repeats_left: model.repeats,
        }
    }

    pub fn enqueue(&mut self, task: usize) {
        self.rows[task] = Row::Waiting;
        self.unannounced[task] = true;
    }

    /// Announces the key: workers that show it look again, or else the window gets an entry.
    pub fn announce(&mut self, model: &Model) {
        if !self.is_shown() {
            self.window = true;
        } else if !model.is(Broken::DroppedWhileShown) {
            self.slots.iter_mut().for_each(|slot| slot.again = slot.shows);
        }
    }

    pub fn is_shown(&self) -> bool {
        self.slots.iter().any(|slot| slot.shows)
    }

    /// Stops showing the key in a slot. `is_worth_a_look`: the worker has seen another task that waits.
    pub fn unshow(&mut self, id: usize, is_worth_a_look: bool) {
        self.seen[id] = [false; TASKS];
        let slot = std::mem::take(&mut self.slots[id]);
        self.window |= is_worth_a_look || slot.again;
    }

    /// The first task that waits, unless one that has started has not ended: what a query finds that reads the committed
    /// rows.
    pub fn next(&self) -> Option<usize> {
        let is_busy = self.rows.iter().any(|row| matches!(row, Row::Calling | Row::Leased));
        self.rows.iter().position(|row| *row == Row::Waiting).filter(|_| !is_busy)
    }

    /// Another task waits: what the query finds that finds `task`.
    pub fn has_follower(&self, task: usize) -> bool {
        self.rows.iter().enumerate().any(|(other, row)| other != task && *row == Row::Waiting)
    }

    /// Notes what is visible to a process that begins to look for a task.
    pub fn begin_to_look(&mut self, process: usize) {
        self.seen[process] = self.rows.map(|row| row != Row::Missing);
    }

    /// Notes that a process starts a task.
    pub fn begin(&mut self, process: usize, task: usize) {
        let waits = |earlier: usize| self.rows[earlier] == Row::Waiting && self.seen[process][earlier];
        self.overtaken |= (0..task).any(waits);
        self.seen[process] = [false; TASKS];
    }

    /// True if no process has locked the row of a waiting task.
    pub fn is_lockable(&self, task: usize) -> bool {
        let locked_inside = self.hands.iter().any(|hand| hand.runs() == Some(task));
        self.rows[task] == Row::Waiting && !locked_inside && self.outside != Outside::Leasing(task)
    }

    /// The number of tasks that have started and not ended.
    pub fn started(&self) -> usize {
        let inside = self.hands.iter().filter(|hand| hand.runs().is_some()).count();
        let outside = usize::from(matches!(self.outside, Outside::Leasing(_)));
        let in_rows = self.rows.iter().filter(|row| matches!(row, Row::Calling | Row::Leased)).count();
        inside + outside + in_rows
    }

    pub fn is_over(&self) -> bool {
        self.rows.iter().all(|row| *row == Row::Ended)
    }
}
