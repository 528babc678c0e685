//! The server under torture, its provider, and what all participants share.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use postgres::error::SqlState;
use postgres::{Client, Error};
use standin::{Options, Standin};

use super::book::Book;
use super::history::History;
use super::provider::Misery;
use crate::harness::cluster::Cluster;
use crate::harness::mailing::KEY;
use crate::harness::wait::eventually;

/// The database whose tasks are counted.
pub const DATABASE: &str = "app";
/// Another one with the extension, to be copied, dropped and made again.
pub const SIDE: &str = "side";

/// Another role that workers may have.
pub const OTHER_ROLE: &str = "errand_other";

/// Settings that the run starts with, and that count again when the faults are over.
pub const SETTINGS: [(&str, &str); 8] = [
    ("pg_errand.concurrency", "3"),
    ("pg_errand.max_workers", "5"),
    ("pg_errand.poll_interval", "1s"),
    ("pg_errand.call_timeout", "3s"),
    ("pg_errand.lease_duration", "2s"),
    ("pg_errand.retention", "0"),
    ("pg_errand.max_idle_time", "5s"),
    ("pg_errand.handler_timeout", "0"),
];

/// Settings of the server itself.
const SERVER: [(&str, &str); 7] = [
    ("pg_errand.resend_api_key", KEY),
    ("max_connections", "60"),
    ("max_prepared_transactions", "200"),
    ("deadlock_timeout", "100ms"),
    ("log_line_prefix", "%m [%p] %b %q%a %e "),
    ("max_wal_size", "256MB"),
    // Sessions and faults that wait for each other's locks would do so for ever.
    ("lock_timeout", "0"),
];

/// Whoever causes faults or counts is not to be bothered by the isolation that a fault has given the database: with a
/// serializable transaction prepared, others could fail for ever.
const READ_COMMITTED: &str = "set default_transaction_isolation = 'read committed'";

const HANDLERS: &str = include_str!("handlers.sql");

/// What the tasks of the side database do.
const SIDE_TASKS: &str = "
    create table done (n integer);
    grant insert on done to public;
    create function work(payload jsonb) returns jsonb language sql as $$
        insert into public.done values (1) returning '{}'::jsonb
    $$;
    insert into queues.task (task_type, payload, scheduled_at)
    select 'db_function', '{\"db_function\": \"public.work\"}', now() + n * interval '1 s'
    from generate_series(0, 20) n";

/// What all participants share.
pub struct World {
    pub cluster: Cluster,
    pub standin: Standin,
    pub misery: Arc<Misery>,
    pub book: Book,
    pub history: History,
    /// Held by faults that change what another one of their kind would change, too.
    one_at_a_time: Mutex<()>,
    stopping: AtomicBool,
    /// Sessions stay away, so that the server can stop in its own time.
    away: AtomicBool,
    /// There are enough tasks for now.
    crowded: AtomicBool,
}

impl World {
    /// Starts the server with its two databases.
    ///
    /// # Panics
    /// It doesn't start.
    pub fn start(dice: Rng) -> Self {
        let standin = Standin::start(Options::default()).expect("the stand-in starts");
        let misery = Misery::install(&standin, dice);
        let settings = SERVER.iter().chain(&SETTINGS);
        let builder = settings.fold(Cluster::builder(), |builder, (name, value)| builder.set(name, value));
        let cluster = builder.set("pg_errand.resend_base_url", &standin.url()).start();
        let mut admin = cluster.connect("postgres");
        for (database, sql) in [(DATABASE, HANDLERS), (SIDE, SIDE_TASKS)] {
            admin.batch_execute(&format!("create database {database}")).unwrap();
            let mut client = cluster.connect(database);
            client.batch_execute("create extension pg_errand").unwrap();
            client.batch_execute(sql).unwrap();
        }
        admin.batch_execute(&format!("create role {OTHER_ROLE} login in role errand_worker")).unwrap();
        Self {
            cluster,
            standin,
            misery,
            book: Book::default(),
            history: History::new(),
            one_at_a_time: Mutex::default(),
            stopping: AtomicBool::new(false),
            away: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
        }
    }

    /// Connects once to the database whose tasks are counted.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn try_connect(&self) -> Result<Client, Error> {
        self.cluster.try_connect("postgres", DATABASE)
    }

    /// Waits until the server answers, whatever it has been through.
    ///
    /// # Panics
    /// It doesn't within the deadline.
    pub fn wait_up(&self) -> Client {
        eventually("the server answers", || {
            let mut client = self.try_connect()?;
            client.batch_execute(READ_COMMITTED)?;
            Ok::<_, Error>(client)
        })
    }

    /// Repeats what a loss of the connection cut off. For what may be done twice.
    ///
    /// # Panics
    /// It fails for another reason, or for too long.
    pub fn insist<T>(&self, what: &str, mut act: impl FnMut(&mut Client) -> Result<T, Error>) -> T {
        let mut act = |mut client: Client| {
            client.batch_execute(READ_COMMITTED)?;
            act(&mut client)
        };
        let done = eventually(what, || match self.try_connect().and_then(&mut act) {
            Err(error) if is_passing(&error) => Err(error),
            other => Ok(other),
        });
        done.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// Waits until no other fault changes databases, functions or their settings.
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Notes an error that a session met, unless faults explain it.
    pub fn explain(&self, what: &str, error: &Error) {
        if !is_passing(error) {
            self.history.complain(format!("{what}: {error:?}"));
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
    }

    pub fn keep_away(&self, away: bool) {
        self.away.store(away, SeqCst);
    }

    pub fn is_kept_away(&self) -> bool {
        self.away.load(SeqCst)
    }

    pub fn note_crowd(&self, unfinished: i64) {
        self.crowded.store(unfinished > 300, SeqCst);
    }

    pub fn is_crowded(&self) -> bool {
        self.crowded.load(SeqCst)
    }
}

/// Whether the faults explain an error: the connection was lost or refused, a lock was not to be had.
pub fn is_passing(error: &Error) -> bool {
    const CODES: [SqlState; 9] = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::T_R_DEADLOCK_DETECTED,
        // Sessions have the isolation that a fault has given the database.
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::LOCK_NOT_AVAILABLE,
        // A statement's time limit, where one is set.
        SqlState::QUERY_CANCELED,
        // A database that somebody is connected to cannot be copied.
        SqlState::OBJECT_IN_USE,
    ];
    error.as_db_error().is_none_or(|error| CODES.contains(error.code()))
}

/// A pause of up to so many milliseconds: the pace of the run, and nothing that anybody waits for.
pub fn linger(rng: &mut Rng, milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(rng.u64(0..=milliseconds)));
}
