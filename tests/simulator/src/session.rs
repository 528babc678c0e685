//! Sessions that enqueue.

use crate::row::{Row, position};
use crate::world::{DATABASE, PROVIDERS, World, lane};
use pg_errand_queue::{Announcement, Lane};

/// A transaction that has enqueued tasks.
pub struct Session {
    tasks: Vec<usize>,
    is_committed: bool,
    /// It was committed by PREPARE TRANSACTION.
    is_prepared: bool,
}

impl<const W: usize, const C: usize> World<W, C> {
    pub fn step_session(&mut self) {
        let open = self.sessions.len();
        if self.has_priorities && self.rng.one_in(10) {
            return self.change_priority();
        }
        if open == 0 || open < 4 && self.rng.one_in(4) && self.unfinished() < 100 {
            return self.enqueue();
        }
        self.end_session();
    }

    /// A transaction that changes the priority of a waiting task. An update waits for the row's lock.
    fn change_priority(&mut self) {
        let Some(index) = self.rows.len().checked_sub(1).map(|last| self.rng.below(last + 1)) else { return };
        let is_waiting = self.rows[index].is_open() && self.rows[index].owner.is_none();
        let is_announced = self.sessions.iter().all(|session| !session.tasks.contains(&index));
        if is_waiting && is_announced && self.is_free(index) {
            self.rows[index].priority = self.priority();
            self.rows[index].is_told = false;
            self.sessions.push(Session { tasks: vec![index], is_committed: true, is_prepared: false });
        }
    }

    /// The next step of a session that has begun.
    pub fn end_session(&mut self) {
        let index = self.rng.below(self.sessions.len());
        if self.sessions[index].is_committed { self.announce(index) } else { self.commit(index) }
    }

    /// Mostly 0. At times a whole simulation has only such tasks.
    fn priority(&mut self) -> i16 {
        if self.has_priorities && self.rng.one_in(3) { self.rng.below(5) as i16 - 2 } else { 0 }
    }

    fn unfinished(&self) -> usize {
        self.rows.iter().filter(|row| row.ends == 0).count()
    }

    pub fn enqueue(&mut self) {
        let count = if self.rng.one_in(8) { 1 + self.rng.below(30) } else { 1 + self.rng.below(3) };
        let mut tasks = Vec::new();
        for _ in 0..count {
            let lane = if self.rng.one_in(2) { Lane::LOCAL } else { lane(self.rng.below(PROVIDERS)) };
            let delay = if self.rng.one_in(4) { self.rng.duration() } else { 0 };
            let row = Row {
                lane,
                priority: self.priority(),
                scheduled_at: self.now + delay,
                not_before: None,
                is_committed: false,
                ends: 0,
                owner: None,
                is_locked: false,
                is_told: false,
                is_disturbed: false,
            };
            tasks.push(self.rows.len());
            self.rows.push(row);
        }
        self.sessions.push(Session { tasks, is_committed: false, is_prepared: self.rng.one_in(30) });
    }

    /// The rows become visible. Some are never announced, as if a row had been changed manually.
    fn commit(&mut self, index: usize) {
        let is_untold = self.has_faults && self.rng.one_in(20);
        let session = &mut self.sessions[index];
        session.is_committed = true;
        for task in &session.tasks {
            self.rows[*task].is_committed = true;
            self.rows[*task].is_disturbed |= is_untold;
        }
        if session.is_prepared
            && let Some(database) = self.shared.database_or_new(DATABASE)
        {
            database.unannounced = true;
            database.announced += 1;
        }
        if is_untold {
            self.sessions.swap_remove(index);
        }
    }

    /// `wake::at_transaction_end`.
    fn announce(&mut self, index: usize) {
        let session = self.sessions.swap_remove(index);
        if session.is_prepared {
            return self.shared.announce_prepared(DATABASE, self.now);
        }
        let mut announcement: Announcement = Announcement::NOTHING;
        for task in session.tasks {
            self.rows[task].is_told = self.rows[task].scheduled_at <= self.now;
            announcement.task(self.rows[task].lane, position(&self.rows, task));
        }
        self.shared.announce(DATABASE, &announcement, self.now);
    }
}
