//! What has to hold for tasks with queue keys.

use crate::keys::{tasks_of, type_of_key};
use crate::outsider::Outsider;
use crate::row::task_id;
use crate::types::is_of_type;
use crate::world::{DATABASE, World};
use pg_errand_queue::{Key, Lane, NEVER, SlotState};

/// How often a key may have its turn while another one waits that is known: those that stood before it, and those that
/// were taken before.
const MOST_TURNS: usize = 4;

impl<const W: usize, const C: usize> World<W, C> {
    /// True if the task has started and not ended.
    fn runs(&self, task: usize) -> bool {
        self.rows[task].is_busy(self.now)
            || self.workers.iter().any(|worker| worker.locked() == Some(task))
            || self.outsiders.iter().any(|outsider| outsider.locked() == Some(task))
    }

    fn running_of(&self, key: Key) -> usize {
        tasks_of(&self.rows, key).into_iter().filter(|task| self.runs(*task)).count()
    }

    /// Checks that a process may start a task whose row it locks now. It has read the rows in the step `read_in`, and
    /// lets `max_running` tasks of the key run.
    pub fn check_start_of_key(&self, task: usize, max_running: u32, read_in: u64) {
        let Some(key) = self.rows[task].key else { return };
        let running = self.running_of(key);
        let what = || format!("{:?} at {}", self.rows[task], self.now);
        assert!(running < max_running as usize, "{running} others of {key:?} run before {}", what());
        if max_running > 1 || self.rows[task].placed_in > read_in {
            return;
        }
        for earlier in tasks_of(&self.rows, key) {
            let row = &self.rows[earlier];
            let precedes =
                (row.scheduled_at, task_id(earlier)) < (self.rows[task].scheduled_at, task_id(task));
            assert!(!precedes || row.placed_in > read_in, "{row:?} waits before {}", what());
        }
    }

    /// True if every worker lets one task of the key run at a time.
    pub fn is_one_at_a_time(&self, key: Key) -> bool {
        let is_one = |types| type_of_key(types, key).max_running == 1;
        is_one(&self.key_types) && self.workers.iter().all(|worker| is_one(&worker.key_types))
    }

    /// True if a task of the key need not be found before the next sweep.
    pub fn is_key_disturbed(&self, key: Key) -> bool {
        tasks_of(&self.rows, key).into_iter().any(|task| self.rows[task].is_disturbed)
    }

    /// Checks that no task of a key may start while no process has a step to take.
    pub fn check_rest(&self) {
        let mut keys: Vec<Key> =
            self.rows.iter().filter_map(|row| row.key.filter(|_| row.is_open())).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            if let Some(task) = self.startable(key).filter(|_| !self.is_excused(key)) {
                panic!("task {} of {key:?} waits at rest: {:?}", task_id(task), self.rows[task]);
            }
        }
    }

    /// The task of a key that may start now according to the rows.
    pub fn startable(&self, key: Key) -> Option<usize> {
        let max_running = type_of_key(&self.key_types, key).max_running as usize;
        let tasks = tasks_of(&self.rows, key);
        let is_paused = self.pauses.get(&key).is_some_and(|until| *until > self.now)
            || self.is_paused(type_of_key(&self.key_types, key).lane);
        if is_paused || self.running_of(key) >= max_running {
            return None;
        }
        let first = if max_running == 1 { 1 } else { tasks.len() };
        tasks.into_iter().take(first).find(|task| self.is_lockable(*task, key))
    }

    /// Checks that the key whose task a worker starts has had no more turns than may be since another one is known that
    /// may start.
    pub fn check_turn(&mut self, slot: usize) {
        let (Some(shown), Some(queue)) = (self.shared.slots[slot].key, self.shared.queue_of(DATABASE)) else {
            return;
        };
        let known = queue.known_keys(shown.lane).iter();
        let before = known.filter(|known| known.priority >= shown.entry.priority).map(|known| known.key);
        let before: Vec<Key> = before.filter(|key| self.startable(*key).is_some()).collect();
        let before: Vec<Key> = before.into_iter().filter(|key| *key != shown.entry.key).collect();
        self.checks.turns.retain(|(lane, waiting, _), _| *lane != shown.lane || before.contains(waiting));
        for waiting in before {
            let turns = self.checks.turns.entry((shown.lane, waiting, shown.entry.key)).or_default();
            *turns += 1;
            assert!(*turns <= MOST_TURNS, "{:?} has {turns} turns before {waiting:?}", shown.entry);
        }
    }

    fn is_excused(&self, key: Key) -> bool {
        let lane = type_of_key(&self.key_types, key).lane;
        let is_kept = self.workers.iter().any(|worker| worker.kept.iter().any(|kept| kept.entry.key == key));
        // A requested sweep waits for a moment while other tasks are known.
        let waits = self.shared.queue_of(DATABASE).is_some_and(|queue| {
            queue.closed(lane, self.now).is_some() || queue.requested_sweep_at() != NEVER
        });
        let needs_call = lane != Lane::LOCAL && !is_of_type(lane);
        let has_idle = self
            .shared
            .slots_of(DATABASE)
            .any(|slot| slot.state == SlotState::Idle && !slot.retire && !(needs_call && slot.full));
        let is_locked = self.outsiders.iter().any(|outsider| !matches!(outsider, Outsider::Works(_)));
        self.is_key_disturbed(key) || is_kept || waits || !has_idle || is_locked || !self.quiescers.is_empty()
    }
}
