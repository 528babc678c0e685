//! This worker's slot in shared memory: what the worker does, and what other processes request of it.

pub mod attached;
mod calls;
mod queue;
mod signals;
mod taken;

use crate::config;
use crate::pg::latch::LatchRef;
use crate::pg::{backend, journal, shmem, transaction};
use crate::shared::{
    Database, Interrupted, Latch, Over, Owner, Rest, Slot, SlotState, ToId, ToOid, Unavailable,
};
use crate::task::{Brief, InKey};
use pgrx::pg_sys::Oid;
pub use signals::{Settings, Signals};
pub use taken::Taken;

/// The slot of this process.
#[derive(Clone, Copy)]
pub struct MySlot {
    pub index: usize,
    pub database: Oid,
    pub role: Oid,
    pub number: u32,
    /// This worker's identity in `queues.call.owner`.
    pub owner: Owner,
}

impl MySlot {
    /// Attaches this process to the slot that the launcher reserved for it; `None` if the launcher has freed the slot
    /// meanwhile. [`MySlot::detach`] undoes it.
    pub fn attach(index: usize) -> Option<MySlot> {
        shmem::write(|shared| {
            let slot = shared.slots.get_mut(index)?;
            if slot.state != SlotState::Starting {
                return None;
            }
            slot.state = SlotState::Working;
            slot.pid = backend::pid();
            slot.latch = LatchRef::mine();
            slot.started_at = backend::now();
            journal::mine(index);
            shmem::mine(&shared.phases[index]);
            let mine = MySlot {
                index,
                database: slot.database.oid(),
                role: slot.role.oid(),
                number: slot.number,
                owner: Owner::new(slot.owner),
            };
            if shared.database(mine.database.id()).is_some_and(|database| database.needs_worker) {
                // The launcher starts one worker at a time.
                shared.launcher.set();
            }
            Some(mine)
        })
    }

    pub fn detach(self) {
        let now = backend::now();
        shmem::write_journal(|shared, journal| {
            shared.detach(journal, self.index, now);
            journal::mine_no_more();
        });
    }

    fn change<R>(self, change: impl FnOnce(&mut Slot) -> R) -> R {
        shmem::write(|shared| change(&mut shared.slots[self.index]))
    }

    fn read<R>(self, read: impl FnOnce(&Slot) -> R) -> R {
        shmem::read(|shared| read(&shared.slots[self.index]))
    }

    /// Publishes a task as running, so that it can be cancelled; returns what is known of its earlier runs.
    pub fn begin(self, task: &Brief) -> Result<Interrupted, Unavailable> {
        shmem::write_journal(|shared, journal| {
            let began = shared.begin(
                journal,
                self.index,
                task.id.get(),
                &task.task_type,
                &task.handler,
                task.started_at,
            );
            if let Some(InKey { follower, first }) = task.in_key.filter(|_| began.is_ok()) {
                shared.note_follower(self.index, follower, first, task.started_at);
            }
            began
        })
    }

    /// Does the same as [`MySlot::begin`] for the last step of a task that is counted among this worker's calls.
    pub fn begin_last_step(self, task: &Brief) -> Result<Interrupted, Unavailable> {
        let began = self.begin(task)?;
        self.change(|slot| slot.is_last_step = true);
        Ok(began)
    }

    /// Publishes the name of the handler that is invoked.
    pub fn set_handler(self, name: &str) {
        self.change(|slot| slot.handler.set(name));
    }

    /// True if the current task was cancelled.
    pub fn is_cancelled(self) -> bool {
        shmem::phase().is_cancelled()
    }

    /// Moves the task past the point up to which it can be cancelled; false if it was cancelled before.
    pub fn close(self) -> bool {
        shmem::phase().close()
    }

    /// Notes that the current task has ended or was given back; returns the next signals.
    pub fn end(self, how: Over) -> Signals {
        let (now, poll_interval) = (backend::now(), config::poll_interval());
        shmem::write_journal(|shared, journal| {
            journal.end(self.index);
            if config::FLUSH_INTERVAL.get() >= 0 {
                shared.note_unflushed(transaction::last_commit());
            }
            let cancelled = shared.phases[self.index].is_cancelled();
            if how == Over::GivenBack {
                // This happens under the same lock: a worker that takes the task while this slot shows it would skip
                // it.
                shared.put_back(self.index);
            }
            shared.end_start(self.index, how);
            shared.end_key(self.index, how, now);
            let slot = &mut shared.slots[self.index];
            if how == Over::GivenBack && cancelled && slot.task_id != 0 {
                // The session that cancelled the task was assured that the task would not run again.
                journal.remember_cancelled(self.database.id(), slot.task_id);
            }
            slot.end(how);
            if how != Over::GivenBack
                && let Some(database) = shared.database(self.database.id())
            {
                database.failures = 0;
            }
            Signals::read(shared, self.index, self.database.id(), now, poll_interval)
        })
    }

    /// Allows the current task to be cancelled again.
    pub fn reopen(self) {
        shmem::phase().reopen();
    }

    /// Notes that this worker is about to reload the configuration.
    pub fn note_reload(self) {
        self.change(|slot| slot.reload = false);
    }

    /// Requests that this worker exit after its current task.
    pub fn retire(self) {
        let now = backend::now();
        shmem::write(|shared| shared.retire(self.index, now));
    }

    /// Reads what other processes request of this worker.
    pub fn signals(self) -> Signals {
        let (now, poll_interval) = (backend::now(), config::poll_interval());
        shmem::read(|shared| Signals::read(shared, self.index, self.database.id(), now, poll_interval))
    }

    /// True if a state of the database has not been reported by any worker, so that it has to be logged. `reported` is
    /// the field that holds the state reported last.
    pub fn is_news<T: PartialEq + Copy>(
        self,
        reported: impl for<'a> FnOnce(&'a mut Database) -> &'a mut T,
        state: T,
    ) -> bool {
        self.change_database(|database| std::mem::replace(reported(database), state)) != Some(state)
    }

    /// Changes the entry of this worker's database.
    pub fn change_database<R>(self, change: impl FnOnce(&mut Database) -> R) -> Option<R> {
        shmem::write(|shared| shared.database(self.database.id()).map(change))
    }

    /// Applies `Shared::go_idle` to this worker.
    pub fn go_idle(self, announced: u64, rest: Option<Rest>) -> Option<i64> {
        let now = backend::now();
        shmem::write(|shared| shared.go_idle(self.index, announced, rest, now))
    }

    /// Applies `Shared::note_due` to this worker's database.
    pub fn note_due(self, due: i64) {
        shmem::write(|shared| shared.note_due(self.database.id(), due));
    }

    /// Ends the wait that [`MySlot::go_idle`] began.
    pub fn wake_up(self) {
        let now = backend::now();
        shmem::write(|shared| shared.wake_up(self.index, now));
    }

    /// Applies `Shared::leave` to this worker.
    pub fn leave(self) -> bool {
        shmem::write(|shared| shared.leave(self.index))
    }
}
