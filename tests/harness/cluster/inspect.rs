//! A server's processes, files and log.

use std::path::{Path, PathBuf};

use super::{Cluster, pid_of};
use crate::harness::log;
use crate::harness::process::kill;
use crate::harness::wait::eventually;

/// Processes and files.
impl Cluster {
    /// Sends a signal to a process.
    ///
    /// # Panics
    /// There is no such process.
    #[track_caller]
    pub fn kill(&self, pid: i32, signal: i32) {
        assert!(kill(pid, signal), "no process {pid}");
    }

    /// Kills a process of the server, all others of which end because of that. Waits until the postmaster has noticed it: before,
    /// it accepts sessions, which it then ends; afterwards none until the server has started anew.
    #[track_caller]
    pub fn crash(&self, pid: i32, signal: i32) {
        let mark = self.log_mark();
        self.kill(pid, signal);
        self.wait_log(mark, "terminating any other active server processes");
    }

    /// Returns the postmaster's process id.
    ///
    /// # Panics
    /// The server does not run.
    #[track_caller]
    pub fn postmaster_pid(&self) -> i32 {
        pid_of(self.postmaster.lock().unwrap().as_ref().expect("the server doesn't run"))
    }

    /// Returns the data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Returns the directory of the Unix socket, for `PGHOST`.
    pub fn socket_dir(&self) -> &Path {
        &self.home
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.home.join("log")
    }
}

/// The log.
impl Cluster {
    /// Returns the server's whole log.
    pub fn log(&self) -> String {
        self.log_since(0)
    }

    /// Returns the length of the log, for [`Cluster::log_since`] and [`Cluster::wait_log`].
    pub fn log_mark(&self) -> u64 {
        log::mark(&self.log_path())
    }

    /// Returns what was logged since a mark.
    pub fn log_since(&self, mark: u64) -> String {
        log::since(&self.log_path(), mark)
    }

    /// Waits until a line that was logged since a mark contains `part`, and returns the first such line.
    ///
    /// # Panics
    /// No line does within the deadline. The message has what was logged.
    #[track_caller]
    pub fn wait_log(&self, mark: u64, part: &str) -> String {
        eventually(&format!("the log says {part:?}"), || {
            let log = self.log_since(mark);
            let line = log.lines().find(|line| line.contains(part)).map(str::to_owned);
            line.ok_or(log)
        })
    }
}
