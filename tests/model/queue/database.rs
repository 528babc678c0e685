//! The tables: rows as everybody sees them, and how much of them a crash would leave.

use super::{TASKS, Task};

/// What came of asking a provider.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    Accepted,
    /// A time-out, or «outcome unknown»: nobody can tell. A rejection takes the same way.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    Unfinished,
    Succeeded,
    Failed,
    Cancelled,
}

/// A row of `queues.call`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    pub owner: u8,
    pub key: u8,
    /// `request is not null`.
    pub open: bool,
    pub answer: Option<Answer>,
}

/// A row of `queues.task`, its row of `queues.call`, and what its handlers have left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    pub status: Status,
    pub calling: bool,
    /// `not_before` is to come, since a worker outside has the task.
    pub leased: bool,
    pub call: Option<Call>,
    /// How often a `db_function` or `success_handler` took effect.
    pub effects: u8,
    /// How often an `error_handler` took effect.
    pub error_effects: u8,
    /// An error of the last handler, or of the commit, is recorded.
    pub complaint: bool,
    /// How often the task ended; by a worker outside it was this one.
    pub ends: u8,
    pub ended_outside: bool,
    /// Only in the protocol that marks running tasks in their row.
    pub running: bool,
}

impl Row {
    pub const NEW: Row = Row {
        status: Status::Unfinished,
        calling: false,
        leased: false,
        call: None,
        effects: 0,
        error_effects: 0,
        complaint: false,
        ends: 0,
        ended_outside: false,
        running: false,
    };

    pub fn is_finished(&self) -> bool {
        self.status != Status::Unfinished
    }

    /// The conditions of `claim.sql`, except for the lock.
    pub fn is_ready(&self) -> bool {
        !self.is_finished() && !self.calling && !self.leased && !self.running
    }

    pub fn has_open_call(&self) -> bool {
        self.call.is_some_and(|call| call.open)
    }

    /// The update of `finish.sql`, which changes nothing of a task that has ended, and `call_end.sql`.
    pub fn finish(&mut self, status: Status) {
        if !self.is_finished() {
            self.status = status;
            self.ends += 1;
            self.calling = false;
            self.leased = false;
            self.running = false;
        }
        self.close_call();
    }

    /// `call_end.sql`.
    pub fn close_call(&mut self) {
        if let Some(call) = &mut self.call {
            call.open = false;
        }
    }
}

pub type Rows = [Row; TASKS];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The commit waits for the disk, and with it for all commits before.
    ForDisk,
    /// `transaction::commit_asynchronously`.
    No,
}

/// The first entry is on disk. The others are what later commits made of it; the last one is what
/// everybody sees, and a crash leaves any of them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Database {
    log: Vec<Rows>,
}

impl Database {
    pub fn new() -> Self {
        Database { log: vec![[Row::NEW; TASKS]] }
    }

    pub fn rows(&self) -> &Rows {
        self.log.last().expect("never empty")
    }

    pub fn row(&self, task: Task) -> &Row {
        &self.rows()[task]
    }

    pub fn on_disk(&self) -> &Rows {
        &self.log[0]
    }

    /// What a crash could leave.
    pub fn remains(&self) -> &[Rows] {
        &self.log
    }

    pub fn commit(&mut self, wait: Wait, change: impl FnOnce(&mut Rows)) {
        let mut rows = *self.rows();
        change(&mut rows);
        if rows != *self.rows() {
            self.log.push(rows);
        }
        if wait == Wait::ForDisk {
            self.flush();
        }
    }

    pub fn commit_row(&mut self, wait: Wait, task: Task, change: impl FnOnce(&mut Row)) {
        self.commit(wait, |rows| change(&mut rows[task]));
    }

    /// Waits for the disk, for all commits so far.
    pub fn flush(&mut self) {
        self.log.drain(..self.log.len() - 1);
    }

    /// The server is started again with the first `kept` entries.
    pub fn crash(&mut self, kept: usize) {
        self.log.drain(..kept);
        self.log.truncate(1);
    }

    /// A point in time that rows name has come: that is so whatever a crash leaves.
    pub fn pass_time(&mut self, change: impl Fn(&mut Rows)) {
        self.log.iter_mut().for_each(change);
        self.log.dedup();
    }
}
