//! A PostgreSQL cluster for one test: starting and stopping it. Sessions are in `connect`, settings in `configure`,
//! processes, files and the log in `inspect`.

mod configure;
mod connect;
mod inspect;

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use super::builder::Builder;
use super::permit::Permit;
use super::process::{is_alive, kill, kill_parent, kill_tree, stop_immediately};
use super::wait::eventually;
use super::{log, programs};

/// The superuser of every cluster.
const SUPERUSER: &str = "postgres";
/// The number of lines of the log that are shown when a test fails.
const SHOWN_LINES: usize = 60;

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits until all clients have gone (SIGTERM).
    Smart,
    /// Ends all sessions, then stops (SIGINT).
    Fast,
    /// Stops without a checkpoint; the next start recovers (SIGQUIT).
    Immediate,
    /// Postmaster and children are killed at once (SIGKILL); the next start recovers.
    Kill,
    /// Only the postmaster is killed; its children notice and end by themselves.
    KillPostmaster,
}

/// A running cluster, alone in a directory and reachable by a Unix socket only. Dropping it stops and deletes it; if the
/// test is failing, the end of its log is printed.
pub struct Cluster {
    home: PathBuf,
    environment: Vec<(String, String)>,
    memory: Option<u64>,
    postmaster: Mutex<Option<Child>>,
    _permit: Permit,
}

impl Cluster {
    /// Starts a fresh cluster with these settings on top of the defaults (see `builder`).
    ///
    /// # Panics
    /// As [`Builder::start`].
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let builder =
            settings.iter().fold(Self::builder(), |builder, (name, value)| builder.set(name, value));
        builder.start()
    }

    /// Describes a cluster that [`Cluster::start`] cannot.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) fn new(
        home: PathBuf,
        environment: Vec<(String, String)>,
        memory: Option<u64>,
        permit: Permit,
    ) -> Self {
        Self { home, environment, memory, postmaster: Mutex::new(None), _permit: permit }
    }

    /// Starts the server after a stop, and waits until it accepts connections.
    ///
    /// # Panics
    /// It runs already, or doesn't start; the message holds the end of its log.
    #[track_caller]
    pub fn start_again(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        assert!(postmaster.is_none(), "the server runs already");
        let child = postmaster.insert(self.spawn());
        let ready = eventually("the server is ready", || match child.try_wait().expect("waiting") {
            Some(status) => Ok(Err(status)),
            None => self.postmaster_status(child.id()).map(Ok),
        });
        if let Err(status) = ready {
            *postmaster = None;
            panic!("the server ended with {status}:\n{}", log::tail(&self.log_path(), SHOWN_LINES));
        }
    }

    /// Stops the server and waits until it has.
    ///
    /// # Panics
    /// It doesn't run, or doesn't stop within the deadline.
    #[track_caller]
    pub fn stop(&self, mode: StopMode) {
        let mut postmaster = self.postmaster.lock().unwrap();
        let child = postmaster.as_mut().expect("the server doesn't run");
        let pid = pid_of(child);
        match mode {
            StopMode::Smart => drop(kill(pid, libc::SIGTERM)),
            StopMode::Fast => drop(kill(pid, libc::SIGINT)),
            StopMode::Immediate => drop(kill(pid, libc::SIGQUIT)),
            StopMode::Kill => kill_tree(pid),
            StopMode::KillPostmaster => {
                let orphans = kill_parent(pid);
                eventually("the orphans end", || {
                    let left: Vec<_> = orphans.iter().filter(|pid| is_alive(**pid)).collect();
                    if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
                });
            }
        }
        eventually(&format!("the server stops ({mode:?})"), || child.try_wait().expect("waiting"));
        *postmaster = None;
    }

    /// Waits until the server has ended by itself.
    ///
    /// # Panics
    /// It doesn't run, or doesn't end within the deadline.
    #[track_caller]
    pub fn wait_end(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        let child = postmaster.as_mut().expect("the server doesn't run");
        eventually("the server ends by itself", || child.try_wait().expect("waiting"));
        *postmaster = None;
    }

    /// Stops the server and starts it again.
    ///
    /// # Panics
    /// As [`Cluster::stop`] and [`Cluster::start_again`].
    #[track_caller]
    pub fn restart(&self, mode: StopMode) {
        self.stop(mode);
        self.start_again();
    }

    fn spawn(&self) -> Child {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the log");
        let mut command = programs::server("postgres");
        command.arg("-D").arg(self.data_dir()).current_dir(&self.home).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("the log")).stderr(log);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(bytes) = self.memory {
            limit_memory(&mut command, bytes);
        }
        command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Reads from `postmaster.pid` whether the server with this process id accepts connections. The error is the content
    /// of the file.
    fn postmaster_status(&self, pid: u32) -> Result<(), String> {
        let file =
            fs::read_to_string(self.data_dir().join("postmaster.pid")).map_err(|error| error.to_string())?;
        let lines: Vec<_> = file.lines().map(str::trim).collect();
        let own = lines.first().is_some_and(|line| *line == pid.to_string());
        let status = lines.get(7).copied().unwrap_or_default();
        if own && (status == "ready" || status == "standby") { Ok(()) } else { Err(format!("{lines:?}")) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the server's log:\n{}\n---", log::tail(&self.log_path(), SHOWN_LINES));
        }
        // A test that panicked while starting or stopping leaves the mutex poisoned.
        let postmaster = self.postmaster.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(mut child) = postmaster.take() {
            stop_immediately(pid_of(&child));
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Limits the address space of a program and of its children.
fn limit_memory(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    let set = move || {
        // SAFETY: the limit is read, and nothing is written.
        if unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    // SAFETY: between fork and exec it makes one system call.
    unsafe { command.pre_exec(set) };
}

fn pid_of(child: &Child) -> i32 {
    child.id().try_into().expect("process ids fit")
}
