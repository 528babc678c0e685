//! The properties that have to hold in every state.

use super::memory::position;
use super::worker::Hand;
use super::{Model, State, Task};
use pg_errand_queue::{Position, SlotState};
use stateright::Property;

pub fn all() -> Vec<Property<Model>> {
    vec![
        Property::always("nothing is run twice", |_, state: &State| {
            state.tasks.iter().all(|row| row.ends <= 1)
        }),
        Property::always("one worker runs tasks in order", |model: &Model, state: &State| {
            model.workers > 1 || !model.is_calm() || !state.out_of_order
        }),
        Property::always("what was announced is in sight", |model: &Model, state: &State| {
            (0..model.tasks.len())
                .all(|task| !is_announced(model, state, task) || is_in_sight(model, state, task))
        }),
        Property::always("a wake-up reaches a process", |_, state: &State| {
            let is_lost = |(id, hand): (usize, &Hand)| {
                matches!(hand, Hand::Gone) && state.memory.slot(id).state == SlotState::Idle
            };
            !state.hands.iter().enumerate().any(is_lost)
        }),
        Property::sometimes("all end", |model: &Model, state: &State| {
            (0..model.tasks.len()).all(|task| model.tasks[task].endless || state.tasks[task].ends > 0)
        }),
    ]
}

impl Model {
    /// No task that had been handed out is handed out again.
    fn is_calm(&self) -> bool {
        self.left.deaths + self.left.errors + self.left.aborts + self.left.repeats + self.left.locks == 0
    }
}

/// The task was announced, is ready, and no process has locked it or given it back with a backoff.
fn is_announced(model: &Model, state: &State, task: Task) -> bool {
    let row = &state.tasks[task];
    let ready = row.is_open() && model.tasks[task].at <= state.now;
    row.announced && ready && row.not_before.is_none() && !row.disturbed
}

/// A worker has the task, or it is in the window, or it will be read.
fn is_in_sight(model: &Model, state: &State, task: Task) -> bool {
    let position = position(model, task);
    state.memory.has_taken(task)
        || state.memory.shows(task)
        || state.memory.is_in_sight(position)
        || state.memory.will_be_looked_for(position) && will_fall_due(state, position)
}

/// The task becomes ready by time alone, and a process will look for it then.
fn will_fall_due(state: &State, position: Position) -> bool {
    let looks = |hand: &Hand| matches!(hand, Hand::Signalled(signals) if signals.due);
    let entry = state.memory.entry();
    entry.due_unknown || entry.next_due <= position.scheduled_at || state.hands.iter().any(looks)
}
