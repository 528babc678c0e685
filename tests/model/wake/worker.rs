//! A worker's turn (`src/worker/mod.rs`: `turn`, `run_next`, `rest`; `src/worker/wake.rs`).

use super::shared::{Shared, SlotState};
use super::{State, Time, Wake};
use crate::broken::Broken;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Worker {
    pub hand: Hand,
    pub latch: bool,
    /// Its transaction holds the lock of this task's row.
    pub locks: Option<usize>,
    /// Its slot shows this task.
    pub shows: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hand {
    Gone,
    Starts,
    /// At the begin of a turn.
    Turns,
    Looks(Glance),
    /// It has locked a task.
    Claimed(Glance),
    Runs(usize),
    /// The task's end is committed.
    Ended,
    FoundNothing(Glance),
    /// It has looked for what falls due next. What had been announced before it looked at all.
    Rests(u8, Option<Time>),
    /// The slot is idle.
    Settled(Option<Time>),
    Waits {
        until: Option<Time>,
    },
    Leaves,
    /// Its transaction is undone; the slot comes next.
    Detaches,
    /// Only where the slot is given back first: the transaction comes next.
    Undoes,
}

/// `MySlot::glance`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Glance {
    announced: u8,
    due_unknown: bool,
    at: Time,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// `MySlot::attach`.
    Attach,
    Glance,
    /// `claim.sql`.
    Claim,
    /// `MySlot::begin`, `wake::pass_on_due`.
    Begin,
    Commit,
    /// `MySlot::end`.
    EndSlot,
    /// `wake::look_ahead`.
    LookAhead,
    Settle,
    /// `latch::wait`.
    Wait,
    WakeUp,
    Detach,
    Undo,
}

impl Worker {
    pub const GONE: Worker = Worker { hand: Hand::Gone, latch: false, locks: None, shows: None };

    pub fn is_gone(&self) -> bool {
        self.hand == Hand::Gone
    }

    pub fn is_up(&self) -> bool {
        !matches!(self.hand, Hand::Gone | Hand::Leaves | Hand::Detaches | Hand::Undoes)
    }
}

pub fn step(model: &Wake, state: &State, id: usize) -> Option<Step> {
    let worker = &state.workers[id];
    match worker.hand {
        Hand::Gone => None,
        Hand::Starts => Some(Step::Attach),
        Hand::Turns => Some(Step::Glance),
        Hand::Looks(_) => Some(Step::Claim),
        Hand::Claimed(_) => Some(Step::Begin),
        Hand::Runs(task) => (!model.is_endless(task)).then_some(Step::Commit),
        Hand::Ended => Some(Step::EndSlot),
        Hand::FoundNothing(_) => Some(Step::LookAhead),
        Hand::Rests(..) => Some(Step::Settle),
        Hand::Settled(_) => Some(Step::Wait),
        Hand::Waits { until } => {
            let due = until.is_some_and(|due| due <= state.now);
            (worker.latch || due).then_some(Step::WakeUp)
        }
        Hand::Leaves | Hand::Detaches => Some(Step::Detach),
        Hand::Undoes => Some(Step::Undo),
    }
}

pub fn take(model: &Wake, state: &mut State, id: usize, step: Step) {
    let now = state.now;
    let hand = match (step, state.workers[id].hand) {
        (Step::Attach, _) => {
            state.shared.slots[id] = SlotState::Working;
            Hand::Turns
        }
        (Step::Glance, _) => {
            let Shared { announced, due_unknown, .. } = state.shared;
            Hand::Looks(Glance { announced, due_unknown, at: now })
        }
        (Step::Claim, Hand::Looks(glance)) => claim(model, state, id, glance),
        (Step::Begin, Hand::Claimed(glance)) => begin(model, state, id, glance),
        (Step::Commit, Hand::Runs(task)) => {
            state.tasks[task].finished = true;
            state.workers[id].locks = None;
            Hand::Ended
        }
        (Step::EndSlot, _) => {
            state.workers[id].shows = None;
            Hand::Turns
        }
        (Step::LookAhead, Hand::FoundNothing(glance)) => {
            Hand::Rests(glance.announced, state.next_due(model, glance.at))
        }
        (Step::Settle, Hand::Rests(announced, due)) => {
            let settled = state.shared.settle(model, id, announced, due);
            if settled { Hand::Settled(due) } else { Hand::Turns }
        }
        (Step::Wait, Hand::Settled(until)) => {
            state.workers[id].latch &= !model.is(Broken::LatchClearedBeforeWait);
            Hand::Waits { until }
        }
        (Step::WakeUp, _) => {
            state.workers[id].latch = false;
            state.shared.unsettle(id, now);
            Hand::Turns
        }
        (Step::Undo, _) => {
            state.workers[id].locks = None;
            Hand::Gone
        }
        (Step::Detach, _) => {
            detach(model, state, id);
            Hand::Gone
        }
        (step, hand) => unreachable!("{step:?} at {hand:?}"),
    };
    state.workers[id].hand = hand;
}

fn claim(model: &Wake, state: &mut State, id: usize, glance: Glance) -> Hand {
    let may_help = state.shared.others_could_help();
    let Some((task, more)) = state.next_ready(model) else {
        return Hand::FoundNothing(Glance { due_unknown: false, ..glance });
    };
    if more && may_help && !model.is(Broken::MoreWorkKept) {
        state.shared.wake(model, &mut state.workers);
    }
    state.workers[id].locks = Some(task);
    // What is not looked at any more is left out, for fewer states.
    let at = if glance.due_unknown { glance.at } else { 0 };
    Hand::Claimed(Glance { announced: 0, at, ..glance })
}

fn begin(model: &Wake, state: &mut State, id: usize, glance: Glance) -> Hand {
    let task = state.workers[id].locks.expect("a locked row");
    // Another worker is about to write what comes of the task.
    if state.workers.iter().any(|other| other.shows == Some(task)) {
        state.workers[id].locks = None;
        return Hand::Turns;
    }
    state.workers[id].shows = Some(task);
    if glance.due_unknown && !model.is(Broken::DueTimeKept) {
        let due = state.next_due(model, glance.at);
        state.shared.note_due(due);
    }
    Hand::Runs(task)
}

/// `Shared::leave`, or back to work.
pub fn leave(model: &Wake, state: &mut State, id: usize) {
    let idle = state.shared.slots[id] == SlotState::Idle;
    if idle || model.is(Broken::LeavesUnchecked) {
        state.shared.slots[id] = SlotState::Leaving;
        state.workers[id].hand = Hand::Leaves;
    } else {
        state.shared.unsettle(id, state.now);
        state.workers[id].latch = false;
        state.workers[id].hand = Hand::Turns;
    }
}

/// The transaction is undone before the slot is given back.
pub fn die(model: &Wake, state: &mut State, id: usize) {
    if model.is(Broken::SlotGivenBackFirst) {
        detach(model, state, id);
        state.workers[id].hand = Hand::Undoes;
    } else {
        state.workers[id].locks = None;
        state.workers[id].hand = Hand::Detaches;
    }
}

fn detach(model: &Wake, state: &mut State, id: usize) {
    let had_task = state.workers[id].shows.take().is_some();
    state.workers[id].latch = false;
    state.shared.detach(model, &mut state.workers, id, had_task);
}
