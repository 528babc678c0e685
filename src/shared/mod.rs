//! What the launcher, the workers and every backend that enqueues know in common.
//!
//! Plain data in shared memory, and the decisions taken under its lock. No call in here allocates
//! or fails: part of it runs in the middle of commits. The access is in [`crate::pg::shmem`].
//!
//! All of it is a hint or derived from live processes. Which task is done, and who may run it, is
//! decided by rows and row locks alone, so a lost or stale entry makes a task late, never lost.

mod announcement;
mod database;
mod journal;
mod limiter;
mod phase;
mod queue;
mod slot;
mod text;

pub use announcement::Announcement;
pub use database::Database;
pub use journal::{Interrupted, Journal};
pub use limiter::{Admission, InFlight, Terms, Went};
pub use phase::Phase;
pub use queue::{Batch, LANES, Lane, LaneSet, Next, Position, Queue, Ready, Sources, Sweep};
pub use slot::{Over, Slot, SlotState, Told};
pub use text::Text;

use crate::pg::latch::LatchRef;
use limiter::Limiter;
use pgrx::pg_sys::Oid;

/// Worker processes of all databases that can be known at once: the top of `pg_errand.max_workers`.
pub const MAX_SLOTS: usize = 128;
/// Databases with the extension that can be known at once.
pub const MAX_DATABASES: usize = 512;
/// Cancels that can wait for one worker.
pub const MAX_CANCELS: usize = 64;
/// Sessions that can want no worker in one database at the same time.
pub const MAX_BARS: usize = 8;
/// Tasks that a worker is remembered to have had last.
pub const MAX_RECENT: usize = 64;
/// A time that never comes.
pub const NEVER: i64 = i64::MAX;

/// What a worker that looked for it knows of the work to come.
#[derive(Clone, Copy)]
pub struct Rest {
    /// When a task becomes ready by time alone.
    pub next_due: i64,
    /// No prepared transaction can bring tasks unannounced.
    pub nothing_prepared: bool,
}

pub struct Shared {
    pub launcher: LatchRef,
    /// Counts what may change the list of databases or their settings.
    pub catalog_changes: u64,
    /// Counts what may change settings stored for databases and roles.
    pub settings_changes: u64,
    /// The next worker's identity; above every earlier one, also of earlier runs of this server.
    pub next_owner: i64,
    /// Up to where WAL of ended tasks is to be written to the disk (0: it is), by the launcher …
    unflushed: u64,
    /// … which is at it.
    flushing: bool,
    pub databases: [Database; MAX_DATABASES],
    pub slots: [Slot; MAX_SLOTS],
    /// Of the tasks at hand of those slots.
    pub phases: [Phase; MAX_SLOTS],
    /// What providers let us do.
    limiter: Limiter,
    /// Slots from here on were never used.
    used_slots: usize,
    /// Queues from here on were never used.
    used_queues: usize,
    /// Of databases that have workers.
    queues: [Queue; MAX_SLOTS],
}

/// It is built on the postmaster's stack.
const _: () = assert!(size_of::<Shared>() < 2 * 1024 * 1024);

impl Shared {
    /// `now` makes identities of this run differ from those of earlier ones.
    pub fn new(now: i64) -> Self {
        Shared {
            launcher: LatchRef::NONE,
            catalog_changes: 0,
            settings_changes: 1,
            next_owner: now,
            unflushed: 0,
            flushing: false,
            databases: [Database::FREE; MAX_DATABASES],
            slots: [Slot::FREE; MAX_SLOTS],
            phases: [const { Phase::new() }; MAX_SLOTS],
            limiter: Limiter::NEW,
            used_slots: 0,
            used_queues: 0,
            queues: [Queue::FREE; MAX_SLOTS],
        }
    }

    /// WAL up to `end` is to be written to the disk.
    pub fn note_unflushed(&mut self, end: u64) {
        self.unflushed = self.unflushed.max(end);
        if !self.flushing {
            self.flushing = true;
            self.launcher.set();
        }
    }

    /// Up to where that is to be done now; whoever asks is asked again.
    pub fn take_unflushed(&mut self) -> Option<u64> {
        let end = std::mem::take(&mut self.unflushed);
        self.flushing = end != 0;
        self.flushing.then_some(end)
    }

    pub fn database(&mut self, oid: Oid) -> Option<&mut Database> {
        self.databases.iter_mut().find(|database| database.oid == oid)
    }

    /// The entry of a database, made if there is room for it.
    pub fn database_or_new(&mut self, oid: Oid) -> Option<&mut Database> {
        let known = self.databases.iter().position(|database| database.oid == oid);
        let index = known.or_else(|| self.databases.iter().position(|d| d.oid == Oid::INVALID))?;
        if known.is_none() {
            // Tasks that fall due may be there already.
            self.databases[index] = Database { oid, look: true, due_unknown: true, ..Database::FREE };
        }
        Some(&mut self.databases[index])
    }

    /// The entry of a database that the launcher has come to know of, made if there is room for it.
    /// `prepared`: transactions of earlier runs of this server may be waiting for their commit.
    pub fn know(&mut self, oid: Oid, prepared: bool) -> Option<&mut Database> {
        let new = self.database(oid).is_none();
        let database = self.database_or_new(oid)?;
        database.unannounced |= new && prepared;
        Some(database)
    }

    pub fn forget_database(&mut self, oid: Oid) {
        if let Some(database) = self.database(oid) {
            *database = Database::FREE;
        }
        if let Some(queue) = self.queue(oid) {
            *queue = Queue::FREE;
        }
    }

    pub fn slots_of(&self, database: Oid) -> impl Iterator<Item = &Slot> {
        let used = &self.slots[..self.used_slots];
        used.iter().filter(move |slot| slot.database == database && slot.state != SlotState::Free)
    }

    /// The queue of a database that has workers.
    pub fn queue(&mut self, oid: Oid) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.database == oid)
    }

    pub fn queue_of(&self, oid: Oid) -> Option<&Queue> {
        self.queues.iter().find(|queue| queue.database == oid)
    }

    /// The place of a database's queue, made if it has none, if need be in place of one that has no
    /// workers: there are as many as workers.
    fn queue_or_new(&mut self, oid: Oid) -> Option<usize> {
        let place = self.queues.iter().position(|queue| queue.database == oid);
        place.or_else(|| {
            let is_free = |queue: &Queue| {
                queue.database == Oid::INVALID || self.slots_of(queue.database).next().is_none()
            };
            let free = self.queues.iter().position(is_free)?;
            self.queues[free] = Queue::new(oid);
            self.used_queues = self.used_queues.max(free + 1);
            Some(free)
        })
    }

    /// The next task for the worker of `slot`, which has it from then on; or what to do first. If there is
    /// more, another worker is woken. `kinds_changes`: as of when the worker knows the task types.
    pub fn take(&mut self, slot: usize, sources: impl Into<Sources>, kinds_changes: u64, now: i64) -> Next {
        let sources = sources.into();
        let oid = self.slots[slot].database;
        if self.database(oid).is_some_and(|database| database.kinds_changes != kinds_changes) {
            // The next task may be of a type that it does not know yet.
            return Next::Wait;
        }
        let Some(place) = self.queue_or_new(oid) else { return Next::Nothing };
        let others = self.slots[..self.used_slots].iter().enumerate().filter(|(index, _)| *index != slot);
        let occupied = |page| others.clone().any(|(_, other)| other.occupies(oid, page, now));
        let next = self.queues[place].take(slot, sources, now, occupied);
        self.slots[slot].waits = next == Next::Wait;
        // What it took before and could not lock it does not have.
        self.slots[slot].taken = None;
        if let Next::Task(lane, task) = next {
            self.slots[slot].taken = Some((lane, task));
            if self.queues[place].has_more(sources.lanes, now) {
                self.wake(oid, 1);
            }
        }
        next
    }

    /// The worker of `slot`, which is that lane's reader, has read tasks.
    pub fn publish(&mut self, slot: usize, batch: &Batch) {
        self.take_in(slot, |queue, running| queue.publish(batch, running));
    }

    /// The worker of `slot` has found tasks beside the order of the queue.
    pub fn add(&mut self, slot: usize, batch: &Batch) {
        self.take_in(slot, |queue, running| queue.add(batch, running));
    }

    /// The worker of `slot` has read the table from its start.
    pub fn sweep(&mut self, slot: usize, batch: &Batch) {
        self.take_in(slot, |queue, running| queue.sweep(batch, running));
    }

    fn take_in(&mut self, slot: usize, change: impl FnOnce(&mut Queue, &dyn Fn(i64) -> bool)) {
        let oid = self.slots[slot].database;
        let (slots, queues) = (&mut self.slots[..self.used_slots], &mut self.queues);
        let Some(queue) = queues.iter_mut().find(|queue| queue.database == oid) else { return };
        change(queue, &|task_id| slots.iter().any(|slot| slot.shows(oid, task_id)));
        for slot in slots.iter_mut().filter(|slot| slot.database == oid && slot.waits) {
            slot.waits = false;
            slot.latch.set();
        }
    }

    /// The worker of `slot` does not have the task any more that it took, and somebody is to take it.
    pub fn put_back(&mut self, slot: usize) {
        let Slot { database: oid, taken, .. } = self.slots[slot];
        self.slots[slot].taken = None;
        let Some(queue) = self.queue(oid) else { return };
        queue.stop_reading(slot);
        if let Some((lane, task)) = taken {
            queue.hand_back(lane, task.place);
        }
    }

    /// Another worker's slot showed the task that the worker of `slot` took. That one hands it out again if it
    /// does not end it; if it has done so meanwhile, when this one still had the lock, this one does.
    pub fn leave_to_other(&mut self, slot: usize) {
        let Slot { database: oid, taken, .. } = self.slots[slot];
        let Some((_, task)) = taken else { return };
        if self.slots[..self.used_slots].iter().any(|other| other.shows(oid, task.place.task_id)) {
            self.slots[slot].taken = None;
        } else {
            self.put_back(slot);
        }
    }

    /// Whether a request may go out for a worker; then it counts. A task that is refused waits: see
    /// [`Shared::shut`].
    pub fn admit(&mut self, slot: usize, terms: &Terms, now: i64) -> Admission {
        let in_flight = self.in_flight(terms.account);
        let admission = self.limiter.admit(terms, in_flight, now);
        if admission == Admission::Admitted {
            self.slots[slot].calls.add(terms.account);
        }
        admission
    }

    /// Calls of an account, of all workers.
    fn in_flight(&self, account: u64) -> u32 {
        let live = self.slots[..self.used_slots].iter().filter(|slot| slot.is_live());
        live.map(|slot| slot.calls.of(account)).sum()
    }

    /// A provider has asked us to wait.
    pub fn pause(&mut self, account: u64, until: i64, now: i64) {
        self.limiter.pause(account, until, now);
    }

    /// The task that the worker of `slot` took waits with all others of its lane.
    pub fn shut(&mut self, slot: usize, admission: Admission, terms: &Terms) {
        let Slot { database: oid, taken, .. } = self.slots[slot];
        // Calls may have ended since.
        let is_full = self.in_flight(terms.account) >= terms.max_in_flight;
        if let Some((lane, _)) = taken
            && let Some(queue) = self.queue(oid)
        {
            match admission {
                Admission::Wait(until) => queue.shut(lane, until, terms.account),
                Admission::Full if is_full => queue.shut(lane, NEVER, terms.account),
                Admission::Full | Admission::Admitted => {}
            }
        }
        self.put_back(slot);
    }

    /// The calls of the worker of `slot` are these now; of `ended`, one has ended.
    pub fn set_calls(&mut self, slot: usize, calls: InFlight, ended: &[(Terms, Went)], now: i64) {
        self.slots[slot].calls = calls;
        for (terms, went) in ended {
            let resumed = self.limiter.note(terms, *went, now);
            self.open(terms.account, resumed);
        }
    }

    /// Calls of an account have ended: where that was waited for, there may be room.
    /// `resumed`: where a pause was waited for, too.
    fn open(&mut self, account: u64, resumed: bool) {
        for place in 0..self.used_queues {
            if self.queues[place].open(account, resumed) {
                self.wake(self.queues[place].database, 1);
            }
        }
    }

    /// What tasks there are, and where they wait, has changed: all is read anew.
    pub fn forget_queue(&mut self, oid: Oid, now: i64) {
        if let Some(database) = self.database(oid) {
            database.kinds_changes += 1;
            database.announced += 1;
        }
        if let Some(queue) = self.queue(oid) {
            LaneSet::ALL.iter().for_each(|lane| {
                queue.rewind(lane, Position::START);
                queue.shut(lane, i64::MIN, 0);
            });
            queue.ask_for_sweep(now);
        }
        self.wake(oid, 1);
    }

    /// A transaction that made tasks ready or due has become visible.
    pub fn announce(&mut self, oid: Oid, what: &Announcement, now: i64) {
        let Some(database) = self.database_or_new(oid) else {
            self.launcher.set();
            return;
        };
        database.announced += 1;
        let sooner = what.due < database.next_due;
        let all_due_known = database.next_due > now && !database.due_unknown;
        if what.due > now {
            // What is due later comes after all that was handed out.
            if sooner {
                database.next_due = what.due;
                self.wake_idle(oid);
                self.launcher.set();
            }
            return;
        }
        // Whoever looks for work next finds out when the rest falls due.
        database.due_unknown |= what.has_later(now);
        if let Some(queue) = self.queue(oid) {
            match what.all() {
                Some(tasks) => tasks
                    .iter()
                    .filter(|(_, task)| task.scheduled_at <= now)
                    .for_each(|(lane, task)| queue.hand_over(*lane, *task, all_due_known)),
                None => LaneSet::ALL.iter().for_each(|lane| {
                    if what.first(lane).scheduled_at <= now {
                        queue.rewind(lane, what.first(lane));
                    }
                }),
            }
            if what.elsewhere {
                queue.ask_for_sweep(now);
            }
        }
        self.wake(oid, what.tasks());
    }

    /// A prepared transaction was committed: it may have enqueued tasks.
    pub fn announce_prepared(&mut self, oid: Oid, now: i64) {
        if self.database(oid).is_some_and(|database| database.unannounced) {
            let mut unknown = Announcement::NOTHING;
            unknown.due(now);
            self.announce(oid, &unknown, now);
        }
    }

    /// What has come from another database has become visible: tasks that are held, calls to take over.
    pub fn announce_copied(&mut self, oid: Oid, held: bool, orphans: bool) {
        if let Some(database) = self.database_or_new(oid).filter(|_| held || orphans) {
            database.held_to_tell |= held;
            database.orphans |= orphans;
            database.announced += 1;
            self.wake(oid, 1);
        }
    }

    /// Gets up to `tasks` more workers to look for work.
    pub fn wake(&mut self, oid: Oid, tasks: u32) {
        for _ in 0..tasks {
            if !self.wake_idle(oid) {
                self.starve(oid);
                return;
            }
        }
    }

    /// Asks the launcher for another worker, once until it has acted.
    fn starve(&mut self, oid: Oid) {
        if let Some(database) = self.database(oid).filter(|database| !database.hungry) {
            database.hungry = true;
            self.launcher.set();
        }
    }

    /// Wakes an idle worker. False if that does not do: there is none, or none that can take every
    /// task.
    fn wake_idle(&mut self, oid: Oid) -> bool {
        let idle = |slot: &&mut Slot| slot.database == oid && slot.state == SlotState::Idle;
        let slots = self.slots[..self.used_slots].iter_mut();
        let Some(slot) = slots.filter(idle).min_by_key(|slot| slot.full) else {
            return false;
        };
        slot.state = SlotState::Working;
        slot.latch.set();
        !slot.full
    }

    /// Something has fallen due: an idle worker looks for it.
    pub fn wake_for_due(&mut self, oid: Oid, now: i64) {
        if self.consume_due(oid, now) {
            self.wake(oid, 1);
        }
    }

    /// True if something has fallen due: whoever asks sees to it, and to what comes next.
    fn consume_due(&mut self, oid: Oid, now: i64) -> bool {
        let due = self.database(oid).is_some_and(|database| database.consume_due(now));
        if due && let Some(queue) = self.queue(oid) {
            queue.note_due();
        }
        due
    }

    /// What has fallen due is the business of the worker that looks for it at `now`.
    pub fn see_to_due(&mut self, oid: Oid, now: i64) {
        let known = self.consume_due(oid, now);
        if !known && let Some(queue) = self.queue(oid) {
            // Somebody else consumed it; there may be more since.
            queue.note_due();
        }
    }

    /// A worker that has taken a task has looked for the time when the next one falls due.
    pub fn note_due(&mut self, oid: Oid, due: i64) {
        let launcher = self.launcher;
        if let Some(database) = self.database(oid).filter(|database| database.due_unknown) {
            database.due_unknown = false;
            database.next_due = database.next_due.min(due);
            launcher.set();
        }
    }

    /// A worker found nothing to do. It may wait until the time that this returns; `None`: something was
    /// announced since it read `announced`, or nobody knows what falls due, so it has to look again. `rest`: what it knows of the work to come,
    /// if it has looked.
    pub fn settle(&mut self, slot: usize, announced: u64, rest: Option<Rest>, now: i64) -> Option<i64> {
        let Slot { database: oid, full, .. } = self.slots[slot];
        let Some(database) = self.database(oid) else { return Some(NEVER) };
        if database.announced != announced || rest.is_none() && database.due_unknown {
            return None;
        }
        let known = database.next_due;
        if let Some(rest) = rest {
            database.next_due = rest.next_due;
            database.due_unknown = false;
            database.unannounced &= !rest.nothing_prepared;
        }
        database.hungry &= full;
        database.failures = 0;
        let next_due = database.next_due;
        let opens_at = self.queue(oid).map_or(NEVER, |queue| queue.opens_at(now));
        self.slots[slot].state = SlotState::Idle;
        // The launcher watches, too: this worker may be taken away by another task until then.
        if next_due != NEVER && next_due != known {
            self.launcher.set();
        }
        Some(next_due.min(opens_at))
    }

    /// The worker looks for work again. What was due is its business now.
    pub fn unsettle(&mut self, slot: usize, now: i64) {
        if self.slots[slot].state == SlotState::Idle {
            self.slots[slot].state = SlotState::Working;
        }
        self.consume_due(self.slots[slot].database, now);
    }

    /// True if the worker may end: nobody has woken it meanwhile.
    pub fn leave(&mut self, slot: usize) -> bool {
        let slot = &mut self.slots[slot];
        let may = slot.state == SlotState::Idle;
        if may {
            slot.state = SlotState::Leaving;
        }
        may
    }

    /// Has all workers reread the configuration, those that are just starting included.
    pub fn reload(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.state != SlotState::Free) {
            slot.reload = true;
            slot.latch.set();
        }
    }

    /// Has the worker of `slot` leave after its current task; an idle one cannot be woken any more.
    pub fn retire(&mut self, slot: usize, now: i64) {
        let slot = &mut self.slots[slot];
        if slot.state == SlotState::Idle {
            slot.state = SlotState::Leaving;
        }
        slot.retire = true;
        slot.retire_since = now;
        slot.latch.set();
    }

    /// The process of `slot` is gone, or about to be: passes on what it may have been woken for.
    pub fn detach(&mut self, journal: &mut Journal, slot: usize, now: i64) {
        let gone = self.slots[slot];
        self.put_back(slot);
        // With the last worker nobody is left who knows what is shut.
        let opens_at = self.queue(gone.database).map_or(NEVER, |queue| queue.opens_at(now));
        journal.interrupt(slot, !gone.retire, self.phases[slot].is_cancelled());
        self.slots[slot] = Slot { generation: gone.generation, ..Slot::FREE };
        let launcher = self.launcher;
        gone.calls.accounts().for_each(|account| self.open(account, false));
        if let Some(database) = self.database(gone.database) {
            database.next_due = database.next_due.min(opens_at);
            database.orphans |= gone.in_flight > 0;
            match gone.state {
                SlotState::Leaving => {}
                _ if gone.retire || gone.has_worked(now) => database.look = true,
                _ => database.count_failure(now),
            }
        }
        if gone.is_busy() || gone.taken.is_some() {
            self.wake_idle(gone.database);
        }
        launcher.set();
    }

    /// Takes back a slot that no process was started for; what that was to look for is still to be done.
    pub fn return_slot(&mut self, slot: usize) {
        let oid = self.slots[slot].database;
        if let Some(database) = self.database(oid) {
            database.look = true;
        }
        let generation = self.slots[slot].generation.wrapping_add(1);
        self.slots[slot] = Slot { generation, ..Slot::FREE };
    }

    /// Takes back a slot whose process has not attached and won't.
    pub fn give_up(&mut self, slot: usize, generation: u32, now: i64) {
        let lost = self.slots[slot];
        if lost.state != SlotState::Starting || lost.generation != generation {
            return;
        }
        self.return_slot(slot);
        if let Some(database) = self.database(lost.database) {
            database.count_failure(now);
        }
    }

    /// The launcher has started a worker that will look for everything there is to do.
    pub fn expect_worker(&mut self, oid: Oid, now: i64) {
        if let Some(database) = self.database(oid) {
            database.look = false;
            database.hungry = false;
            database.looked_at = now;
        }
        self.consume_due(oid, now);
        if let Some(queue) = self.queue(oid) {
            queue.ask_for_sweep(now);
        }
    }

    /// Wants no workers in a database: returns those that have to be ended first. `None`: too many
    /// sessions want that.
    pub fn bar(&mut self, oid: Oid, by: i32) -> Option<[i32; MAX_SLOTS]> {
        let mut pids = [0; MAX_SLOTS];
        if let Some(database) = self.database_or_new(oid)
            && !database.barred_by.contains(&by)
        {
            *database.barred_by.iter_mut().find(|pid| **pid == 0)? = by;
        }
        for (slot, pid) in self.slots.iter_mut().zip(&mut pids) {
            match slot.state {
                _ if slot.database != oid => {}
                SlotState::Free => {}
                // It has not connected yet, and will find its slot taken.
                SlotState::Starting => *slot = Slot { generation: slot.generation + 1, ..Slot::FREE },
                _ => {
                    slot.retire = true;
                    *pid = slot.pid;
                }
            }
        }
        Some(pids)
    }

    /// Lifts every bar of process `by`.
    pub fn lift_bars(&mut self, by: i32) {
        for database in self.databases.iter_mut() {
            for pid in database.barred_by.iter_mut().filter(|pid| **pid == by) {
                *pid = 0;
                database.look = true;
            }
        }
        self.launcher.set();
    }

    /// The clock was set back to `now`: what has happened counts as having happened now, or pauses after it
    /// would last until the clock is where it was.
    pub fn set_back(&mut self, now: i64) {
        for database in self.databases.iter_mut() {
            for time in [&mut database.looked_at, &mut database.failed_at, &mut database.retained_at] {
                *time = now.min(*time);
            }
        }
        self.limiter.set_back();
        for queue in self.queues.iter_mut() {
            LaneSet::ALL.iter().for_each(|lane| queue.shut(lane, i64::MIN, 0));
            queue.no_sweep_before = now.min(queue.no_sweep_before);
            queue.ask_for_sweep(now);
            // What is due before the clock is where it was comes after what was read.
            LaneSet::ALL.iter().for_each(|lane| queue.rewind(lane, Position::START));
        }
        for slot in self.slots.iter_mut() {
            for time in [&mut slot.started_at, &mut slot.retire_since, &mut slot.cancelled_at] {
                *time = now.min(*time);
            }
        }
    }

    /// Takes a free slot for a new worker of `database`; `None` if there is none.
    pub fn allocate(&mut self, database: Oid, settings: u64, now: i64) -> Option<usize> {
        let index = self.slots.iter().position(|slot| slot.state == SlotState::Free)?;
        let number = (1..).find(|n| self.slots_of(database).all(|slot| slot.number != *n))?;
        let owner = self.next_owner;
        self.next_owner += 1;
        self.used_slots = self.used_slots.max(index + 1);
        let slot = &mut self.slots[index];
        *slot = Slot {
            state: SlotState::Starting,
            generation: slot.generation.wrapping_add(1),
            database,
            number,
            settings,
            owner,
            started_at: now,
            ..Slot::FREE
        };
        Some(index)
    }

    /// Shows a task as running in `slot`; returns what is known of earlier runs.
    /// `None` if another worker still has it: it has rolled its transaction back, and is about to
    /// write what comes of that.
    pub fn begin(
        &mut self,
        journal: &mut Journal,
        slot: usize,
        task_id: i64,
        task_type: &str,
        handler: &str,
        since: i64,
    ) -> Option<Interrupted> {
        let database = self.slots[slot].database;
        let elsewhere = |(index, other): (usize, &Slot)| {
            index != slot && other.task_id == task_id && other.database == database
        };
        if self.slots[..self.used_slots].iter().enumerate().any(elsewhere) {
            return None;
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
        Some(earlier)
    }

    /// Workers whose task was cancelled and that have not stopped it yet.
    pub fn still_to_cancel(&mut self) -> impl Iterator<Item = &mut Slot> {
        let slots = self.slots.iter_mut().zip(&self.phases);
        slots.filter(|(slot, phase)| phase.is_cancelled() && slot.task_id != 0).map(|(slot, _)| slot)
    }

    /// Marks task `task_id` as cancelled if a worker runs it now; its process id.
    pub fn cancel_running(
        &mut self,
        journal: &mut Journal,
        database: Oid,
        task_id: i64,
        now: i64,
    ) -> Option<i32> {
        // 0 is in the slots of idle workers.
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

    /// Marks task `task_id` of the worker `owner`, whose provider call is in flight, as cancelled.
    /// `None`: no such worker in this database (a copy has calls of the original's workers).
    pub fn cancel_call(
        &mut self,
        journal: &mut Journal,
        database: Oid,
        owner: i64,
        task_id: i64,
    ) -> Option<Told> {
        let is_it = |slot: &&mut Slot| slot.is_live() && slot.database == database && slot.owner == owner;
        let slot = self.slots.iter_mut().filter(|_| task_id != 0).find(is_it)?;
        if slot.task_id == task_id {
            // Its last handler runs: see `cancel_running`.
            return Some(Told::NotNow);
        }
        let place = slot.cancels.iter_mut().find(|id| **id == 0 || **id == task_id);
        let Some(place) = place else { return Some(Told::NotNow) };
        *place = task_id;
        slot.has_cancels = true;
        slot.latch.set();
        journal.remember_cancelled(slot.database, task_id);
        Some(Told::Marked)
    }
}

#[cfg(test)]
mod tests;
