//! The tables: the visible rows, and the rows that a crash could leave.

use super::{TASKS, Task};

/// The outcome of a request to a provider.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    Accepted,
    /// A timeout, or "outcome unknown". A rejection is handled in the same way.
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

/// A row of `queues.task`, its row of `queues.call`, and the effects of its handlers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    pub status: Status,
    pub calling: bool,
    /// `not_before` is in the future, since a worker outside has dequeued the task.
    pub leased: bool,
    pub call: Option<Call>,
    /// The number of times that a `db_function` or `success_handler` took effect.
    pub effects: u8,
    /// The number of times that an `error_handler` took effect.
    pub error_effects: u8,
    /// An error of the last handler, or of the commit, is recorded.
    pub complaint: bool,
    /// The number of times that the task ended, except by workers outside.
    pub ends: u8,
    pub ended_outside: bool,
    /// Used only by the protocol that marks running tasks in their rows.
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

    /// The update of `finish.sql`, which does not change a task that has ended, and `call_end.sql`.
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
    /// The commit waits for the flush, which includes all earlier commits.
    ForDisk,
    /// `transaction::commit_asynchronously`.
    No,
}

/// The first entry is flushed. The others are the states after later commits; the last one is visible, and a crash may
/// leave any of them.
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

    /// Flushes all commits so far.
    pub fn flush(&mut self) {
        self.log.drain(..self.log.len() - 1);
    }

    /// The server is started again with the first `kept` entries.
    pub fn crash(&mut self, kept: usize) {
        self.log.drain(..kept);
        self.log.truncate(1);
    }

    /// A point in time that rows name has passed, whatever a crash leaves.
    pub fn pass_time(&mut self, change: impl Fn(&mut Rows)) {
        self.log.iter_mut().for_each(change);
        self.log.dedup();
    }
}
