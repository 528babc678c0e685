//! The queue of the worker's database.

use super::MySlot;
use crate::pg::{backend, shmem};
use crate::shared::{Lane, Next, Position, Queue, Read, Sources, Sweep, TaskId, ToId};
use std::time::Duration;

impl MySlot {
    /// Applies `Shared::take` to this worker.
    pub fn take(self, sources: Sources, definition_changes: u64) -> Next {
        let now = backend::now();
        shmem::write(|shared| shared.take(self.index, sources, definition_changes, now))
    }

    /// Applies `Shared::publish` to this worker.
    pub fn publish(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.publish(self.index, read, definition_changes));
    }

    /// Applies `Shared::add` to this worker.
    pub fn add(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.add(self.index, read, definition_changes));
    }

    /// Applies `Shared::sweep` to this worker.
    pub fn sweep(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.sweep(self.index, read, definition_changes));
    }

    /// The task that this worker took last.
    pub fn taken(self) -> Option<(Lane, Position)> {
        self.read(|slot| slot.taken).map(|(lane, task)| (lane, task.position))
    }

    /// Notes for explanations that this worker does not run a task for this long.
    pub fn note_deferred(self, task_id: TaskId, length: Duration) {
        let until = backend::now().saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX));
        self.change(|slot| slot.deferred.add(task_id.get(), until));
    }

    /// Applies `Shared::leave_to_other` to this worker.
    pub fn leave_to_other(self) {
        shmem::write(|shared| shared.leave_to_other(self.index));
    }

    /// Applies [`Queue::hand_back`] to this worker's database.
    pub fn hand_back(self, lane: Lane, task: Position) {
        self.change_queue(|queue| queue.hand_back(lane, task));
    }

    /// Applies [`Queue::begin_sweep`] to this worker's database.
    pub fn begin_sweep(self, now: i64, interval: i64) -> Option<Sweep> {
        self.change_queue(|queue| queue.begin_sweep(now, interval)).flatten()
    }

    /// Applies [`Queue::prioritized_due_since`] to this worker's database.
    pub fn prioritized_due_since(self) -> Option<i64> {
        self.change_queue(|queue| queue.prioritized_due_since()).flatten()
    }

    /// Applies [`Queue::note_looked_for`] to this worker's database.
    pub fn note_looked_for(self, since: i64, time: i64) {
        self.change_queue(|queue| queue.note_looked_for(since, time));
    }

    /// Requests a sweep, which finds tasks that were not announced.
    pub fn ask_for_sweep(self) {
        let now = backend::now();
        self.change_queue(|queue| queue.ask_for_sweep(now));
    }

    /// Prevents sweeps before `until`, unless one is requested.
    pub fn pause_sweeps(self, until: i64) {
        self.change_queue(|queue| queue.no_sweep_before = until);
    }

    /// Applies `Shared::see_to_due` to this worker's database.
    pub fn see_to_due(self, now: i64) {
        shmem::write(|shared| shared.see_to_due(self.database.id(), now));
    }

    fn change_queue<R>(self, change: impl FnOnce(&mut Queue) -> R) -> Option<R> {
        shmem::write(|shared| shared.queue(self.database.id()).map(change))
    }
}
