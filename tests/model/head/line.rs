//! The head of a lane (`src/shared/queue.rs`): each function is part of one turn under the lock.

use super::{Head, Task, Time};
use crate::broken::Broken;

/// Tasks known ahead.
pub const WINDOW: usize = 2;
/// With so few left, more are read while other workers take those.
const LOW_WATER: usize = 1;

/// `scheduled_at` and `task_id`.
pub type Position = (Time, u8);
const START: Position = (0, 0);
const END: Position = (Time::MAX, u8::MAX);

/// The place right before this one.
fn before(place: Position) -> Position {
    (place.0, place.1 - 1)
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    Task(Task),
    Read(Position),
    Wait,
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Known {
    All,
    Announced,
    Part,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    cursor: Position,
    low: Position,
    reader: Option<usize>,
    known: Known,
    /// In order.
    window: Vec<Position>,
    /// `Queue::held_due`, `Queue::sweep`.
    pub held_due: bool,
    pub sweep: bool,
}

impl Line {
    pub fn new() -> Line {
        Line {
            cursor: START,
            low: END,
            reader: None,
            known: Known::Part,
            window: Vec::new(),
            held_due: false,
            sweep: false,
        }
    }

    fn wants_reading(&self, model: &Head) -> bool {
        let enough = if self.known == Known::Part { LOW_WATER } else { 0 };
        let few = self.window.len() <= enough;
        let earlier = self.window.last().is_some_and(|last| self.cursor < *last);
        self.known != Known::All && (few || earlier && !model.is(Broken::KnownOnesFirst))
    }

    pub fn take(&mut self, model: &Head, id: usize) -> Next {
        let wants = self.wants_reading(model);
        if wants && self.reader.is_none() {
            self.reader = Some(id);
            return Next::Read(self.cursor);
        }
        match self.window.is_empty() {
            true if wants => Next::Wait,
            true => Next::Nothing,
            false => Next::Task(usize::from(self.window.remove(0).1) - 1),
        }
    }

    pub fn has_more(&self, model: &Head) -> bool {
        let unread = self.known != Known::All && self.reader.is_none();
        !self.window.is_empty() || unread && !model.is(Broken::UnreadKept)
    }

    /// `tasks`: without those that somebody has. `end`: of what was read. `all_due_at`: if that was all.
    pub fn publish(
        &mut self,
        model: &Head,
        tasks: &[Position],
        end: Option<Position>,
        all_due_at: Option<Time>,
    ) {
        self.known = match all_due_at {
            None => Known::Part,
            Some(_) if self.low == END => Known::All,
            Some(_) => Known::Announced,
        };
        let end = all_due_at.map_or(end.unwrap_or(self.cursor), |time| (time, u8::MAX));
        self.cursor = self.cursor.max(end);
        if model.is(Broken::AnnouncedDuringReadForgotten) {
            self.low = END;
        }
        self.stop_reading();
        tasks.iter().for_each(|task| self.insert(model, *task));
    }

    /// `Queue::add`.
    pub fn add(&mut self, model: &Head, tasks: &[Position], end: Option<Position>) {
        tasks.iter().for_each(|task| self.insert(model, *task));
        if let Some(end) = end {
            self.rewind(end);
        }
    }

    fn stop_reading(&mut self) {
        self.reader = None;
        self.cursor = self.cursor.min(self.low);
        self.low = END;
    }

    /// `Queue::stop_reading`.
    pub fn stop_reader(&mut self, id: usize) {
        if self.reader == Some(id) {
            self.stop_reading();
        }
    }

    fn rewind(&mut self, place: Position) {
        if self.known == Known::All {
            self.known = Known::Announced;
        }
        match self.reader {
            None => self.cursor = self.cursor.min(place),
            Some(_) => self.low = self.low.min(place),
        }
    }

    fn insert(&mut self, model: &Head, task: Position) {
        let Err(place) = self.window.binary_search(&task) else { return };
        self.window.insert(place, task);
        if self.window.len() > WINDOW {
            let dropped = self.window.pop().expect("a full window");
            if !model.is(Broken::DroppedForGood) {
                self.rewind(before(dropped));
            }
        }
    }

    /// `passes`: nothing is due that comes before it and is not known.
    pub fn hand_over(&mut self, model: &Head, task: Position, passes: bool) {
        let known = self.known == Known::All && self.reader.is_none() && self.window.len() < WINDOW;
        if known || model.is(Broken::HandedOverAmongUnknown) {
            self.insert(model, task);
            if passes {
                self.cursor = self.cursor.max(task);
            }
        } else {
            self.rewind(before(task));
        }
    }

    /// `Queue::rewind`.
    pub fn rewind_to(&mut self, first: Position) {
        self.rewind(before(first));
    }

    pub fn note_due(&mut self, model: &Head) {
        self.held_due = !model.is(Broken::HeldNotLookedFor);
        if model.is(Broken::DueDuringReadForgotten) && self.reader.is_some() {
            return;
        }
        if !model.is(Broken::DueKeepsAllKnown) {
            self.rewind(before(END));
        }
    }

    /// It is known ahead.
    pub fn knows(&self, task: Position) -> bool {
        self.window.contains(&task)
    }

    /// It is not before what will be read next.
    pub fn passes(&self, task: Position) -> bool {
        task > self.cursor.min(self.low)
    }

    /// It will be read without anything happening.
    pub fn reads(&self, task: Position) -> bool {
        self.passes(task) && self.known != Known::All
    }
}
