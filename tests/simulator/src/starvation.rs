//! A task that ages starts, however many tasks of a higher priority are enqueued all the time.

use crate::types::aged_lane;
use crate::world::{AGES_EVERY, DATABASE, World};
use pg_errand_queue::{Lane, NEVER};

/// The number of tasks of a higher priority that wait at any time in each of two lanes.
const BACKLOG: usize = 6;
const LOW: i16 = -2;
const HIGH: i16 = 2;
/// The time that the handlers of two tasks may take, one after the other, in microseconds.
const TWO_RUNS: i64 = 2_000_000;

impl<const W: usize, const C: usize> World<W, C> {
    /// The low task has a higher effective priority than those that are enqueued as soon as it has gained enough. Then it
    /// starts when a running task has ended, and after those that aged together with it.
    pub fn check_starvation(&mut self) {
        self.polls = false;
        self.ages_every = AGES_EVERY;
        self.shared.forget_queue(DATABASE, self.now);
        self.settle(NEVER);
        let low = self.enqueue_one(aged_lane(), LOW);
        let since = self.now;
        let gains = i64::from(HIGH - LOW + 1) * AGES_EVERY;
        let mut others = 0;
        while self.rows[low].ends == 0 {
            for lane in [Lane::LOCAL, aged_lane()] {
                let waits =
                    |row: &&crate::row::Row| row.lane == lane && row.priority == HIGH && row.ends == 0;
                if self.rows.iter().filter(waits).count() < BACKLOG {
                    self.enqueue_one(lane, HIGH);
                    others += 1;
                }
            }
            if self.step_one() {
                self.steps += 1;
                self.check();
            } else {
                self.now = self.next_event().max(self.now);
            }
            let age = self.now - since;
            assert!(age <= gains + 2 * TWO_RUNS, "a task waits for {age} behind {others} others");
        }
        self.settle(NEVER);
        self.polls = true;
    }
}
