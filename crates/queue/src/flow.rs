//! What providers let us do, and what waits for them.

use super::{
    Admission, Breaker, CallOutcome, DatabaseId, InFlight, Lane, LaneSet, Latch, NEVER, Position, Shared,
    Slot, Terms,
};

/// A call that has ended.
pub struct EndedCall {
    pub terms: Terms,
    pub outcome: CallOutcome,
    /// What it did to the circuit breaker, once that is known.
    pub breaker: Option<Breaker>,
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// Whether a request may go out for a worker; then it counts. A task that is refused waits: see
    /// [`Shared::shut`].
    pub fn admit(&mut self, slot: usize, terms: &Terms, now: i64) -> Admission {
        let in_flight = self.in_flight(terms.account);
        let admission = self.limiter.admit(self.slots[slot].database, terms, in_flight, now);
        if admission == Admission::Admitted && terms.max_in_flight > 0 {
            self.slots[slot].calls.add(terms.account);
        }
        admission
    }

    /// A request that was admitted for a worker is not sent: others may go on.
    pub fn give_back(&mut self, slot: usize, terms: &Terms, now: i64) {
        let Slot { database, .. } = self.slots[slot];
        if terms.max_in_flight > 0 {
            self.slots[slot].calls.remove(terms.account);
            self.open(terms.account);
        }
        if self.limiter.give_back(database, terms, now) {
            self.open_in(database, terms.account);
        }
    }

    /// Calls of an account, of all workers.
    pub(super) fn in_flight(&self, account: u64) -> u32 {
        let live = self.slots[..self.used_slots].iter().filter(|slot| slot.is_live());
        live.map(|slot| slot.calls.of(account)).sum()
    }

    /// A provider has asked to wait; that counts for the database of the worker.
    pub fn pause(&mut self, slot: usize, account: u64, until: i64, now: i64) {
        self.limiter.pause(self.slots[slot].database, account, until, now);
    }

    /// The task that the worker of `slot` took waits with all others of its lane. `definition_changes`: as of when the worker
    /// knows what the provider allows; if that has changed since, the task is only put back.
    pub fn shut(&mut self, slot: usize, admission: Admission, terms: &Terms, definition_changes: u64) {
        let Slot { database: id, taken, .. } = self.slots[slot];
        let is_current =
            self.database(id).is_none_or(|database| database.definition_changes == definition_changes);
        // Calls may have ended since.
        let is_full = self.in_flight(terms.account) >= terms.max_in_flight;
        if let Some((lane, _)) = taken
            && let Some(queue) = self.queue(id)
        {
            if lane == Lane::LOCAL {
                // It was read before its type was known; it is read anew, in its own lane.
                queue.stop_reading(slot);
                LaneSet::ALL.iter().for_each(|lane| queue.rewind(lane, Position::START));
                self.slots[slot].taken = None;
                return;
            }
            match admission {
                _ if !is_current => {}
                Admission::Wait(until) => queue.shut(lane, until, terms.account),
                Admission::Full if is_full => queue.shut(lane, NEVER, terms.account),
                Admission::Full | Admission::Admitted => {}
            }
        }
        self.put_back(slot);
    }

    /// The calls of the worker of `slot` are these now, and those of `ended` have ended.
    pub fn set_calls(&mut self, slot: usize, calls: InFlight, ended: &mut [EndedCall], now: i64) {
        let database = self.slots[slot].database;
        let before = std::mem::replace(&mut self.slots[slot].calls, calls);
        for account in before.accounts().filter(|account| calls.of(*account) < before.of(*account)) {
            self.open(account);
        }
        for EndedCall { terms, outcome, breaker } in ended {
            let noted = self.limiter.note(database, terms, *outcome, now);
            *breaker = noted.breaker;
            if noted.resumed {
                self.resume(database, terms.account);
            }
        }
    }

    /// Requests that were held come before those of tasks that still wait.
    fn tell_of_resume(&mut self) {
        self.resumes += 1;
        self.slots[..self.used_slots]
            .iter_mut()
            .filter(|slot| slot.is_live() && slot.in_flight > 0)
            .for_each(|slot| slot.latch.set());
    }

    /// Calls of an account have ended: where that was waited for, there may be room.
    pub(super) fn open(&mut self, account: u64) {
        for place in 0..self.used_queues {
            self.open_queue(place, account, false);
        }
    }

    /// A pause of a database has ended.
    fn resume(&mut self, database: DatabaseId, account: u64) {
        self.open_in(database, account);
        self.tell_of_resume();
    }

    /// The next task of an account in a database need not wait any longer.
    fn open_in(&mut self, database: DatabaseId, account: u64) {
        if let Some(place) = self.queues.iter().position(|queue| queue.database == database) {
            self.open_queue(place, account, true);
        }
    }

    fn open_queue(&mut self, place: usize, account: u64, resumed: bool) {
        if self.queues[place].open(account, resumed) {
            self.wake(self.queues[place].database, 1);
        }
    }

    /// The providers of a database have changed.
    pub(super) fn close_breakers(&mut self, database: DatabaseId) {
        self.limiter.close_breakers(database);
        self.tell_of_resume();
    }
}
