//! Settings that ALTER DATABASE and ALTER ROLE have stored. A process without a database cannot read them, so a
//! short-lived process reads them for all databases when they may have changed. It runs no task and no user's function.

use crate::config::{self, LogLevel};
use crate::error::PgError;
use crate::pg::spi::{Row, Statement};
use crate::pg::{activity, bgworker, guc, interrupt, log, session, shmem, transaction};
use crate::shared::{DatabaseId, Latch, SetFor, ToId, ToOid};
use pgrx::pg_sys::Oid;
use std::hash::{DefaultHasher, Hash, Hasher};

static SETTINGS: Statement = Statement::new(include_str!("../../sql/runtime/settings.sql"), &[]);
static HAS_EXTENSION: Statement = Statement::new(include_str!("../../sql/runtime/has_extension.sql"), &[]);

/// Starts the process in any `database`; `None` if `max_worker_processes` is reached.
pub fn start_reader(database: Oid) -> Option<bgworker::Handle> {
    bgworker::start(&bgworker::Registration {
        name: "pg_errand settings",
        kind: "pg_errand launcher",
        function: "pg_errand_settings_main",
        argument: database.to_u32() as i32,
        restart_after: None,
    })
}

/// The main function of that process.
pub fn main(database: Oid) -> ! {
    interrupt::install();
    bgworker::connect_as_system(database);
    activity::name("pg_errand settings");
    session::prepare();
    let (as_of, announced) = shmem::write(|shared| {
        let announced = shared.database(database.id()).map(|entry| entry.announced);
        (shared.settings_changes, announced)
    });
    match read() {
        Ok((stored, has_extension)) => {
            note_extension(database, has_extension, announced);
            publish(&stored, as_of);
        }
        Err(error) => {
            log::event_with_hint(
                LogLevel::Error,
                format!("stored settings cannot be read: sqlstate={} {}", error.sqlstate, error.message),
                "They are read again at the next change or reload: select pg_reload_conf();".into(),
            );
        }
    }
    interrupt::exit(0)
}

/// A row of `pg_db_role_setting`.
struct Stored {
    /// `InvalidOid` for all databases.
    database: Oid,
    /// Empty for all roles.
    role: String,
    /// The settings, each as `name=value`.
    settings: Vec<String>,
}

fn read() -> Result<(Vec<Stored>, bool), PgError> {
    transaction::commit_after(|| {
        let stored = SETTINGS.rows(&[], |row: &Row| Stored {
            database: row.get(1).unwrap_or(Oid::INVALID),
            role: row.get(2).unwrap_or_default(),
            settings: row.get(3).unwrap_or_default(),
        });
        (stored, HAS_EXTENSION.row(&[], |row| row.get::<bool>(1)).flatten() == Some(true))
    })
}

/// Records whether the database has the extension. While workers cannot connect to it, no other process can determine
/// that. `announced` is the value before the catalogs were read.
fn note_extension(oid: Oid, found: bool, announced: Option<u64>) {
    shmem::write(|shared| {
        if let Some(database) = shared.database(oid.id()) {
            database.has_extension = found;
            if !found {
                // Unless an extension was created meanwhile, there is nothing to search for.
                database.look &= announced != Some(database.announced);
                database.note_no_extension();
            }
        }
    });
}

fn publish(stored: &[Stored], as_of: u64) {
    let databases: Vec<Oid> = shmem::read(|shared| {
        shared
            .databases
            .iter()
            .map(|entry| entry.id)
            .filter(|id| *id != DatabaseId::NONE)
            .map(ToOid::oid)
            .collect()
    });
    for oid in databases {
        let role = own(stored, oid, "pg_errand.role").unwrap_or_default();
        let concurrency =
            own(stored, oid, "pg_errand.concurrency").and_then(|text| config::CONCURRENCY.parse(text));
        let poll_interval =
            own(stored, oid, "pg_errand.poll_interval").and_then(|text| config::POLL_INTERVAL.parse(text));
        let effective = config::role_of(role);
        let read_only = of_session(stored, oid, &effective, "default_transaction_read_only")
            .and_then(|(text, set_for)| Some((guc::boolean(text)?, set_for)));
        let fingerprint = fingerprint(stored, oid, &effective);
        shmem::write(|shared| {
            if let Some(database) = shared.database(oid.id()) {
                database.role.set(role);
                database.concurrency = concurrency;
                database.read_only = read_only;
                database.poll_interval = poll_interval;
                database.settings = fingerprint;
                database.settings_as_of = as_of;
            }
        });
    }
    shmem::write(|shared| shared.launcher.set());
}

/// The value that ALTER DATABASE … SET stored for `name`.
fn own<'a>(stored: &'a [Stored], database: Oid, name: &str) -> Option<&'a str> {
    value(stored, database, "", name)
}

/// The value of `name` with which a session of `role` in `database` starts: the most specific one that is stored, and where
/// it is.
fn of_session<'a>(stored: &'a [Stored], database: Oid, role: &str, name: &str) -> Option<(&'a str, SetFor)> {
    let places = [
        (database, role, SetFor::RoleInDatabase),
        (Oid::INVALID, role, SetFor::Role),
        (database, "", SetFor::Database),
        (Oid::INVALID, "", SetFor::AllRoles),
    ];
    places
        .into_iter()
        .find_map(|(database, role, set_for)| Some((value(stored, database, role, name)?, set_for)))
}

/// The value that is stored for exactly this database and this role.
fn value<'a>(stored: &'a [Stored], database: Oid, role: &str, name: &str) -> Option<&'a str> {
    stored
        .iter()
        .filter(|row| row.database == database && row.role == role)
        .flat_map(|row| &row.settings)
        .find_map(|setting| setting.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

/// A digest of everything that a session of `role` in `database` starts with.
fn fingerprint(stored: &[Stored], database: Oid, role: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in stored {
        let applies = (row.database == database || row.database == Oid::INVALID)
            && (row.role == role || row.role.is_empty());
        if applies {
            row.settings.hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(database: u32, role: &str, setting: &str) -> Stored {
        Stored { database: Oid::from_u32(database), role: role.into(), settings: vec![setting.into()] }
    }

    #[test]
    fn only_settings_of_the_database_itself_count() {
        let all = [
            stored(0, "", "pg_errand.role=a"),
            stored(1, "x", "pg_errand.role=b"),
            stored(1, "", "pg_errand.role=c"),
        ];
        assert_eq!(own(&all, Oid::from_u32(1), "pg_errand.role"), Some("c"));
        assert_eq!(own(&all, Oid::from_u32(2), "pg_errand.role"), None);
    }

    #[test]
    fn what_is_stored_for_a_role_counts_before_what_is_stored_for_its_database() {
        let all = [
            stored(0, "", "a=1"),
            stored(1, "", "a=2"),
            stored(0, "w", "a=3"),
            stored(1, "w", "a=4"),
            stored(1, "x", "a=5"),
        ];
        let of_session = |n: usize| of_session(&all[..n], Oid::from_u32(1), "w", "a");
        let expected = [
            ("1", SetFor::AllRoles),
            ("2", SetFor::Database),
            ("3", SetFor::Role),
            ("4", SetFor::RoleInDatabase),
            ("4", SetFor::RoleInDatabase),
        ];
        assert_eq!([1, 2, 3, 4, 5].map(of_session), expected.map(Some));
        assert_eq!(of_session(0), None);
    }

    #[test]
    fn the_fingerprint_changes_with_what_applies() {
        let one = Oid::from_u32(1);
        let before = fingerprint(&[stored(1, "", "a=1")], one, "w");
        assert_eq!(
            fingerprint(&[stored(1, "", "a=1"), stored(2, "", "b=1"), stored(1, "x", "c=1")], one, "w"),
            before
        );
        assert_ne!(fingerprint(&[stored(1, "", "a=1"), stored(0, "w", "d=1")], one, "w"), before);
    }
}
