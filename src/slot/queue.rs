//! The queue of the worker's database.

use super::MySlot;
use crate::pg::{backend, shmem};
use crate::shared::{Lane, Next, Position, Queue, Read, Sources, Sweep, ToId};

impl MySlot {
    /// Does `Shared::take` for this worker.
    pub fn take(self, sources: Sources, definition_changes: u64) -> Next {
        let now = backend::now();
        shmem::write(|shared| shared.take(self.index, sources, definition_changes, now))
    }

    /// Does `Shared::publish` for this worker.
    pub fn publish(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.publish(self.index, read, definition_changes));
    }

    /// Does `Shared::add` for this worker.
    pub fn add(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.add(self.index, read, definition_changes));
    }

    /// Does `Shared::sweep` for this worker.
    pub fn sweep(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.sweep(self.index, read, definition_changes));
    }

    /// The task that this worker has taken last.
    pub fn taken(self) -> Option<(Lane, Position)> {
        self.read(|slot| slot.taken).map(|(lane, task)| (lane, task.position))
    }

    /// Does `Shared::leave_to_other` for this worker.
    pub fn leave_to_other(self) {
        shmem::write(|shared| shared.leave_to_other(self.index));
    }

    /// Does [`Queue::hand_back`] for this worker's database.
    pub fn hand_back(self, lane: Lane, task: Position) {
        self.change_queue(|queue| queue.hand_back(lane, task));
    }

    /// Does [`Queue::begin_sweep`] for this worker's database.
    pub fn begin_sweep(self, now: i64, interval: i64) -> Option<Sweep> {
        self.change_queue(|queue| queue.begin_sweep(now, interval)).flatten()
    }

    /// Has a worker look for tasks that were not announced.
    pub fn ask_for_sweep(self) {
        let now = backend::now();
        self.change_queue(|queue| queue.ask_for_sweep(now));
    }

    /// Has no worker look for such tasks before `until`, unless it is asked for.
    pub fn pause_sweeps(self, until: i64) {
        self.change_queue(|queue| queue.no_sweep_before = until);
    }

    /// Does `Shared::see_to_due` for this worker's database.
    pub fn see_to_due(self, now: i64) {
        shmem::write(|shared| shared.see_to_due(self.database.id(), now));
    }

    fn change_queue<R>(self, change: impl FnOnce(&mut Queue) -> R) -> Option<R> {
        shmem::write(|shared| shared.queue(self.database.id()).map(change))
    }
}
