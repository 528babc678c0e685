//! Lets all tasks come to their end, without further faults.

use crate::world::{POLL_INTERVAL, World};
use pg_errand_queue::NEVER;

/// The number of steps in which all tasks have to come to their end.
const ENOUGH: u64 = 400_000;

impl<const W: usize, const C: usize> World<W, C> {
    /// The first part has no periodic sweeps, which announced tasks must not need. Tasks that were not announced end
    /// within a few sweeps of the second part.
    pub fn drain(&mut self) {
        self.has_faults = false;
        self.unlock_rows();
        while !self.quiescers.is_empty() {
            self.end_quiesce();
        }
        self.polls = false;
        if self.rng.one_in(2) {
            // What is not paused ends, and nothing moves any more.
            self.settle(NEVER);
        }
        self.resume_all();
        self.settle(NEVER);
        for _ in 0..self.rng.below(6) {
            // A few tasks, which are enqueued while workers become idle.
            (0..2).for_each(|_| self.enqueue());
            self.settle(NEVER);
        }
        for (index, row) in self.rows.iter().enumerate() {
            let is_excused = row.is_disturbed
                || row.ends > 0
                || !row.is_committed
                || row.key.is_some_and(|key| self.is_key_disturbed(key));
            assert!(is_excused, "task {} waits for the next sweep: {row:?}", index + 1);
        }
        self.polls = true;
        // A sweep looks at some of the keys only.
        let sweeps = if self.has_keys { 9 } else { 3 };
        self.settle(self.now + sweeps * POLL_INTERVAL);
        self.check_end();
    }

    /// Takes every possible step, and advances the clock when there is none, up to `end`.
    pub fn settle(&mut self, end: i64) {
        for _ in 0..ENOUGH {
            self.steps += 1;
            if self.step_one() {
                self.check();
                continue;
            }
            self.check_rest();
            let next = self.next_event();
            if next == NEVER || next > end {
                return;
            }
            self.now = next.max(self.now);
        }
        let hands: Vec<_> = self.workers.iter().map(|worker| &worker.hand).collect();
        panic!("it does not come to an end at {}: {hands:?}", self.now);
    }

    /// Takes a random step; false if no process has one.
    pub fn step_one(&mut self) -> bool {
        self.workers.retain(|worker| worker.hand != crate::worker::Hand::Gone);
        let mut able: Vec<usize> = (0..self.workers.len()).filter(|worker| self.can_step(*worker)).collect();
        let workers = self.workers.len();
        able.extend(self.launcher_has_cause().then_some(workers));
        if !self.outsiders.is_empty() && (able.is_empty() || self.rng.one_in(8)) {
            self.step_outsider();
            return true;
        }
        if !self.sessions.is_empty() && (able.is_empty() || self.rng.one_in(8)) {
            able = vec![workers + 1];
        }
        if able.is_empty() {
            return false;
        }
        match able[self.rng.below(able.len())] {
            worker if worker < workers => self.step_worker(worker),
            worker if worker == workers => self.step_launcher(),
            _ => self.end_session(),
        }
        true
    }

    pub fn next_event(&self) -> i64 {
        let polls = self.workers.iter().filter_map(|worker| match worker.hand {
            crate::worker::Hand::Waits { since, .. } if self.polls => Some(since + POLL_INTERVAL),
            _ => None,
        });
        let own = self.workers.iter().map(|worker| worker.next_event());
        own.chain(polls).chain([self.launcher.until]).min().unwrap_or(NEVER)
    }
}
