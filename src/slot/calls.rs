//! The provider calls of this worker, and the limits of their providers.

use super::MySlot;
use crate::pg::{backend, shmem};
use crate::shared::{Admission, EndedCall, InFlight, Owner, QueuedCalls, Starts, TaskId, Terms, ToId};
use std::time::Duration;

impl MySlot {
    /// Publishes the number of calls in flight, and the queued ones. `full`: no further task that needs a call can be
    /// claimed.
    pub fn set_in_flight(self, calls: usize, queued: &QueuedCalls, full: bool) {
        self.change(|slot| {
            slot.in_flight = calls as u32;
            slot.queued = *queued;
            slot.full = full;
        });
    }

    /// Applies `Shared::set_calls` and `Shared::set_starts` to this worker.
    pub fn set_calls(self, calls: InFlight, starts: Starts, ended: &mut [EndedCall]) {
        let now = backend::now();
        shmem::write(|shared| {
            shared.set_calls(self.index, calls, ended, now);
            shared.set_starts(self.index, starts);
        });
    }

    /// Applies `Shared::begin_take_over` to this worker.
    pub fn begin_take_over(self) -> u64 {
        shmem::write(|shared| shared.begin_take_over(self.index))
    }

    /// Applies `Shared::end_take_over` to this worker.
    pub fn end_take_over(self, seen: Option<u64>) {
        shmem::write(|shared| shared.end_take_over(self.index, seen));
    }

    /// Applies `Shared::admit` to this worker.
    pub fn admit(self, terms: &Terms) -> Admission {
        let now = backend::now();
        shmem::write(|shared| shared.admit(self.index, terms, now))
    }

    /// Applies `Shared::give_back` to this worker.
    pub fn give_back(self, terms: &Terms) {
        let now = backend::now();
        shmem::write(|shared| shared.give_back(self.index, terms, now));
    }

    /// Applies `Shared::shut` to this worker.
    pub fn shut(self, admission: Admission, terms: &Terms, definition_changes: u64) {
        shmem::write(|shared| shared.shut(self.index, admission, terms, definition_changes));
    }

    /// Lets no request of an account be sent for this long.
    pub fn pause(self, account: u64, length: Duration) {
        let now = backend::now();
        let until = now.saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX));
        shmem::write(|shared| shared.pause(self.index, account, until, now));
    }

    /// Discards the cancellation of a call's task, since the call is over.
    pub fn forget_cancelled(self, task_id: TaskId) {
        shmem::write_journal(|_, journal| journal.forget(self.database.id(), task_id.get()));
    }

    /// Returns the tasks whose calls were cancelled since the previous invocation.
    pub fn take_cancels(self) -> Vec<TaskId> {
        let taken = self.change(|slot| {
            slot.has_cancels = false;
            std::mem::replace(&mut slot.cancels, [0; _])
        });
        taken.into_iter().filter(|id| *id != 0).map(TaskId::new).collect()
    }

    /// Notes that `owner` is in use by a worker of this server, or of a server of which this one is a copy.
    pub fn see_owner(self, owner: Owner) {
        shmem::write(|shared| shared.next_owner = shared.next_owner.max(owner.get().saturating_add(1)));
    }

    /// The identities of this database's live workers, and a bound above all of them. Workers of other databases do not
    /// count, since the database that this one was restored from may be on the same server.
    pub fn live_owners(self) -> (Vec<i64>, i64) {
        shmem::read(|shared| {
            (shared.slots_of(self.database.id()).map(|slot| slot.owner).collect(), shared.next_owner)
        })
    }
}
