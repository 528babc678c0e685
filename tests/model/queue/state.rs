//! The whole state: the rows, the processes with their slots, and all others.

use super::Queue;
use super::cancel::Canceller;
use super::database::{Answer, Call, Database, Row};
use super::hand::Hand;
use super::outside::Outside;
use super::provider::Provider;

pub const TASKS: usize = 2;
pub const WORKERS: usize = 2;
pub type Task = usize;
pub type WorkerId = usize;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub database: Database,
    pub workers: [Worker; WORKERS],
    /// `Shared::next_owner`.
    pub next_owner: u8,
    /// `Journal::remember_cancelled`: tasks whose cancellation outlived their worker.
    pub interrupted: [bool; TASKS],
    pub next_key: u8,
    pub provider: Provider,
    pub outside: Outside,
    pub canceller: Canceller,
    pub left: Left,
    pub seen: [Seen; TASKS],
}

/// Faults that may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Left {
    pub deaths: u8,
    pub crashes: u8,
    pub aborts: u8,
    pub days: u8,
}

/// What happened to a task, as an external observer sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Seen {
    /// `queues.cancel` has returned true.
    pub cancelled: bool,
    /// A handler was invoked nevertheless.
    pub handled_after_cancel: bool,
    /// The number of times that workers outside did the task.
    pub done_outside: u8,
    pub lease_ended: bool,
}

/// A worker process and its slot.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Worker {
    /// `MySlot::owner`; 0 means that there is no process, and the slot is free.
    pub owner: u8,
    /// The transaction is rolled back, and the slot is not released yet.
    pub dying: bool,
    /// The worker has raised the identities of later workers above those of open calls.
    pub looked_for_orphans: bool,
    pub hand: Hand,
    /// `Calls`: the calls for which the worker waits.
    pub calls: [InFlight; TASKS],
    pub slot: Slot,
}

/// The part of a worker's state that others see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot {
    pub task: Option<Task>,
    pub cancelled: bool,
    pub closing: bool,
    pub cancels: [bool; TASKS],
}

/// A provider call, as its worker knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InFlight {
    None,
    /// `Calls::unflushed`: the request is stored.
    Prepared,
    /// The request is flushed and will be sent.
    ToSend,
    /// `Calls::in_flight`.
    Waiting,
    /// `Calls::unstored`.
    Received(Answer),
    /// The response is stored.
    Stored,
    /// `Calls::answered`: the response is flushed.
    Answered,
}

impl Worker {
    pub const GONE: Worker = Worker {
        owner: 0,
        dying: false,
        looked_for_orphans: false,
        hand: Hand::Free,
        calls: [InFlight::None; TASKS],
        slot: Slot { task: None, cancelled: false, closing: false, cancels: [false; TASKS] },
    };

    pub fn is_gone(&self) -> bool {
        self.owner == 0
    }

    /// True if it can take a step of its own.
    pub fn is_up(&self) -> bool {
        self.owner != 0 && !self.dying
    }
}

impl State {
    pub fn new(model: &Queue) -> State {
        let mut state = State {
            database: Database::new(),
            workers: [Worker::GONE; WORKERS],
            // This leaves room below for a clock that was set back.
            next_owner: 10,
            interrupted: [false; TASKS],
            next_key: 0,
            provider: Provider::default(),
            outside: Outside::new(model.outside),
            canceller: if model.cancels { Canceller::Idle } else { Canceller::Done },
            left: Left {
                deaths: model.deaths,
                crashes: model.crashes,
                aborts: model.aborts,
                days: model.days,
            },
            seen: [Seen::default(); TASKS],
        };
        for id in 0..WORKERS {
            state.start(id);
            state.workers[id].looked_for_orphans = true;
        }
        state
    }

    pub fn row(&self, task: Task) -> &Row {
        self.database.row(task)
    }

    pub fn call(&self, task: Task) -> Option<Call> {
        self.row(task).call
    }

    /// `Shared::allocate` and `MySlot::attach`.
    pub fn start(&mut self, id: WorkerId) {
        self.workers[id] = Worker { owner: self.next_owner, ..Worker::GONE };
        self.next_owner += 1;
    }

    /// True while a transaction holds the lock of the task's row.
    pub fn is_locked(&self, task: Task) -> bool {
        self.canceller.holds(task) || self.workers.iter().any(|worker| worker.hand.locks(task))
    }

    /// True for a row that `for no key update skip locked` can lock.
    pub fn can_claim(&self, task: Task) -> bool {
        self.row(task).is_ready() && !self.is_locked(task)
    }

    /// Slots of processes that exist, or have not ended completely.
    pub fn live(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| !worker.is_gone())
    }

    /// The identities in use; 0 for a free slot.
    pub fn live_owners(&self) -> [u8; WORKERS] {
        std::array::from_fn(|id| self.workers[id].owner)
    }

    /// Notes that a handler of the task is invoked.
    pub fn note_handler(&mut self, task: Task) {
        let seen = &mut self.seen[task];
        seen.handled_after_cancel |= seen.cancelled;
    }
}
