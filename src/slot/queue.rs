//! The queue of the worker's database.

use super::MySlot;
use super::taken::Taken;
use crate::pg::{backend, shmem};
use crate::shared::{
    Admission, Key, KeyEntry, Lane, LaneSet, Next, Queue, Read, ReadKeys, Sources, StartLimits, Sweep,
    TaskId, ToId,
};
use std::time::Duration;

impl MySlot {
    /// Applies `Shared::take` to this worker.
    pub fn take(self, sources: Sources, definition_changes: u64) -> Next {
        let now = backend::now();
        shmem::write(|shared| shared.take(self.index, sources, definition_changes, now))
    }

    /// Applies `Shared::set_pauses` to this worker's database.
    pub fn show_pauses(self, definition_changes: u64, is_paused: bool, ends_at: i64) {
        let now = backend::now();
        shmem::write(|shared| {
            shared.set_pauses(self.database.id(), definition_changes, is_paused, ends_at, now);
        });
    }

    /// Applies `Shared::start` to this worker.
    pub fn start(self, limits: &StartLimits) -> Admission {
        let now = backend::now();
        shmem::write(|shared| shared.start(self.index, limits, now))
    }

    /// The number of tasks of a type that shared memory shows as running, if tasks may be leased, and what
    /// [`MySlot::see_no_leases`] needs. Leases are counted after it.
    pub fn running_beside_leases(self, limits: &StartLimits) -> Option<(u32, u64)> {
        shmem::write(|shared| {
            let (may_be_leased, leasings) = shared.may_have_leases(self.database.id());
            may_be_leased.then(|| (shared.running(self.database.id(), limits.terms.account), leasings))
        })
    }

    /// Applies `Shared::see_no_leases` to this worker's database.
    pub fn see_no_leases(self, leasings: u64) {
        shmem::write(|shared| shared.see_no_leases(self.database.id(), leasings));
    }

    /// Applies `Shared::shut_start` to this worker.
    pub fn shut_start(self, admission: Admission, limits: &StartLimits, lane: Lane, definition_changes: u64) {
        shmem::write(|shared| shared.shut_start(self.index, admission, limits, lane, definition_changes));
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

    /// What this worker took last.
    pub fn taken(self) -> Option<Taken> {
        let (task, key) = self.read(|slot| (slot.taken, slot.key));
        let task = task.map(|(lane, task)| Taken::Task(lane, task.position));
        task.or(key.map(|shown| Taken::Key(shown.lane, shown.entry)))
    }

    /// The number of other workers of this database that show a key.
    pub fn others_with(self, key: Key) -> u32 {
        shmem::read(|shared| shared.shown(self.database.id(), key)).saturating_sub(1)
    }

    /// Applies `Shared::correct_key` to this worker.
    pub fn correct_key(self, lane: Lane, max_running: u32, priority: i16) -> bool {
        shmem::write(|shared| shared.correct_key(self.index, lane, max_running, priority))
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

    /// Lets a worker take this again.
    pub fn hand_back(self, taken: Taken) {
        shmem::write(|shared| match taken {
            Taken::Task(lane, position) => {
                let queue = shared.queue(self.database.id());
                queue.into_iter().for_each(|queue| queue.hand_back(lane, position));
            }
            Taken::Key(lane, entry) => shared.hand_back_key(self.index, lane, entry),
        });
    }

    /// Applies `Shared::start_key` to this worker.
    pub fn start_key(self, interval: i64) -> Admission {
        let now = backend::now();
        shmem::write(|shared| shared.start_key(self.index, interval, now))
    }

    /// Applies `Shared::publish_keys` to this worker.
    pub fn publish_keys(self, lane: Lane, read: &ReadKeys, definition_changes: u64) {
        shmem::write(|shared| shared.publish_keys(self.index, lane, read, definition_changes));
    }

    /// Lets all keys of these lanes be read again.
    pub fn rewind_keys(self, lanes: LaneSet) {
        self.change_queue(|queue| queue.rewind_keys(lanes));
    }

    /// Applies `Shared::add_keys` to this worker.
    pub fn add_keys(self, found: &[(Lane, KeyEntry)], swept: Option<(Lane, Key)>, definition_changes: u64) {
        shmem::write(|shared| shared.add_keys(self.index, found, swept, definition_changes));
    }

    /// The key after which the next sweep of a lane begins.
    pub fn keys_swept(self, lane: Lane) -> Key {
        self.change_queue(|queue| queue.keys_swept(lane)).unwrap_or(Key::FIRST)
    }

    /// Applies [`Queue::begin_sweep`] to this worker's database.
    pub fn begin_sweep(self, now: i64, interval: i64) -> Option<Sweep> {
        self.change_queue(|queue| queue.begin_sweep(now, interval)).flatten()
    }

    /// Applies [`Queue::due_since`] to this worker's database.
    pub fn due_since(self) -> Option<i64> {
        self.change_queue(|queue| queue.due_since()).flatten()
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
