//! The contents of shared memory.

use crate::database::Database;
use crate::ids::DatabaseId;
use crate::key_rates::KeyRates;
use crate::lane::LaneSet;
use crate::latch::Latch;
use crate::limiter::{Limiter, MAX_ACCOUNTS};
use crate::limits::{MAX_OUTSIDE, OutsideStart};
use crate::phase::Phase;
use crate::queue::{CALL_WINDOW, Queue, WINDOW};
use crate::sizes::{MAX_DATABASES, MAX_SLOTS};
use crate::slot::{Slot, SlotState};

/// What a worker has found out about future tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rest {
    /// The time at which the next task becomes ready by time alone.
    pub next_due: i64,
    /// No prepared transaction can add tasks unannounced.
    pub nothing_prepared: bool,
}

/// The contents of shared memory: `S` slots, `D` databases, windows of `W` local tasks and `C` tasks of a provider, `A`
/// accounts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shared<
    L,
    const S: usize = MAX_SLOTS,
    const D: usize = MAX_DATABASES,
    const W: usize = WINDOW,
    const C: usize = CALL_WINDOW,
    const A: usize = MAX_ACCOUNTS,
> {
    pub launcher: L,
    /// The number of events that may change the list of databases or their settings.
    pub catalog_changes: u64,
    /// The number of events that may change settings stored for databases and roles.
    pub settings_changes: u64,
    /// A database got the extension when there was no room for its entry.
    pub missed_extension: bool,
    /// The identity of the next worker, greater than all earlier ones, also of earlier runs of the server.
    pub next_owner: i64,
    /// The end of the WAL that the launcher has to flush for ended tasks; 0 if all of it is flushed.
    pub(crate) unflushed: u64,
    /// The launcher flushes WAL.
    pub(crate) flushing: bool,
    /// When the launcher last could start no process at all, be it to read stored settings, if it has started no worker since.
    pub no_process_at: i64,
    pub databases: [Database; D],
    pub slots: [Slot<L>; S],
    /// Whether the tasks that the slots show can be cancelled.
    pub phases: [Phase; S],
    /// The limits of providers.
    pub(crate) limiter: Limiter<A>,
    /// How often tasks of one key start.
    pub(crate) key_rates: KeyRates<A>,
    /// A task type with limits has been used since the server started.
    pub(crate) has_limits: bool,
    /// Starts of limited types that sessions have reserved for workers outside.
    pub(crate) outside: [OutsideStart; MAX_OUTSIDE],
    /// The number of pauses of providers that have ended.
    pub resumes: u64,
    /// The number of slots that have ever been used.
    pub(crate) used_slots: usize,
    /// The number of queues that have ever been used.
    pub(crate) used_queues: usize,
    /// The queues of databases that have workers.
    pub(crate) queues: [Queue<W, C>; S],
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// New shared memory. `now` makes the identities of workers differ from those of earlier runs of the server.
    pub fn new(now: i64) -> Self {
        Shared {
            launcher: L::NONE,
            catalog_changes: 0,
            settings_changes: 1,
            missed_extension: false,
            next_owner: now,
            unflushed: 0,
            flushing: false,
            no_process_at: i64::MIN,
            databases: [Database::FREE; D],
            slots: [Slot::FREE; S],
            phases: [const { Phase::new() }; S],
            limiter: Limiter::NEW,
            key_rates: KeyRates::NEW,
            has_limits: false,
            outside: [OutsideStart::FREE; MAX_OUTSIDE],
            resumes: 0,
            used_slots: 0,
            used_queues: 0,
            queues: [Queue::FREE; S],
        }
    }

    /// Makes this the same as [`Shared::new`], without a copy of it on the stack.
    pub fn reset(&mut self, now: i64) {
        let Shared {
            launcher,
            catalog_changes,
            settings_changes,
            missed_extension,
            next_owner,
            unflushed,
            flushing,
            no_process_at,
            databases,
            slots,
            phases,
            limiter,
            key_rates,
            has_limits,
            outside,
            resumes,
            used_slots,
            used_queues,
            queues,
        } = self;
        *launcher = L::NONE;
        (*catalog_changes, *settings_changes, *resumes) = (0, 1, 0);
        (*missed_extension, *flushing) = (false, false);
        (*next_owner, *unflushed, *no_process_at) = (now, 0, i64::MIN);
        databases.fill(Database::FREE);
        slots.iter_mut().for_each(|slot| *slot = Slot::FREE);
        phases.iter_mut().for_each(|phase| *phase = Phase::new());
        (*limiter, *key_rates, *has_limits) = (Limiter::NEW, KeyRates::NEW, false);
        outside.fill(OutsideStart::FREE);
        (*used_slots, *used_queues) = (0, 0);
        queues.iter_mut().for_each(|queue| *queue = Queue::FREE);
    }

    /// Requests that the launcher flush WAL up to `end`.
    pub fn note_unflushed(&mut self, end: u64) {
        self.unflushed = self.unflushed.max(end);
        if !self.flushing {
            self.flushing = true;
            self.launcher.set();
        }
    }

    /// The end of the WAL to flush, or `None` if all of it is flushed. The launcher repeats this until it returns
    /// `None`.
    pub fn take_unflushed(&mut self) -> Option<u64> {
        let end = std::mem::take(&mut self.unflushed);
        self.flushing = end != 0;
        self.flushing.then_some(end)
    }

    pub fn database(&mut self, id: DatabaseId) -> Option<&mut Database> {
        self.databases.iter_mut().find(|database| database.id == id)
    }

    /// The entry of a database, which is added if there is room.
    pub fn database_or_new(&mut self, id: DatabaseId) -> Option<&mut Database> {
        let known = self.databases.iter().position(|database| database.id == id);
        let index = known.or_else(|| self.databases.iter().position(|d| d.id == DatabaseId::NONE))?;
        if known.is_none() {
            // The database may have tasks already.
            self.databases[index] = Database { id, look: true, due_unknown: true, ..Database::FREE };
        }
        Some(&mut self.databases[index])
    }

    /// The entry of a database that the launcher has found, which is added if there is room. `prepared` is true if
    /// transactions of earlier runs of the server may be prepared.
    pub fn know(&mut self, id: DatabaseId, prepared: bool) -> Option<&mut Database> {
        let new = self.database(id).is_none();
        let database = self.database_or_new(id)?;
        database.unannounced |= new && prepared;
        Some(database)
    }

    /// True if a database got the extension without an entry, and there is room for the entry now.
    pub fn take_missed_extension(&mut self) -> bool {
        let has_room = self.databases.iter().any(|database| database.id == DatabaseId::NONE);
        has_room && std::mem::take(&mut self.missed_extension)
    }

    pub fn forget_database(&mut self, id: DatabaseId) {
        if let Some(database) = self.database(id) {
            *database = Database::FREE;
        }
        if let Some(queue) = self.queue(id) {
            *queue = Queue::FREE;
        }
        self.limiter.forget(id);
    }

    pub fn slots_of(&self, database: DatabaseId) -> impl Iterator<Item = &Slot<L>> {
        let used = &self.slots[..self.used_slots];
        used.iter().filter(move |slot| slot.database == database && slot.state != SlotState::Free)
    }

    /// The queue of a database that has workers.
    pub fn queue(&mut self, id: DatabaseId) -> Option<&mut Queue<W, C>> {
        self.queues.iter_mut().find(|queue| queue.database == id)
    }

    pub fn queue_of(&self, id: DatabaseId) -> Option<&Queue<W, C>> {
        self.queues.iter().find(|queue| queue.database == id)
    }

    /// The index of a database's queue. A database without a queue gets the queue of a database that has no workers: there are
    /// as many queues as workers.
    pub(crate) fn queue_or_new(&mut self, id: DatabaseId) -> Option<usize> {
        let place = self.queues.iter().position(|queue| queue.database == id);
        place.or_else(|| {
            let is_free = |queue: &Queue<W, C>| {
                queue.database == DatabaseId::NONE || self.slots_of(queue.database).next().is_none()
            };
            let free = self.queues.iter().position(is_free)?;
            self.queues[free] = Queue::new(id);
            self.used_queues = self.used_queues.max(free + 1);
            Some(free)
        })
    }

    /// Lets all tasks be read again, since definitions have changed and tasks may belong to other lanes.
    pub fn forget_queue(&mut self, id: DatabaseId, now: i64) {
        self.read_all_again(id, now);
        self.close_breakers(id);
    }

    /// Lets all tasks be read again, since a pause has begun or ended. Queued calls may be sent, or not any more.
    pub fn change_pauses(&mut self, id: DatabaseId, now: i64) {
        self.read_all_again(id, now);
        self.tell_of_resume();
    }

    fn read_all_again(&mut self, id: DatabaseId, now: i64) {
        if let Some(database) = self.database(id) {
            database.definition_changes += 1;
            database.announced += 1;
            // How long finished tasks are kept may have changed.
            database.retained.note_due(now);
            // Tasks of a type that was paused fall due, too.
            database.due_unknown = true;
            // A worker finds out whether the database is paused, before it takes a task.
            database.paused = false;
        }
        if let Some(queue) = self.queue(id) {
            queue.forget_known();
            LaneSet::ALL.iter().for_each(|lane| queue.shut(lane, i64::MIN, 0));
            queue.ask_for_sweep(now);
        }
        self.note_stale_keys(id);
        self.wake(id, 1);
        // A worker may have been requested already while the database was paused.
        self.launcher.set();
    }

    /// Adjusts all times after the clock was set back to `now`. Events count as having happened now, since pauses after
    /// them would otherwise last until the clock reaches its former time.
    pub fn set_clock_back(&mut self, now: i64) {
        for database in self.databases.iter_mut() {
            let times = [&mut database.looked_at, &mut database.failed_at, &mut database.quiesce_ended_at];
            for time in times.into_iter().chain([&mut database.no_process_at]) {
                *time = now.min(*time);
            }
            database.retained.set_clock_back(now);
        }
        self.no_process_at = now.min(self.no_process_at);
        self.limiter.set_clock_back(now);
        self.key_rates.set_clock_back(now);
        for queue in self.queues.iter_mut() {
            LaneSet::ALL.iter().for_each(|lane| queue.shut(lane, i64::MIN, 0));
            queue.set_clock_back(now);
        }
        for slot in self.slots.iter_mut() {
            for time in [&mut slot.started_at, &mut slot.retire_since, &mut slot.cancelled_at] {
                *time = now.min(*time);
            }
        }
    }
}
