//! Admission of requests to providers, and the lanes that wait for it.

use crate::ids::DatabaseId;
use crate::lane::Lane;
use crate::latch::Latch;
use crate::limiter::{Admission, Breaker, CallOutcome, InFlight, ProviderState, Terms};
use crate::numbers::NEVER;
use crate::shared::Shared;
use crate::slot::Slot;

/// A call that has ended, and its effect on its provider's circuit breaker.
pub struct EndedCall {
    pub terms: Terms,
    pub outcome: CallOutcome,
    /// The status of the response, 0 if there was none; `None` for a call that the state of its provider does not show.
    pub status: Option<u16>,
    /// The change of the circuit breaker, which [`Shared::set_calls`] fills in.
    pub breaker: Option<Breaker>,
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// Admits a request of a worker, which then counts, or refuses it. The lane of a refused task is closed by
    /// [`Shared::shut`].
    pub fn admit(&mut self, slot: usize, terms: &Terms, now: i64) -> Admission {
        let in_flight = self.in_flight(terms.account);
        let admission = self.limiter.admit(self.slots[slot].database, terms, in_flight, now);
        if admission == Admission::Admitted && terms.max_in_flight > 0 {
            self.slots[slot].calls.add(terms.account);
        }
        admission
    }

    /// Revokes the admission of a request that is not sent, so that other requests can be admitted.
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

    /// The calls of an account that all workers have in flight.
    pub(super) fn in_flight(&self, account: u64) -> u32 {
        let live = self.slots[..self.used_slots].iter().filter(|slot| slot.is_live());
        live.map(|slot| slot.calls.of(account)).sum()
    }

    /// The state of a provider in a database.
    pub fn provider_state(&self, database: DatabaseId, terms: &Terms, now: i64) -> ProviderState {
        let here = self.slots_of(database).filter(|slot| slot.is_live());
        let in_flight = here.map(|slot| slot.calls.of(terms.account)).sum();
        let state = self.limiter.state(database, terms, self.in_flight(terms.account), now);
        ProviderState { in_flight, ..state }
    }

    /// Notes a call that failed since it could not be sent, for views.
    pub fn note_unsent(&mut self, database: DatabaseId, account: u64, now: i64) {
        self.limiter.keep_status(database, account, CallOutcome::Badly, 0, now);
    }

    /// Pauses an account in the database of a worker, because its provider requests it.
    pub fn pause(&mut self, slot: usize, account: u64, until: i64, now: i64) {
        self.limiter.pause(self.slots[slot].database, account, until, now);
    }

    /// Closes the lane of the task that the worker of `slot` took, and puts the task back. If the definitions have
    /// changed since the worker read them (as of `definition_changes`), the lane stays open.
    pub fn shut(&mut self, slot: usize, admission: Admission, terms: &Terms, definition_changes: u64) {
        let Slot { database: id, .. } = self.slots[slot];
        let taken = self.slots[slot].lane();
        self.give_back_start(slot);
        self.give_back_key_start(slot);
        let is_current =
            self.database(id).is_none_or(|database| database.definition_changes == definition_changes);
        // Calls may have ended since the request was refused.
        let is_full = self.in_flight(terms.account) >= terms.max_in_flight;
        if let Some(lane) = taken
            && let Some(queue) = self.queue(id)
        {
            if lane == Lane::LOCAL {
                // The task was read before its type was known. It is read again, in its own lane.
                queue.stop_reading(slot);
                queue.rewind_all();
                (self.slots[slot].taken, self.slots[slot].key) = (None, None);
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

    /// Sets the calls that the worker of `slot` has in flight, and records the outcome of those that have ended.
    pub fn set_calls(&mut self, slot: usize, calls: InFlight, ended: &mut [EndedCall], now: i64) {
        let database = self.slots[slot].database;
        let before = std::mem::replace(&mut self.slots[slot].calls, calls);
        for account in before.accounts().filter(|account| calls.of(*account) < before.of(*account)) {
            self.open(account);
        }
        for EndedCall { terms, outcome, status, breaker } in ended {
            if let Some(status) = *status {
                self.limiter.keep_status(database, terms.account, *outcome, status, now);
            }
            let noted = self.limiter.note(database, terms, *outcome, now);
            *breaker = noted.breaker;
            if noted.resumed {
                self.resume(database, terms.account);
            }
        }
    }

    /// Wakes workers with queued calls, which are sent before the calls of tasks that still wait.
    pub(super) fn tell_of_resume(&mut self) {
        self.resumes += 1;
        self.slots[..self.used_slots]
            .iter_mut()
            .filter(|slot| slot.is_live() && slot.in_flight > 0)
            .for_each(|slot| slot.latch.set());
    }

    /// Opens the lanes that wait for the end of a call of an account.
    pub(super) fn open(&mut self, account: u64) {
        for place in 0..self.used_queues {
            self.open_queue(place, account, false);
        }
    }

    /// Ends the pause of an account in a database.
    fn resume(&mut self, database: DatabaseId, account: u64) {
        self.open_in(database, account);
        self.tell_of_resume();
    }

    /// Opens the lane of an account in a database, whatever the reason why it is closed.
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

    /// Closes the circuit breakers of a database, whose providers have changed.
    pub(super) fn close_breakers(&mut self, database: DatabaseId) {
        self.limiter.close_breakers(database);
        self.tell_of_resume();
    }
}
