//! What has to hold in every state.

use super::line::Position;
use super::worker::Hand;
use super::{Head, State, Task};
use stateright::Property;

pub fn all() -> Vec<Property<Head>> {
    vec![
        Property::always("nothing is run twice", |_, state: &State| {
            state.tasks.iter().all(|row| row.ends <= 1)
        }),
        Property::always("one worker runs tasks in order", |model: &Head, state: &State| {
            model.workers > 1 || !model.is_calm() || !state.out_of_order
        }),
        Property::always("what was announced is in sight", |model: &Head, state: &State| {
            (0..model.tasks.len())
                .all(|task| !is_announced(model, state, task) || is_in_sight(model, state, task))
        }),
        Property::sometimes("all end", |model: &Head, state: &State| {
            (0..model.tasks.len()).all(|task| model.tasks[task].endless || state.tasks[task].ends > 0)
        }),
    ]
}

impl Head {
    /// Nothing comes back that had been handed out.
    fn is_calm(&self) -> bool {
        self.left.deaths + self.left.errors + self.left.aborts + self.left.repeats + self.left.locks == 0
    }
}

/// It was announced, is ready, and nobody has had its lock or given it back with a pause.
fn is_announced(model: &Head, state: &State, task: Task) -> bool {
    let row = &state.tasks[task];
    let ready = row.is_open() && model.tasks[task].at <= state.now;
    row.announced && ready && row.held_until.is_none() && !row.disturbed
}

/// Somebody has it, or it is known ahead, or it will be read.
fn is_in_sight(model: &Head, state: &State, task: Task) -> bool {
    let shared = &state.shared;
    let had = shared.slots.iter().any(|slot| slot.taken == Some(task) || slot.shows == Some(task));
    let place: Position = model.place(task);
    had || shared.line.as_ref().is_none_or(|line| line.knows(place) || line.reads(place))
        || shared.line.as_ref().is_some_and(|line| line.passes(place)) && will_fall_due(state, place)
}

/// It becomes ready by time alone, and somebody will look then.
fn will_fall_due(state: &State, place: Position) -> bool {
    let looks = |hand: &Hand| matches!(hand, Hand::Glanced(glance) if glance.due);
    state.shared.due_unknown
        || state.shared.next_due.is_some_and(|due| due <= place.0)
        || state.hands.iter().any(looks)
}
