//! What was done to the server, and what was wrong with what it said.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// The record of a run.
pub struct History {
    started: Instant,
    lines: Mutex<Vec<String>>,
    complaints: Mutex<Vec<String>>,
    /// When the server went down, for whatever reason.
    downs: Mutex<Vec<Instant>>,
    /// Processes that were killed, each with the signal.
    killed: Mutex<Vec<(i32, i32)>>,
    kills: AtomicUsize,
}

impl History {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            lines: Mutex::default(),
            complaints: Mutex::default(),
            downs: Mutex::default(),
            killed: Mutex::default(),
            kills: AtomicUsize::new(0),
        }
    }

    /// Adds a line.
    pub fn add(&self, line: impl AsRef<str>) {
        let line = format!("{:7.2} s  {}", self.started.elapsed().as_secs_f64(), line.as_ref());
        self.lines.lock().unwrap().push(line);
    }

    /// Adds something that must not happen; the run fails by it.
    pub fn complain(&self, what: impl Into<String>) {
        let what = what.into();
        self.add(format!("COMPLAINT: {what}"));
        self.complaints.lock().unwrap().push(what);
    }

    /// A process was ended by a signal.
    pub fn note_kill(&self, pid: i32, signal: i32) {
        self.kills.fetch_add(1, Relaxed);
        self.killed.lock().unwrap().push((pid, signal));
    }

    /// The whole server goes down: more than one process ends, and shared memory is lost.
    pub fn note_down(&self) {
        self.downs.lock().unwrap().push(Instant::now());
    }

    pub fn kills(&self) -> usize {
        self.kills.load(Relaxed)
    }

    pub fn was_killed(&self, pid: i32) -> bool {
        self.killed.lock().unwrap().iter().any(|(killed, _)| *killed == pid)
    }

    pub fn downs(&self) -> Vec<Instant> {
        self.downs.lock().unwrap().clone()
    }

    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap().clone()
    }

    pub fn lines(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
