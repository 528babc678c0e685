//! Starts and ends of workers.

use crate::ids::DatabaseId;
use crate::journal::Journal;
use crate::latch::Latch;
use crate::limits::Starts;
use crate::numbers::NEVER;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::slot::{Over, Slot, SlotState};

/// The time after its start within which a task that is interrupted may have caused the interruption, in microseconds.
const EARLY: i64 = 5_000_000;

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// Lets an idle worker exit; false if it was woken meanwhile.
    pub fn leave(&mut self, slot: usize) -> bool {
        let slot = &mut self.slots[slot];
        let may = slot.state == SlotState::Idle;
        if may {
            slot.state = SlotState::Leaving;
        }
        may
    }

    /// Lets a worker be started in each database without one in which finished tasks may be removed now. Returns when the
    /// next ones may be.
    pub fn see_to_retention(&mut self, now: i64) -> i64 {
        let mut next = NEVER;
        for database in self.databases.iter_mut().filter(|database| database.has_extension) {
            let is_here = |slot: &Slot<L>| slot.state != SlotState::Free && slot.database == database.id;
            if self.slots.iter().any(is_here) {
                database.retained.leave_to_workers(now);
            } else {
                database.look |= database.retained.take_due(now);
            }
            next = next.min(database.retained.due_at());
        }
        next
    }

    /// Lets all databases be searched for finished tasks to remove.
    pub fn search_all(&mut self, now: i64) {
        self.databases.iter_mut().for_each(|database| database.retained.note_due(now));
    }

    /// Requests that all workers reload the configuration, including those that are just starting.
    pub fn reload(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.state != SlotState::Free) {
            slot.reload = true;
            slot.latch.set();
        }
    }

    /// Requests that the worker of `slot` exit after its current task. An idle worker cannot be woken any more.
    pub fn retire(&mut self, slot: usize, now: i64) {
        let slot = &mut self.slots[slot];
        if slot.state == SlotState::Idle {
            slot.state = SlotState::Leaving;
        }
        slot.retire = true;
        slot.retire_since = now;
        slot.latch.set();
    }

    /// Frees the slot of a process that ends, and passes on the work for which it may have been woken.
    pub fn detach<const R: usize>(&mut self, journal: &mut Journal<S, R>, slot: usize, now: i64) {
        let gone = self.slots[slot];
        // The lanes that are opened here are for other workers.
        self.slots[slot].state = SlotState::Leaving;
        self.put_back(slot);
        // Without workers, no process knows which lanes are closed.
        let opens_at = self.queue(gone.database).map_or(NEVER, |queue| queue.opens_at(now));
        journal.interrupt(slot, gone.run_end(now), self.phases[slot].is_cancelled());
        self.end_start(slot, Over::GivenBack);
        self.set_starts(slot, Starts::NONE);
        self.slots[slot] = Slot { generation: gone.generation, ..Slot::FREE };
        gone.calls.accounts().for_each(|account| self.open(account));
        let has_limits = self.has_limits;
        if let Some(database) = self.database(gone.database) {
            database.next_due = database.next_due.min(opens_at);
            database.retained.abandon(now);
            database.orphans |= gone.in_flight > 0 || has_limits && gone.task_id != 0;
            database.orphanings += u64::from(has_limits && gone.is_busy());
            match gone.state {
                SlotState::Leaving => {}
                _ if gone.retire || gone.has_worked(now) => database.look = true,
                _ => database.count_failure(now),
            }
        }
        let is_expected = gone.state == SlotState::Leaving && !gone.retire;
        if !is_expected && self.queue_of(gone.database).is_some_and(Queue::uses_keys) {
            // The worker may have kept keys that others had locked.
            self.read_all_keys(gone.database);
            self.pass_on_key(gone.database);
        }
        let passes_on = has_limits && self.queue(gone.database).is_some_and(|queue| queue.has_known(now));
        if gone.is_busy() || gone.lane().is_some() || passes_on {
            self.wake_idle(gone.database);
        }
        self.launcher.set();
    }

    /// Frees a slot for which no process was started. The next worker does its work.
    pub fn return_slot(&mut self, slot: usize) {
        let id = self.slots[slot].database;
        let generation = self.slots[slot].generation.wrapping_add(1);
        self.slots[slot] = Slot { generation, ..Slot::FREE };
        // A worker that is here looks for tasks itself, and needs no other one when it finds none.
        let has_others = self.staff(id).next().is_some();
        if let Some(database) = self.database(id) {
            database.look |= !has_others;
            database.needs_worker |= has_others;
        }
    }

    /// Frees a slot whose process has ended without attaching.
    pub fn give_up(&mut self, slot: usize, generation: u32, now: i64) {
        let lost = self.slots[slot];
        if lost.state != SlotState::Starting || lost.generation != generation {
            return;
        }
        self.return_slot(slot);
        if let Some(database) = self.database(lost.database) {
            database.count_failure(now);
        }
    }

    /// Notes that a worker is about to start, which will look for all work.
    pub fn expect_worker(&mut self, id: DatabaseId, now: i64) {
        if let Some(database) = self.database(id) {
            database.look = false;
            database.needs_worker = false;
            database.looked_at = now;
        }
        self.consume_due(id, now);
        if let Some(queue) = self.queue(id) {
            queue.ask_for_sweep(now);
        }
    }

    /// Quiesces a database for process `by`, and returns the process IDs of the workers that have to be terminated; 0
    /// for none. Returns `None` if too many sessions quiesce the database already.
    pub fn quiesce(&mut self, id: DatabaseId, by: i32, now: i64) -> Option<[i32; S]> {
        let mut pids = [0; S];
        if self.database_or_new(id).is_some_and(|database| !database.quiesce(by, now)) {
            return None;
        }
        self.suspect_last_started(id, now);
        for (slot, pid) in self.slots.iter_mut().zip(&mut pids) {
            match slot.state {
                _ if slot.database != id => {}
                SlotState::Free => {}
                // The process has not connected yet, and will find that it has no slot.
                SlotState::Starting => *slot = Slot { generation: slot.generation + 1, ..Slot::FREE },
                _ => {
                    slot.retire = true;
                    *pid = slot.pid;
                }
            }
        }
        Some(pids)
    }

    /// Marks the task that was started last, which most likely has caused the command that quiesces the database. The
    /// other tasks that the command interrupts are not delayed.
    fn suspect_last_started(&mut self, id: DatabaseId, now: i64) {
        let busy = self
            .slots
            .iter_mut()
            .filter(|slot| slot.database == id && slot.is_live() && slot.task_id != 0 && !slot.retire);
        if let Some(slot) = busy.max_by_key(|slot| slot.busy_since) {
            slot.evicted = Some(slot.busy_since + EARLY > now);
        }
    }

    /// Ends everything that process `by` began with [`Shared::quiesce`].
    pub fn end_quiesce(&mut self, by: i32, now: i64) {
        self.databases.iter_mut().for_each(|database| database.end_quiesce(by, now));
        self.launcher.set();
    }

    /// Gives a free slot to a new worker of `database`; `None` if there is none.
    pub fn allocate(&mut self, database: DatabaseId, settings: u64, now: i64) -> Option<usize> {
        let index = self.slots.iter().position(|slot| slot.state == SlotState::Free)?;
        let number = (1..).find(|n| self.slots_of(database).all(|slot| slot.number != *n))?;
        let owner = self.next_owner;
        self.next_owner += 1;
        self.used_slots = self.used_slots.max(index + 1);
        let slot = &mut self.slots[index];
        *slot = Slot {
            state: SlotState::Starting,
            generation: slot.generation.wrapping_add(1),
            database,
            number,
            settings,
            owner,
            started_at: now,
            ..Slot::FREE
        };
        Some(index)
    }
}
