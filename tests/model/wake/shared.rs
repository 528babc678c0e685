//! Shared memory (`src/shared/`): each function is one turn under its lock.

use super::worker::Worker;
use super::{Time, WORKERS, Wake};
use crate::broken::Broken;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SlotState {
    #[default]
    Free,
    Starting,
    Working,
    Idle,
    Leaving,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shared {
    pub launcher_latch: bool,
    pub slots: [SlotState; WORKERS],
    pub look: bool,
    pub hungry: bool,
    pub announced: u8,
    pub next_due: Option<Time>,
    pub due_unknown: bool,
}

impl Shared {
    pub fn is_due(&self, now: Time) -> bool {
        self.next_due.is_some_and(|due| due <= now)
    }

    pub fn consume_due(&mut self, now: Time) -> bool {
        let due = self.is_due(now);
        if due {
            self.next_due = None;
            self.due_unknown = true;
        }
        due
    }

    pub fn announce(&mut self, model: &Wake, workers: &mut [Worker], due: Time, now: Time) {
        self.announced += 1;
        if due <= now {
            self.wake(model, workers);
        } else if self.next_due.is_none_or(|next| due < next) {
            self.next_due = Some(due);
            self.wake_idle(model, workers);
            self.launcher_latch = true;
        }
    }

    /// An idle worker, or the launcher's.
    pub fn wake(&mut self, model: &Wake, workers: &mut [Worker]) {
        if !self.wake_idle(model, workers) && !self.hungry {
            self.hungry = true;
            self.launcher_latch = true;
        }
    }

    fn wake_idle(&mut self, model: &Wake, workers: &mut [Worker]) -> bool {
        let busy = model.is(Broken::BusyWorkerWoken);
        let wakes = |slot: &SlotState| *slot == SlotState::Idle || busy && *slot == SlotState::Working;
        let Some(id) = self.slots.iter().position(wakes) else { return false };
        self.slots[id] = SlotState::Working;
        workers[id].latch = true;
        true
    }

    pub fn note_due(&mut self, due: Option<Time>) {
        if self.due_unknown {
            self.due_unknown = false;
            self.next_due = [self.next_due, due].into_iter().flatten().min();
            self.launcher_latch = true;
        }
    }

    pub fn settle(&mut self, model: &Wake, id: usize, announced: u8, next_due: Option<Time>) -> bool {
        if self.announced != announced && !model.is(Broken::SettlesUnchecked) {
            return false;
        }
        self.launcher_latch |= next_due.is_some() && next_due != self.next_due;
        self.next_due = next_due;
        self.due_unknown = false;
        self.hungry = false;
        self.slots[id] = SlotState::Idle;
        true
    }

    pub fn unsettle(&mut self, id: usize, now: Time) {
        if self.slots[id] == SlotState::Idle {
            self.slots[id] = SlotState::Working;
        }
        self.consume_due(now);
    }

    pub fn expect_worker(&mut self, now: Time) {
        self.look = false;
        self.hungry = false;
        self.consume_due(now);
    }

    /// `others_could_help`: it would not be in vain to wake another one.
    pub fn others_could_help(&self) -> bool {
        !self.hungry || self.slots.contains(&SlotState::Idle)
    }

    /// `had_task`: the slot showed one.
    pub fn detach(&mut self, model: &Wake, workers: &mut [Worker], id: usize, had_task: bool) {
        let state = std::mem::take(&mut self.slots[id]);
        self.launcher_latch = true;
        if model.is(Broken::DeathNotPassedOn) {
            return;
        }
        self.look |= state != SlotState::Leaving;
        if had_task {
            self.wake_idle(model, workers);
        }
    }
}
