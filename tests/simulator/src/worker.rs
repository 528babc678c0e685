//! A worker process: one turn of its loop in small steps.

use crate::key_worker::{Kept, KeyStep, Search};
use crate::keys::{FoundKeys, KeyTypes, MAX_DUE, MAX_SWEPT, Scan, scan};
use crate::pauses::Paused;
use crate::row::{self, Found, index, next_due, position, task_id};
use crate::session::Session;
use crate::types::{ageing, is_of_type, limits, type_lanes, type_of};
use crate::world::{DATABASE, Flag, POLL_INTERVAL, Shared, World, all_lanes, terms};
use pg_errand_queue::{
    Admission, Candidate, Class, EndedCall, InFlight, Key, KeyEntry, KeyPlace, Lane, LaneSet, NEVER, Next,
    Over, Position, Rest, ShownKey, SlotState, Sources, Sweep, Unavailable,
};

/// The number of calls that a worker may have in flight.
const MAX_CALLS: usize = 4;
/// The pause before a queued call is tried again whose provider had no free place, in microseconds.
const FULL_LOOK: i64 = 100_000;

#[derive(Clone, PartialEq, Debug)]
pub enum Hand {
    Gone,
    /// The worker has a slot, and has not attached.
    Starts,
    Turns,
    /// The worker sweeps: the remaining lanes, and the tasks found in the first of them.
    Sweeps {
        sweeping: Sweeping,
        lanes: LaneSet,
        found: Option<Box<Swept>>,
    },
    /// The keys of tasks that have fallen due, as the sweep has read them last.
    HasReadDue(Sweeping, Vec<(Lane, KeyEntry)>),
    Looks(Signals),
    Reads {
        signals: Signals,
        line: (Lane, Class),
        after: Position,
        as_of: i64,
    },
    HasRead {
        signals: Signals,
        line: (Lane, Class),
        found: Found,
    },
    ReadsKeys(Signals, Lane, Key),
    HasReadKeys(Signals, Lane, FoundKeys),
    Took(Signals, Position),
    Searches(Search),
    Locked(Signals, usize),
    /// The slot shows the task, whose handler runs until this time.
    Runs(usize, i64),
    /// The provider has admitted the task's request.
    Admitted(usize),
    Ended,
    CallStored(usize),
    Elsewhere,
    /// The provider of the task has refused its request.
    Refused(Admission),
    /// The transaction is rolled back, and the task has to be deferred.
    Repeats(usize),
    Repeated(i64),
    GivesBack,
    FoundNothing(Signals),
    Rests(Signals, Option<Rest>),
    Idle(i64),
    Waits {
        until: i64,
        since: i64,
    },
    /// The transaction is rolled back; the slot is released next.
    Detaches,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sweeping {
    signals: Signals,
    all: bool,
    began: i64,
    /// `Queue::due_since`.
    due_since: Option<i64>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Swept {
    lane: Lane,
    deferred: Vec<Candidate>,
    due: Option<Found>,
    all: Option<[(Class, Found); 2]>,
    keys: Option<FoundKeys>,
    as_of: i64,
}

/// `MySlot::signals`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Signals {
    at: i64,
    announced: u64,
    due: bool,
    sweep: bool,
    look_ahead: bool,
    pub definition_changes: u64,
}

/// A call in flight.
#[derive(Clone, Copy)]
pub struct Call {
    pub task: usize,
    pub lane: Lane,
    ends_at: i64,
}

/// A call that waits for its provider.
#[derive(Clone, Copy)]
pub struct QueuedCall {
    pub task: usize,
    not_before: i64,
}

pub struct Worker {
    pub slot: usize,
    pub generation: u32,
    pub owner: i64,
    pub hand: Hand,
    pub calls: Vec<Call>,
    pub queued: Vec<QueuedCall>,
    /// Tasks that the worker does not take before a time.
    avoided: Vec<(i64, Lane, Position)>,
    /// Keys that the worker hands back after a time.
    pub kept: Vec<Kept>,
    definition_changes: u64,
    /// The task types with keys as of `definition_changes`.
    pub key_types: KeyTypes,
    /// The pauses as of `definition_changes`; `None` before the worker has read them.
    paused: Option<Paused>,
    /// Another task of the key was due when the worker locked one.
    pub follower: Option<i16>,
    pub first: Option<KeyPlace>,
    resumes: u64,
    /// Each worker looks for orphaned calls once, whatever its signals are.
    has_looked_for_orphans: bool,
}

impl Worker {
    pub fn new(slot: usize, generation: u32, key_types: KeyTypes) -> Worker {
        Worker {
            slot,
            generation,
            owner: 0,
            hand: Hand::Starts,
            calls: Vec::new(),
            queued: Vec::new(),
            avoided: Vec::new(),
            kept: Vec::new(),
            definition_changes: 0,
            key_types,
            paused: None,
            follower: None,
            first: None,
            resumes: 0,
            has_looked_for_orphans: false,
        }
    }

    /// The task whose row its transaction has locked.
    pub fn locked(&self) -> Option<usize> {
        match self.hand {
            Hand::Locked(_, task) | Hand::Runs(task, _) | Hand::Admitted(task) => Some(task),
            _ => None,
        }
    }

    /// True if the worker does not take the task for a while.
    pub fn avoids(&self, task_id: i64) -> bool {
        self.avoided.iter().any(|(_, _, position)| position.task_id == task_id)
    }

    /// `insert` of `worker::deferred`.
    pub fn keep(&mut self, kept: Kept) {
        let is_same = |known: &Kept| match kept.task_id {
            None => known.task_id.is_none() && known.entry.key == kept.entry.key,
            some => known.task_id == some,
        };
        self.kept.retain(|known| !is_same(known));
        self.kept.push(kept);
    }

    fn counts(&self) -> InFlight {
        let mut counts = InFlight::NONE;
        let limited = self.calls.iter().filter(|call| terms(call.lane).max_in_flight > 0);
        limited.for_each(|call| counts.add(terms(call.lane).account));
        counts
    }

    /// The time at which the worker continues although no process wakes it.
    pub fn next_event(&self) -> i64 {
        let calls = self.calls.iter().map(|call| call.ends_at);
        let queued = self.queued.iter().map(|queued| queued.not_before);
        let avoided = self.avoided.iter().map(|(until, ..)| *until);
        let kept = self.kept.iter().map(|kept| kept.until);
        match self.hand {
            Hand::Runs(_, until) => until,
            Hand::Waits { until, .. } => {
                calls.chain(queued).chain(avoided).chain(kept).chain([until]).min().unwrap_or(NEVER)
            }
            _ => NEVER,
        }
    }
}

impl<const W: usize, const C: usize> World<W, C> {
    pub fn is_free(&self, task: usize) -> bool {
        !self.rows[task].is_locked
            && self.workers.iter().all(|worker| worker.locked() != Some(task))
            && self.outsiders.iter().all(|outsider| outsider.locked() != Some(task))
    }

    /// True if the worker has a step to take.
    pub fn can_step(&self, worker: usize) -> bool {
        let worker = &self.workers[worker];
        match worker.hand {
            Hand::Gone => false,
            Hand::Runs(_, until) => until <= self.now,
            Hand::Repeats(task) => self.is_free(task),
            Hand::Waits { since, .. } => {
                let slot = &self.shared.slots[worker.slot];
                let is_polled = self.polls && since + POLL_INTERVAL <= self.now;
                slot.latch.0 || slot.retire || is_polled || worker.next_event() <= self.now
            }
            _ => true,
        }
    }

    pub fn step_worker(&mut self, worker: usize) {
        if !self.can_step(worker) {
            return;
        }
        let hand = std::mem::replace(&mut self.workers[worker].hand, Hand::Gone);
        let slot = self.workers[worker].slot;
        let is_leaving = self.workers[worker].owner != 0 && self.shared.slots[slot].retire;
        let next = match hand {
            Hand::Gone => Hand::Gone,
            Hand::Starts => self.attach(worker),
            Hand::Turns | Hand::Waits { .. } | Hand::Idle(_) if is_leaving => Hand::Detaches,
            Hand::Turns => self.turn(worker),
            Hand::Sweeps { sweeping, lanes, found } => self.sweep(slot, worker, sweeping, lanes, found),
            Hand::HasReadDue(sweeping, due) => self.add_due(worker, sweeping, due),
            Hand::Looks(signals) => self.take(worker, signals),
            Hand::Reads { signals, line, after, as_of } => {
                let limit = pg_errand_queue::Queue::<W, C>::window(line.0, line.1);
                let found = row::read(&self.rows, line, self.ageing_of(line.0), after, as_of, limit);
                if self.has_faults && self.rng.one_in(100) {
                    Hand::GivesBack
                } else {
                    Hand::HasRead { signals, line, found }
                }
            }
            Hand::HasRead { signals, line: (lane, class), found } => {
                let definitions = self.workers[worker].definition_changes;
                self.shared.publish(slot, &found.of(lane, class), definitions);
                Hand::Looks(signals)
            }
            Hand::ReadsKeys(signals, lane, after) => {
                let found = self.read_keys(worker, lane, after);
                if self.has_faults && self.rng.one_in(100) {
                    Hand::GivesBack
                } else {
                    Hand::HasReadKeys(signals, lane, found)
                }
            }
            Hand::HasReadKeys(signals, lane, found) => {
                let definitions = self.workers[worker].definition_changes;
                self.checks.turns.clear();
                self.shared.publish_keys(slot, lane, &found.read(), definitions);
                Hand::Looks(signals)
            }
            Hand::Searches(_) if self.has_faults && self.rng.one_in(200) => Hand::GivesBack,
            Hand::Searches(search) => self.search(worker, search),
            Hand::Took(signals, taken) => {
                let task = index(taken.task_id);
                let row = &self.rows[task];
                let is_ready = row.key.is_none() && row.is_ready(self.now) && self.is_free(task);
                if self.rows[task].priority != taken.priority {
                    self.hand_back_moved(slot, task, is_ready);
                    Hand::Looks(signals)
                } else if is_ready {
                    Hand::Locked(signals, task)
                } else {
                    Hand::Looks(signals)
                }
            }
            Hand::Locked(signals, task) => self.begin(worker, signals, task),
            Hand::Runs(task, _) => self.end_run(worker, task),
            Hand::Admitted(task) => self.store_call(worker, task),
            Hand::Ended => {
                self.end_slot(slot, Over::Succeeded);
                Hand::Turns
            }
            Hand::CallStored(task) => {
                self.end_slot(slot, Over::Calling);
                self.send(worker, task);
                Hand::Turns
            }
            Hand::Elsewhere => {
                self.shared.leave_to_other(slot);
                Hand::Turns
            }
            Hand::Refused(admission) => {
                let lane = self.rows[index(self.shared.slots[slot].task_id)].lane;
                let definitions = self.workers[worker].definition_changes;
                self.shared.shut(slot, admission, &terms(lane), definitions);
                self.give_back(slot);
                Hand::Turns
            }
            Hand::Repeats(task) => {
                let until = self.now + self.rng.duration();
                self.rows[task].not_before = Some(until);
                self.rows[task].is_leased = false;
                Hand::Repeated(until)
            }
            Hand::Repeated(until) => {
                self.announce_repeat(worker, until);
                Hand::GivesBack
            }
            Hand::GivesBack => {
                self.give_back(slot);
                Hand::Turns
            }
            Hand::FoundNothing(signals) => {
                let looks = signals.look_ahead || signals.due;
                let rest =
                    Rest { next_due: self.next_due(signals.at), nothing_prepared: self.nothing_prepared() };
                Hand::Rests(signals, looks.then_some(rest))
            }
            Hand::Rests(signals, rest) => {
                let until = self.shared.go_idle(slot, signals.announced, rest, self.now);
                until.map_or(Hand::Turns, Hand::Idle)
            }
            Hand::Idle(until) => Hand::Waits { until, since: self.now },
            Hand::Waits { .. } => self.wake_up(worker),
            Hand::Detaches => {
                self.detach(worker);
                Hand::Gone
            }
        };
        self.workers[worker].hand = next;
    }

    /// `MySlot::attach`.
    fn attach(&mut self, worker: usize) -> Hand {
        let slot = &mut self.shared.slots[self.workers[worker].slot];
        if slot.state != SlotState::Starting {
            return Hand::Gone;
        }
        (slot.state, slot.pid, slot.started_at) = (SlotState::Working, 1_000 + slot.owner as i32, self.now);
        self.workers[worker].owner = slot.owner;
        if self.shared.database(DATABASE).is_some_and(|database| database.needs_worker) {
            self.shared.launcher = Flag(true);
        }
        Hand::Turns
    }

    fn turn(&mut self, worker: usize) -> Hand {
        let slot = self.workers[worker].slot;
        let now = self.now;
        let (interval, queue) =
            (if self.polls { POLL_INTERVAL } else { NEVER }, self.shared.queue_of(DATABASE));
        let sweep = queue.is_none_or(|queue| queue.wants_sweep(now, interval));
        self.end_pauses();
        let Some(database) = self.shared.database(DATABASE) else { return Hand::Detaches };
        let starts_nothing = database.starts_nothing();
        let due = database.due_unknown || database.next_due <= now;
        let look_ahead = database.due_unknown || database.unannounced;
        let (definition_changes, has_orphans) = (database.definition_changes, database.orphans);
        let signals =
            Signals { at: now, announced: database.announced, due, sweep, look_ahead, definition_changes };
        let has_resumed = self.workers[worker].resumes != self.shared.resumes;
        let this = &mut self.workers[worker];
        if this.definition_changes != definition_changes || this.paused.is_none() {
            this.key_types = self.key_types;
            let paused = self.paused.at(now);
            let (is_paused, ends_at) = (paused.has_database(), paused.ends_at());
            this.paused = Some(paused);
            self.shared.set_pauses(DATABASE, definition_changes, is_paused, ends_at, now);
        }
        (this.definition_changes, this.resumes) = (definition_changes, self.shared.resumes);
        if has_resumed {
            this.queued.iter_mut().for_each(|queued| queued.not_before = queued.not_before.min(now));
        }
        let over: Vec<_> = this.avoided.extract_if(.., |(until, ..)| *until <= now).collect();
        for (_, lane, position) in over {
            self.shared.queue(DATABASE).into_iter().for_each(|queue| queue.hand_back(lane, position));
        }
        self.hand_back_keys(worker);
        self.end_calls(worker);
        if has_orphans || !self.workers[worker].has_looked_for_orphans {
            self.workers[worker].has_looked_for_orphans = true;
            self.take_over(worker);
        }
        self.send_queued(worker);
        if starts_nothing {
            self.show_in_flight(slot, worker);
            return Hand::FoundNothing(signals);
        }
        if due {
            self.shared.see_to_due(DATABASE, now);
        }
        let begun = (due || sweep)
            .then(|| self.shared.queue(DATABASE).and_then(|queue| queue.begin_sweep(now, interval)))
            .flatten();
        match begun {
            Some(wanted) => {
                let queue = self.shared.queue(DATABASE);
                let due_since = queue.and_then(|queue| queue.due_since());
                let sweeping = Sweeping { signals, all: wanted == Sweep::All, began: now, due_since };
                Hand::Sweeps { sweeping, lanes: self.open_lanes(worker), found: None }
            }
            None => {
                self.show_in_flight(slot, worker);
                Hand::Looks(signals)
            }
        }
    }

    fn sweep(
        &mut self,
        slot: usize,
        worker: usize,
        sweeping: Sweeping,
        lanes: LaneSet,
        found: Option<Box<Swept>>,
    ) -> Hand {
        let Sweeping { signals, all, began, due_since } = sweeping;
        let definitions = self.workers[worker].definition_changes;
        if let Some(found) = found {
            let Swept { lane, deferred, due, all: everything, keys, as_of } = *found;
            let deferred = Found { tasks: deferred, all_due_at: Some(as_of), is_unused: false };
            self.shared.add(slot, &deferred.of(lane, Class::Plain), definitions);
            if let Some(due) = due {
                self.shared.add(slot, &due.of(lane, Class::Prioritized), definitions);
            }
            if let Some(FoundKeys { entries, end, .. }) = keys {
                self.checks.turns.clear();
                let end = end.unwrap_or(Key::FIRST);
                let found: Vec<_> = entries.into_iter().map(|entry| (lane, entry)).collect();
                self.shared.add_keys(slot, &found, Some((lane, end)), definitions);
            }
            for (class, found) in everything.iter().flatten() {
                self.shared.sweep(slot, &found.of(lane, *class), definitions);
            }
            return Hand::Sweeps { sweeping, lanes: lanes.without(lane), found: None };
        }
        let Some(lane) = lanes.iter().next() else {
            if let Some(since) = due_since {
                let due = self.read_due_keys(worker, since, began);
                return Hand::HasReadDue(sweeping, due);
            }
            if all {
                self.shared.database(DATABASE).into_iter().for_each(|database| database.due_unknown = true);
            }
            return Hand::Looks(signals);
        };
        let window = pg_errand_queue::Queue::<W, C>::window;
        let (as_of, limit) = (self.now, window(lane, Class::Plain));
        let deferred = row::read_deferred(&self.rows, lane, as_of, limit);
        if deferred.len() == limit && !all {
            self.shared.queue(DATABASE).into_iter().for_each(|queue| queue.ask_for_sweep(as_of));
        }
        let ageing = self.ageing_of(lane);
        let read = |class| {
            let limit = window(lane, class);
            let found = row::read(&self.rows, (lane, class), ageing, Position::START, as_of, limit);
            (class, found)
        };
        let everything = all.then(|| Class::ALL.map(read));
        let due = due_since.filter(|_| !all).map(|since| {
            row::read_due(&self.rows, (lane, ageing), since, began, window(lane, Class::Prioritized))
        });
        let keys = all.then(|| {
            let after = self.shared.queue_of(DATABASE).map_or(Key::FIRST, |queue| queue.keys_swept(lane));
            let (types, pauses) = (&self.workers[worker].key_types, &self.pauses);
            let from = Scan { types, pauses, lane, after, limit: MAX_SWEPT, steps: MAX_SWEPT, now: self.now };
            scan(&self.rows, &from)
        });
        let found = Some(Box::new(Swept { lane, deferred, due, all: everything, keys, as_of }));
        Hand::Sweeps { sweeping, lanes, found }
    }

    /// `read_keys::add_due`, and the end of the sweep.
    fn add_due(&mut self, worker: usize, sweeping: Sweeping, due: Vec<(Lane, KeyEntry)>) -> Hand {
        let Worker { slot, definition_changes, .. } = self.workers[worker];
        if due.len() >= MAX_DUE {
            self.shared.queue(DATABASE).into_iter().for_each(|queue| queue.rewind_keys(LaneSet::ALL));
        }
        self.checks.turns.clear();
        for (lane, entry) in due {
            self.shared.add_keys(slot, &[(lane, entry)], None, definition_changes);
        }
        if let (Some(since), Some(queue)) = (sweeping.due_since, self.shared.queue(DATABASE)) {
            queue.note_looked_for(since, sweeping.began);
        }
        if sweeping.all {
            self.shared.database(DATABASE).into_iter().for_each(|database| database.due_unknown = true);
        }
        Hand::Looks(sweeping.signals)
    }

    /// `next_due.sql`.
    fn next_due(&self, after: i64) -> i64 {
        let pauses = self.pauses.values().copied().filter(|until| *until > after).min();
        next_due(&self.rows, after).min(pauses.unwrap_or(NEVER))
    }

    /// The lanes that are not paused, as the worker knows.
    fn open_lanes(&self, worker: usize) -> LaneSet {
        self.workers[worker].paused.as_ref().map_or(all_lanes(), |paused| paused.others(all_lanes()))
    }

    /// True if the worker of a slot has read that the lane is paused. The end of the pause may not be announced yet.
    pub fn knows_as_paused(&self, slot: usize, lane: Lane) -> bool {
        let owner = self.shared.slots[slot].owner;
        let worker = self.workers.iter().find(|worker| worker.slot == slot && worker.owner == owner);
        worker.and_then(|worker| worker.paused.as_ref()).is_some_and(|paused| paused.holds(lane))
    }

    fn take(&mut self, worker: usize, signals: Signals) -> Hand {
        let this = &self.workers[worker];
        let (slot, definitions) = (this.slot, this.definition_changes);
        let has_room = this.calls.len() + this.queued.len() < MAX_CALLS;
        let lanes = if has_room { all_lanes() } else { LaneSet::LOCAL.and(type_lanes()) };
        let lanes = this.paused.as_ref().map_or(lanes, |paused| paused.others(lanes));
        let (limits, ageing) = (limits(), ageing(self.ages_every));
        let sources = Sources { limits: &limits, ageing: &ageing, ..Sources::from(lanes) };
        match self.shared.take(slot, sources, definitions, self.now) {
            Next::Read(lane, class, after) => {
                Hand::Reads { signals, line: (lane, class), after, as_of: self.now }
            }
            Next::ReadKeys(lane, after) => Hand::ReadsKeys(signals, lane, after),
            Next::Key(lane, entry) => {
                self.check_pause(lane);
                Hand::Searches(Search { signals, lane, entry, step: KeyStep::Shown, read_in: 0 })
            }
            Next::Wait => Hand::Turns,
            Next::Nothing => Hand::FoundNothing(signals),
            Next::Task(lane, candidate) => {
                self.check_pause(lane);
                let is_avoided = |(_, known, position): &(i64, Lane, Position)| {
                    (*known, *position) == (lane, candidate.position)
                };
                if self.workers[worker].avoided.iter().any(is_avoided) {
                    return Hand::Looks(signals);
                }
                self.check_order(slot, lane, candidate.position);
                Hand::Took(signals, candidate.position)
            }
        }
    }

    /// The claim of a task whose priority has been changed.
    fn hand_back_moved(&mut self, slot: usize, task: usize, is_ready: bool) {
        let position = position(&self.rows, task);
        if is_ready
            && let Some((lane, _)) = self.shared.slots[slot].taken
            && let Some(queue) = self.shared.queue(DATABASE)
        {
            queue.hand_back(lane, position);
        }
    }

    /// `MySlot::begin`, and the request to the provider.
    fn begin(&mut self, worker: usize, signals: Signals, task: usize) -> Hand {
        let slot = self.workers[worker].slot;
        if signals.due {
            self.shared.note_due(DATABASE, self.next_due(signals.at));
        }
        if let Some(refused) = self.reserve_start(worker, signals, task) {
            return refused;
        }
        let task_type = type_of(self.rows[task].lane);
        match self.shared.begin(&mut self.journal, slot, task_id(task), &task_type, "", self.now) {
            Ok(earlier) => {
                self.checks.begin(task_id(task), &earlier);
                let Worker { follower, first, .. } = self.workers[worker];
                self.shared.note_follower(slot, follower, first, self.now);
            }
            Err(Unavailable::Elsewhere) => return Hand::Elsewhere,
            Err(Unavailable::Paused(until)) => {
                let position = position(&self.rows, task);
                match self.shared.slots[slot].key {
                    Some(ShownKey { lane, entry, .. }) => {
                        let task_id = Some(task_id(task));
                        self.workers[worker].keep(Kept { until, task_id, lane, entry });
                    }
                    None => {
                        self.rows[task].is_disturbed = true;
                        self.workers[worker].avoided.push((until, self.rows[task].lane, position));
                    }
                }
                self.shared.put_back(slot);
                return Hand::Turns;
            }
        }
        let lane = self.rows[task].lane;
        if lane == Lane::LOCAL || is_of_type(lane) {
            self.check_turn(slot);
            return Hand::Runs(task, self.now + self.rng.duration());
        }
        match self.shared.admit(slot, &terms(lane), self.now) {
            Admission::Admitted => {
                self.checks.admit(&terms(lane), self.now);
                self.check_turn(slot);
                Hand::Admitted(task)
            }
            refused => Hand::Refused(refused),
        }
    }

    fn end_run(&mut self, worker: usize, task: usize) -> Hand {
        let _ = worker;
        if self.has_faults && self.rng.one_in(30) {
            return Hand::Repeats(task);
        }
        if self.has_faults && self.rng.one_in(100) {
            return Hand::GivesBack;
        }
        self.end_task(task);
        Hand::Ended
    }

    fn end_task(&mut self, task: usize) {
        self.rows[task].ends += 1;
        self.checks.ended += 1;
    }

    /// Commits the request; the commit may fail.
    fn store_call(&mut self, worker: usize, task: usize) -> Hand {
        let slot = self.workers[worker].slot;
        if self.has_faults && self.rng.one_in(30) {
            let terms = terms(self.rows[task].lane);
            self.shared.give_back(slot, &terms, self.now);
            self.checks.give_back(&terms);
            return Hand::Repeats(task);
        }
        self.rows[task].owner = Some(self.workers[worker].owner);
        Hand::CallStored(task)
    }

    fn send(&mut self, worker: usize, task: usize) {
        let ends_at = self.now + self.rng.duration();
        self.workers[worker].calls.push(Call { task, lane: self.rows[task].lane, ends_at });
        self.show_calls(worker, &mut []);
    }

    /// Processes the responses that have arrived.
    fn end_calls(&mut self, worker: usize) {
        let now = self.now;
        let over: Vec<Call> = self.workers[worker].calls.extract_if(.., |call| call.ends_at <= now).collect();
        if over.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        for call in over {
            let terms = terms(call.lane);
            let outcome = self.outcome();
            if outcome == pg_errand_queue::CallOutcome::Refused {
                let until = now + self.rng.duration();
                self.shared.pause(self.workers[worker].slot, terms.account, until, now);
                self.checks.pause(terms.account, until);
                self.workers[worker].queued.push(QueuedCall { task: call.task, not_before: until });
            } else {
                self.rows[call.task].owner = None;
                self.end_task(call.task);
                let entry = self.rows[call.task].key.map(|key| self.entry_now(worker, key));
                self.sessions.extend(entry.map(Session::of_key));
            }
            ended.push(EndedCall { terms, outcome, status: None, breaker: None });
        }
        self.show_calls(worker, &mut ended);
        ended.iter().for_each(|call| self.checks.end_call(call));
    }

    fn outcome(&mut self) -> pg_errand_queue::CallOutcome {
        match self.rng.below(20) {
            0 => pg_errand_queue::CallOutcome::Refused,
            1..5 => pg_errand_queue::CallOutcome::Badly,
            _ => pg_errand_queue::CallOutcome::Well,
        }
    }

    fn show_calls(&mut self, worker: usize, ended: &mut [EndedCall]) {
        let (slot, counts) = (self.workers[worker].slot, self.workers[worker].counts());
        self.show_in_flight(slot, worker);
        self.shared.set_calls(slot, counts, ended, self.now);
    }

    /// `MySlot::set_in_flight`.
    fn show_in_flight(&mut self, slot: usize, worker: usize) {
        let this = &self.workers[worker];
        let calls = this.calls.len() + this.queued.len();
        self.shared.slots[slot].in_flight = calls as u32;
        self.shared.slots[slot].full = calls >= MAX_CALLS;
    }

    /// Takes over orphaned calls.
    fn take_over(&mut self, worker: usize) {
        self.shared.database(DATABASE).into_iter().for_each(|database| database.orphans = false);
        let live: Vec<i64> = self.shared.slots_of(DATABASE).map(|slot| slot.owner).collect();
        let is_orphaned = |row: &row::Row| row.owner.is_some_and(|owner| !live.contains(&owner));
        for task in 0..self.rows.len() {
            if is_orphaned(&self.rows[task]) {
                self.rows[task].owner = Some(self.workers[worker].owner);
                self.workers[worker].queued.push(QueuedCall { task, not_before: self.now });
            }
        }
        self.show_in_flight(self.workers[worker].slot, worker);
    }

    /// Sends queued calls as their providers admit them.
    fn send_queued(&mut self, worker: usize) {
        let (now, slot) = (self.now, self.workers[worker].slot);
        for index in (0..self.workers[worker].queued.len()).rev() {
            let QueuedCall { task, not_before } = self.workers[worker].queued[index];
            if not_before > now {
                continue;
            }
            let terms = terms(self.rows[task].lane);
            match self.shared.admit(slot, &terms, now) {
                Admission::Admitted => {
                    self.checks.admit(&terms, now);
                    self.workers[worker].queued.swap_remove(index);
                    self.send(worker, task);
                }
                Admission::Wait(until) => self.workers[worker].queued[index].not_before = until,
                Admission::Full => self.workers[worker].queued[index].not_before = now + FULL_LOOK,
            }
        }
    }

    fn wake_up(&mut self, worker: usize) -> Hand {
        let this = &self.workers[worker];
        let slot = this.slot;
        self.shared.slots[slot].latch = Flag(false);
        let keeps_nothing = this.avoided.is_empty() && this.kept.is_empty();
        let may_leave = this.calls.is_empty() && this.queued.is_empty() && keeps_nothing;
        if may_leave && self.rng.one_in(10) && self.shared.leave(slot) {
            return Hand::Detaches;
        }
        self.shared.wake_up(slot, self.now);
        Hand::Turns
    }

    fn end_slot(&mut self, slot: usize, over: Over) {
        self.checks.end(self.shared.slots[slot].task_id);
        self.journal.end(slot);
        self.shared.end_start(slot, over);
        self.shared.end_key(slot, over, self.now);
        self.shared.slots[slot].end(over);
    }

    fn give_back(&mut self, slot: usize) {
        self.checks.turns.clear();
        self.checks.end(self.shared.slots[slot].task_id);
        self.journal.end(slot);
        self.shared.put_back(slot);
        self.shared.end_start(slot, Over::GivenBack);
        self.shared.slots[slot].end(Over::GivenBack);
    }

    pub fn detach(&mut self, worker: usize) {
        let this = &mut self.workers[worker];
        this.calls.clear();
        this.queued.clear();
        this.kept.clear();
        for (_, lane, position) in std::mem::take(&mut this.avoided) {
            let _ = lane;
            self.rows[index(position.task_id)].is_disturbed = true;
        }
        let slot = self.workers[worker].slot;
        let gone = self.shared.slots[slot];
        self.checks.interrupt(gone.task_id, !gone.retire);
        self.shared.detach(&mut self.journal, slot, self.now);
    }

    fn nothing_prepared(&self) -> bool {
        self.sessions.is_empty()
    }
}

/// The number of calls of an account that the slots show.
pub fn shown_calls<const W: usize, const C: usize>(shared: &Shared<W, C>, account: u64) -> u32 {
    shared.slots_of(DATABASE).map(|slot| slot.calls.of(account)).sum()
}
