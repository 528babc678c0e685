//! Tasks of one key, of which one may run at a time: how a worker finds the next one, and how no task is left behind
//! when a session enqueues while another task ends.
//!
//! No row says that a task waits for its key. Whether it may start is decided by the rows when it is claimed; the window
//! in shared memory only says that the key is worth a look. [`worker`] has the steps of workers, [`outside`] those of a
//! worker outside, [`state`] what all of them share.

mod outside;
mod state;
mod worker;

use crate::broken::Broken;
use crate::check::{Ends, assert_holds};
use outside::Outside;
use state::{Row, State, TASKS, WORKERS};
use stateright::Property;

/// The parts of the model, and how often each fault may happen.
#[derive(Clone, Debug)]
pub struct Model {
    /// Whether each task needs a provider call.
    pub calls: [bool; TASKS],
    /// The number of tasks that a worker outside tries to dequeue.
    pub outside: u8,
    /// Ends of worker processes.
    pub deaths: u8,
    /// Tasks that are rolled back and run again.
    pub repeats: u8,
    pub broken: Option<Broken>,
}

impl Model {
    pub const FUNCTIONS: Model =
        Model { calls: [false; TASKS], outside: 0, deaths: 0, repeats: 0, broken: None };
    pub const CALLS: Model = Model { calls: [true, false, true], ..Model::FUNCTIONS };

    pub fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }
}

/// A step of any process.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    /// A session commits the task that it has enqueued.
    Enqueue(usize),
    /// The session announces its task.
    Announce(usize),
    Worker(usize, worker::Step),
    Outside(outside::Step),
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend((0..TASKS).filter(|task| state.rows[*task] == Row::Missing).map(Action::Enqueue));
        actions.extend((0..TASKS).filter(|task| state.unannounced[*task]).map(Action::Announce));
        for id in 0..WORKERS {
            actions.extend(worker::steps(state, id).into_iter().map(|step| Action::Worker(id, step)));
        }
        actions.extend(outside::steps(self, state).into_iter().map(Action::Outside));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Enqueue(task) => state.enqueue(task),
            Action::Announce(task) => {
                state.unannounced[task] = false;
                state.announce(self);
            }
            Action::Worker(id, step) => worker::take(self, &mut state, id, step),
            Action::Outside(step) => outside::take(self, &mut state, step),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one task of the key runs at a time", |_, state: &State| state.started() <= 1),
            Property::always("tasks start in their order", |_, state: &State| !state.overtaken),
            Property::sometimes("all tasks end", |_, state: &State| state.is_over()),
        ]
    }
}

impl Ends for Model {
    fn is_over(&self, state: &State) -> bool {
        state.is_over() && state.outside == Outside::Free
    }

    fn is_fault(&self, action: &Action) -> bool {
        match action {
            Action::Worker(_, step) => matches!(step, worker::Step::Die | worker::Step::RollBack),
            Action::Outside(step) => *step == outside::Step::Begin || *step == outside::Step::Abort,
            _ => false,
        }
    }
}

#[test]
fn functions() {
    assert_holds("keys, functions", Model { deaths: 1, repeats: 1, ..Model::FUNCTIONS });
}

#[test]
fn calls() {
    assert_holds("keys, calls", Model { deaths: 1, repeats: 1, ..Model::CALLS });
}

#[test]
fn workers_outside() {
    assert_holds("keys, workers outside", Model { outside: 2, ..Model::FUNCTIONS });
    assert_holds("keys, calls and workers outside", Model { outside: 1, repeats: 1, ..Model::CALLS });
}
