//! Who looks for work: a session that commits a task, workers that settle, leave or die, the
//! launcher, and tasks that fall due. Nobody polls in this model.
//!
//! What all know in common: [`shared`]. A worker process: [`worker`].

mod shared;
mod worker;

use crate::broken::Broken;
use crate::check::{Ends, assert_holds};
use shared::{Shared, SlotState};
use stateright::{Model, Property};
use worker::{Hand, Worker};

pub type Time = u8;
pub const TASKS: usize = 3;
pub const WORKERS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Absent,
    /// Becomes ready at this time.
    Quick(Time),
    /// The same, and its handler never returns: no other task may wait for that.
    Endless(Time),
}

#[derive(Clone, Debug)]
pub struct Wake {
    pub tasks: [Kind; TASKS],
    pub deaths: u8,
    pub broken: Option<Broken>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub now: Time,
    pub tasks: [Task; TASKS],
    pub shared: Shared,
    pub workers: [Worker; WORKERS],
    launcher: Launcher,
    deaths: u8,
}

/// A task, and the session that enqueues it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Task {
    pub committed: bool,
    announced: bool,
    pub finished: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Launcher {
    Waits,
    /// It has compared, and is about to act.
    Decided {
        start: bool,
        wake: bool,
    },
    /// Only where it asks for a process first: `Shared::expect_worker` is next.
    Started,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    /// The rows of the transaction become visible.
    Commit(usize),
    /// `wake::at_transaction_end`.
    Announce(usize),
    Worker(usize, worker::Step),
    /// `Launcher::cycle`.
    Compare,
    Act,
    ExpectWorker,
    /// An idle worker has waited for `max_idle_time`.
    IdleTooLong(usize),
    Die(usize),
    TimePasses,
}

impl Wake {
    pub fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    pub fn due(&self, task: usize) -> Time {
        match self.tasks[task] {
            Kind::Absent => 0,
            Kind::Quick(due) | Kind::Endless(due) => due,
        }
    }

    pub fn is_endless(&self, task: usize) -> bool {
        matches!(self.tasks[task], Kind::Endless(_))
    }

    fn last_due(&self) -> Time {
        (0..TASKS).map(|task| self.due(task)).max().unwrap_or_default()
    }

    fn session_steps(&self, state: &State, actions: &mut Vec<Action>) {
        for (id, task) in state.tasks.iter().enumerate() {
            let early = self.is(Broken::AnnouncedTooEarly);
            if !task.committed && (!early || task.announced) {
                actions.push(Action::Commit(id));
            }
            if !task.announced && (early || task.committed) {
                actions.push(Action::Announce(id));
            }
        }
    }

    fn launcher_steps(&self, state: &State, actions: &mut Vec<Action>) {
        match state.launcher {
            // It looks again when something falls due, and while there is something to be done.
            Launcher::Waits if state.shared.launcher_latch || decide(state) != IDLE => {
                actions.push(Action::Compare);
            }
            Launcher::Waits => {}
            Launcher::Decided { .. } => actions.push(Action::Act),
            Launcher::Started => actions.push(Action::ExpectWorker),
        }
    }
}

const IDLE: Launcher = Launcher::Decided { start: false, wake: false };

/// `reconcile::waiting` and the due times of `reconcile::reconcile`, for one database.
fn decide(state: &State) -> Launcher {
    let ready = state.shared.slots.contains(&SlotState::Idle);
    let due = state.shared.is_due(state.now);
    let has_work = state.shared.look || state.shared.hungry || due;
    let starting = state.shared.slots.contains(&SlotState::Starting);
    let room = state.shared.slots.contains(&SlotState::Free);
    Launcher::Decided { start: has_work && room && !starting && !(due && ready), wake: due && ready }
}

impl Model for Wake {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let absent = self.tasks.map(|kind| kind == Kind::Absent);
        let task = |absent| Task { committed: absent, announced: absent, finished: absent };
        let state = State {
            now: 0,
            tasks: absent.map(task),
            shared: Shared::default(),
            workers: [Worker::GONE; WORKERS],
            launcher: Launcher::Waits,
            deaths: self.deaths,
        };
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.session_steps(state, actions);
        self.launcher_steps(state, actions);
        for id in 0..WORKERS {
            actions.extend(worker::step(self, state, id).map(|step| Action::Worker(id, step)));
            if matches!(state.workers[id].hand, Hand::Waits { .. }) {
                actions.push(Action::IdleTooLong(id));
            }
            if state.deaths > 0 && state.workers[id].is_up() {
                actions.push(Action::Die(id));
            }
        }
        if state.now < self.last_due() {
            actions.push(Action::TimePasses);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Commit(task) => state.tasks[task].committed = true,
            Action::Announce(task) => {
                state.tasks[task].announced = true;
                state.shared.announce(self, &mut state.workers, self.due(task), last.now);
            }
            Action::Worker(id, step) => worker::take(self, &mut state, id, step),
            Action::Compare => {
                state.shared.launcher_latch = false;
                state.launcher = decide(last);
            }
            Action::Act => state.act(self),
            Action::ExpectWorker => {
                state.shared.expect_worker(last.now);
                state.launcher = Launcher::Waits;
            }
            Action::IdleTooLong(id) => worker::leave(self, &mut state, id),
            Action::Die(id) => {
                state.deaths -= 1;
                worker::die(self, &mut state, id);
            }
            Action::TimePasses => state.now += 1,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a wake-up reaches a process", |_, state: &State| {
                let lost =
                    |id: usize| state.shared.slots[id] == SlotState::Idle && state.workers[id].is_gone();
                !(0..WORKERS).any(lost)
            }),
            Property::sometimes("both work", |_, state: &State| {
                state.workers.iter().all(|worker| matches!(worker.hand, Hand::Runs(_)))
            }),
        ]
    }
}

impl Ends for Wake {
    fn is_over(&self, state: &State) -> bool {
        (0..TASKS).all(|task| state.tasks[task].finished || self.is_endless(task) && state.is_locked(task))
    }

    fn is_fault(&self, action: &Action) -> bool {
        matches!(action, Action::Die(_) | Action::IdleTooLong(_))
    }
}

impl State {
    fn act(&mut self, model: &Wake) {
        let Launcher::Decided { start, wake } = self.launcher else { unreachable!() };
        self.launcher = Launcher::Waits;
        if wake && self.shared.consume_due(self.now) {
            self.shared.wake(model, &mut self.workers);
        }
        let free = self.shared.slots.iter().position(|slot| *slot == SlotState::Free);
        if let Some(free) = free.filter(|_| start) {
            self.shared.slots[free] = SlotState::Starting;
            self.workers[free] = Worker { hand: Hand::Starts, ..Worker::GONE };
            if model.is(Broken::ExpectedTooLate) {
                self.launcher = Launcher::Started;
            } else {
                self.shared.expect_worker(self.now);
            }
        }
    }

    /// True while a worker's transaction holds the lock of the task's row.
    pub fn is_locked(&self, task: usize) -> bool {
        self.workers.iter().any(|worker| worker.locks == Some(task))
    }

    /// The first task that `claim.sql` would lock, and whether there are more.
    pub fn next_ready(&self, model: &Wake) -> Option<(usize, bool)> {
        let ready = |task: &usize| {
            let row = self.tasks[*task];
            row.committed && !row.finished && model.due(*task) <= self.now && !self.is_locked(*task)
        };
        let mut all = (0..TASKS).filter(ready);
        all.next().map(|first| (first, all.next().is_some()))
    }

    /// `next_due.sql`.
    pub fn next_due(&self, model: &Wake, after: Time) -> Option<Time> {
        let open = (0..TASKS).filter(|task| self.tasks[*task].committed && !self.tasks[*task].finished);
        open.map(|task| model.due(task)).filter(|due| *due > after).min()
    }
}

#[test]
fn ready_at_once() {
    let tasks = [Kind::Endless(0), Kind::Quick(0), Kind::Absent];
    assert_holds("ready at once", Wake { tasks, deaths: 1, broken: None });
}

#[test]
fn due_later() {
    let tasks = [Kind::Endless(1), Kind::Quick(2), Kind::Absent];
    assert_holds("due later", Wake { tasks, deaths: 1, broken: None });
}

#[test]
fn three_tasks() {
    let tasks = [Kind::Endless(0), Kind::Quick(0), Kind::Quick(1)];
    assert_holds("three tasks", Wake { tasks, deaths: 1, broken: None });
}
