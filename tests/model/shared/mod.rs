//! The workers of a database on the shipped shared memory: which tasks are read and handed out, and which worker is
//! woken when a task is committed, falls due or is left behind.
//!
//! [`memory`] contains the shipped code, [`worker`] a worker process, [`launcher`] the launcher. [`properties`] lists
//! what has to hold.

mod cases;
mod launcher;
mod memory;
mod properties;
mod worker;

use crate::broken::Broken;
use crate::check::Ends;
use launcher::Launcher;
use memory::{Common, WORKERS, position};
use stateright::Property;
use worker::Hand;

pub type Time = u8;
pub type Task = usize;

/// A row of `queues.task`; its number is its `task_id`.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `scheduled_at`.
    pub at: Time,
    pub priority: i16,
    /// The handler never returns, and no other task may wait for that.
    pub endless: bool,
}

/// A transaction that enqueues tasks.
#[derive(Clone, Copy, Debug)]
pub struct Enqueued {
    pub tasks: &'static [Task],
    /// The tasks are announced one by one; otherwise, only the first of them is announced.
    pub few: bool,
    /// False if the tasks are not announced.
    pub announced: bool,
    /// The transaction can commit before its tasks are due.
    pub ahead: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub tasks: &'static [Kind],
    pub enqueued: &'static [Enqueued],
    pub workers: usize,
    /// The end of time.
    pub last: Time,
    /// Idle workers periodically look for tasks that were not announced.
    pub polls: bool,
    /// The launcher compares and acts in two separate steps.
    pub in_full: bool,
    pub left: Left,
    pub broken: Option<Broken>,
}

/// The faults that may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Left {
    pub deaths: u8,
    /// Idle workers that have waited for `pg_errand.max_idle_time`.
    pub leaves: u8,
    pub crashes: u8,
    /// Tasks that are given back with a backoff, after a serialization failure.
    pub repeats: u8,
    /// Errors in a worker's own statements.
    pub errors: u8,
    /// Commits that fail.
    pub aborts: u8,
    /// Rows that another session locks for a while.
    pub locks: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub now: Time,
    pub sessions: Vec<Session>,
    pub tasks: Vec<Row>,
    pub memory: Common,
    pub hands: [Hand; WORKERS],
    pub launcher: Launcher,
    /// Another session has locked this task's row.
    pub locked: Option<Task>,
    /// A worker took a task before another one that was announced and comes first.
    pub out_of_order: bool,
    pub left: Left,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Session {
    Open,
    /// The tasks are visible, and not announced.
    Committed,
    /// Used only where the announcement comes too early: the tasks are not visible.
    Announced,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    pub committed: bool,
    pub announced: bool,
    pub not_before: Option<Time>,
    pub ends: u8,
    /// Another session has locked the task.
    pub disturbed: bool,
}

impl Row {
    pub fn is_open(&self) -> bool {
        self.committed && self.ends == 0
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    Commit(usize),
    Announce(usize),
    Worker(usize, worker::Step),
    /// The launcher starts a worker.
    Start,
    Compare,
    Act,
    ExpectWorker,
    /// An idle worker has waited for `pg_errand.max_idle_time`.
    IdleTooLong(usize),
    /// `Shared::wake_for_due`.
    WakeForDue,
    /// `pg_errand.poll_interval` is over.
    Poll(usize),
    TimePasses,
    Die(usize),
    Crash,
    Repeat(usize),
    Error(usize),
    CommitFails(usize),
    LockRow(Task),
    UnlockRow,
}

impl Model {
    pub fn with(self, change: impl FnOnce(&mut Left)) -> Model {
        let mut left = self.left;
        change(&mut left);
        Model { left, ..self }
    }

    pub fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    pub fn has_priorities(&self) -> bool {
        self.tasks.iter().any(|task| task.priority != 0)
    }

    fn session_steps(&self, state: &State, actions: &mut Vec<Action>) {
        let early = self.is(Broken::AnnouncedTooEarly);
        for (index, (session, what)) in state.sessions.iter().zip(self.enqueued).enumerate() {
            let due = what.ahead || what.tasks.iter().all(|task| self.tasks[*task].at <= state.now);
            match session {
                Session::Open if due && early => actions.push(Action::Announce(index)),
                Session::Open if due => actions.push(Action::Commit(index)),
                Session::Committed if what.announced => actions.push(Action::Announce(index)),
                Session::Announced => actions.push(Action::Commit(index)),
                _ => {}
            }
        }
    }

    fn fault_steps(&self, state: &State, actions: &mut Vec<Action>) {
        let left = state.left;
        for id in 0..self.workers {
            let hand = &state.hands[id];
            // The announcement runs in the middle of a commit, and is not interrupted.
            if left.deaths > 0 && hand.is_up() && !matches!(hand, Hand::Repeated(_)) {
                actions.push(Action::Die(id));
            }
            if let Hand::Runs(task) = hand
                && !self.tasks[*task].endless
            {
                actions.extend((left.repeats > 0).then_some(Action::Repeat(id)));
                actions.extend((left.aborts > 0).then_some(Action::CommitFails(id)));
            }
            let fails = matches!(hand, Hand::Runs(_) | Hand::Reads { .. } | Hand::HasRead { .. });
            actions.extend((left.errors > 0 && fails).then_some(Action::Error(id)));
        }
        actions.extend((left.crashes > 0).then_some(Action::Crash));
        if left.locks > 0 {
            let free = |task: &Task| state.tasks[*task].is_open() && !state.is_locked(*task);
            actions.extend((0..self.tasks.len()).filter(free).map(Action::LockRow));
        }
        actions.extend(state.locked.map(|_| Action::UnlockRow));
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let row = Row { committed: false, announced: false, not_before: None, ends: 0, disturbed: false };
        vec![State {
            now: 0,
            sessions: vec![Session::Open; self.enqueued.len()],
            tasks: vec![row; self.tasks.len()],
            memory: Common::new(self),
            hands: [const { Hand::Gone }; WORKERS],
            launcher: Launcher::NEW,
            locked: None,
            out_of_order: false,
            left: self.left,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.session_steps(state, actions);
        if self.in_full {
            launcher::steps(self, state, actions)
        } else {
            launcher::quick_steps(self, state, actions)
        }
        for id in 0..self.workers {
            actions.extend(worker::step(self, state, id).map(|step| Action::Worker(id, step)));
            let waits = matches!(state.hands[id], Hand::Waits { .. });
            actions.extend((self.polls && waits).then_some(Action::Poll(id)));
            actions.extend((state.left.leaves > 0 && waits).then_some(Action::IdleTooLong(id)));
        }
        self.fault_steps(state, actions);
        actions.extend((state.now < self.last).then_some(Action::TimePasses));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Commit(index) => state.commit(self, index),
            Action::Announce(index) => state.announce(self, index),
            Action::Worker(id, step) => worker::take(self, &mut state, id, step),
            Action::Start => launcher::quick_start(self, &mut state),
            Action::Compare => launcher::compare(self, &mut state),
            Action::Act => launcher::act(self, &mut state),
            Action::ExpectWorker => launcher::expect_worker(self, &mut state),
            Action::IdleTooLong(id) => {
                state.left.leaves -= 1;
                worker::leave(self, &mut state, id);
            }
            Action::WakeForDue => state.memory.wake_for_due(self, last.now),
            Action::Poll(id) => {
                state.memory.wake_up(self, id, last.now);
                state.hands[id] = Hand::Turns { polls: !self.is(Broken::PollReadsOn) };
            }
            Action::TimePasses => state.now += 1,
            Action::Die(id) => {
                state.left.deaths -= 1;
                worker::die(self, &mut state, id);
            }
            Action::Crash => state.crash(self),
            Action::Repeat(id) => {
                state.left.repeats -= 1;
                state.roll_back(id, Hand::Repeats);
            }
            Action::CommitFails(id) => {
                state.left.aborts -= 1;
                state.roll_back(id, Hand::CommitFailed);
            }
            Action::Error(id) => {
                state.left.errors -= 1;
                state.hands[id] = Hand::GivesBack;
            }
            Action::LockRow(task) => {
                state.left.locks -= 1;
                state.tasks[task].disturbed = true;
                state.locked = Some(task);
            }
            Action::UnlockRow => state.locked = None,
        }
        state.memory.forget_keys();
        state.memory.share(self, &last.memory);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Ends for Model {
    fn is_over(&self, state: &State) -> bool {
        (0..self.tasks.len()).all(|task| {
            let runs = self.tasks[task].endless && state.hands.contains(&Hand::Runs(task));
            runs || state.tasks[task].ends > 0
        })
    }

    fn is_fault(&self, action: &Action) -> bool {
        use Action::{CommitFails, Crash, Die, Error, IdleTooLong, LockRow, Repeat};
        matches!(action, Die(_) | Crash | Repeat(_) | Error(_) | CommitFails(_) | LockRow(_) | IdleTooLong(_))
    }
}

impl State {
    fn commit(&mut self, model: &Model, index: usize) {
        for task in model.enqueued[index].tasks {
            self.tasks[*task].committed = true;
        }
        let done = self.sessions[index] == Session::Announced || !model.enqueued[index].announced;
        self.sessions[index] = if done { Session::Done } else { Session::Committed };
    }

    fn announce(&mut self, model: &Model, index: usize) {
        for task in model.enqueued[index].tasks {
            self.tasks[*task].announced = true;
        }
        self.memory.announce(model, model.enqueued[index].tasks, model.enqueued[index].few, self.now);
        let done = self.sessions[index] == Session::Committed;
        self.sessions[index] = if done { Session::Done } else { Session::Announced };
    }

    fn roll_back(&mut self, id: usize, then: fn(Task) -> Hand) {
        let Hand::Runs(task) = self.hands[id] else { unreachable!() };
        self.hands[id] = then(task);
    }

    /// All processes end, and shared memory is new. Sessions that have not committed start again.
    fn crash(&mut self, model: &Model) {
        self.left.crashes -= 1;
        self.hands = [const { Hand::Gone }; WORKERS];
        self.memory.crash(model);
        self.launcher = Launcher::NEW;
        self.locked = None;
        for session in &mut self.sessions {
            *session = match session {
                Session::Open | Session::Announced => Session::Open,
                Session::Committed | Session::Done => Session::Done,
            };
        }
        for row in &mut self.tasks {
            row.announced = row.committed;
        }
    }

    /// True while a transaction holds the lock of the task's row.
    pub fn is_locked(&self, task: Task) -> bool {
        self.locked == Some(task) || self.hands.iter().any(|hand| hand.locks() == Some(task))
    }

    /// `claim::is_ready`, and the lock.
    pub fn can_lock(&self, model: &Model, task: Task) -> bool {
        let row = &self.tasks[task];
        let ready = model.tasks[task].at <= self.now && row.not_before.is_none_or(|until| until <= self.now);
        row.is_open() && ready && !self.is_locked(task)
    }

    /// True if a task that was announced as ready precedes this one, and no worker has it.
    pub fn passes_over(&self, model: &Model, task: Task) -> bool {
        let earlier = |other: &Task| {
            let row = &self.tasks[*other];
            let had = self.memory.shows(*other);
            row.announced && row.is_open() && !had && position(model, *other) < position(model, task)
        };
        let told = model.enqueued.iter().filter(|what| !what.ahead).flat_map(|what| what.tasks);
        told.copied().any(|other| earlier(&other))
    }
}
