//! What the launcher, the workers and every backend that enqueues know in common.
//!
//! Plain data in shared memory, and the decisions taken under its lock. No call in here allocates
//! or fails: part of it runs in the middle of commits. The access is in [`crate::pg::shmem`].
//!
//! All of it is a hint or derived from live processes. Which task is done, and who may run it, is
//! decided by rows and row locks alone, so a lost or stale entry makes a task late, never lost.

use crate::pg::latch::LatchRef;
use pgrx::pg_sys::Oid;

/// Worker processes of all databases that can be known at once: the top of `pg_errand.max_workers`.
pub const MAX_SLOTS: usize = 128;
/// Databases with the extension that can be known at once.
pub const MAX_DATABASES: usize = 1024;
/// Cancels that can wait for one worker.
pub const MAX_CANCELS: usize = 64;
/// Tasks whose worker ended that are remembered for one database.
pub const MAX_INTERRUPTED: usize = 32;
/// Tasks that a worker is remembered to have had last.
pub const MAX_RECENT: usize = 64;
/// A time that never comes.
pub const NEVER: i64 = i64::MAX;

pub struct Shared {
    pub launcher: LatchRef,
    /// Counts what may change the list of databases or their settings.
    pub catalog_changes: u64,
    /// Counts what may change settings stored for databases and roles.
    pub settings_changes: u64,
    /// The next worker's identity; above every earlier one, also of earlier runs of this server.
    pub next_owner: i64,
    pub databases: [Database; MAX_DATABASES],
    pub slots: [Slot; MAX_SLOTS],
}

/// A database that has the extension, or may have it.
#[derive(Clone, Copy)]
pub struct Database {
    /// `InvalidOid`: the entry is free.
    pub oid: Oid,
    /// The extension was seen there.
    pub has_extension: bool,
    /// It was looked for and not found; the launcher drops the entry.
    pub no_extension: bool,
    /// A worker has to look: the extension may be new, or tasks may be there unannounced.
    pub look: bool,
    /// There is more work than its workers can take up.
    pub hungry: bool,
    /// Counts announcements, so that a worker can tell whether it missed one.
    pub announced: u64,
    /// When a task falls due next, as far as is known.
    pub next_due: i64,
    /// The process that wants no worker here (a DROP DATABASE, for instance); 0: nobody.
    pub barred_by: i32,
    /// Tasks may become ready without an announcement (PREPARE TRANSACTION).
    pub unannounced: bool,
    /// When a worker was last sent to look, or found nothing.
    pub looked_at: i64,
    /// A worker left provider calls behind that another one has to take over.
    pub orphans: bool,
    /// When finished tasks were last looked through for removal.
    pub retained_at: i64,
    /// Workers that ended without having done anything, one after the other.
    pub failures: u32,
    pub failed_at: i64,
    /// Tasks whose worker ended while it ran them, and how often.
    pub interrupted: [Interrupted; MAX_INTERRUPTED],
    /// It was said that the role lacks rights.
    pub told_of_rights: bool,
    /// What ALTER DATABASE … SET says of `pg_errand.poll_interval`, in milliseconds,
    pub poll_interval: Option<i32>,
    /// of `pg_errand.role` (empty: nothing) …
    pub role: Text<64>,
    /// … and of `pg_errand.concurrency`.
    pub concurrency: Option<i32>,
    /// A digest of all settings that a worker starts with.
    pub settings: u64,
    /// The value of `settings_changes` when those four were read; 0: never.
    pub settings_as_of: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotState {
    Free,
    /// Given to a process that has not attached yet.
    Starting,
    Working,
    /// Waits for work; may be woken.
    Idle,
    /// About to end; must not be woken.
    Leaving,
}

/// Runs of a task that ended with their worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted {
    /// 0: the entry is free.
    pub task_id: i64,
    /// All of them, which no row counts yet.
    pub runs: u32,
    /// Those where the worker was not made to leave.
    pub deaths: u32,
    /// The last one was cancelled.
    pub cancelled: bool,
}

impl Interrupted {
    pub const NONE: Interrupted = Interrupted { task_id: 0, runs: 0, deaths: 0, cancelled: false };
}

/// How a worker is done with the task at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    Succeeded,
    Failed,
    Cancelled,
    /// Its provider is being asked.
    Calling,
    /// It is to be run again.
    GivenBack,
}

/// What came of telling a worker to give up a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    Marked,
    /// It has too much to give up already, or is just handling the answer.
    NotNow,
}

/// A worker process.
#[derive(Clone, Copy)]
pub struct Slot {
    pub state: SlotState,
    /// Tells the uses of a slot apart.
    pub generation: u32,
    pub database: Oid,
    /// The role it connects as.
    pub role: Oid,
    /// N of `pg_errand worker N`.
    pub number: u32,
    /// What it was started with, see `Desired::settings` …
    pub settings: u64,
    /// … and `Database::settings`.
    pub stored_settings: u64,
    pub pid: i32,
    pub latch: LatchRef,
    /// Its identity in `queues.call.owner`.
    pub owner: i64,
    /// It should leave after its current task …
    pub retire: bool,
    /// … and was told so at this time.
    pub retire_since: i64,
    pub started_at: i64,
    /// The task at hand; 0: none.
    pub task_id: i64,
    pub task_type: Text<64>,
    pub handler: Text<192>,
    pub busy_since: i64,
    /// What is known of earlier runs of the task at hand.
    pub earlier: Interrupted,
    pub in_flight: u32,
    pub succeeded: u64,
    pub failed: u64,
    /// The task at hand was cancelled …
    pub cancelled: bool,
    /// … at this time.
    pub cancelled_at: i64,
    /// The task at hand is past the point where it could be cancelled.
    pub closing: bool,
    /// Tasks that have just ended or gone on to their provider call; a reader whose snapshot is
    /// older sees them as they were before. Written round.
    pub recent: [i64; MAX_RECENT],
    pub next_recent: usize,
    /// Tasks whose provider calls were cancelled; 0: free.
    pub cancels: [i64; MAX_CANCELS],
}

/// A short text of fixed size; longer ones are cut at a character.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    length: u16,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    pub const EMPTY: Self = Text { length: 0, bytes: [0; N] };

    pub fn set(&mut self, text: &str) {
        let end = text.floor_char_boundary(N);
        self.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.length = end as u16;
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or("")
    }
}

impl Database {
    const FREE: Database = Database {
        oid: Oid::INVALID,
        has_extension: false,
        no_extension: false,
        look: false,
        hungry: false,
        announced: 0,
        next_due: NEVER,
        barred_by: 0,
        unannounced: false,
        looked_at: 0,
        orphans: false,
        retained_at: 0,
        failures: 0,
        failed_at: 0,
        interrupted: [Interrupted::NONE; MAX_INTERRUPTED],
        told_of_rights: false,
        poll_interval: None,
        role: Text::EMPTY,
        concurrency: None,
        settings: 0,
        settings_as_of: 0,
    };

    /// The entry of a database in which no extension was found.
    pub fn without_extension(oid: Oid) -> Database {
        Database { oid, no_extension: true, ..Database::FREE }
    }

    /// True if a worker should be there at `now`.
    pub fn has_work(&self, now: i64) -> bool {
        self.look || self.hungry || self.orphans || self.next_due <= now
    }

    /// Not before this time may the next worker be started: at once after a first failure, then
    /// after 1 s, 2 s, 4 s … up to a minute.
    pub fn start_allowed_at(&self) -> i64 {
        match self.failures {
            0 | 1 => 0,
            n => self.failed_at + (1_000_000 << (n - 2).min(6)).min(60_000_000),
        }
    }

    /// Remembers runs of a task that ended with their worker, if there is room.
    fn note_interrupted(&mut self, runs: Interrupted) {
        if let Some(free) = self.interrupted.iter_mut().find(|entry| entry.task_id == 0) {
            *free = runs;
        }
    }

    /// The runs of a task that ended with their worker; from now on the caller remembers them.
    fn take_interrupted(&mut self, task_id: i64) -> Interrupted {
        let entry = self.interrupted.iter_mut().find(|entry| entry.task_id == task_id);
        entry.map_or(Interrupted::NONE, |entry| std::mem::replace(entry, Interrupted::NONE))
    }

    fn count_failure(&mut self, now: i64) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        self.look = true;
    }
}

impl Slot {
    const FREE: Slot = Slot {
        state: SlotState::Free,
        generation: 0,
        database: Oid::INVALID,
        role: Oid::INVALID,
        number: 0,
        settings: 0,
        stored_settings: 0,
        pid: 0,
        latch: LatchRef::NONE,
        owner: 0,
        retire: false,
        retire_since: 0,
        started_at: 0,
        task_id: 0,
        task_type: Text::EMPTY,
        handler: Text::EMPTY,
        busy_since: 0,
        earlier: Interrupted::NONE,
        in_flight: 0,
        succeeded: 0,
        failed: 0,
        cancelled: false,
        cancelled_at: 0,
        closing: false,
        recent: [0; MAX_RECENT],
        next_recent: 0,
        cancels: [0; MAX_CANCELS],
    };

    /// True for a process that has attached and not left.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, SlotState::Free | SlotState::Starting)
    }

    pub fn is_busy(&self) -> bool {
        self.task_id != 0 || self.in_flight > 0
    }

    /// The task at hand is over, for now or for good.
    pub fn end(&mut self, how: Over) {
        if how != Over::GivenBack {
            self.recent[self.next_recent] = self.task_id;
            self.next_recent = (self.next_recent + 1) % MAX_RECENT;
        }
        self.task_id = 0;
        self.succeeded += u64::from(how == Over::Succeeded);
        self.failed += u64::from(how == Over::Failed);
    }
}

impl Shared {
    /// `now` makes identities of this run differ from those of earlier ones.
    pub fn new(now: i64) -> Self {
        Shared {
            launcher: LatchRef::NONE,
            catalog_changes: 0,
            settings_changes: 1,
            next_owner: now,
            databases: [Database::FREE; MAX_DATABASES],
            slots: [Slot::FREE; MAX_SLOTS],
        }
    }

    pub fn database(&mut self, oid: Oid) -> Option<&mut Database> {
        self.databases.iter_mut().find(|database| database.oid == oid)
    }

    /// The entry of a database, made if there is room for it.
    pub fn database_or_new(&mut self, oid: Oid) -> Option<&mut Database> {
        let known = self.databases.iter().position(|database| database.oid == oid);
        let index = known.or_else(|| self.databases.iter().position(|d| d.oid == Oid::INVALID))?;
        if known.is_none() {
            self.databases[index] = Database { oid, look: true, ..Database::FREE };
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
    }

    pub fn slots_of(&self, database: Oid) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.database == database && slot.state != SlotState::Free)
    }

    /// A transaction that made `tasks` tasks ready or due from `due` on has become visible.
    pub fn announce(&mut self, oid: Oid, tasks: u32, due: i64, now: i64) {
        let Some(database) = self.database_or_new(oid) else {
            self.launcher.set();
            return;
        };
        database.announced += 1;
        if due <= now {
            self.wake(oid, tasks);
        } else if due < database.next_due {
            database.next_due = due;
            if !self.wake_idle(oid) {
                self.launcher.set();
            }
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

    fn wake_idle(&mut self, oid: Oid) -> bool {
        let idle = self.slots.iter_mut().find(|slot| slot.database == oid && slot.state == SlotState::Idle);
        let Some(slot) = idle else { return false };
        slot.state = SlotState::Working;
        slot.latch.set();
        true
    }

    /// A worker found nothing to do. True: it may wait (until `next_due`); false: something was
    /// announced since it read `announced`, so it has to look again. `nothing_prepared`: it saw no
    /// prepared transaction either.
    pub fn settle(&mut self, slot: usize, announced: u64, next_due: i64, nothing_prepared: bool) -> bool {
        let oid = self.slots[slot].database;
        let Some(database) = self.database(oid) else { return true };
        if database.announced != announced {
            return false;
        }
        database.next_due = next_due;
        database.hungry = false;
        database.unannounced &= !nothing_prepared;
        database.failures = 0;
        self.slots[slot].state = SlotState::Idle;
        true
    }

    /// The worker looks for work again. What was due is its business now; it finds out when the next
    /// task is due before it settles again.
    pub fn unsettle(&mut self, slot: usize, now: i64) {
        if self.slots[slot].state == SlotState::Idle {
            self.slots[slot].state = SlotState::Working;
        }
        let oid = self.slots[slot].database;
        if let Some(database) = self.database(oid).filter(|database| database.next_due <= now) {
            database.next_due = NEVER;
        }
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
    pub fn detach(&mut self, slot: usize, now: i64) {
        let gone = self.slots[slot];
        self.slots[slot] = Slot { generation: gone.generation, ..Slot::FREE };
        let launcher = self.launcher;
        if let Some(database) = self.database(gone.database) {
            database.orphans |= gone.in_flight > 0;
            if gone.task_id != 0 {
                database.note_interrupted(Interrupted {
                    task_id: gone.task_id,
                    runs: gone.earlier.runs + 1,
                    deaths: gone.earlier.deaths + u32::from(!gone.retire),
                    cancelled: gone.cancelled && !gone.closing,
                });
            }
            match gone.state {
                SlotState::Leaving => {}
                _ if gone.retire => database.look = true,
                _ => database.count_failure(now),
            }
        }
        launcher.set();
    }

    /// Takes back a slot that no process was started for.
    pub fn return_slot(&mut self, slot: usize) {
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
            if database.next_due <= now {
                database.next_due = NEVER;
            }
        }
    }

    /// Wants no workers in a database: returns those that have to be ended first.
    pub fn bar(&mut self, oid: Oid, by: i32) -> [i32; MAX_SLOTS] {
        let mut pids = [0; MAX_SLOTS];
        if let Some(database) = self.database_or_new(oid) {
            database.barred_by = by;
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
        pids
    }

    /// Lifts every bar of process `by`.
    pub fn lift_bars(&mut self, by: i32) {
        for database in self.databases.iter_mut().filter(|database| database.barred_by == by) {
            database.barred_by = 0;
            database.look = true;
        }
        self.launcher.set();
    }

    /// Takes a free slot for a new worker of `database`; `None` if there is none.
    pub fn allocate(&mut self, database: Oid, settings: u64, now: i64) -> Option<usize> {
        let index = self.slots.iter().position(|slot| slot.state == SlotState::Free)?;
        let number = (1..).find(|n| self.slots_of(database).all(|slot| slot.number != *n))?;
        let owner = self.next_owner;
        self.next_owner += 1;
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
        if self.slots.iter().enumerate().any(elsewhere) {
            return None;
        }
        let earlier =
            self.database(database).map_or(Interrupted::NONE, |entry| entry.take_interrupted(task_id));
        let slot = &mut self.slots[slot];
        slot.task_id = task_id;
        slot.task_type.set(task_type);
        slot.handler.set(handler);
        slot.busy_since = since;
        slot.cancelled = earlier.cancelled || slot.cancels.contains(&task_id);
        slot.cancelled_at = since;
        slot.closing = false;
        slot.earlier = earlier;
        Some(earlier)
    }

    /// Workers whose task was cancelled and that have not stopped it yet.
    pub fn still_to_cancel(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter(|slot| slot.cancelled && !slot.closing && slot.task_id != 0)
    }

    /// Marks task `task_id` as cancelled if a worker runs it now; its process id.
    pub fn cancel_running(&mut self, database: Oid, task_id: i64, now: i64) -> Option<i32> {
        let slot = self.slots.iter_mut().find(|slot| {
            slot.is_live() && slot.database == database && slot.task_id == task_id && !slot.closing
        })?;
        if !slot.cancelled {
            slot.cancelled = true;
            slot.cancelled_at = now;
        }
        let pid = slot.pid;
        self.launcher.set();
        Some(pid)
    }

    /// Marks task `task_id` of the worker `owner`, whose provider call is in flight, as cancelled.
    /// `None`: no such worker.
    pub fn cancel_call(&mut self, owner: i64, task_id: i64) -> Option<Told> {
        let slot = self.slots.iter_mut().find(|slot| slot.is_live() && slot.owner == owner)?;
        if slot.task_id == task_id {
            // Its last handler runs: see `cancel_running`.
            return Some(Told::NotNow);
        }
        let place = slot.cancels.iter_mut().find(|id| **id == 0 || **id == task_id);
        let Some(place) = place else { return Some(Told::NotNow) };
        *place = task_id;
        slot.latch.set();
        Some(Told::Marked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: Oid = Oid::from_u32(5);

    fn shared_with(states: &[SlotState]) -> Box<Shared> {
        let mut shared = Box::new(Shared::new(1));
        shared.database_or_new(DATABASE).unwrap().look = false;
        for state in states {
            let slot = shared.allocate(DATABASE, 0, 0).unwrap();
            shared.slots[slot].state = *state;
        }
        shared
    }

    #[test]
    fn an_announcement_wakes_as_many_idle_workers_as_there_are_tasks() {
        let mut shared = shared_with(&[SlotState::Idle, SlotState::Idle, SlotState::Idle]);
        shared.announce(DATABASE, 2, 10, 10);
        let idle = shared.slots_of(DATABASE).filter(|s| s.state == SlotState::Idle).count();
        assert_eq!(idle, 1);
        assert!(!shared.database(DATABASE).unwrap().hungry);
    }

    #[test]
    fn work_without_an_idle_worker_makes_the_database_hungry() {
        let mut shared = shared_with(&[SlotState::Working, SlotState::Leaving]);
        shared.announce(DATABASE, 1, 10, 10);
        assert!(shared.database(DATABASE).unwrap().hungry);
    }

    #[test]
    fn a_worker_that_missed_an_announcement_does_not_settle() {
        let mut shared = shared_with(&[SlotState::Working]);
        let seen = shared.database(DATABASE).unwrap().announced;
        shared.announce(DATABASE, 1, 50, 10);
        assert!(!shared.settle(0, seen, NEVER, true));
        assert_eq!(shared.database(DATABASE).unwrap().next_due, 50);
        assert!(shared.settle(0, seen + 1, 50, true));
    }

    #[test]
    fn a_worker_woken_at_the_last_moment_does_not_leave() {
        let mut shared = shared_with(&[SlotState::Idle]);
        shared.announce(DATABASE, 1, 10, 10);
        assert!(!shared.leave(0));
    }

    #[test]
    fn the_wake_up_of_a_dead_worker_is_passed_on() {
        let mut shared = shared_with(&[SlotState::Idle]);
        shared.announce(DATABASE, 1, 10, 10);
        shared.detach(0, 0);
        assert!(shared.database(DATABASE).unwrap().look);
    }

    #[test]
    fn workers_that_fail_at_once_are_started_less_and_less_often() {
        let mut shared = shared_with(&[]);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let slot = shared.allocate(DATABASE, 0, 0).unwrap();
            shared.slots[slot].state = SlotState::Working;
            shared.detach(slot, 0);
            pauses.push(shared.database(DATABASE).unwrap().start_allowed_at() / 1_000_000);
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
    }

    #[test]
    fn a_bar_ends_workers_and_keeps_new_ones_from_attaching() {
        let mut shared = shared_with(&[SlotState::Idle, SlotState::Starting]);
        shared.slots[0].pid = 77;
        let pids = shared.bar(DATABASE, 9);
        assert_eq!(pids.iter().filter(|pid| **pid != 0).collect::<Vec<_>>(), [&77]);
        assert_eq!(shared.slots[1].state, SlotState::Free);
        shared.lift_bars(9);
        assert_eq!(shared.database(DATABASE).unwrap().barred_by, 0);
    }

    #[test]
    fn a_task_is_begun_by_one_worker_at_a_time() {
        let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
        assert!(shared.begin(0, 7, "db_function", "f", 0).is_some());
        assert!(shared.begin(1, 7, "db_function", "f", 0).is_none());
        shared.slots[0].end(Over::GivenBack);
        assert!(shared.begin(1, 7, "db_function", "f", 0).is_some());
    }

    #[test]
    fn runs_that_ended_with_their_worker_are_counted() {
        let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
        let known = |runs, deaths| Some((runs, deaths));
        let begin = |shared: &mut Shared, slot| {
            shared.begin(slot, 7, "db_function", "f", 0).map(|earlier| (earlier.runs, earlier.deaths))
        };
        assert_eq!(begin(&mut shared, 0), known(0, 0));
        shared.detach(0, 0);
        assert_eq!(begin(&mut shared, 1), known(1, 1));
        shared.retire(1, 0);
        shared.detach(1, 0);
        let again = shared.allocate(DATABASE, 0, 0).unwrap();
        assert_eq!(begin(&mut shared, again), known(2, 1));
        shared.slots[again].end(Over::Succeeded);
        assert_eq!(begin(&mut shared, again), known(0, 0));
    }

    #[test]
    fn an_idle_worker_that_is_retired_is_not_woken() {
        let mut shared = shared_with(&[SlotState::Idle]);
        shared.retire(0, 0);
        shared.announce(DATABASE, 1, 10, 10);
        assert!(shared.database(DATABASE).unwrap().hungry);
        shared.expect_worker(DATABASE, 10);
        shared.detach(0, 0);
        assert!(!shared.database(DATABASE).unwrap().look);
    }

    #[test]
    fn numbers_are_the_smallest_free_ones_and_identities_never_repeat() {
        let mut shared = shared_with(&[SlotState::Idle, SlotState::Idle]);
        let owners: Vec<i64> = shared.slots_of(DATABASE).map(|slot| slot.owner).collect();
        shared.detach(0, 0);
        let again = shared.allocate(DATABASE, 0, 0).unwrap();
        assert_eq!(shared.slots[again].number, 1);
        assert!(!owners.contains(&shared.slots[again].owner));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut text = Text::<4>::EMPTY;
        text.set("abcé");
        assert_eq!(text.as_str(), "abc");
    }
}
