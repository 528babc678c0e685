//! A worker's turn (`src/worker/mod.rs`: `turn`, `work`, `rest`; `src/worker/run.rs`, `read.rs`, `claim.rs`). Its
//! decisions are those of the shipped shared memory.

use super::memory::{CALL_WINDOW, Found, WINDOW, micros, position};
use super::{Model, Row, State, Task, Time};
use crate::broken::Broken;
use pg_errand_queue::{Class, NEVER, Next, Position, Sweep};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Hand {
    Gone,
    /// The worker has a slot, and has not attached.
    Starts,
    /// The worker is at the start of a turn. `polls`: `pg_errand.poll_interval` has passed.
    Turns {
        polls: bool,
    },
    Signalled(Signals),
    /// The worker has begun a sweep.
    Sweeps {
        signals: Signals,
        all: bool,
        as_of: Time,
    },
    Swept {
        signals: Signals,
        /// `Queue::due_since`, and when the sweep began.
        since: Option<i64>,
        began: Time,
        /// Deferred tasks, and prioritized ones that have fallen due.
        due: Vec<Found>,
        all: Vec<Found>,
    },
    /// The worker is in the transaction that claims. The time of its start is kept only where it is used.
    Looks(Signals, Time),
    /// The worker is the reader.
    Reads {
        signals: Signals,
        began: Time,
        as_of: Time,
        class: Class,
        after: Position,
    },
    HasRead {
        signals: Signals,
        began: Time,
        found: Found,
    },
    /// The worker has taken a task from the window.
    Took(Signals, Time, Task),
    /// The worker has locked the row.
    Locked(Signals, Task),
    /// The worker's slot shows the task.
    Runs(Task),
    /// The result of the task is committed.
    Ended,
    /// The slot of another worker shows the task.
    Elsewhere(Task),
    /// The transaction was rolled back for that reason.
    LeftToOther,
    /// The transaction is rolled back; `record::repeat` is next.
    Repeats(Task),
    /// The repetition is committed, and not announced.
    Repeated(Time),
    /// The commit failed; `claim::again` is next.
    CommitFailed(Task),
    /// The task has not ended, and is unlocked.
    GivesBack,
    FoundNothing(Signals),
    /// The announcements before the worker looked for work, and the next due time, if the worker has looked it up.
    Rests(u64, Option<Option<Time>>),
    /// The slot is idle.
    Idle(Option<Time>),
    Waits {
        until: Option<Time>,
    },
    /// The transaction is rolled back; the slot is released next.
    Detaches,
    /// Used only where the slot is released first: the transaction, with the lock of this task.
    Undoes(Option<Task>),
}

/// `MySlot::signals`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Signals {
    announced: u64,
    pub due: bool,
    sweep: bool,
    look_ahead: bool,
    polls: bool,
    at: Time,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// `MySlot::attach`.
    Attach,
    Signals,
    /// The start of `Worker::turn`: looks for due tasks, and begins a sweep if one is requested.
    LookAround,
    Sweep,
    /// `Shared::add`, `Shared::sweep`.
    Add,
    Take,
    /// The snapshot of `read.sql`.
    Read,
    Publish,
    /// `claim::one`.
    Lock,
    /// `MySlot::begin`, `rest::pass_on_due`.
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
    /// `MySlot::end` of a task that has to run again.
    GiveBack,
    /// Used only where that takes two turns: the first of them.
    PutBack,
    /// `rest::look_ahead`.
    LookAhead,
    /// `Shared::go_idle`.
    GoIdle,
    /// `latch::wait`.
    Wait,
    WakeUp,
    Detach,
    Undo,
}

impl Hand {
    pub const TURNS: Hand = Hand::Turns { polls: false };

    pub fn is_up(&self) -> bool {
        !matches!(self, Hand::Gone | Hand::Starts | Hand::Detaches | Hand::Undoes(_))
    }

    /// The task whose row its transaction has locked.
    pub fn locks(&self) -> Option<Task> {
        match self {
            Hand::Locked(_, task) | Hand::Elsewhere(task) | Hand::Runs(task) => Some(*task),
            Hand::Undoes(task) => *task,
            _ => None,
        }
    }
}

pub fn step(model: &Model, state: &State, id: usize) -> Option<Step> {
    Some(match &state.hands[id] {
        Hand::Gone => return None,
        Hand::Starts => Step::Attach,
        Hand::Turns { .. } => Step::Signals,
        Hand::Signalled(_) => Step::LookAround,
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
        Hand::GivesBack if model.is(Broken::PutBackBeforeEnd) && state.memory.slot(id).taken.is_some() => {
            Step::PutBack
        }
        Hand::GivesBack => Step::GiveBack,
        Hand::FoundNothing(_) => Step::LookAhead,
        Hand::Rests(..) => Step::GoIdle,
        Hand::Idle(_) => Step::Wait,
        Hand::Waits { until } => {
            let due = until.is_some_and(|due| due <= state.now);
            return (state.memory.slot(id).latch.0 || due).then_some(Step::WakeUp);
        }
        Hand::Detaches => Step::Detach,
        Hand::Undoes(_) => Step::Undo,
    })
}

pub fn take(model: &Model, state: &mut State, id: usize, step: Step) {
    let now = state.now;
    let hand = match (step, state.hands[id].clone()) {
        (Step::Attach, _) => {
            state.memory.attach(id);
            Hand::TURNS
        }
        (Step::Signals, Hand::Turns { polls }) => Hand::Signalled(signals(state, polls)),
        (Step::LookAround, Hand::Signalled(signals)) => look_around(model, state, signals),
        (Step::Sweep, Hand::Sweeps { signals, all, as_of }) => {
            let deferred = state.read_deferred(as_of);
            if deferred.tasks.len() == WINDOW && !all {
                state.memory.ask_for_sweep(now);
            }
            let classes = if model.has_priorities() { &Class::ALL[..] } else { &[Class::Plain] };
            let read = |class: &Class| state.read(model, as_of, *class, Position::START);
            let all = classes.iter().filter(|_| all).map(read).collect();
            let since = state.memory.due_since().filter(|_| model.has_priorities());
            let due = since.map(|since| state.read_due(model, since, as_of));
            let due = [deferred].into_iter().chain(due).collect();
            Hand::Swept { signals, since, began: as_of, due, all }
        }
        (Step::Add, Hand::Swept { signals, since, began, due, all }) => {
            due.iter().for_each(|found| state.memory.add(model, id, found));
            since.into_iter().for_each(|since| state.memory.note_looked_for(since, began));
            for found in &all {
                state.memory.sweep(model, id, found);
                state.memory.forget_due();
            }
            begin_transaction(model, now, signals)
        }
        (Step::Take, Hand::Looks(signals, began)) => take_next(model, state, id, signals, began),
        (Step::Read, Hand::Reads { signals, began, as_of, class, after }) => {
            let found = state.read(model, as_of, class, after);
            Hand::HasRead { signals, began, found }
        }
        (Step::Publish, Hand::HasRead { signals, began, mut found }) => {
            if model.is(Broken::CursorAfterSnapshot) {
                found.all_due_at = found.all_due_at.map(|_| now);
            }
            state.memory.publish(model, id, &found);
            Hand::Looks(signals, began)
        }
        (Step::Lock, Hand::Took(signals, began, task)) => {
            let free = state.can_lock(model, task) || model.is(Broken::WindowIsClaim);
            if free { Hand::Locked(signals, task) } else { Hand::Looks(signals, began) }
        }
        (Step::Begin, Hand::Locked(signals, task)) => begin(model, state, id, signals, task),
        (Step::Commit, Hand::Runs(task)) => {
            state.tasks[task].ends += 1;
            Hand::Ended
        }
        (Step::RollBack, _) => Hand::LeftToOther,
        (Step::LeaveToOther, _) => {
            if model.is(Broken::ElsewhereForgotten) {
                state.memory.forget_taken(id);
            }
            state.memory.leave_to_other(id);
            Hand::TURNS
        }
        (Step::Repeat, Hand::Repeats(task)) => {
            let until = (now + 1).min(model.last);
            state.tasks[task].not_before = Some(until);
            Hand::Repeated(until)
        }
        (Step::AnnounceRepeat, Hand::Repeated(until)) => {
            state.memory.announce_deferred(until, now);
            given_back(model)
        }
        (Step::ClaimAgain, Hand::CommitFailed(task)) => {
            let free = state.can_lock(model, task);
            state.tasks[task].ends += u8::from(free);
            if free { Hand::Ended } else { given_back(model) }
        }
        (Step::EndSlot, _) => {
            state.memory.end(id);
            Hand::TURNS
        }
        (Step::PutBack, _) => {
            state.memory.put_back(id);
            Hand::GivesBack
        }
        (Step::GiveBack, _) => {
            state.memory.give_back(id);
            Hand::TURNS
        }
        (Step::LookAhead, Hand::FoundNothing(signals)) => {
            let looks = signals.look_ahead || signals.due;
            Hand::Rests(signals.announced, looks.then(|| state.next_due(model, signals.at)))
        }
        (Step::GoIdle, Hand::Rests(announced, rest)) => {
            let seen =
                if model.is(Broken::SettlesUnchecked) { state.memory.entry().announced } else { announced };
            state.memory.go_idle(id, seen, rest, now).map_or(Hand::TURNS, Hand::Idle)
        }
        (Step::Wait, Hand::Idle(until)) => {
            if model.is(Broken::LatchClearedBeforeWait) {
                state.memory.clear_latch(id);
            }
            Hand::Waits { until }
        }
        (Step::WakeUp, _) => {
            state.memory.wake_up(model, id, now);
            Hand::TURNS
        }
        (Step::Detach, _) => {
            state.memory.detach(model, id, now);
            Hand::Gone
        }
        (Step::Undo, _) => Hand::Gone,
        (step, hand) => unreachable!("{step:?} at {hand:?}"),
    };
    state.hands[id] = hand;
}

fn interval(polls: bool) -> i64 {
    if polls { 0 } else { NEVER }
}

fn signals(state: &State, polls: bool) -> Signals {
    let entry = state.memory.entry();
    Signals {
        announced: entry.announced,
        due: entry.due_unknown || state.memory.is_due(state.now),
        sweep: state.memory.wants_sweep(state.now, interval(polls)),
        look_ahead: entry.due_unknown || entry.unannounced,
        polls,
        at: state.now,
    }
}

fn look_around(model: &Model, state: &mut State, signals: Signals) -> Hand {
    if signals.due {
        state.memory.see_to_due(model, signals.at);
    }
    let looks = signals.due || signals.sweep;
    let begun = looks.then(|| state.memory.begin_sweep(state.now, interval(signals.polls))).flatten();
    match begun {
        Some(sweep) => Hand::Sweeps { signals, all: sweep == Sweep::All, as_of: state.now },
        None => begin_transaction(model, state.now, signals),
    }
}

fn begin_transaction(model: &Model, now: Time, signals: Signals) -> Hand {
    let signals = Signals { sweep: false, polls: false, ..signals };
    Hand::Looks(signals, if model.is(Broken::ReadAsOfBegin) { now } else { 0 })
}

/// The time as of which a read happens is determined after the position from which it starts.
fn take_next(model: &Model, state: &mut State, id: usize, signals: Signals, began: Time) -> Hand {
    match state.memory.take(model, id, state.now) {
        Next::Task(_, candidate) => {
            let task = (candidate.position.task_id - 1) as Task;
            state.out_of_order |= state.passes_over(model, task);
            Hand::Took(signals, began, task)
        }
        Next::Read(_, class, after) => {
            let as_of = if model.is(Broken::ReadAsOfBegin) { began } else { state.now };
            Hand::Reads { signals, began, as_of, class, after }
        }
        Next::Wait => Hand::TURNS,
        Next::Nothing => Hand::FoundNothing(signals),
        Next::Key(..) | Next::ReadKeys(..) => unreachable!("no task has a key"),
    }
}

fn begin(model: &Model, state: &mut State, id: usize, signals: Signals, task: Task) -> Hand {
    let due = signals.due.then(|| state.next_due(model, signals.at));
    if !state.memory.begin(id, task, state.now) {
        return Hand::Elsewhere(task);
    }
    if let Some(due) = due.filter(|_| !model.is(Broken::DueTimeKept)) {
        state.memory.note_due(due);
    }
    Hand::Runs(task)
}

/// A task that has not ended is handed out again.
fn given_back(model: &Model) -> Hand {
    if model.is(Broken::GivenBackForgotten) { Hand::Ended } else { Hand::GivesBack }
}

/// An idle worker has waited for `pg_errand.max_idle_time`.
pub fn leave(model: &Model, state: &mut State, id: usize) {
    if state.memory.leave(id) {
        state.hands[id] = Hand::Detaches;
    } else if model.is(Broken::LeavesUnchecked) {
        state.memory.force_to_leave(id);
        state.hands[id] = Hand::Detaches;
    } else {
        state.memory.wake_up(model, id, state.now);
        state.hands[id] = Hand::TURNS;
    }
}

/// The transaction is rolled back before the slot is released.
pub fn die(model: &Model, state: &mut State, id: usize) {
    if model.is(Broken::SlotGivenBackFirst) {
        let locked = state.hands[id].locks();
        state.memory.detach(model, id, state.now);
        state.hands[id] = Hand::Undoes(locked);
    } else {
        state.hands[id] = Hand::Detaches;
    }
}

impl State {
    /// `read.sql` and `read_prioritized.sql`.
    fn read(&self, model: &Model, as_of: Time, class: Class, after: Position) -> Found {
        let found = self.ready(model, as_of, class, |position| position > after);
        let is_used = |task: usize| model.tasks[task].priority != 0 && self.tasks[task].is_open();
        let is_unused = class == Class::Prioritized && !(0..model.tasks.len()).any(is_used);
        Found { is_unused: is_unused && after == Position::START, ..found }
    }

    /// `read::read_due`.
    fn read_due(&self, model: &Model, since: i64, as_of: Time) -> Found {
        self.ready(model, as_of, Class::Prioritized, |position| position.scheduled_at > since)
    }

    /// The first ready tasks of a class at certain positions.
    fn ready(&self, model: &Model, as_of: Time, class: Class, is_wanted: impl Fn(Position) -> bool) -> Found {
        let ready = |task: &Task| {
            let (row, position) = (&self.tasks[*task], position(model, *task));
            row.is_open()
                && model.tasks[*task].at <= as_of
                && row.not_before.is_none_or(|until| until <= as_of)
                && position.class() == class
                && is_wanted(position)
        };
        let mut tasks: Vec<Task> = (0..model.tasks.len()).filter(ready).collect();
        tasks.sort_by_key(|task| position(model, *task));
        let limit = if class == Class::Plain { WINDOW } else { CALL_WINDOW };
        tasks.truncate(limit);
        let all_due_at = (tasks.len() < limit).then_some(as_of);
        Found { class, tasks, all_due_at, is_unused: false }
    }

    /// `read_deferred.sql`.
    fn read_deferred(&self, as_of: Time) -> Found {
        let deferred = |row: &Row| row.is_open() && row.not_before.is_some_and(|until| until <= as_of);
        let tasks = (0..self.tasks.len()).filter(|task| deferred(&self.tasks[*task])).take(WINDOW).collect();
        Found { class: Class::Plain, tasks, all_due_at: Some(as_of), is_unused: false }
    }

    /// `next_due.sql`.
    fn next_due(&self, model: &Model, after: Time) -> Option<Time> {
        let open = (0..model.tasks.len()).filter(|task| self.tasks[*task].is_open());
        let times = open.flat_map(|task| [Some(model.tasks[task].at), self.tasks[task].not_before]);
        times.flatten().filter(|due| micros(*due) > micros(after)).min()
    }
}
