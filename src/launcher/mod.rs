//! The launcher: one process for the whole server, connected to no database. It compares which
//! workers there should be with those there are, again and again, and starts or retires some.

pub mod bar;
mod desired;
mod reconcile;
pub mod settings;
mod start;

use crate::config::{self, LogLevel};
use crate::error::PgError;
use crate::pg::latch::{self, LatchRef};
use crate::pg::{activity, backend, bgworker, interrupt, log, shmem};
use crate::shared::{Database, NEVER, SlotState};
use desired::Catalogs;
use pgrx::pg_sys::Oid;
use reconcile::{Action, State};
use start::Started;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The catalogs are read at least so often, in microseconds; at once after a command that may
/// change them.
const SCAN_INTERVAL: i64 = 60 * 1_000_000;
/// A slot that was never attached is taken back after this time, in microseconds.
const ATTACH_TIME: i64 = 30 * 1_000_000;
/// Stored settings are read at most so often, in microseconds.
const READ_PAUSE: i64 = 50_000;
/// A cancelled task is interrupted so often until it stops, in microseconds.
const CANCEL_INTERVAL: i64 = 20_000;
/// After this time its worker is ended, in microseconds.
const CANCEL_PATIENCE: i64 = 1_000_000;
/// What keeps workers away is told when it has lasted so long, in microseconds.
const COMPLAINT_DELAY: i64 = 500_000;
/// Pause after the server had no place for a process, in microseconds.
const SHORT_PAUSE: i64 = 200_000;
/// That it has none is said at most so often, in microseconds.
const SLOTS_SILENCE: i64 = 600 * 1_000_000;
/// Pause after a fault.
const FAULT_PAUSE: Duration = Duration::from_secs(1);

/// What a complaint is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    /// The room that the server has for processes and databases.
    Room,
    /// `pg_errand.databases`.
    List,
    Database(Oid),
}

struct Launcher {
    catalogs: Catalogs,
    scanned_at: i64,
    /// The value of `catalog_changes` when the catalogs were read last.
    seen_changes: u64,
    /// The process that reads stored settings.
    reader: Option<bgworker::Handle>,
    /// When the last one was started.
    read_at: i64,
    /// When one could be started last.
    unread_since: i64,
    /// Databases in which a worker found no extension.
    without_extension: HashSet<Oid>,
    started: HashMap<usize, Started>,
    /// Until then nothing is started, since the server has no place for it.
    short_until: i64,
    told_of_slots_at: i64,
    /// Databases that no worker can connect to.
    hindered_since: HashMap<Oid, i64>,
    /// Since when the server has no place for a process.
    short_since: Option<i64>,
    /// What was last complained about.
    complaints: HashMap<About, String>,
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
    backend::on_exit(forget_latch);
    bgworker::connect_to_none();
    interrupt::hold_cancel();
    activity::name("pg_errand launcher");
    shmem::write(|shared| shared.launcher = LatchRef::mine());
    log::event(LogLevel::Info, "launcher started".into());

    let mut launcher = Launcher {
        catalogs: Catalogs::default(),
        scanned_at: 0,
        seen_changes: 0,
        reader: None,
        read_at: 0,
        unread_since: backend::now(),
        without_extension: HashSet::new(),
        started: HashMap::new(),
        short_until: 0,
        short_since: None,
        told_of_slots_at: 0,
        hindered_since: HashMap::new(),
        complaints: HashMap::new(),
    };
    loop {
        interrupt::check();
        interrupt::forget_cancel();
        let pause = match launcher.cycle() {
            Ok(until) => Duration::from_micros(until.saturating_sub(backend::now()).max(0) as u64),
            Err(error) => {
                log::event(LogLevel::Error, format!("launcher: {}", error.message));
                FAULT_PAUSE
            }
        };
        latch::wait(None, pause);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn forget_latch(_code: i32, _arg: pgrx::pg_sys::Datum) {
    shmem::write(|shared| shared.launcher = LatchRef::NONE);
}

impl Launcher {
    /// One comparison; when the next one is due, if nothing happens before.
    fn cycle(&mut self) -> Result<i64, PgError> {
        let now = backend::now();
        if interrupt::reload_if_asked() {
            self.scanned_at = 0;
        }
        self.scan_if_due(now)?;
        self.give_up_lost_starts(now);
        let insist = insist_on_cancels(now);
        let databases = self.known_databases();
        let until = self.have_settings_read(&databases, now);
        let state = self.state(now, &databases);
        for action in reconcile::reconcile(&state) {
            match action {
                Action::Start(database) => self.start(database, now),
                Action::Retire(slot) => shmem::write(|shared| shared.retire(slot, now)),
            }
        }
        Ok(reconcile::next_look(&state)
            .min(until)
            .min(insist)
            .min(self.next_try(now))
            .min(self.next_complaint(now))
            .min(self.scanned_at + SCAN_INTERVAL))
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
                self.complaints.remove(&About::List);
            }
            names => self.complain(
                About::List,
                &format!("pg_errand.databases names databases that do not exist: {}", names.join(", ")),
                "Names are folded to lower case unless they are quoted.",
            ),
        }
        Ok(())
    }

    /// Has stored settings read if those in shared memory may be old; when to look again.
    fn have_settings_read(&mut self, databases: &[Database], now: i64) -> i64 {
        let current = shmem::read(|shared| shared.settings_changes);
        let stale = databases.iter().any(|entry| entry.settings_as_of != current);
        let unseen = databases.iter().find(|entry| !entry.has_extension && self.is_hindered(entry));
        if self.reader.as_ref().is_some_and(bgworker::Handle::is_alive) {
            return NEVER;
        }
        if self.reader.take().is_some() {
            // It has read; roles that it found are not looked up yet.
            self.scanned_at = 0;
            return now;
        }
        if !stale && unseen.is_none() {
            return NEVER;
        }
        if self.read_at + READ_PAUSE > now {
            return self.read_at + READ_PAUSE;
        }
        self.read_at = now;
        let place = unseen.map(|entry| entry.oid).or_else(|| self.catalogs.any_database(databases));
        self.reader = place.and_then(settings::start_reader);
        if self.reader.is_some() {
            self.unread_since = now;
        } else if self.unread_since + COMPLAINT_DELAY < now {
            self.complain_of_slots();
        }
        now + READ_PAUSE
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
                self.without_extension.insert(entry.oid);
            } else {
                self.without_extension.remove(&entry.oid);
            }
            let gone = !self.catalogs.exists(entry.oid) && entry.barred_by == 0 && !entry.look;
            if entry.no_extension || gone {
                shmem::write(|shared| shared.forget_database(entry.oid));
            }
        }
        self.without_extension.retain(|oid| self.catalogs.exists(*oid));
        let new: Vec<Oid> =
            self.catalogs.wanted().filter(|oid| !self.without_extension.contains(oid)).collect();
        for oid in new {
            if shmem::write(|shared| shared.know(oid, backend::may_have_prepared()).is_none()) {
                self.complain(
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
        if now < self.short_until {
            state.max_workers = state.max_workers.min(state.workers.len());
        }
        for entry in databases {
            let desired = self.catalogs.desired(entry);
            match desired.as_ref().and_then(|desired| desired.hindrance.as_ref()) {
                Some((message, hint)) if entry.has_extension => {
                    self.complain_if_it_lasts(entry.oid, message, hint, now);
                }
                _ => {
                    self.hindered_since.remove(&entry.oid);
                    self.complaints.remove(&About::Database(entry.oid));
                }
            }
            let ready = entry.barred_by == 0 && entry.settings_as_of != 0;
            let served = desired.as_ref().filter(|desired| ready && desired.hindrance.is_none());
            let poll_interval = entry.poll_interval.unwrap_or(config::POLL_INTERVAL.get());
            let poll = entry.looked_at + i64::from(poll_interval) * 1000;
            let next_due = if entry.unannounced { entry.next_due.min(poll) } else { entry.next_due };
            state.databases.push(reconcile::Database {
                oid: entry.oid,
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
        entry.settings_as_of != 0 && hindrance.is_some_and(|_| self.catalogs.allows_connections(entry.oid))
    }

    /// When places may be free again.
    fn next_try(&self, now: i64) -> i64 {
        if now < self.short_until { self.short_until } else { NEVER }
    }

    fn start(&mut self, database: Oid, now: i64) {
        let entry = entries().into_iter().find(|entry| entry.oid == database);
        let Some(desired) = entry.and_then(|entry| self.catalogs.desired(&entry)) else { return };
        match start::start(&desired, now) {
            Some((slot, started)) => {
                self.started.insert(slot, started);
                self.short_since = None;
            }
            None => self.complain_of_slots(),
        }
    }

    /// No place is free: starts nothing for a while. Says so if it was the same the last time, since
    /// processes that are just ending take places, too; and unless it has said so lately.
    fn complain_of_slots(&mut self) {
        let now = backend::now();
        self.short_until = now + SHORT_PAUSE;
        let since = *self.short_since.get_or_insert(now);
        if since == now || self.told_of_slots_at + SLOTS_SILENCE > now {
            return;
        }
        self.told_of_slots_at = now;
        self.complaints.remove(&About::Room);
        self.complain(
            About::Room,
            "no background worker slot is free, so tasks wait",
            "Raise max_worker_processes (this needs a restart of the server); it is shared with parallel queries and replication.",
        );
    }

    /// A process may see the extension a moment before its role: that is not worth a line.
    fn complain_if_it_lasts(&mut self, about: Oid, message: &str, hint: &str, now: i64) {
        let since = *self.hindered_since.entry(about).or_insert(now);
        if since + COMPLAINT_DELAY <= now {
            self.complain(About::Database(about), message, hint);
        }
    }

    /// When something that is wrong has lasted long enough to be told.
    fn next_complaint(&self, now: i64) -> i64 {
        let due = self.hindered_since.values().map(|since| since + COMPLAINT_DELAY);
        due.filter(|due| *due > now).min().unwrap_or(NEVER)
    }

    /// Logs what is wrong once, until it is something else.
    fn complain(&mut self, about: About, message: &str, hint: &str) {
        if self.complaints.get(&about).is_none_or(|last| last != message) {
            log::event_with_hint(LogLevel::Error, message.to_owned(), hint.to_owned());
            self.complaints.insert(about, message.to_owned());
        }
    }
}

/// Signals workers again whose task was cancelled: a handler may have caught the first signal. One
/// that catches them all loses its worker. When to look again.
fn insist_on_cancels(now: i64) -> i64 {
    // Under the lock, so that a signal can only reach a worker while it has that task.
    let any = shmem::write(|shared| {
        let mut any = false;
        for slot in shared.still_to_cancel() {
            any = true;
            if slot.cancelled_at + CANCEL_PATIENCE < now {
                slot.retire = true;
                backend::signal(slot.pid, libc::SIGTERM);
            } else {
                backend::signal(slot.pid, libc::SIGINT);
            }
        }
        any
    });
    if any { now + CANCEL_INTERVAL } else { NEVER }
}

/// The databases in shared memory.
fn entries() -> Vec<Database> {
    shmem::read(|shared| shared.databases.iter().filter(|entry| entry.oid != Oid::INVALID).copied().collect())
}
