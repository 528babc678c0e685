//! How a worker claims the next task of a queue key: `claim_key`.

use crate::keys::{
    FoundKeys, Head, KeyType, MAX_STEPS, Scan, entry, head, place, read_due, scan, type_of_key,
};
use crate::row::task_id;
use crate::worker::{Hand, Signals};
use crate::world::{DATABASE, World};
use pg_errand_queue::{Class, Key, KeyEntry, Lane};

/// For how long a worker keeps a key that is locked, in microseconds.
const KEY_PAUSE: i64 = 20_000;

/// A key that a worker hands back after a while.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Kept {
    pub until: i64,
    /// The task because of which it keeps the key.
    pub task_id: Option<i64>,
    pub lane: Lane,
    pub entry: KeyEntry,
}

/// A worker's search for the next task of a key.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Search {
    pub signals: Signals,
    pub lane: Lane,
    pub entry: KeyEntry,
    pub step: KeyStep,
    /// The step in which it read the rows.
    pub read_in: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum KeyStep {
    /// The slot shows the key.
    Shown,
    /// No session outside has locked the key.
    Passed,
    /// So many other workers show the key.
    Counted(u32),
    /// Fewer tasks of the key run than may, according to the rows.
    Read(Head),
}

impl<const W: usize, const C: usize> World<W, C> {
    /// The next step of a search.
    pub fn search(&mut self, worker: usize, search: Search) -> Hand {
        let key = search.entry.key;
        let go_on = |step| Hand::Searches(Search { step, ..search });
        let leave = Hand::Looks(search.signals);
        match search.step {
            KeyStep::Shown if self.is_key_locked(key) => {
                self.keep(worker, &search, self.now + KEY_PAUSE, None);
                leave
            }
            KeyStep::Shown => go_on(KeyStep::Passed),
            // A task that ends its first step from here on counts twice, and not at all otherwise.
            KeyStep::Passed => go_on(KeyStep::Counted(self.shared.shown(DATABASE, key).saturating_sub(1))),
            KeyStep::Counted(others) => {
                let head = head(&self.rows, &self.pauses, key, search.entry.after, self.now);
                let head = head.filter(Head::is_due);
                head.and_then(|head| self.decide(worker, search, others, head)).unwrap_or(leave)
            }
            KeyStep::Read(head) => self.lock_next(worker, &search, head).unwrap_or(leave),
        }
    }

    /// `Search::claim`, after the rows have been read.
    fn decide(&mut self, worker: usize, search: Search, others: u32, head: Head) -> Option<Hand> {
        let slot = self.workers[worker].slot;
        let KeyType { lane, max_running } = type_of_key(&self.workers[worker].key_types, search.entry.key);
        let priority = self.rows[head.task].priority;
        let KeyEntry { max_running: announced, priority: expected, .. } = search.entry;
        let is_known = (lane, max_running, priority) == (search.lane, announced, expected);
        if !is_known && !self.shared.correct_key(slot, lane, max_running, priority) {
            return None;
        }
        if others + head.busy >= max_running {
            if others > 0 {
                self.shared.leave_to_other(slot);
            }
            return None;
        }
        Some(Hand::Searches(Search { step: KeyStep::Read(head), read_in: self.steps, ..search }))
    }

    /// `claim_first` and `claim_any`.
    fn lock_next(&mut self, worker: usize, search: &Search, head: Head) -> Option<Hand> {
        let max_running = self.known_max(worker, search.entry.key);
        let task = match max_running {
            1 if !head.is_free || self.keeps(worker, search, head.task) => return None,
            1 if self.is_lockable(head.task, search.entry.key) => head.task,
            1 => {
                self.keep(worker, search, self.now + KEY_PAUSE, None);
                return None;
            }
            _ => {
                let tasks = crate::keys::tasks_of(&self.rows, search.entry.key);
                let task = tasks.into_iter().find(|task| self.is_lockable(*task, search.entry.key))?;
                if self.keeps(worker, search, task) {
                    return None;
                }
                task
            }
        };
        self.check_start_of_key(task, max_running, search.read_in);
        // The worker runs it as it knows its type.
        self.rows[task].lane = type_of_key(&self.workers[worker].key_types, search.entry.key).lane;
        self.workers[worker].follower = head.follower.or((max_running > 1).then_some(i16::MIN));
        self.workers[worker].first = (max_running == 1).then(|| place(&self.rows, task));
        Some(Hand::Locked(search.signals, task))
    }

    fn known_max(&self, worker: usize, key: Key) -> u32 {
        type_of_key(&self.workers[worker].key_types, key).max_running
    }

    pub fn is_lockable(&self, task: usize, key: Key) -> bool {
        let row = &self.rows[task];
        row.key == Some(key) && row.is_ready(self.now) && self.is_free(task)
    }

    /// `Deferred::hold_key` and `Deferred::hold`.
    fn keep(&mut self, worker: usize, search: &Search, until: i64, task_id: Option<i64>) {
        let Search { lane, entry, .. } = *search;
        self.workers[worker].keep(Kept { until, task_id, lane, entry });
    }

    /// `Deferred::holds`.
    fn keeps(&mut self, worker: usize, search: &Search, task: usize) -> bool {
        let (now, id) = (self.now, task_id(task));
        let kept = &mut self.workers[worker].kept;
        let kept = kept.iter_mut().find(|kept| kept.task_id == Some(id) && kept.until > now);
        kept.map(|kept| (kept.lane, kept.entry) = (search.lane, search.entry)).is_some()
    }

    /// `Worker::work` hands back what was kept long enough.
    pub fn hand_back_keys(&mut self, worker: usize) {
        let now = self.now;
        let over: Vec<Kept> = self.workers[worker].kept.extract_if(.., |kept| kept.until <= now).collect();
        let slot = self.workers[worker].slot;
        for Kept { lane, entry, .. } in over {
            self.checks.turns.clear();
            self.shared.hand_back_key(slot, lane, entry);
        }
    }

    /// The keys that `read_keys::add_due` finds: those of tasks that have become ready, and those whose pause has ended.
    pub fn read_due_keys(&mut self, worker: usize, since: i64, until: i64) -> Vec<(Lane, KeyEntry)> {
        let types = &self.workers[worker].key_types;
        let mut due = read_due(&self.rows, types, since, until);
        let resumed = self.pauses.extract_if(|_, paused_until| *paused_until <= until);
        due.extend(resumed.map(|(key, _)| entry(types, key, self.now, 0)));
        due
    }

    /// `read_keys::scan` of `fill`.
    pub fn read_keys(&mut self, worker: usize, lane: Lane, after: Key) -> FoundKeys {
        let limit = pg_errand_queue::Queue::<W, C>::window(lane, Class::Plain);
        let (types, pauses) = (&self.workers[worker].key_types, &self.pauses);
        scan(&self.rows, &Scan { types, pauses, lane, after, limit, steps: MAX_STEPS, now: self.now })
    }
}
