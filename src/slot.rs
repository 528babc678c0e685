//! This worker's own entry in shared memory: what it does, and what others want of it.

use crate::config;
use crate::pg::latch::LatchRef;
use crate::pg::{backend, journal, shmem, transaction};
use crate::shared::{
    Admission, Database, EndedCall, InFlight, Interrupted, Lane, LaneSet, Latch, Next, Over, Position, Queue,
    Read, Rest, Shared, Slot, SlotState, Sources, Sweep, Terms, ToId, ToOid, Unavailable,
};
use crate::task::Brief;
use pgrx::pg_sys::Oid;
use std::time::Duration;

/// Settings stored for databases and roles, from the view of a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    Same,
    /// They may have changed and are being read.
    Unknown,
    Changed,
}

/// What others want of a worker.
#[derive(Clone, Copy)]
pub struct Signals {
    /// When that was: microseconds since 2000-01-01.
    pub at: i64,
    /// It should leave.
    pub retire: bool,
    /// It should reread the configuration.
    pub reload: bool,
    /// Calls of it were cancelled.
    pub cancels: bool,
    /// `Database::announced`.
    pub announced: u64,
    /// `Database::definition_changes`.
    pub definition_changes: u64,
    /// Calls are to be taken over.
    pub orphans: bool,
    /// Something may have fallen due.
    pub due: bool,
    /// What was not announced is to be looked for.
    pub sweep: bool,
    /// Nobody knows when something falls due, or a prepared transaction may bring tasks.
    pub look_ahead: bool,
    /// The lanes in which tasks are known to wait.
    pub waiting: LaneSet,
    /// [`Shared::resumes`].
    pub resumes: u64,
    /// `Database::unadopted_to_report`.
    pub unadopted_to_report: bool,
    pub settings: Settings,
}

/// The slot of this process.
#[derive(Clone, Copy)]
pub struct MySlot {
    pub index: usize,
    pub database: Oid,
    pub role: Oid,
    pub number: u32,
    /// This worker's identity in `queues.call.owner`.
    pub owner: i64,
}

impl MySlot {
    /// Attaches this process to the slot that the launcher took for it; `None` if that has given
    /// it up meanwhile. Undone by [`MySlot::detach`].
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
                owner: slot.owner,
            };
            if shared.database(mine.database.id()).is_some_and(|database| database.needs_worker) {
                // One worker is started at a time.
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

    /// [`Shared::take`] for this worker.
    pub fn take(self, sources: Sources, definition_changes: u64) -> Next {
        let now = backend::now();
        shmem::write(|shared| shared.take(self.index, sources, definition_changes, now))
    }

    /// [`Shared::publish`] for this worker.
    pub fn publish(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.publish(self.index, read, definition_changes));
    }

    /// [`Shared::add`] for this worker.
    pub fn add(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.add(self.index, read, definition_changes));
    }

    /// [`Shared::sweep`] for this worker.
    pub fn sweep(self, read: &Read, definition_changes: u64) {
        shmem::write(|shared| shared.sweep(self.index, read, definition_changes));
    }

    /// What this worker has taken last.
    pub fn taken(self) -> Option<(Lane, Position)> {
        self.read(|slot| slot.taken).map(|(lane, task)| (lane, task.position))
    }

    /// [`Shared::leave_to_other`] for this worker.
    pub fn leave_to_other(self) {
        shmem::write(|shared| shared.leave_to_other(self.index));
    }

    /// [`Queue::hand_back`] for this worker's database.
    pub fn hand_back(self, lane: Lane, task: Position) {
        self.change_queue(|queue| queue.hand_back(lane, task));
    }

    /// [`Queue::begin_sweep`] for this worker's database.
    pub fn begin_sweep(self, now: i64, interval: i64) -> Option<Sweep> {
        self.change_queue(|queue| queue.begin_sweep(now, interval)).flatten()
    }

    /// Has somebody look for what was not announced.
    pub fn ask_for_sweep(self) {
        let now = backend::now();
        self.change_queue(|queue| queue.ask_for_sweep(now));
    }

    /// Has nobody look for it again before some time, unless it is asked for.
    pub fn pause_sweeps(self, until: i64) {
        self.change_queue(|queue| queue.no_sweep_before = until);
    }

    /// [`Shared::see_to_due`] for this worker's database.
    pub fn see_to_due(self, now: i64) {
        shmem::write(|shared| shared.see_to_due(self.database.id(), now));
    }

    fn change_queue<R>(self, change: impl FnOnce(&mut Queue) -> R) -> Option<R> {
        shmem::write(|shared| shared.queue(self.database.id()).map(change))
    }

    /// Shows a task as running, so that it can be cancelled; returns what is known of earlier
    /// runs.
    pub fn begin(self, task: &Brief) -> Result<Interrupted, Unavailable> {
        shmem::write_journal(|shared, journal| {
            shared.begin(journal, self.index, task.id, &task.task_type, &task.handler, task.started_at)
        })
    }

    /// Shows which handler is called.
    pub fn set_handler(self, name: &str) {
        self.change(|slot| slot.handler.set(name));
    }

    /// True if the task at hand was cancelled.
    pub fn is_cancelled(self) -> bool {
        shmem::phase().is_cancelled()
    }

    /// Takes the task past the point where it can be cancelled; false if it was before.
    pub fn close(self) -> bool {
        shmem::phase().close()
    }

    /// The task at hand is over, or handed out again; what others want next of this worker, see [`MySlot::signals`].
    pub fn end(self, how: Over) -> Signals {
        let (now, poll_interval) = (backend::now(), config::poll_interval());
        shmem::write_journal(|shared, journal| {
            journal.end(self.index);
            if config::FLUSH_INTERVAL.get() >= 0 {
                shared.note_unflushed(transaction::last_commit());
            }
            let cancelled = shared.phases[self.index].is_cancelled();
            if how == Over::GivenBack {
                // In the same turn: who takes it while this slot shows it leaves it to this worker.
                shared.put_back(self.index);
            }
            let slot = &mut shared.slots[self.index];
            if how == Over::GivenBack && cancelled && slot.task_id != 0 {
                // Whoever cancelled it was told that it would not run again.
                journal.remember_cancelled(self.database.id(), slot.task_id);
            }
            slot.end(how);
            if how != Over::GivenBack
                && let Some(database) = shared.database(self.database.id())
            {
                database.failures = 0;
            }
            self.look(shared, now, poll_interval)
        })
    }

    /// `full`: no further one can be taken.
    pub fn set_in_flight(self, calls: usize, full: bool) {
        self.change(|slot| {
            slot.in_flight = calls as u32;
            slot.full = full;
        });
    }

    /// [`Shared::set_calls`] for this worker.
    pub fn set_calls(self, calls: InFlight, ended: &mut [EndedCall]) {
        let now = backend::now();
        shmem::write(|shared| shared.set_calls(self.index, calls, ended, now));
    }

    /// [`Shared::admit`] for this worker.
    pub fn admit(self, terms: &Terms) -> Admission {
        let now = backend::now();
        shmem::write(|shared| shared.admit(self.index, terms, now))
    }

    /// [`Shared::give_back`] for this worker.
    pub fn give_back(self, terms: &Terms) {
        let now = backend::now();
        shmem::write(|shared| shared.give_back(self.index, terms, now));
    }

    /// [`Shared::shut`] for this worker.
    pub fn shut(self, admission: Admission, terms: &Terms, definition_changes: u64) {
        shmem::write(|shared| shared.shut(self.index, admission, terms, definition_changes));
    }

    /// No request of an account goes out for so long.
    pub fn pause(self, account: u64, length: Duration) {
        let now = backend::now();
        let until = now.saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX));
        shmem::write(|shared| shared.pause(self.index, account, until, now));
    }

    /// The task at hand can be cancelled again.
    pub fn reopen(self) {
        shmem::phase().reopen();
    }

    /// The cancelled task of a call is over.
    pub fn forget_cancelled(self, task_id: i64) {
        shmem::write_journal(|_, journal| journal.forget(self.database.id(), task_id));
    }

    /// The configuration is about to be reread.
    pub fn note_reload(self) {
        self.change(|slot| slot.reload = false);
    }

    /// Tasks whose calls were cancelled since the last time.
    pub fn take_cancels(self) -> Vec<i64> {
        let taken = self.change(|slot| {
            slot.has_cancels = false;
            std::mem::replace(&mut slot.cancels, [0; _])
        });
        taken.into_iter().filter(|id| *id != 0).collect()
    }

    /// This worker will leave after its current task.
    pub fn retire(self) {
        let now = backend::now();
        shmem::write(|shared| shared.retire(self.index, now));
    }

    /// What others want of this worker, at one signals.
    pub fn signals(self) -> Signals {
        let (now, poll_interval) = (backend::now(), config::poll_interval());
        shmem::read(|shared| self.look(shared, now, poll_interval))
    }

    fn look(self, shared: &Shared, now: i64, poll_interval: i64) -> Signals {
        let slot = &shared.slots[self.index];
        let database = shared.databases.iter().find(|database| database.id.oid() == self.database);
        Signals {
            at: now,
            retire: slot.retire,
            reload: slot.reload,
            cancels: slot.has_cancels,
            announced: database.map_or(0, |database| database.announced),
            definition_changes: database.map_or(0, |database| database.definition_changes),
            orphans: database.is_some_and(|database| database.orphans),
            due: database.is_some_and(|database| database.due_unknown || database.next_due <= now),
            sweep: shared
                .queue_of(self.database.id())
                .is_none_or(|queue| queue.wants_sweep(now, poll_interval)),
            look_ahead: database.is_none_or(|database| database.due_unknown || database.unannounced),
            waiting: shared.queue_of(self.database.id()).map_or(LaneSet::NONE, Queue::waiting),
            resumes: shared.resumes,
            unadopted_to_report: database.is_some_and(|database| database.unadopted_to_report),
            settings: database.map_or(Settings::Same, |database| {
                if database.settings_as_of != shared.settings_changes {
                    Settings::Unknown
                } else if database.settings != slot.stored_settings {
                    Settings::Changed
                } else {
                    Settings::Same
                }
            }),
        }
    }

    /// Changes the entry of this worker's database.
    pub fn change_database<R>(self, change: impl FnOnce(&mut Database) -> R) -> Option<R> {
        shmem::write(|shared| shared.database(self.database.id()).map(change))
    }

    /// [`Shared::go_idle`] for this worker.
    pub fn settle(self, announced: u64, rest: Option<Rest>) -> Option<i64> {
        let now = backend::now();
        shmem::write(|shared| shared.go_idle(self.index, announced, rest, now))
    }

    /// [`Shared::note_due`] for this worker's database.
    pub fn note_due(self, due: i64) {
        shmem::write(|shared| shared.note_due(self.database.id(), due));
    }

    /// Ends the wait that [`MySlot::settle`] began.
    pub fn unsettle(self) {
        let now = backend::now();
        shmem::write(|shared| shared.wake_up(self.index, now));
    }

    /// [`Shared::leave`] for this worker.
    pub fn leave(self) -> bool {
        shmem::write(|shared| shared.leave(self.index))
    }

    /// `owner` is in use, by a worker of this server or of one that this was a copy of.
    pub fn see_owner(self, owner: i64) {
        shmem::write(|shared| shared.next_owner = shared.next_owner.max(owner.saturating_add(1)));
    }

    /// Identities of this database's workers that are alive, and a bound above all of them. Those of another
    /// one don't count: what it was restored from may be on this server.
    pub fn live_owners(self) -> (Vec<i64>, i64) {
        shmem::read(|shared: &Shared| {
            (shared.slots_of(self.database.id()).map(|slot| slot.owner).collect(), shared.next_owner)
        })
    }
}
