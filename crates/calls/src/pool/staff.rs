//! Decides which thread makes a call.

/// How many calls may be in flight for another one to start at once.
#[derive(Clone, Copy)]
pub struct Room {
    /// Limit for threads that take queued jobs after their first one.
    pub limit: usize,
    /// Limit for additional threads, each for one call only.
    pub extra: usize,
}

/// The thread that makes a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// An existing thread, as soon as one is free.
    Queued,
    /// A new thread, which takes queued jobs afterwards.
    Thread,
    /// A new thread for this call only.
    Extra,
}

/// The threads of a pool.
#[derive(Default)]
pub struct Staff {
    pub threads: usize,
    /// Threads for one call each, which `threads` does not count.
    extra: usize,
    /// Threads that wait for a job, less the jobs that wait for a thread.
    idle: isize,
}

impl Staff {
    /// Decides which thread makes the next call.
    pub fn assign(&mut self, room: Room) -> Assignment {
        if self.idle <= 0 && self.threads < room.limit.max(1) {
            self.threads += 1;
            Assignment::Thread
        } else if self.idle <= 0 && self.extra < room.extra {
            self.extra += 1;
            Assignment::Extra
        } else {
            self.idle -= 1;
            Assignment::Queued
        }
    }

    /// Notes that a thread waits for a job.
    pub fn add_idle(&mut self) {
        self.idle += 1;
    }

    /// Notes that a thread that was started for a job has ended.
    pub fn leave(&mut self, assignment: Assignment) {
        match assignment {
            Assignment::Thread => self.threads -= 1,
            Assignment::Extra => self.extra -= 1,
            Assignment::Queued => {}
        }
    }

    /// Lets a thread without work end, unless a job is queued for it.
    pub fn dismiss(&mut self) -> bool {
        let may_end = self.idle > 0;
        if may_end {
            self.idle -= 1;
            self.leave(Assignment::Thread);
        }
        may_end
    }
}
