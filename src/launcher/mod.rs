//! The launcher: one process for the whole server, connected to no database. It compares which
//! workers there should be with those there are, again and again, and starts or retires some.

pub mod bar;
mod clock;
mod complaints;
mod desired;
mod flush;
mod insist;
mod places;
mod reader;
mod reconcile;
pub mod settings;
mod start;

use crate::config::{self, LogLevel};
use crate::error::PgError;
use crate::pg::latch::LatchRef;
use crate::pg::{activity, backend, bgworker, citus, interrupt, log, shmem};
use crate::shared::{Database, DatabaseId, Latch, NEVER, Shared, SlotState, ToId, ToOid};
use clock::Clock;
use complaints::{About, Complaints};
use desired::Catalogs;
use insist::insist_on_cancels;
use pgrx::pg_sys::Oid;
use places::Places;
use reader::{Reader, Reading};
use reconcile::{Action, State};
use start::Started;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// The catalogs are read at least so often, in microseconds; at once after a command that may
/// change them.
const SCAN_INTERVAL: i64 = 60 * 1_000_000;
/// A slot that was never attached is taken back after this time, in microseconds.
const ATTACH_TIME: i64 = 30 * 1_000_000;
/// Pause after a fault; doubled after each that follows, up to about a minute.
const FAULT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Launcher {
    clock: Clock,
    catalogs: Catalogs,
    scanned_at: i64,
    /// The value of `catalog_changes` when the catalogs were read last.
    seen_changes: u64,
    reader: Reader,
    /// Databases in which no extension was found.
    without_extension: HashSet<Oid>,
    started: HashMap<usize, Started>,
    places: Places,
    complaints: Complaints,
}

/// Has the postmaster start the launcher; it comes back whatever ends it.
pub fn register() {
    bgworker::register(&bgworker::Registration {
        name: "pg_errand launcher",
        kind: "pg_errand launcher",
        function: "pg_errand_launcher_main",
        argument: 0,
        restart_after: Some(1),
    });
}

/// The life of the launcher process; never returns.
pub fn main() -> ! {
    interrupt::install();
    backend::on_exit(|| shmem::write(|shared| shared.launcher = LatchRef::NONE));
    bgworker::connect_to_none();
    interrupt::hold_cancel();
    activity::name("pg_errand launcher");
    let now = backend::now();
    shmem::write(|shared| {
        shared.launcher = LatchRef::mine();
        // Above those of another server that this one was a standby of.
        shared.next_owner = shared.next_owner.max(now);
    });
    log::event(LogLevel::Info, "launcher started".into());
    if citus::is_unknown() {
        log::event_with_hint(
            LogLevel::Warning,
            "Citus is loaded, but does not tell whether a transaction spans nodes: each task waits for its commit \
             to be flushed"
                .into(),
            "A crash may lose a task that was enqueued in a transaction that also wrote on one other node. Use a \
             version of Citus that exports InCoordinatedTransaction and Use2PCForCoordinatedTransaction."
                .into(),
        );
    }

    let mut launcher = Launcher::default();
    let mut faults = 0;
    loop {
        interrupt::check();
        interrupt::forget_cancel();
        let pause = match launcher.cycle() {
            // Not longer than that, since the clock may be set meanwhile.
            Ok(until) => {
                faults = 0;
                launcher.complaints.withdraw(About::Itself);
                Duration::from_micros(until.saturating_sub(backend::now()).clamp(0, SCAN_INTERVAL) as u64)
            }
            Err(error) => {
                let hint =
                    "It is tried again, after longer and longer pauses. Tasks may have to wait meanwhile.";
                launcher.complaints.say(About::Itself, &format!("launcher: {}", error.message), hint);
                faults += 1;
                FAULT_PAUSE * (1 << (faults - 1).min(6))
            }
        };
        flush::wait(pause);
    }
}

impl Launcher {
    /// One comparison; when the next one is due, if nothing happens before.
    fn cycle(&mut self) -> Result<i64, PgError> {
        let now = backend::now();
        if self.clock.was_set_back(now, Instant::now()) {
            self.set_back(now);
        }
        let role = config::ROLE.get();
        if interrupt::reload_if_asked() {
            self.scanned_at = 0;
            let has_new_role = config::ROLE.get() != role;
            shmem::write(|shared| {
                shared.reload();
                // Of the settings that are stored for roles, others count now.
                shared.settings_changes += u64::from(has_new_role);
            });
        }
        self.scan_if_due(now)?;
        self.give_up_lost_starts(now);
        let insist = insist_on_cancels(now);
        let databases = self.known_databases();
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
            reconcile::next_look(&state),
            reading,
            insist,
            self.places.next_try(now),
            self.complaints.next(now),
            self.scanned_at + SCAN_INTERVAL,
        ];
        Ok(times.into_iter().min().unwrap_or(NEVER))
    }

    /// Nothing is to wait until the clock is where it was.
    fn set_back(&mut self, now: i64) {
        self.scanned_at = 0;
        self.reader.set_back(now);
        self.places.set_back(now);
        self.complaints.set_back(now);
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
                self.complaints.withdraw(About::List);
            }
            names => self.complaints.say(
                About::List,
                &format!("pg_errand.databases names databases that do not exist: {}", names.join(", ")),
                "Names are folded to lower case unless they are quoted.",
            ),
        }
        Ok(())
    }

    /// Has stored settings read if those in shared memory may be old, or if nobody can tell whether a
    /// database has the extension; when to look again.
    fn have_settings_read(&mut self, databases: &[Database], now: i64) -> i64 {
        let current = shmem::read(|shared| shared.settings_changes);
        let stale = databases.iter().any(|entry| entry.settings_as_of != current);
        let unseen = databases.iter().filter(|entry| !entry.has_extension && self.is_hindered(entry));
        let unseen: Vec<Oid> = unseen.map(|entry| entry.id.oid()).collect();
        let changed = if stale { self.catalogs.readable(databases) } else { Vec::new() };
        match self.reader.step(&changed, &unseen, now) {
            Reading::Wait(until) => until,
            Reading::Done => {
                // Roles that it found have not been looked up yet.
                self.scanned_at = 0;
                now
            }
            Reading::NoPlace => {
                self.places.missing(&mut self.complaints, now);
                NEVER
            }
        }
    }

    /// A process that never attached to its slot: it could not be started or connected.
    fn give_up_lost_starts(&mut self, now: i64) {
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

    /// The databases in shared memory, brought in line with the catalogs.
    fn known_databases(&mut self) -> Vec<Database> {
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
                self.complaints.withdraw(About::Database(entry.id.oid()));
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
                self.complaints.say(
                    About::Room,
                    "more databases than can be kept in mind; some are left out",
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
            databases: Vec::new(),
            workers: shmem::read(|shared| reconcile::workers(shared, now)),
        };
        if self.places.are_short(now) {
            state.max_workers = state.max_workers.min(state.workers.len());
        }
        for entry in databases {
            let desired = self.catalogs.desired(entry);
            let about = About::Database(entry.id.oid());
            match desired.as_ref().and_then(|desired| desired.hindrance.as_ref()) {
                Some((message, hint)) if entry.has_extension => {
                    self.complaints.say_if_it_lasts(about, message, hint, now);
                }
                _ => self.complaints.withdraw(about),
            }
            let ready = !entry.is_quiesced() && entry.settings_as_of != 0;
            let served = desired.as_ref().filter(|desired| ready && desired.hindrance.is_none());
            let poll_interval = entry.poll_interval.unwrap_or(config::POLL_INTERVAL.get());
            let poll = entry.looked_at + i64::from(poll_interval) * 1000;
            let next_due = if entry.unannounced { entry.next_due.min(poll) } else { entry.next_due };
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
        state
    }

    /// True if workers cannot connect to the database of `entry`, although a process could.
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
                self.places.found();
            }
            None => self.places.missing(&mut self.complaints, now),
        }
    }
}

/// The databases in shared memory.
fn entries() -> Vec<Database> {
    shmem::read(|shared| {
        shared.databases.iter().filter(|entry| entry.id != DatabaseId::NONE).copied().collect()
    })
}
