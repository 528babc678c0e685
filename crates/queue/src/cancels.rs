//! Cancels tasks and calls.

use crate::ids::DatabaseId;
use crate::journal::Journal;
use crate::latch::Latch;
use crate::shared::Shared;
use crate::slot::{CancelReply, Slot};

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// Workers that still run a cancelled task.
    pub fn still_to_cancel(&mut self) -> impl Iterator<Item = &mut Slot<L>> {
        let slots = self.slots.iter_mut().zip(&self.phases);
        slots.filter(|(slot, phase)| phase.is_cancelled() && slot.task_id != 0).map(|(slot, _)| slot)
    }

    /// Marks task `task_id` as cancelled if a worker runs it now, and returns the process ID of that worker.
    pub fn cancel_running<const R: usize>(
        &mut self,
        journal: &mut Journal<S, R>,
        database: DatabaseId,
        task_id: i64,
        now: i64,
    ) -> Option<i32> {
        // The slots of idle workers show task 0.
        let mut slots = self.slots.iter_mut().zip(&self.phases).enumerate().filter(|_| task_id != 0);
        let (index, (slot, phase)) = slots
            .find(|(_, (slot, _))| slot.is_live() && slot.database == database && slot.task_id == task_id)?;
        let known = phase.is_cancelled();
        if !phase.cancel() {
            return None;
        }
        if !known {
            slot.cancelled_at = now;
            journal.cancel(index);
        }
        let pid = slot.pid;
        self.launcher.set();
        Some(pid)
    }

    /// Marks the call of task `task_id`, which the worker `owner` has in flight, as cancelled. Returns `None` if the
    /// database has no such worker: a copy of a database has calls of the original's workers.
    pub fn cancel_call<const R: usize>(
        &mut self,
        journal: &mut Journal<S, R>,
        database: DatabaseId,
        owner: i64,
        task_id: i64,
    ) -> Option<CancelReply> {
        let is_it = |slot: &&mut Slot<L>| slot.is_live() && slot.database == database && slot.owner == owner;
        let slot = self.slots.iter_mut().filter(|_| task_id != 0).find(is_it)?;
        if slot.task_id == task_id {
            // The last handler of the task is running: see `cancel_running`.
            return Some(CancelReply::NotNow);
        }
        let place = slot.cancels.iter_mut().find(|id| **id == 0 || **id == task_id);
        let Some(place) = place else { return Some(CancelReply::NotNow) };
        *place = task_id;
        slot.has_cancels = true;
        slot.latch.set();
        journal.remember_cancelled(slot.database, task_id);
        Some(CancelReply::Marked)
    }
}
