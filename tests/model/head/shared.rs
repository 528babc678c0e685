//! Shared memory (`src/shared/`): each function is one turn under its lock.

use super::line::{Line, Next, Position};
use super::{Enqueued, Head, Task, Time, WORKERS};
use crate::broken::Broken;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SlotState {
    Free,
    Working,
    Idle,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slot {
    pub state: SlotState,
    pub latch: bool,
    pub taken: Option<Task>,
    /// `Slot::task_id`.
    pub shows: Option<Task>,
}

impl Slot {
    const FREE: Slot = Slot { state: SlotState::Free, latch: false, taken: None, shows: None };

    fn has(&self, model: &Head, task: Task) -> bool {
        let taken_counts = model.is(Broken::TakenForEver) || model.is(Broken::TakenCounts);
        self.shows == Some(task) || taken_counts && self.taken == Some(task)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shared {
    pub slots: [Slot; WORKERS],
    /// `Shared::queues`; there is none without workers.
    pub line: Option<Line>,
    pub announced: u8,
    pub next_due: Option<Time>,
    pub due_unknown: bool,
    pub look: bool,
    pub hungry: bool,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Batch {
    pub tasks: Vec<Task>,
    pub all_due_at: Option<Time>,
}

impl Shared {
    pub fn new(model: &Head) -> Shared {
        Shared {
            slots: [const { Slot::FREE }; WORKERS],
            line: None,
            announced: 0,
            next_due: None,
            due_unknown: model.last > 0 && !model.is(Broken::DueForgottenAtStart),
            // The launcher has a look at each database after a start.
            look: true,
            hungry: false,
        }
    }

    pub fn is_due(&self, now: Time) -> bool {
        self.next_due.is_some_and(|due| due <= now)
    }

    pub fn take(&mut self, model: &Head, id: usize) -> Next {
        let line = self.line.get_or_insert_with(Line::new);
        let next = line.take(model, id);
        let more = line.has_more(model);
        if !model.is(Broken::TakenForEver) {
            self.slots[id].taken = None;
        }
        if let Next::Task(task) = next {
            self.slots[id].taken = Some(task);
            if more && !model.is(Broken::MoreWorkKept) {
                self.wake(1);
            }
        }
        next
    }

    fn others_places(&self, model: &Head, batch: &Batch) -> Vec<Position> {
        let free = |task: &&Task| !self.slots.iter().any(|slot| slot.has(model, **task));
        batch.tasks.iter().filter(free).map(|task| model.place(*task)).collect()
    }

    pub fn publish(&mut self, model: &Head, batch: &Batch) {
        let (places, end) =
            (self.others_places(model, batch), batch.tasks.last().map(|task| model.place(*task)));
        if let Some(line) = &mut self.line {
            line.publish(model, &places, end, batch.all_due_at);
        }
    }

    pub fn add(&mut self, model: &Head, batch: &Batch) {
        let places = self.others_places(model, batch);
        let end = batch.tasks.last().filter(|_| batch.all_due_at.is_none()).map(|task| model.place(*task));
        if let Some(line) = &mut self.line {
            line.add(model, &places, end);
        }
    }

    /// What it took is handed out again.
    pub fn put_back(&mut self, model: &Head, id: usize) {
        let taken = self.slots[id].taken.take();
        if let Some(line) = &mut self.line {
            if !model.is(Broken::DeadReaderStays) {
                line.stop_reader(id);
            }
            if let Some(task) = taken.filter(|_| !model.is(Broken::TakenDiesWithWorker)) {
                line.hand_over(model, model.place(task), false);
            }
        }
    }

    /// Another worker's slot showed the task when this one locked it. Once that does not any more, nobody
    /// else hands the task out again.
    pub fn leave_to_other(&mut self, model: &Head, id: usize) {
        let shown = |task: Task| self.slots.iter().any(|slot| slot.shows == Some(task));
        if self.slots[id].taken.is_some_and(shown) || model.is(Broken::ElsewhereForgotten) {
            self.slots[id].taken = None;
        } else {
            self.put_back(model, id);
        }
    }

    pub fn announce(&mut self, model: &Head, what: &Enqueued, now: Time) {
        self.announced += 1;
        let places = || what.tasks.iter().map(|task| model.place(*task));
        let due = places().map(|place| place.0).min().expect("a task");
        if due > now {
            if self.next_due.is_none_or(|next| due < next) {
                self.next_due = Some(due);
                self.wake_idle();
            }
            return;
        }
        let passes = self.next_due.is_none_or(|due| due > now) && !self.due_unknown;
        let passes = passes || model.is(Broken::CursorPassesDue);
        if let Some(line) = &mut self.line {
            if what.few {
                let ready = places().filter(|place| place.0 <= now);
                ready.for_each(|place| line.hand_over(model, place, passes));
            } else if let Some(first) = places().min() {
                line.rewind_to(first);
            }
        }
        self.wake(what.tasks.len());
    }

    /// A task that was given back becomes ready at this time.
    pub fn announce_held(&mut self, until: Time, now: Time) {
        self.announced += 1;
        if until > now {
            if self.next_due.is_none_or(|next| until < next) {
                self.next_due = Some(until);
                self.wake_idle();
            }
        } else {
            if let Some(line) = &mut self.line {
                line.sweep = true;
            }
            self.wake(1);
        }
    }

    pub fn wake(&mut self, tasks: usize) {
        for _ in 0..tasks {
            if !self.wake_idle() {
                self.hungry = true;
                return;
            }
        }
    }

    fn wake_idle(&mut self) -> bool {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.state == SlotState::Idle) else {
            return false;
        };
        slot.state = SlotState::Working;
        slot.latch = true;
        true
    }

    pub fn consume_due(&mut self, model: &Head, now: Time) -> bool {
        let due = self.is_due(now);
        if due {
            self.next_due = None;
            self.due_unknown = true;
            self.note_due_in_line(model);
        }
        due
    }

    fn note_due_in_line(&mut self, model: &Head) {
        if let Some(line) = &mut self.line {
            line.note_due(model);
        }
    }

    pub fn see_to_due(&mut self, model: &Head, now: Time) {
        if !self.consume_due(model, now) {
            self.note_due_in_line(model);
        }
    }

    pub fn note_due(&mut self, due: Option<Time>) {
        if self.due_unknown {
            self.due_unknown = false;
            self.next_due = [self.next_due, due].into_iter().flatten().min();
        }
    }

    pub fn settle(&mut self, model: &Head, id: usize, announced: u8, next_due: Option<Time>) -> bool {
        if self.announced != announced && !model.is(Broken::SettlesUnchecked) {
            return false;
        }
        self.next_due = next_due;
        self.due_unknown = false;
        self.hungry = false;
        self.slots[id].state = SlotState::Idle;
        true
    }

    pub fn unsettle(&mut self, model: &Head, id: usize, now: Time) {
        self.slots[id].state = SlotState::Working;
        self.slots[id].latch = false;
        self.consume_due(model, now);
    }

    /// `Shared::expect_worker` and `MySlot::attach`.
    pub fn start(&mut self, model: &Head, id: usize, now: Time) {
        self.look = false;
        self.hungry = false;
        self.consume_due(model, now);
        if let Some(line) = &mut self.line {
            line.sweep = true;
        }
        self.slots[id] = Slot { state: SlotState::Working, ..Slot::FREE };
    }

    pub fn detach(&mut self, model: &Head, id: usize) {
        let gone = self.slots[id].clone();
        self.put_back(model, id);
        self.slots[id] = Slot::FREE;
        if self.slots.iter().all(|slot| slot.state == SlotState::Free) {
            self.line = None;
        }
        self.look |= !model.is(Broken::DeathNotPassedOn);
        if gone.shows.is_some() || gone.taken.is_some() {
            self.wake_idle();
        }
    }
}
