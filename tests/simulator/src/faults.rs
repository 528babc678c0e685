//! Faults.

use crate::launcher::Launcher;
use crate::worker::Hand;
use crate::world::{AGES_EVERY, DATABASE, SLOTS, Shared, World};
use pg_errand_queue::SlotState;

impl<const W: usize, const C: usize> World<W, C> {
    pub fn fault(&mut self) {
        match self.rng.below(20) {
            0 => self.crash(),
            1..7 => self.die(),
            7..9 => self.lose_start(),
            9..13 => self.lock_row(),
            13..15 => self.quiesce(),
            15..17 => self.end_quiesce(),
            17 => {
                self.ages_every = [0, AGES_EVERY, 10 * AGES_EVERY][self.rng.below(3)];
                self.shared.forget_queue(DATABASE, self.now);
                self.checks.close_breakers();
            }
            18 => self.retire(),
            _ => self.set_clock_back(),
        }
        if self.rng.one_in(2) {
            self.unlock_rows();
        }
    }

    /// A worker process dies at any step. Its transaction is rolled back before its slot is released.
    fn die(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        let worker = self.rng.below(self.workers.len());
        let is_up = !matches!(
            self.workers[worker].hand,
            Hand::Gone | Hand::Starts | Hand::Detaches | Hand::Repeated(_)
        );
        if is_up {
            self.workers[worker].hand = Hand::Detaches;
        }
    }

    /// A process that the launcher has requested never attaches.
    fn lose_start(&mut self) {
        let starting = self.workers.iter_mut().find(|worker| worker.hand == Hand::Starts);
        if let Some(worker) = starting {
            worker.hand = Hand::Gone;
            self.shared.launcher = crate::world::Flag(true);
        }
    }

    /// The server crashes: shared memory is new, and the journal is kept.
    fn crash(&mut self) {
        let culprit = self.rng.below(SLOTS);
        for slot in 0..SLOTS {
            self.checks.interrupt(self.shared.slots[slot].task_id, slot == culprit);
        }
        self.journal.recover(|slot| slot != culprit);
        self.restart();
    }

    /// Every process is new. Sessions that had not announced need not do so any more.
    pub fn restart(&mut self) {
        let owner = self.shared.next_owner.max(self.now);
        self.workers.clear();
        self.sessions.clear();
        self.quiescers.clear();
        self.outsiders.clear();
        self.shared = Shared::new(owner);
        self.checks.forget_limits();
        self.launcher = Launcher::new();
        self.unlock_rows();
        for row in &mut self.rows {
            row.is_disturbed = false;
        }
        if let Some(database) = self.shared.know(DATABASE, true) {
            database.has_extension = true;
        }
    }

    fn lock_row(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let task = self.rng.below(self.rows.len());
        if self.rows[task].is_open() && self.is_free(task) {
            // A worker that finds the first task of a key locked tries again.
            let is_first = self.rows[task].key.is_some_and(|key| self.is_one_at_a_time(key));
            self.rows[task].is_locked = true;
            self.rows[task].is_disturbed |= !is_first;
        }
    }

    pub fn unlock_rows(&mut self) {
        self.rows.iter_mut().for_each(|row| row.is_locked = false);
    }

    /// A command quiesces the database, and ends its workers.
    fn quiesce(&mut self) {
        let pid = 10 + self.rng.below(4) as i32;
        if self.shared.quiesce(DATABASE, pid, self.now).is_some() && !self.quiescers.contains(&pid) {
            self.quiescers.push(pid);
        }
        for worker in &mut self.workers {
            let slot = &self.shared.slots[worker.slot];
            if slot.owner == worker.owner
                && slot.retire
                && worker.hand != Hand::Gone
                && slot.state != SlotState::Free
                && !matches!(worker.hand, Hand::Repeated(_))
            {
                worker.hand = Hand::Detaches;
            }
        }
    }

    pub fn end_quiesce(&mut self) {
        if let Some(pid) = self.quiescers.pop() {
            self.shared.end_quiesce(pid, self.now);
        }
    }

    fn retire(&mut self) {
        let slot = self.rng.below(SLOTS);
        if self.shared.slots[slot].is_live() {
            self.shared.retire(slot, self.now);
        }
    }

    fn set_clock_back(&mut self) {
        self.now -= self.rng.duration();
        self.shared.set_clock_back(self.now);
        self.checks.turns.clear();
        // Tasks that fall due again are not announced again.
        for row in self.rows.iter_mut().filter(|row| row.scheduled_at > self.now) {
            row.is_told = false;
        }
        self.checks.forget_limits();
        self.launcher.until = self.launcher.until.min(self.now);
    }
}
