//! Hands tasks out to workers.

use crate::journal::{Interrupted, Journal};
use crate::latch::Latch;
use crate::queue::{Next, Queue, Read};
use crate::shared::Shared;
use crate::slot::Slot;
use crate::sources::Sources;

/// The reason why a task cannot be begun now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// The slot of another worker still shows the task. That worker has rolled back, and is about to record that.
    Elsewhere,
    /// The task must not start before this time.
    Paused(i64),
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// Gives the next task to the worker of `slot`, or returns what the worker has to do first. Wakes another worker if
    /// there are more tasks. `definition_changes` is the change as of which the worker knows the task definitions.
    pub fn take<'a>(
        &mut self,
        slot: usize,
        sources: impl Into<Sources<'a>>,
        definition_changes: u64,
        now: i64,
    ) -> Next {
        let sources = sources.into();
        let id = self.slots[slot].database;
        // The worker could not claim the task that it took before.
        self.give_back_start(slot);
        self.leave_key(slot, now);
        match self.database(id) {
            // The next task may be of a type that the worker does not know yet.
            Some(database) if database.definition_changes != definition_changes => return Next::Wait,
            Some(database) if database.starts_nothing() => {
                (self.slots[slot].taken, self.slots[slot].waits) = (None, false);
                return Next::Nothing;
            }
            _ => {}
        }
        let Some(place) = self.queue_or_new(id) else { return Next::Nothing };
        let next = loop {
            let others = self.slots[..self.used_slots].iter().enumerate().filter(|(index, _)| *index != slot);
            let occupied = |page| others.clone().any(|(_, other)| other.occupies(id, page, now));
            let next = self.queues[place].take(slot, sources, now, occupied);
            let is_free = match next {
                Next::Key(lane, entry) => self.show_key(slot, lane, entry),
                _ => true,
            };
            if is_free && self.reserve(slot, place, &next, sources.limits, now) {
                break next;
            }
        };
        self.slots[slot].waits = next == Next::Wait;
        // The worker could not lock the task that it took before.
        self.slots[slot].taken = None;
        if let Next::Task(lane, task) = next {
            self.slots[slot].taken = Some((lane, task));
        }
        let has_found = matches!(next, Next::Task(..) | Next::Key(..));
        if has_found && self.queues[place].has_more(sources.lanes, now) {
            self.wake(id, 1);
        }
        next
    }

    /// Adds what the worker of `slot`, the reader of the lane, has read with the definitions as of
    /// `definition_changes`.
    pub fn publish(&mut self, slot: usize, read: &Read, definition_changes: u64) {
        self.take_in(slot, definition_changes, |queue, running| queue.publish(read, running));
    }

    /// Adds tasks that the worker of `slot` has found otherwise than by reading on from the cursor.
    pub fn add(&mut self, slot: usize, read: &Read, definition_changes: u64) {
        self.take_in(slot, definition_changes, |queue, running| queue.add(read, running));
    }

    /// Adds what the worker of `slot` has read from the start of the table.
    pub fn sweep(&mut self, slot: usize, read: &Read, definition_changes: u64) {
        self.take_in(slot, definition_changes, |queue, running| queue.sweep(read, running));
    }

    pub(crate) fn take_in(
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
            // Tasks of new types would be added to the wrong lane. `forget_queue` lets the table be read again.
            queue.stop_reading(slot);
        }
        for slot in slots.iter_mut().filter(|slot| slot.database == id && slot.waits) {
            slot.waits = false;
            slot.latch.set();
        }
    }

    /// Puts back the task that the worker of `slot` took, so that a worker takes it again.
    pub fn put_back(&mut self, slot: usize) {
        let Slot { database: id, taken, .. } = self.slots[slot];
        self.slots[slot].taken = None;
        if let Some(queue) = self.queue(id) {
            queue.stop_reading(slot);
            if let Some((lane, task)) = taken {
                queue.hand_back(lane, task.position);
            }
        }
        self.put_back_key(slot);
        if self.slots[slot].task_id == 0 {
            self.give_back_start(slot);
        }
    }

    /// Leaves the task that the worker of `slot` took to the worker whose slot shows it, and which hands it out again
    /// unless it ends it. If no slot shows it any more, that worker finished while this one held the row lock, and the
    /// task is put back.
    pub fn leave_to_other(&mut self, slot: usize) {
        let Slot { database: id, taken, .. } = self.slots[slot];
        let Some((_, task)) = taken else { return self.leave_key_to_other(slot) };
        // It hands the task out at the position where it took it, which may have changed since.
        let has_position =
            |other: &Slot<L>| other.taken.is_none_or(|(_, taken)| taken.position == task.position);
        let mut others = self.slots[..self.used_slots].iter();
        if others.any(|other| other.shows(id, task.position.task_id) && has_position(other)) {
            self.slots[slot].taken = None;
            self.give_back_start(slot);
        } else {
            self.put_back(slot);
        }
    }

    /// Publishes a task as running in `slot`, and returns what is known of its earlier runs.
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
