//! Announcements, and the workers that are woken for them.

use crate::announcement::Announcement;
use crate::ids::DatabaseId;
use crate::lane::LaneSet;
use crate::latch::Latch;
use crate::numbers::NEVER;
use crate::position::Class;
use crate::shared::{Rest, Shared};
use crate::slot::{Slot, SlotState};

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// Processes the announcement of a transaction that has become visible, and wakes workers for its tasks.
    pub fn announce<const FEW: usize>(&mut self, id: DatabaseId, what: &Announcement<FEW>, now: i64) {
        let has_limits = self.has_limits;
        if what.prioritized
            && let Some(queue) = self.queue(id)
        {
            queue.note_prioritized();
        }
        if what.key_lanes() != LaneSet::NONE
            && let Some(queue) = self.queue(id)
        {
            queue.note_keys();
        }
        let Some(database) = self.database_or_new(id) else {
            self.launcher.set();
            return;
        };
        database.announced += 1;
        // The end of a lease is announced like that of a deferral.
        database.leasings += u64::from(what.elsewhere && has_limits);
        let sooner = what.due < database.next_due;
        let all_due_known = database.next_due > now && !database.due_unknown;
        if what.due > now {
            // A task that is due later is after the cursor, or is found when it falls due.
            if sooner {
                database.next_due = what.due;
                if !database.starts_nothing() {
                    self.wake_idle(id);
                    self.launcher.set();
                }
            }
            return;
        }
        // The worker that looks for work next finds out when the other tasks fall due.
        database.due_unknown |= what.has_later(now);
        if let Some(queue) = self.queue(id) {
            match what.all() {
                Some(tasks) => tasks
                    .iter()
                    .filter(|(_, task)| task.scheduled_at <= now)
                    .for_each(|(lane, task)| queue.hand_over(*lane, *task, all_due_known)),
                None => {
                    let lines = LaneSet::ALL.iter().flat_map(|lane| Class::ALL.map(|class| (lane, class)));
                    for (lane, class) in lines {
                        what.first(lane, class, now).into_iter().for_each(|first| queue.rewind(lane, first));
                    }
                }
            }
            if what.elsewhere {
                queue.ask_for_sweep(now);
            }
        }
        self.announce_keys(id, what, now);
        if !self.starts_nothing(id) {
            self.wake(id, what.tasks());
        }
    }

    fn announce_keys<const FEW: usize>(&mut self, id: DatabaseId, what: &Announcement<FEW>, now: i64) {
        let Some(keys) = what.all_keys() else {
            self.want_all_keys(id);
            self.queue(id).into_iter().for_each(|queue| queue.rewind_keys(what.key_lanes()));
            return;
        };
        for (lane, entry) in keys.iter().filter(|(_, entry)| entry.since <= now) {
            self.hand_over_key(id, *lane, *entry);
        }
    }

    /// Makes workers look for the tasks that a committed prepared transaction may have enqueued.
    pub fn announce_prepared(&mut self, id: DatabaseId, now: i64) {
        if self.database(id).is_some_and(|database| database.unannounced) {
            // A sweep looks at some of the keys only.
            self.read_all_keys(id);
            let mut unknown = Announcement::<0>::NOTHING;
            unknown.due(now);
            self.announce(id, &unknown, now);
        }
    }

    /// Processes the arrival of unadopted tasks or orphaned calls from another database.
    pub fn announce_unadopted(&mut self, id: DatabaseId, unadopted: bool, orphans: bool) {
        let has_limits = self.has_limits;
        if let Some(database) = self.database_or_new(id).filter(|_| unadopted || orphans) {
            database.unadopted_to_report |= unadopted;
            database.orphans |= orphans;
            database.orphanings += u64::from(orphans && has_limits);
            database.announced += 1;
            self.wake(id, 1);
        }
    }

    /// Wakes up to `tasks` more workers to look for work.
    pub fn wake(&mut self, id: DatabaseId, tasks: u32) {
        for _ in 0..tasks {
            if !self.wake_idle(id) {
                self.request_worker(id);
                return;
            }
        }
    }

    /// Requests another worker from the launcher, unless that was done since the launcher last started one.
    pub(super) fn request_worker(&mut self, id: DatabaseId) {
        if let Some(database) = self.database(id).filter(|database| !database.needs_worker) {
            database.needs_worker = true;
            self.launcher.set();
        }
    }

    /// Wakes an idle worker. Returns false if there is none, or none that can take every task.
    pub(super) fn wake_idle(&mut self, id: DatabaseId) -> bool {
        let idle = |slot: &&mut Slot<L>| slot.database == id && slot.state == SlotState::Idle;
        let slots = self.slots[..self.used_slots].iter_mut();
        let Some(slot) = slots.filter(idle).min_by_key(|slot| slot.full) else {
            return false;
        };
        slot.state = SlotState::Working;
        slot.latch.set();
        !slot.full
    }

    /// Wakes an idle worker if a task has fallen due, or a pause has ended.
    pub fn wake_for_due(&mut self, id: DatabaseId, now: i64) {
        let is_due = self.database(id).is_some_and(|database| database.due_at() <= now);
        self.consume_due(id, now);
        if is_due {
            self.wake(id, 1);
        }
    }

    /// True if a task has fallen due. The caller has to look for it, and for the next due time.
    pub(super) fn consume_due(&mut self, id: DatabaseId, now: i64) -> bool {
        let due = self.database(id).is_some_and(|database| database.consume_due(now));
        if due && let Some(queue) = self.queue(id) {
            queue.note_due();
        }
        due
    }

    /// Leaves the tasks that have fallen due to the calling worker, which looks for them at `now`.
    pub fn see_to_due(&mut self, id: DatabaseId, now: i64) {
        let known = self.consume_due(id, now);
        if !known && let Some(queue) = self.queue(id) {
            // Another worker has been notified, and more tasks may have fallen due since.
            queue.note_due();
        }
    }

    /// Notes the time at which the next task falls due, as a worker has found it.
    pub fn note_due(&mut self, id: DatabaseId, due: i64) {
        if let Some(database) = self.database(id).filter(|database| database.due_unknown) {
            database.due_unknown = false;
            database.next_due = database.next_due.min(due);
            self.launcher.set();
        }
    }

    /// Lets a worker that found nothing wait until the time that this returns. Returns `None` if it has to look again:
    /// something was announced since it read `announced`, a sweep was requested, or it is unknown what falls due next.
    /// `rest` is what the worker knows about future tasks, if it has looked.
    pub fn go_idle(&mut self, slot: usize, announced: u64, rest: Option<Rest>, now: i64) -> Option<i64> {
        let Slot { database: id, full, .. } = self.slots[slot];
        // The sweep waits while tasks are known, and another worker may have taken the last one since.
        let sweep_at = self.queue(id).map_or(NEVER, |queue| queue.requested_sweep_at());
        let Some(database) = self.database(id) else { return Some(NEVER) };
        let is_sweep_due = sweep_at <= now && !database.starts_nothing();
        let has_news = database.announced != announced || database.pause_over;
        if is_sweep_due || has_news || rest.is_none() && database.due_unknown {
            return None;
        }
        let known = database.next_due;
        if let Some(rest) = rest {
            database.next_due = rest.next_due;
            database.due_unknown = false;
            database.unannounced &= !rest.nothing_prepared;
        }
        database.needs_worker &= full;
        database.failures = 0;
        let next_due = database.next_due;
        let (pause_ends_at, starts_nothing) = (database.pause_ends_at, database.starts_nothing());
        self.slots[slot].state = SlotState::Idle;
        if starts_nothing {
            return Some(pause_ends_at);
        }
        let opens_at = self.queue(id).map_or(NEVER, |queue| queue.opens_at(now));
        // The launcher waits for it, too, since this worker may be busy with another task then.
        if next_due != NEVER && next_due != known {
            self.launcher.set();
        }
        Some(next_due.min(opens_at).min(sweep_at).min(pause_ends_at))
    }

    /// Ends the wait that [`Shared::go_idle`] began. The worker looks for tasks that have fallen due.
    pub fn wake_up(&mut self, slot: usize, now: i64) {
        if self.slots[slot].state == SlotState::Idle {
            self.slots[slot].state = SlotState::Working;
        }
        self.consume_due(self.slots[slot].database, now);
    }
}
