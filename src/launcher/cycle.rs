//! One cycle of the launcher: read what changed, compare desired and actual state, act.

use super::cancels;
use super::clock::Clock;
use super::desired::Catalogs;
use super::process_limit::ProcessLimit;
use super::reader::{Reader, Reading};
use super::reconcile::{self, Action, State};
use super::reports::{About, Reports};
use super::start::{self, Started};
use crate::config;
use crate::error::PgError;
use crate::pg::{backend, interrupt, shmem};
use crate::shared::{Database, DatabaseId, NEVER, Shared, SlotState, ToId, ToOid};
use pgrx::pg_sys::Oid;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// The maximum time between two scans of the catalogs, in microseconds. A command that may change them causes a scan
/// immediately.
pub(super) const SCAN_INTERVAL: i64 = 60 * 1_000_000;
/// The time after which a slot is freed that no worker has attached to, in microseconds.
const ATTACH_TIME: i64 = 30 * 1_000_000;

/// The state of the launcher process.
#[derive(Default)]
pub(super) struct Launcher {
    clock: Clock,
    catalogs: Catalogs,
    scanned_at: i64,
    /// The value of `catalog_changes` when the catalogs were last read.
    seen_changes: u64,
    reader: Reader,
    /// Databases that do not have the extension.
    without_extension: HashSet<Oid>,
    started: HashMap<usize, Started>,
    process_limit: ProcessLimit,
    /// No process could be started to read stored settings.
    lacks_reader: bool,
    /// A worker could not be started in this cycle, so that others may have to give way.
    was_refused: bool,
    reports: Reports,
}

impl Launcher {
    /// Runs one cycle. Returns when to run the next one if nothing happens before.
    pub(super) fn cycle(&mut self) -> Result<i64, PgError> {
        let now = backend::now();
        if self.clock.was_set_back(now, Instant::now()) {
            self.set_back(now);
        }
        let (role, kept_for) = (config::ROLE.get(), config::RETENTION.get());
        if interrupt::reload_if_asked() {
            self.scanned_at = 0;
            let has_new_role = config::ROLE.get() != role;
            shmem::write(|shared| {
                shared.reload();
                // Settings may be stored for the new role.
                shared.settings_changes += u64::from(has_new_role);
                if config::RETENTION.get() != kept_for {
                    shared.search_all(now);
                }
            });
        }
        self.scan_if_due(now)?;
        self.free_lost_slots(now);
        let cancels = cancels::repeat_signals(now);
        let retention = shmem::write(|shared| shared.see_to_retention(now));
        let databases = self.update_databases();
        let reading = self.have_settings_read(&databases, now);
        let state = self.state(now, &databases);
        for action in reconcile::reconcile(&state) {
            match action {
                Action::Start(database) => self.start(database, now),
                Action::Retire(slot) => shmem::write(|shared| shared.retire(slot, now)),
                Action::Wake(database) => shmem::write(|shared| shared.wake_for_due(database.id(), now)),
            }
        }
        let times = [
            if std::mem::take(&mut self.was_refused) { now } else { NEVER },
            reconcile::next_look(&state),
            reading,
            cancels,
            retention,
            self.process_limit.next_try(now),
            self.reports.next(now),
            self.scanned_at + SCAN_INTERVAL,
        ];
        self.reports.resolve(About::Launcher);
        Ok(times.into_iter().min().unwrap_or(NEVER))
    }

    pub(super) fn report_error(&mut self, error: &PgError) {
        let hint =
            "The launcher tries again, after longer and longer pauses. Tasks may have to wait meanwhile.";
        self.reports.report(About::Launcher, &format!("launcher: {}", error.message), hint);
    }

    /// Adjusts stored times after the clock was set back to `now`, so that nothing waits until the former time is
    /// reached.
    fn set_back(&mut self, now: i64) {
        self.scanned_at = 0;
        self.reader.set_back(now);
        self.process_limit.set_back(now);
        self.reports.set_back(now);
        shmem::write(|shared| shared.set_clock_back(now));
    }

    fn scan_if_due(&mut self, now: i64) -> Result<(), PgError> {
        let changes = shmem::read(|shared| shared.catalog_changes);
        if self.scanned_at + SCAN_INTERVAL > now && self.seen_changes == changes {
            return Ok(());
        }
        self.catalogs = Catalogs::read(&entries())?;
        self.seen_changes = changes;
        self.scanned_at = now;
        match self.catalogs.unknown_names() {
            names if names.is_empty() => {
                self.reports.resolve(About::List);
            }
            names => self.reports.report(
                About::List,
                &format!("pg_errand.databases names databases that do not exist: {}", names.join(", ")),
                "Names are folded to lower case unless they are quoted.",
            ),
        }
        Ok(())
    }

    /// Lets stored settings be read if those in shared memory may be out of date, or if it is not known whether a
    /// database has the extension. Returns when to check again.
    fn have_settings_read(&mut self, databases: &[Database], now: i64) -> i64 {
        if self.lacks_reader && self.process_limit.is_reached(now) {
            return NEVER;
        }
        let current = shmem::read(|shared| shared.settings_changes);
        let stale = databases.iter().any(|entry| entry.settings_as_of != current);
        let unseen = databases.iter().filter(|entry| !entry.has_extension && self.is_hindered(entry));
        let unseen: Vec<Oid> = unseen.map(|entry| entry.id.oid()).collect();
        let changed = if stale { self.catalogs.readable(databases) } else { Vec::new() };
        let reading = self.reader.step(&changed, &unseen, now);
        self.lacks_reader = matches!(reading, Reading::LimitReached);
        match reading {
            Reading::Wait(until) => until,
            Reading::Done => {
                // The roles that were found have to be looked up in the catalogs.
                self.scanned_at = 0;
                now
            }
            Reading::LimitReached => {
                self.note_limit(now);
                NEVER
            }
        }
    }

    /// Frees the slots of processes that never attached to them, since they could not be started or connected.
    fn free_lost_slots(&mut self, now: i64) {
        self.started.retain(|slot, started| {
            let alive = started.handle.is_alive();
            if !alive {
                shmem::write(|shared| shared.give_up(*slot, started.generation, now));
            }
            alive
        });
        let ours: Vec<usize> = self.started.keys().copied().collect();
        shmem::write(|shared| {
            for index in 0..shared.slots.len() {
                let slot = &shared.slots[index];
                let lost = slot.state == SlotState::Starting && slot.started_at + ATTACH_TIME < now;
                if lost && !ours.contains(&index) {
                    let generation = slot.generation;
                    shared.give_up(index, generation, now);
                }
            }
        });
    }

    /// Updates the databases in shared memory from the catalogs, and returns them.
    fn update_databases(&mut self) -> Vec<Database> {
        for entry in entries() {
            if entry.no_extension {
                self.without_extension.insert(entry.id.oid());
            } else {
                self.without_extension.remove(&entry.id.oid());
            }
            let is_quiesced = entry.is_quiesced();
            if entry.no_extension || !is_quiesced && self.catalogs.has_lost(&entry) {
                shmem::write_journal(|shared, journal| {
                    journal.forget_all(entry.id);
                    shared.forget_database(entry.id);
                });
                self.reports.resolve(About::Database(entry.id.oid()));
            } else if !is_quiesced && self.catalogs.can_forget(&entry) {
                shmem::write(|shared| shared.forget_database(entry.id));
            }
        }
        if shmem::write(Shared::take_missed_extension) {
            self.without_extension.clear();
        }
        self.without_extension.retain(|oid| self.catalogs.exists(*oid));
        let new: Vec<Oid> =
            self.catalogs.wanted().filter(|oid| !self.without_extension.contains(oid)).collect();
        for oid in new {
            if shmem::write(|shared| shared.know(oid.id(), backend::may_have_prepared()).is_none()) {
                self.reports.report(
                    About::DatabaseCount,
                    "there are more databases than can be served; some are left out",
                    "Name the databases that matter in pg_errand.databases.",
                );
            }
        }
        entries()
    }

    fn state(&mut self, now: i64, databases: &[Database]) -> State {
        let mut state = State {
            now,
            max_workers: config::MAX_WORKERS.get() as usize,
            lacks_reader: self.lacks_reader,
            databases: Vec::new(),
            workers: shmem::read(|shared| reconcile::workers(shared, now)),
        };
        let lacks_process = self.process_limit.is_reached(now) && state.workers.len() < state.max_workers;
        if lacks_process {
            state.max_workers = state.workers.len();
        }
        for entry in databases {
            let desired = self.catalogs.desired(entry);
            let about = About::Database(entry.id.oid());
            match desired.as_ref().and_then(|desired| desired.hindrance) {
                Some(hindrance) if entry.has_extension => {
                    let (message, hint) = self.catalogs.describe(entry, hindrance);
                    self.reports.report_if_it_lasts(about, &message, &hint, now);
                }
                _ => self.reports.resolve(about),
            }
            let service = self.catalogs.service(entry, desired.as_ref());
            if entry.service != service {
                shmem::write(|shared| {
                    shared.database(entry.id).into_iter().for_each(|entry| entry.service = service);
                });
            }
            let ready = !entry.is_quiesced() && entry.settings_as_of != 0;
            let served = desired.as_ref().filter(|desired| ready && desired.hindrance.is_none());
            let poll_interval = entry.poll_interval.unwrap_or(config::POLL_INTERVAL.get());
            let poll = entry.looked_at + i64::from(poll_interval) * 1000;
            let polls = entry.unannounced && !entry.starts_nothing();
            let next_due = if polls { entry.due_at().min(poll) } else { entry.due_at() };
            state.databases.push(reconcile::Database {
                oid: entry.id.oid(),
                concurrency: served.map_or(0, |desired| desired.concurrency),
                settings: served.map_or(0, |desired| desired.settings),
                has_work: entry.has_work(now) || next_due <= now,
                next_due,
                start_allowed_at: entry.start_allowed_at(),
                looked_at: entry.looked_at,
            });
        }
        if lacks_process {
            reconcile::unserved(&state).into_iter().for_each(|database| note_process(database, now));
        }
        state
    }

    /// True if workers cannot connect to the database of `entry`, although another process could.
    fn is_hindered(&self, entry: &Database) -> bool {
        let hindrance = self.catalogs.desired(entry).and_then(|desired| desired.hindrance);
        entry.settings_as_of != 0
            && hindrance.is_some_and(|_| self.catalogs.allows_connections(entry.id.oid()))
    }

    fn start(&mut self, database: Oid, now: i64) {
        let entry = entries().into_iter().find(|entry| entry.id.oid() == database);
        let Some(desired) = entry.and_then(|entry| self.catalogs.desired(&entry)) else { return };
        match start::start(&desired, now) {
            Some((slot, started)) => {
                self.started.insert(slot, started);
                self.process_limit.note_start();
                shmem::write(|shared| shared.no_process_at = i64::MIN);
                note_process(database, i64::MIN);
            }
            None => {
                self.note_limit(now);
                self.was_refused = true;
                note_process(database, now);
            }
        }
    }

    /// Notes that no process could be started.
    fn note_limit(&mut self, now: i64) {
        self.process_limit.note_failure(now);
        shmem::write(|shared| shared.no_process_at = now);
    }
}

/// Notes when no worker could be started in a database, for other processes.
fn note_process(database: Oid, refused_at: i64) {
    shmem::write(|shared| {
        if let Some(entry) = shared.database(database.id()) {
            entry.no_process_at = refused_at;
        }
    });
}

/// The databases in shared memory.
fn entries() -> Vec<Database> {
    shmem::read(|shared| {
        shared.databases.iter().filter(|entry| entry.id != DatabaseId::NONE).copied().collect()
    })
}
