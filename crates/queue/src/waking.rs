//! What commits announce, and who is woken for it.

use super::{Announcement, DatabaseId, LaneSet, Latch, NEVER, Rest, Shared, Slot, SlotState};

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// A transaction that made tasks ready or due has become visible.
    pub fn announce<const FEW: usize>(&mut self, id: DatabaseId, what: &Announcement<FEW>, now: i64) {
        let Some(database) = self.database_or_new(id) else {
            self.launcher.set();
            return;
        };
        database.announced += 1;
        let sooner = what.due < database.next_due;
        let all_due_known = database.next_due > now && !database.due_unknown;
        if what.due > now {
            // What is due later comes after all that was handed out.
            if sooner {
                database.next_due = what.due;
                self.wake_idle(id);
                self.launcher.set();
            }
            return;
        }
        // Whoever looks for work next finds out when the rest falls due.
        database.due_unknown |= what.has_later(now);
        if let Some(queue) = self.queue(id) {
            match what.all() {
                Some(tasks) => tasks
                    .iter()
                    .filter(|(_, task)| task.scheduled_at <= now)
                    .for_each(|(lane, task)| queue.hand_over(*lane, *task, all_due_known)),
                None => LaneSet::ALL.iter().for_each(|lane| {
                    if what.first(lane).scheduled_at <= now {
                        queue.rewind(lane, what.first(lane));
                    }
                }),
            }
            if what.elsewhere {
                queue.ask_for_sweep(now);
            }
        }
        self.wake(id, what.tasks());
    }

    /// A prepared transaction was committed: it may have enqueued tasks.
    pub fn announce_prepared(&mut self, id: DatabaseId, now: i64) {
        if self.database(id).is_some_and(|database| database.unannounced) {
            let mut unknown = Announcement::<0>::NOTHING;
            unknown.due(now);
            self.announce(id, &unknown, now);
        }
    }

    /// What has come from another database has become visible: tasks that are unadopted, calls to take over.
    pub fn announce_copied(&mut self, id: DatabaseId, unadopted: bool, orphans: bool) {
        if let Some(database) = self.database_or_new(id).filter(|_| unadopted || orphans) {
            database.unadopted_to_report |= unadopted;
            database.orphans |= orphans;
            database.announced += 1;
            self.wake(id, 1);
        }
    }

    /// Gets up to `tasks` more workers to look for work.
    pub fn wake(&mut self, id: DatabaseId, tasks: u32) {
        for _ in 0..tasks {
            if !self.wake_idle(id) {
                self.request_worker(id);
                return;
            }
        }
    }

    /// Asks the launcher for another worker, once until it has acted.
    pub(super) fn request_worker(&mut self, id: DatabaseId) {
        if let Some(database) = self.database(id).filter(|database| !database.needs_worker) {
            database.needs_worker = true;
            self.launcher.set();
        }
    }

    /// Wakes an idle worker. False if that does not do: there is none, or none that can take every
    /// task.
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

    /// Something has fallen due: an idle worker looks for it.
    pub fn wake_for_due(&mut self, id: DatabaseId, now: i64) {
        if self.consume_due(id, now) {
            self.wake(id, 1);
        }
    }

    /// True if something has fallen due: whoever asks sees to it, and to what comes next.
    pub(super) fn consume_due(&mut self, id: DatabaseId, now: i64) -> bool {
        let due = self.database(id).is_some_and(|database| database.consume_due(now));
        if due && let Some(queue) = self.queue(id) {
            queue.note_due();
        }
        due
    }

    /// What has fallen due is the business of the worker that looks for it at `now`.
    pub fn see_to_due(&mut self, id: DatabaseId, now: i64) {
        let known = self.consume_due(id, now);
        if !known && let Some(queue) = self.queue(id) {
            // Somebody else consumed it; there may be more since.
            queue.note_due();
        }
    }

    /// A worker that has taken a task has looked for the time when the next one falls due.
    pub fn note_due(&mut self, id: DatabaseId, due: i64) {
        if let Some(database) = self.database(id).filter(|database| database.due_unknown) {
            database.due_unknown = false;
            database.next_due = database.next_due.min(due);
            self.launcher.set();
        }
    }

    /// A worker found nothing to do. It may wait until the time that this returns; `None`: something was
    /// announced since it read `announced`, or nobody knows what falls due, so it has to look again. `rest`: what it knows of the work to come,
    /// if it has looked.
    pub fn go_idle(&mut self, slot: usize, announced: u64, rest: Option<Rest>, now: i64) -> Option<i64> {
        let Slot { database: id, full, .. } = self.slots[slot];
        let Some(database) = self.database(id) else { return Some(NEVER) };
        if database.announced != announced || rest.is_none() && database.due_unknown {
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
        let opens_at = self.queue(id).map_or(NEVER, |queue| queue.opens_at(now));
        self.slots[slot].state = SlotState::Idle;
        // The launcher watches, too: this worker may be taken away by another task until then.
        if next_due != NEVER && next_due != known {
            self.launcher.set();
        }
        Some(next_due.min(opens_at))
    }

    /// The worker looks for work again. What was due is its business now.
    pub fn wake_up(&mut self, slot: usize, now: i64) {
        if self.slots[slot].state == SlotState::Idle {
            self.slots[slot].state = SlotState::Working;
        }
        self.consume_due(self.slots[slot].database, now);
    }
}
