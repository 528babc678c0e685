//! The conditions that have to hold after every step.

use crate::row::{position, task_id};
use crate::worker::{Hand, shown_calls};
use crate::world::{DATABASE, Flag, PROVIDERS, World, lane, terms};
use pg_errand_queue::{
    Breaker, Class, EndedCall, Interrupted, Key, Lane, NOBODY, Position, Slot, SlotState, Terms,
};
use std::collections::HashMap;

/// The facts that are known outside of shared memory.
#[derive(Default)]
pub struct Checks {
    pub ended: usize,
    /// How often the second key has had its turn while the first one stands in the window of a lane, see `check_turn`.
    pub turns: HashMap<(Lane, Key, Key), usize>,
    /// Runs and deaths of tasks whose worker ended.
    runs: HashMap<i64, (u32, u32)>,
    /// The times at which requests of an account were admitted.
    admitted: HashMap<u64, Vec<i64>>,
    /// The time until which an account accepts no request.
    paused: HashMap<u64, i64>,
    /// The time until which the circuit breaker of an account is open.
    broken: HashMap<u64, i64>,
}

impl Checks {
    pub fn begin(&self, task_id: i64, earlier: &Interrupted) {
        let known = self.runs.get(&task_id).copied().unwrap_or_default();
        assert_eq!((earlier.runs, earlier.deaths), known, "the journal counts runs of task {task_id}");
    }

    /// Notes that the task of a slot has ended.
    pub fn end(&mut self, task_id: i64) {
        self.runs.remove(&task_id);
    }

    /// Notes that the worker of a slot has ended with its task.
    pub fn interrupt(&mut self, task_id: i64, has_died: bool) {
        if task_id != 0 {
            let known = self.runs.entry(task_id).or_default();
            *known = (known.0 + 1, known.1 + u32::from(has_died));
        }
    }

    pub fn forget_runs(&mut self) {
        self.runs.clear();
    }

    /// Adjusts the facts after shared memory was created anew, or the clock was set.
    pub fn forget_limits(&mut self) {
        self.admitted.clear();
        self.paused.clear();
        self.broken.clear();
    }

    /// Adjusts the facts after the providers have changed.
    pub fn close_breakers(&mut self) {
        self.broken.clear();
    }

    pub fn admit(&mut self, terms: &Terms, now: i64) {
        let paused = self.paused.get(&terms.account).copied().unwrap_or(i64::MIN);
        assert!(paused <= now, "account {} admits at {now}, and is paused until {paused}", terms.account);
        let broken = self.broken.get(&terms.account).copied().unwrap_or(i64::MIN);
        assert!(broken <= now, "account {} admits at {now}, and is broken until {broken}", terms.account);
        if terms.interval == 0 {
            return;
        }
        let times = self.admitted.entry(terms.account).or_default();
        times.push(now);
        for (count, from) in times.iter().rev().enumerate() {
            let most = terms.burst + (now - from) / terms.interval;
            assert!(
                (count as i64) < most,
                "account {} admits {} requests since {from}",
                terms.account,
                count + 1
            );
        }
        if times.len() > 100 {
            times.drain(..50);
        }
    }

    pub fn give_back(&mut self, terms: &Terms) {
        self.admitted.entry(terms.account).or_default().pop();
    }

    pub fn pause(&mut self, account: u64, until: i64) {
        let known = self.paused.entry(account).or_insert(i64::MIN);
        *known = until.max(*known);
    }

    pub fn end_call(&mut self, call: &EndedCall) {
        match call.breaker {
            Some(Breaker::Opened(until)) => drop(self.broken.insert(call.terms.account, until)),
            Some(Breaker::Closed) => drop(self.broken.remove(&call.terms.account)),
            None => {}
        }
    }
}

impl<const W: usize, const C: usize> World<W, C> {
    pub fn check(&self) {
        for (index, row) in self.rows.iter().enumerate() {
            assert!(row.ends <= 1, "task {} has run twice", index + 1);
        }
        self.check_types();
        for provider in 0..PROVIDERS {
            self.check_places(&terms(lane(provider)));
        }
        for (index, slot) in self.shared.slots.iter().enumerate() {
            let is_somebody_s = self.workers.iter().any(|worker| {
                worker.slot == index && worker.owner == slot.owner && worker.hand != Hand::Gone
            });
            assert!(!slot.is_live() || is_somebody_s, "slot {index} is live without a process");
            assert!(slot.state != SlotState::Idle || slot.task_id == 0, "slot {index} is idle with a task");
        }
        self.check_reasons();
    }

    /// Checks that the worker that takes a task passes over no task of a higher effective priority, in the local lane or its own,
    /// that was announced when it was due, while no worker reads the lane.
    pub fn check_order(&self, taker: usize, taken_from: Lane, taken: Position) {
        let Some(queue) = self.shared.queue_of(DATABASE) else { return };
        let priority = |lane, position| self.ageing_of(lane).effective(position, self.now).priority;
        let taken_priority = priority(taken_from, taken);
        // Also one that dies before it has published what it has read.
        let is_read = |lane| Class::ALL.into_iter().any(|class| queue.line(lane, class).reader != NOBODY);
        for (index, row) in self.rows.iter().enumerate() {
            let is_checked = row.lane == Lane::LOCAL || row.lane == taken_from;
            let is_known = is_checked && row.is_told && row.is_ready(self.now) && !is_read(row.lane);
            let is_paused = self.is_paused(row.lane) || self.knows_as_paused(taker, row.lane);
            let is_excused = row.is_disturbed || row.not_before.is_some() || is_paused;
            let comes_first = || priority(row.lane, position(&self.rows, index)) > taken_priority;
            if is_known && !is_excused && comes_first() && !self.is_in_hand(index) {
                panic!("slot {taker} takes {taken:?} before task {}: {row:?}", index + 1);
            }
        }
    }

    /// True if a worker has the task, or is about to hand it out again.
    fn is_in_hand(&self, task: usize) -> bool {
        let task_id = task_id(task);
        let is_shown = |slot: &Slot<Flag>| {
            slot.task_id == task_id || slot.taken.is_some_and(|(_, taken)| taken.position.task_id == task_id)
        };
        !self.is_free(task)
            || self.shared.slots.iter().any(is_shown)
            || self.workers.iter().any(|worker| worker.avoids(task_id))
    }

    /// Checks that the places of an account are those of calls in flight, and of requests that are being stored.
    fn check_places(&self, terms: &Terms) {
        let account = terms.account;
        if terms.max_in_flight == 0 {
            return;
        }
        let has_lane = |task: &usize| self.rows[*task].lane.index() as u64 + 100 == account;
        for worker in &self.workers {
            if worker.owner == 0 || matches!(worker.hand, Hand::Gone | Hand::Detaches) {
                continue;
            }
            let calls = worker.calls.iter().filter(|call| has_lane(&call.task)).count();
            let is_stored = match worker.hand {
                Hand::Admitted(task) | Hand::CallStored(task) => has_lane(&task),
                _ => false,
            };
            let (places, shown) =
                (calls + usize::from(is_stored), self.shared.slots[worker.slot].calls.of(account));
            assert_eq!(shown as usize, places, "account {account}: places of slot {}", worker.slot);
        }
        let shown = shown_calls(&self.shared, account);
        assert!(shown <= terms.max_in_flight, "account {account}: {shown} calls");
    }

    /// Checks that all places are free after all tasks have ended.
    pub fn check_end(&self) {
        for provider in 0..PROVIDERS {
            let account = terms(lane(provider)).account;
            assert_eq!(
                shown_calls(&self.shared, account),
                0,
                "account {account} has places that nobody uses"
            );
        }
        for (index, row) in self.rows.iter().enumerate() {
            assert!(!row.is_committed || row.ends == 1, "task {} is forgotten: {row:?}", index + 1);
        }
    }
}
