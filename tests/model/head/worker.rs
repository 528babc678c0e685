//! A worker's turn (`src/worker/mod.rs`: `turn`, `look_around`, `run_next`, `rest`; `src/worker/read.rs`,
//! `src/worker/claim.rs`).

use super::line::{Next, Position, WINDOW};
use super::shared::{Batch, SlotState};
use super::{Head, State, Task, Time};
use crate::broken::Broken;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Hand {
    Gone,
    /// At the begin of a turn.
    Turns,
    Glanced(Glance),
    /// It has consumed the wish for a sweep.
    Sweeps {
        glance: Glance,
        all: bool,
        as_of: Time,
    },
    Swept {
        glance: Glance,
        found: Vec<Batch>,
    },
    /// In the transaction that claims. When that began is kept only where it is looked at.
    Looks(Glance, Time),
    /// It is the reader.
    Reads {
        glance: Glance,
        began: Time,
        as_of: Time,
        after: Position,
    },
    HasRead {
        glance: Glance,
        began: Time,
        batch: Batch,
    },
    /// What it took from the window.
    Took(Glance, Time, Task),
    /// Its row is locked.
    Locked(Glance, Task),
    /// Its slot shows it.
    Runs(Task),
    /// What came of the task is committed.
    Ended,
    /// Another worker's slot shows it.
    Elsewhere(Task),
    /// Therefore it is rolled back.
    LeftToOther,
    /// It is rolled back; `record::repeat` is next.
    Repeats(Task),
    /// That is committed, and not announced.
    Repeated(Time),
    /// Its commit failed; `claim::again` is next.
    CommitFailed(Task),
    /// Its task has not ended, and is free.
    GivesBack,
    FoundNothing(Glance),
    /// What had been announced before it looked at all, and what is due next.
    Rests(u8, Option<Time>),
    Waits {
        until: Option<Time>,
    },
    /// Its transaction is undone; the slot comes next.
    Dying,
}

/// `MySlot::glance`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Glance {
    announced: u8,
    pub due: bool,
    sweep: bool,
    at: Time,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    Glance,
    /// `Worker::look_around`: sees to what is due, and begins a sweep if one is wanted.
    LookAround,
    Sweep,
    /// `Shared::add`.
    Add,
    Take,
    /// `read.sql`: its snapshot.
    Read,
    Publish,
    /// `claim::one`.
    Lock,
    /// `MySlot::begin`, `wake::pass_on_due`.
    Begin,
    Commit,
    RollBack,
    /// `Shared::leave_to_other`.
    LeaveToOther,
    Repeat,
    AnnounceRepeat,
    ClaimAgain,
    /// `MySlot::end`.
    EndSlot,
    /// `MySlot::end` of a task that is to be run again.
    GiveBack,
    /// Only where that is two turns: the first.
    PutBack,
    LookAhead,
    Settle,
    WakeUp,
    Detach,
}

impl Hand {
    pub fn is_up(&self) -> bool {
        !matches!(self, Hand::Gone | Hand::Dying)
    }

    /// The task whose row its transaction has locked.
    pub fn locks(&self) -> Option<Task> {
        match self {
            Hand::Locked(_, task) | Hand::Elsewhere(task) | Hand::Runs(task) => Some(*task),
            _ => None,
        }
    }
}

pub fn step(model: &Head, state: &State, id: usize) -> Option<Step> {
    Some(match &state.hands[id] {
        Hand::Gone => return None,
        Hand::Turns => Step::Glance,
        Hand::Glanced(_) => Step::LookAround,
        Hand::Sweeps { .. } => Step::Sweep,
        Hand::Swept { .. } => Step::Add,
        Hand::Looks(..) => Step::Take,
        Hand::Reads { .. } => Step::Read,
        Hand::HasRead { .. } => Step::Publish,
        Hand::Took(..) => Step::Lock,
        Hand::Locked(..) => Step::Begin,
        Hand::Runs(task) => return (!model.tasks[*task].endless).then_some(Step::Commit),
        Hand::Ended => Step::EndSlot,
        Hand::Elsewhere(_) => Step::RollBack,
        Hand::LeftToOther => Step::LeaveToOther,
        // An update waits for the row's lock.
        Hand::Repeats(task) => return (!state.is_locked(*task)).then_some(Step::Repeat),
        Hand::Repeated(_) => Step::AnnounceRepeat,
        Hand::CommitFailed(_) => Step::ClaimAgain,
        Hand::GivesBack if model.is(Broken::PutBackBeforeEnd) && state.shared.slots[id].taken.is_some() => {
            Step::PutBack
        }
        Hand::GivesBack => Step::GiveBack,
        Hand::FoundNothing(_) => Step::LookAhead,
        Hand::Rests(..) => Step::Settle,
        Hand::Waits { until } => {
            let due = until.is_some_and(|due| due <= state.now);
            return (state.shared.slots[id].latch || due).then_some(Step::WakeUp);
        }
        Hand::Dying => Step::Detach,
    })
}

pub fn take(model: &Head, state: &mut State, id: usize, step: Step) {
    let now = state.now;
    let hand = match (step, state.hands[id].clone()) {
        (Step::Glance, _) => Hand::Glanced(glance(state)),
        (Step::LookAround, Hand::Glanced(glance)) => look_around(model, state, glance),
        (Step::Sweep, Hand::Sweeps { glance, all, as_of }) => {
            let mut found = vec![state.read_held(as_of)];
            found.extend(all.then(|| state.read(model, as_of, None)));
            Hand::Swept { glance, found }
        }
        (Step::Add, Hand::Swept { glance, found }) => {
            found.iter().for_each(|batch| state.shared.add(model, batch));
            begin_transaction(model, now, glance)
        }
        (Step::Take, Hand::Looks(glance, began)) => take_next(model, state, id, glance, began),
        (Step::Read, Hand::Reads { glance, began, as_of, after }) => {
            let batch = state.read(model, as_of, Some(after));
            Hand::HasRead { glance, began, batch }
        }
        (Step::Publish, Hand::HasRead { glance, began, mut batch }) => {
            if model.is(Broken::CursorAfterSnapshot) {
                batch.all_due_at = batch.all_due_at.map(|_| now);
            }
            state.shared.publish(model, &batch);
            Hand::Looks(glance, began)
        }
        (Step::Lock, Hand::Took(glance, began, task)) => {
            let free = state.can_lock(model, task) || model.is(Broken::WindowIsClaim);
            if free { Hand::Locked(glance, task) } else { Hand::Looks(glance, began) }
        }
        (Step::Begin, Hand::Locked(glance, task)) => begin(model, state, id, glance, task),
        (Step::Commit, Hand::Runs(task)) => {
            state.tasks[task].ends += 1;
            Hand::Ended
        }
        (Step::RollBack, _) => Hand::LeftToOther,
        (Step::LeaveToOther, _) => {
            state.shared.leave_to_other(model, id);
            Hand::Turns
        }
        (Step::Repeat, Hand::Repeats(task)) => {
            let until = (now + 1).min(model.last);
            state.tasks[task].held_until = Some(until);
            Hand::Repeated(until)
        }
        (Step::AnnounceRepeat, Hand::Repeated(until)) => {
            state.shared.announce_held(until, now);
            given_back(model)
        }
        (Step::ClaimAgain, Hand::CommitFailed(task)) => {
            let free = state.can_lock(model, task);
            state.tasks[task].ends += u8::from(free);
            if free { Hand::Ended } else { given_back(model) }
        }
        (Step::EndSlot, _) => {
            (state.shared.slots[id].shows, state.shared.slots[id].taken) = (None, None);
            Hand::Turns
        }
        (Step::PutBack, _) => {
            state.shared.put_back(model, id);
            Hand::GivesBack
        }
        (Step::GiveBack, _) => {
            state.shared.put_back(model, id);
            state.shared.slots[id].shows = None;
            Hand::Turns
        }
        (Step::LookAhead, Hand::FoundNothing(glance)) => {
            Hand::Rests(glance.announced, state.next_due(model, glance.at))
        }
        (Step::Settle, Hand::Rests(announced, due)) => {
            let settled = state.shared.settle(model, id, announced, due);
            if settled { Hand::Waits { until: due } } else { Hand::Turns }
        }
        (Step::WakeUp, _) => {
            state.shared.unsettle(model, id, now);
            Hand::Turns
        }
        (Step::Detach, _) => {
            state.shared.detach(model, id);
            Hand::Gone
        }
        (step, hand) => unreachable!("{step:?} at {hand:?}"),
    };
    state.hands[id] = hand;
}

fn glance(state: &State) -> Glance {
    let shared = &state.shared;
    Glance {
        announced: shared.announced,
        due: shared.due_unknown || shared.is_due(state.now),
        sweep: shared.line.as_ref().is_none_or(|line| line.sweep || line.held_due),
        at: state.now,
    }
}

fn look_around(model: &Head, state: &mut State, glance: Glance) -> Hand {
    if glance.due {
        state.shared.see_to_due(model, glance.at);
    }
    // `Queue::begin_sweep`.
    if let Some(line) = state.shared.line.as_mut().filter(|_| glance.due || glance.sweep)
        && (line.sweep || line.held_due)
    {
        let all = std::mem::take(&mut line.sweep);
        line.held_due = false;
        return Hand::Sweeps { glance, all, as_of: state.now };
    }
    begin_transaction(model, state.now, glance)
}

fn begin_transaction(model: &Head, now: Time, glance: Glance) -> Hand {
    Hand::Looks(Glance { sweep: false, ..glance }, if model.is(Broken::ReadAsOfBegin) { now } else { 0 })
}

/// The time as of which is read is looked at after the place from which on.
fn take_next(model: &Head, state: &mut State, id: usize, glance: Glance, began: Time) -> Hand {
    let next = state.shared.take(model, id);
    match next {
        Next::Task(task) => {
            state.out_of_order |= state.passes_over(model, task);
            Hand::Took(glance, began, task)
        }
        Next::Read(after) => {
            let as_of = if model.is(Broken::ReadAsOfBegin) { began } else { state.now };
            Hand::Reads { glance, began, as_of, after }
        }
        Next::Wait => Hand::Turns,
        Next::Nothing => Hand::FoundNothing(glance),
    }
}

fn begin(model: &Head, state: &mut State, id: usize, glance: Glance, task: Task) -> Hand {
    if state.shared.slots.iter().any(|slot| slot.shows == Some(task)) {
        return Hand::Elsewhere(task);
    }
    state.shared.slots[id].shows = Some(task);
    if glance.due {
        let due = state.next_due(model, glance.at);
        state.shared.note_due(due);
    }
    Hand::Runs(task)
}

/// A task that has not ended is handed out again.
fn given_back(model: &Head) -> Hand {
    if model.is(Broken::GivenBackForgotten) { Hand::Ended } else { Hand::GivesBack }
}

/// Its transaction is undone before the slot is given back.
pub fn die(state: &mut State, id: usize) {
    state.hands[id] = Hand::Dying;
    state.shared.slots[id].latch = false;
    state.shared.slots[id].state = SlotState::Working;
}

impl State {
    /// `read.sql`, or from the very start.
    fn read(&self, model: &Head, as_of: Time, after: Option<Position>) -> Batch {
        let ready = |task: &Task| {
            let place = model.place(*task);
            let row = &self.tasks[*task];
            row.is_open()
                && place.0 <= as_of
                && row.held_until.is_none_or(|until| until <= as_of)
                && after.is_none_or(|after| place > after)
        };
        let mut tasks: Vec<Task> = (0..model.tasks.len()).filter(ready).collect();
        tasks.sort_by_key(|task| model.place(*task));
        tasks.truncate(WINDOW);
        let all_due_at = (tasks.len() < WINDOW).then_some(as_of);
        Batch { tasks, all_due_at }
    }

    /// `read_held.sql`.
    fn read_held(&self, as_of: Time) -> Batch {
        let held = |row: &super::Row| row.is_open() && row.held_until.is_some_and(|until| until <= as_of);
        let tasks = (0..self.tasks.len()).filter(|task| held(&self.tasks[*task])).collect();
        Batch { tasks, all_due_at: Some(as_of) }
    }

    /// `next_due.sql`.
    fn next_due(&self, model: &Head, after: Time) -> Option<Time> {
        let open = (0..model.tasks.len()).filter(|task| self.tasks[*task].is_open());
        let times = open.flat_map(|task| [Some(model.tasks[task].at), self.tasks[task].held_until]);
        times.flatten().filter(|due| *due > after).min()
    }
}
