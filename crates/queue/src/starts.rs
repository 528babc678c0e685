//! Limits of task types: how many tasks of a type run at once, and how often one starts.
//!
//! A worker reserves a start before it claims a task of a limited type. The start counts until the task ends; during a
//! call, the worker counts it in [`Starts`].

use crate::ids::DatabaseId;
use crate::lane::Lane;
use crate::latch::Latch;
use crate::limiter::{Admission, Terms};
use crate::limits::{StartLimits, Starts, type_account};
use crate::numbers::NEVER;
use crate::queue::Next;
use crate::shared::Shared;
use crate::slot::{Over, Slot, SlotState};
use crate::sources::TypeLimits;

/// How long a type with calls waits while it is unknown how many of its calls are orphaned, in microseconds.
const ORPHANS_PAUSE: i64 = 20_000;

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// Reserves a start for the task that the worker of `slot` runs next, or refuses it.
    pub fn start(&mut self, slot: usize, limits: &StartLimits, now: i64) -> Admission {
        let database = self.slots[slot].database;
        self.note_limits();
        if self.slots[slot].start.is_some_and(|start| start.terms.account == limits.terms.account) {
            return Admission::Admitted;
        }
        self.give_back_start(slot);
        if self.is_uncounted(database, limits) {
            return Admission::Wait(now + ORPHANS_PAUSE);
        }
        let running = self.running(database, limits.terms.account);
        let admission = self.limiter.admit(database, &limits.terms, running, now);
        if admission == Admission::Admitted {
            self.slots[slot].start = Some(*limits);
        }
        admission
    }

    /// Notes that limits are in use. From here on, shared memory keeps what they need; what was before is unknown.
    pub(super) fn note_limits(&mut self) {
        if !std::mem::replace(&mut self.has_limits, true) {
            for database in &mut self.databases {
                database.orphans = database.id != DatabaseId::NONE;
                database.orphanings += 1;
                database.leasings += 1;
            }
        }
    }

    /// The number of tasks of a type that run in a database, as far as shared memory shows them: those of its workers, and
    /// starts that sessions have reserved for workers outside.
    pub fn running(&self, database: DatabaseId, account: u64) -> u32 {
        self.running_inside(database, account) + self.reserved_outside(database, account, 0)
    }

    /// The number of tasks of a type that the workers of a database run, including those between the steps of their
    /// calls.
    pub(super) fn running_inside(&self, database: DatabaseId, account: u64) -> u32 {
        let running = |slot: &Slot<L>| {
            let shows = match slot.start {
                Some(start) => start.terms.account == account,
                // The type had no limit when the task was started.
                None => slot.shows_uncounted() && type_account(database, slot.task_type.as_str()) == account,
            };
            u32::from(shows) + slot.starts.of(account)
        };
        self.slots_of(database).filter(|slot| slot.is_live()).map(running).sum()
    }

    /// True if it is unknown how many tasks of a type run, since there may be orphaned calls, which no worker counts.
    pub(super) fn is_uncounted(&self, database: DatabaseId, limits: &StartLimits) -> bool {
        limits.calls && limits.terms.max_in_flight > 0 && self.may_have_orphans(database)
    }

    fn may_have_orphans(&self, id: DatabaseId) -> bool {
        let database = self.databases.iter().find(|database| database.id == id);
        self.slots_of(id).any(|slot| slot.takes_over)
            || database.is_none_or(|database| database.orphanings != database.orphanings_seen)
    }

    /// Reserves a start for the task that [`Queue::take`](crate::Queue::take) has handed out to the worker of `slot`. If
    /// the start is refused, the task returns to its lane, which is closed. True if the task may be claimed.
    pub(super) fn reserve(
        &mut self,
        slot: usize,
        place: usize,
        next: &Next,
        limits: &TypeLimits,
        now: i64,
    ) -> bool {
        let (Next::Task(lane, _) | Next::Key(lane, _)) = *next else { return true };
        let Some(limits) = lane.type_place().and_then(|type_place| limits[type_place]) else { return true };
        let account = limits.terms.account;
        let admission = self.start(slot, &limits, now);
        if admission != Admission::Admitted {
            match *next {
                Next::Task(_, task) => self.queues[place].restore(lane, task),
                // A slot that shows the key would hand it out again.
                _ => self.put_back_key(slot),
            }
        }
        match admission {
            Admission::Wait(until) => self.queues[place].shut(lane, until, account),
            Admission::Full => self.queues[place].shut(lane, NEVER, account),
            Admission::Admitted if self.is_full(slot, &limits) => {
                self.queues[place].shut(lane, NEVER, account)
            }
            Admission::Admitted => {}
        }
        admission == Admission::Admitted
    }

    fn is_full(&self, slot: usize, limits: &StartLimits) -> bool {
        let Terms { account, max_in_flight, .. } = limits.terms;
        max_in_flight > 0 && self.running(self.slots[slot].database, account) >= max_in_flight
    }

    /// Closes the lane of the task that the worker of `slot` has claimed and whose start was refused, and puts the task
    /// back. `lane` is the one in which its type waits; if the task was in another one, it is read again. If the
    /// definitions have changed since the worker read them, the lane stays open.
    pub fn shut_start(
        &mut self,
        slot: usize,
        admission: Admission,
        limits: &StartLimits,
        lane: Lane,
        definition_changes: u64,
    ) {
        let Slot { database: id, .. } = self.slots[slot];
        let taken = self.slots[slot].lane();
        // This opens the lane, so it precedes the closing of it.
        self.give_back_start(slot);
        let is_current =
            self.database(id).is_none_or(|database| database.definition_changes == definition_changes);
        let is_full = self.is_full(slot, limits);
        let Some(queue) = self.queue(id).filter(|_| is_current) else { return self.put_back(slot) };
        match admission {
            Admission::Wait(until) => queue.shut(lane, until, limits.terms.account),
            // Tasks may have ended since the start was refused.
            Admission::Full if is_full => queue.shut(lane, NEVER, limits.terms.account),
            Admission::Full | Admission::Admitted => {}
        }
        if taken.is_some_and(|taken| taken != lane) {
            queue.stop_reading(slot);
            queue.rewind_all();
            (self.slots[slot].taken, self.slots[slot].key) = (None, None);
        } else {
            self.put_back(slot);
        }
    }

    /// Revokes a start that was not used.
    pub(super) fn give_back_start(&mut self, slot: usize) {
        let Slot { database, start, .. } = self.slots[slot];
        if let Some(start) = start {
            self.limiter.give_back(database, &start.terms, i64::MIN);
            self.slots[slot].start = None;
            self.open_types(slot, start.terms.account, true);
        }
    }

    /// Ends what the task of a worker counts towards the limits of its type. A task whose call is stored still counts.
    pub fn end_start(&mut self, slot: usize, how: Over) {
        if !self.has_limits {
            return;
        }
        let Slot { database, start, .. } = self.slots[slot];
        let account = match start {
            Some(start) => start.terms.account,
            None if self.slots[slot].shows_uncounted() => {
                type_account(database, self.slots[slot].task_type.as_str())
            }
            None => return,
        };
        self.slots[slot].start = None;
        if how == Over::Calling {
            self.slots[slot].starts.add(account);
        } else {
            self.open_types(slot, account, false);
        }
    }

    /// Sets the tasks that the worker of `slot` has between the steps of their calls.
    pub fn set_starts(&mut self, slot: usize, starts: Starts) {
        let before = std::mem::replace(&mut self.slots[slot].starts, starts);
        self.open_ended(slot, before, starts);
    }

    /// Opens the lanes of the types of which a worker has fewer tasks than before.
    pub(super) fn open_ended(&mut self, slot: usize, before: Starts, now: Starts) {
        if !self.has_limits || before == now {
            return;
        }
        let ended = |account: &u64| now.of(*account) < before.of(*account);
        for account in before.counts.accounts().filter(ended) {
            self.open_types(slot, account, false);
        }
        let database = self.slots[slot].database;
        if now.others < before.others
            && let Some(queue) = self.queue(database)
        {
            queue.open_types();
            self.wake(database, 1);
        }
    }

    /// Opens the lanes that wait for an account of a type, and wakes a worker unless that of `slot` is about to look for
    /// tasks itself. `resumed` also opens lanes that wait for a time.
    pub(super) fn open_types(&mut self, slot: usize, account: u64, resumed: bool) {
        let Slot { database, state, retire, in_flight, .. } = self.slots[slot];
        let looks = state == SlotState::Working && !retire && in_flight == 0;
        if !self.queue(database).is_some_and(|queue| queue.open(account, resumed)) {
            return;
        }
        if !looks {
            self.wake(database, 1);
        }
        // A worker that is about to become idle looks again.
        if let Some(database) = self.database(database) {
            database.announced += 1;
        }
    }

    /// Begins a search of the worker of `slot` for orphaned calls, and returns what [`Shared::end_take_over`] needs.
    pub fn begin_take_over(&mut self, slot: usize) -> u64 {
        let id = self.slots[slot].database;
        self.slots[slot].takes_over = true;
        self.database(id).map_or(0, |database| {
            database.orphans = false;
            database.orphanings
        })
    }

    /// Ends a search for orphaned calls. The worker counts those that it has taken over; `seen`: none are left of those
    /// that there were when the search began.
    pub fn end_take_over(&mut self, slot: usize, seen: Option<u64>) {
        let id = self.slots[slot].database;
        self.slots[slot].takes_over = false;
        if let (Some(seen), Some(database)) = (seen, self.database(id)) {
            database.orphanings_seen = seen;
        }
    }
}

#[cfg(test)]
mod tests;
