//! Claim, completion, provider calls, cancellations, and workers outside.
//!
//! [`database`] holds the rows and what a crash leaves of them. Worker processes with their slots in shared memory are
//! in [`hand`] and [`worker`] (the path of a task) and [`calls`] (the steps of a call). Others that change tasks are in
//! [`cancel`], [`outside`] and [`provider`], deaths and crashes in [`faults`]. [`properties`] lists what has to hold.

mod calls;
mod cancel;
mod database;
mod faults;
mod hand;
mod outside;
mod properties;
mod provider;
mod state;
mod worker;

use crate::broken::Broken;
use crate::check::{Ends, assert_holds};
use stateright::{Model, Property};

pub use state::{State, TASKS, Task, WORKERS, WorkerId};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `db_function`: one transaction.
    Function,
    /// `email`, `sms`: a provider is called between two transactions.
    Call,
}

/// The parts of the model, and how often each fault may happen.
#[derive(Clone, Debug)]
pub struct Queue {
    pub tasks: [Kind; TASKS],
    /// The maximum number of tasks that a worker outside dequeues.
    pub outside: u8,
    /// A session cancels a task.
    pub cancels: bool,
    /// Ends of single worker processes.
    pub deaths: u8,
    /// Crashes of the server.
    pub crashes: u8,
    /// Identities of workers then start below earlier ones: the server was a standby of one whose clock was ahead.
    pub clock_goes_back: bool,
    /// Serialization failures, and commits that fail.
    pub aborts: u8,
    /// The number of times that the provider discards the keys it knows.
    pub days: u8,
    pub broken: Option<Broken>,
}

/// A step of any process.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    Worker(WorkerId, hand::Step),
    Calls(WorkerId, calls::Step),
    Provider(provider::Step),
    Outside(outside::Step),
    Cancel(cancel::Step),
    Fault(faults::Step),
    /// The launcher starts a worker for a free slot (`src/launcher/start.rs`).
    Start(WorkerId),
}

impl Queue {
    pub const SMALL: Queue = Queue {
        tasks: [Kind::Function, Kind::Call],
        outside: 0,
        cancels: false,
        deaths: 0,
        crashes: 0,
        clock_goes_back: false,
        aborts: 0,
        days: 0,
        broken: None,
    };

    pub fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }
}

impl Model for Queue {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for id in 0..WORKERS {
            if state.workers[id].is_gone() {
                actions.push(Action::Start(id));
            }
            actions.extend(worker::steps(self, state, id).into_iter().map(|step| Action::Worker(id, step)));
            actions.extend(calls::steps(self, state, id).into_iter().map(|step| Action::Calls(id, step)));
        }
        actions.extend(provider::steps(state).into_iter().map(Action::Provider));
        actions.extend(outside::steps(self, state).into_iter().map(Action::Outside));
        actions.extend(cancel::steps(state).into_iter().map(Action::Cancel));
        actions.extend(faults::steps(state).into_iter().map(Action::Fault));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Worker(id, step) => worker::take(self, &mut state, id, step),
            Action::Calls(id, step) => calls::take(self, &mut state, id, step),
            Action::Provider(step) => provider::take(&mut state, step),
            Action::Outside(step) => outside::take(self, &mut state, step),
            Action::Cancel(step) => cancel::take(self, &mut state, step),
            Action::Fault(step) => faults::take(self, &mut state, step),
            Action::Start(id) => state.start(id),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Ends for Queue {
    fn is_over(&self, state: &State) -> bool {
        state.database.rows().iter().all(|row| row.is_finished() && !row.has_open_call())
    }

    fn is_fault(&self, action: &Action) -> bool {
        match action {
            Action::Fault(_) => true,
            Action::Worker(_, step) => step.is_fault(),
            Action::Calls(_, step) => *step == calls::Step::WaitBrokenOff,
            Action::Provider(step) => step.is_fault(),
            _ => false,
        }
    }
}

#[test]
fn deaths_and_crashes() {
    assert_holds("deaths and crashes", Queue { deaths: 1, crashes: 1, ..Queue::SMALL });
}

#[test]
fn days_pass() {
    assert_holds("the provider forgets", Queue { deaths: 2, days: 1, ..Queue::SMALL });
}

#[test]
fn the_clock_goes_back() {
    let model = Queue { crashes: 1, clock_goes_back: true, ..Queue::SMALL };
    assert_holds("the clock goes back", model);
}

#[test]
fn workers_outside() {
    assert_holds("workers outside", Queue { outside: 2, aborts: 1, ..Queue::SMALL });
}

#[test]
fn cancels() {
    assert_holds("cancels", Queue { cancels: true, deaths: 1, ..Queue::SMALL });
}

#[test]
fn cancels_and_failures() {
    assert_holds("cancels and failures", Queue { cancels: true, aborts: 1, ..Queue::SMALL });
}

#[test]
fn two_calls() {
    let tasks = [Kind::Call, Kind::Call];
    assert_holds("two calls", Queue { tasks, deaths: 1, ..Queue::SMALL });
}
