//! Sessions and client programs.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use postgres::error::SqlState;
use postgres::{Client, Config, Error, NoTls};

use super::{Cluster, SUPERUSER};
use crate::harness::programs;
use crate::harness::wait::eventually;

impl Cluster {
    /// Connects as superuser; waits while the server starts or recovers from a crash.
    ///
    /// # Panics
    /// The server refuses for another reason, or for too long.
    #[track_caller]
    pub fn connect(&self, database: &str) -> Client {
        self.connect_as(SUPERUSER, database)
    }

    /// Connects as this role; waits while the server starts or recovers from a crash.
    #[track_caller]
    pub fn connect_as(&self, role: &str, database: &str) -> Client {
        let connected =
            eventually("the server takes connections", || match self.try_connect(role, database) {
                Err(error) if is_passing(&error) => Err(error),
                other => Ok(other),
            });
        connected.unwrap_or_else(|error| panic!("connecting to {database} as {role}: {error:?}"))
    }

    /// Connects once.
    ///
    /// # Errors
    /// If the connection cannot be established.
    pub fn try_connect(&self, role: &str, database: &str) -> Result<Client, Error> {
        Config::new().host_path(&self.home).user(role).dbname(database).connect(NoTls)
    }

    /// Runs SQL (and backslash commands) in `psql` as superuser, statement by statement; returns what it prints,
    /// unaligned and without headings.
    ///
    /// # Panics
    /// A statement fails.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        String::from_utf8_lossy(&self.run_psql(database, sql).stdout).trim_end().to_owned()
    }

    /// Runs SQL as [`Cluster::psql`] does, and returns the notices and warnings with their hints.
    #[track_caller]
    pub fn notices(&self, database: &str, sql: &str) -> String {
        String::from_utf8_lossy(&self.run_psql(database, sql).stderr).into_owned()
    }

    #[track_caller]
    fn run_psql(&self, database: &str, sql: &str) -> Output {
        let mut psql = self.client_program("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", database]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = psql.spawn().expect("psql");
        let mut input = child.stdin.take().expect("a pipe");
        // If psql ends early, its exit status and messages say more than this error.
        let _ = input.write_all(sql.as_bytes());
        drop(input);
        let result = child.wait_with_output().expect("psql");
        assert!(result.status.success(), "{sql}\n{}", String::from_utf8_lossy(&result.stderr));
        result
    }

    /// Returns a command for a client program, such as `pg_dump`, that connects to this cluster as superuser.
    pub fn client_program(&self, name: &str) -> Command {
        let mut command = programs::client(name);
        command.env("PGHOST", &self.home).env("PGUSER", SUPERUSER);
        command
    }
}

/// Returns whether a later attempt may succeed: the server is starting, recovering, or not listening yet.
fn is_passing(error: &Error) -> bool {
    match error.as_db_error() {
        Some(refusal) => *refusal.code() == SqlState::CANNOT_CONNECT_NOW,
        None => true,
    }
}
