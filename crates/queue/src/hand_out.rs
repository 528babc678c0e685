//! Who gets which task.

use super::{Interrupted, Journal, Latch, Next, Queue, Read, Shared, Slot, Sources};

/// Why a task cannot be begun now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// Another worker still has it: it has rolled its transaction back, and is about to write what comes of that.
    Elsewhere,
    /// Not before this time.
    Paused(i64),
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// The next task for the worker of `slot`, which has it from then on; or what to do first. If there is
    /// more, another worker is woken. `definition_changes`: as of when the worker knows the task types.
    pub fn take(
        &mut self,
        slot: usize,
        sources: impl Into<Sources>,
        definition_changes: u64,
        now: i64,
    ) -> Next {
        let sources = sources.into();
        let id = self.slots[slot].database;
        if self.database(id).is_some_and(|database| database.definition_changes != definition_changes) {
            // The next task may be of a type that it does not know yet.
            return Next::Wait;
        }
        let Some(place) = self.queue_or_new(id) else { return Next::Nothing };
        let others = self.slots[..self.used_slots].iter().enumerate().filter(|(index, _)| *index != slot);
        let occupied = |page| others.clone().any(|(_, other)| other.occupies(id, page, now));
        let next = self.queues[place].take(slot, sources, now, occupied);
        self.slots[slot].waits = next == Next::Wait;
        // What it took before and could not lock it does not have.
        self.slots[slot].taken = None;
        if let Next::Task(lane, task) = next {
            self.slots[slot].taken = Some((lane, task));
            if self.queues[place].has_more(sources.lanes, now) {
                self.wake(id, 1);
            }
        }
        next
    }

    /// The worker of `slot`, which is that lane's reader, has read tasks. `definition_changes`: as of when it knew the task
    /// types.
    pub fn publish(&mut self, slot: usize, read: &Read, definition_changes: u64) {
        self.take_in(slot, definition_changes, |queue, running| queue.publish(read, running));
    }

    /// The worker of `slot` has found tasks beside the order of the queue.
    pub fn add(&mut self, slot: usize, read: &Read, definition_changes: u64) {
        self.take_in(slot, definition_changes, |queue, running| queue.add(read, running));
    }

    /// The worker of `slot` has read the table from its start.
    pub fn sweep(&mut self, slot: usize, read: &Read, definition_changes: u64) {
        self.take_in(slot, definition_changes, |queue, running| queue.sweep(read, running));
    }

    fn take_in(
        &mut self,
        slot: usize,
        definition_changes: u64,
        change: impl FnOnce(&mut Queue<W, C>, &dyn Fn(i64) -> bool),
    ) {
        let id = self.slots[slot].database;
        let is_current =
            self.database(id).is_none_or(|database| database.definition_changes == definition_changes);
        let (slots, queues) = (&mut self.slots[..self.used_slots], &mut self.queues);
        let Some(queue) = queues.iter_mut().find(|queue| queue.database == id) else { return };
        if is_current {
            change(queue, &|task_id| slots.iter().any(|slot| slot.shows(id, task_id)));
        } else {
            // Tasks of new types would be in the wrong lane. All is read anew, see `forget_queue`.
            queue.stop_reading(slot);
        }
        for slot in slots.iter_mut().filter(|slot| slot.database == id && slot.waits) {
            slot.waits = false;
            slot.latch.set();
        }
    }

    /// The worker of `slot` does not have the task any more that it took, and somebody is to take it.
    pub fn put_back(&mut self, slot: usize) {
        let Slot { database: id, taken, .. } = self.slots[slot];
        self.slots[slot].taken = None;
        let Some(queue) = self.queue(id) else { return };
        queue.stop_reading(slot);
        if let Some((lane, task)) = taken {
            queue.hand_back(lane, task.position);
        }
    }

    /// Another worker's slot showed the task that the worker of `slot` took. That one hands it out again if it
    /// does not end it; if it has done so meanwhile, when this one still had the lock, this one does.
    pub fn leave_to_other(&mut self, slot: usize) {
        let Slot { database: id, taken, .. } = self.slots[slot];
        let Some((_, task)) = taken else { return };
        if self.slots[..self.used_slots].iter().any(|other| other.shows(id, task.position.task_id)) {
            self.slots[slot].taken = None;
        } else {
            self.put_back(slot);
        }
    }

    /// Shows a task as running in `slot`; returns what is known of earlier runs.
    pub fn begin<const R: usize>(
        &mut self,
        journal: &mut Journal<S, R>,
        slot: usize,
        task_id: i64,
        task_type: &str,
        handler: &str,
        since: i64,
    ) -> Result<Interrupted, Unavailable> {
        let database = self.slots[slot].database;
        let elsewhere = |(index, other): (usize, &Slot<L>)| {
            index != slot && other.task_id == task_id && other.database == database
        };
        if self.slots[..self.used_slots].iter().enumerate().any(elsewhere) {
            return Err(Unavailable::Elsewhere);
        }
        if let Some(until) = journal.paused_until(database, task_id, since) {
            return Err(Unavailable::Paused(until));
        }
        let earlier = journal.begin(slot, database, task_id);
        let phase = &self.phases[slot];
        let slot = &mut self.slots[slot];
        slot.task_id = task_id;
        slot.task_type.set(task_type);
        slot.handler.set(handler);
        slot.busy_since = since;
        phase.begin(earlier.cancelled || slot.has_cancels && slot.cancels.contains(&task_id));
        slot.cancelled_at = since;
        slot.earlier = earlier;
        Ok(earlier)
    }
}
