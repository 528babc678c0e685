//! Workers outside that dequeue tasks with queue keys: `lock_next_of_key`.

use crate::keys::{head, tasks_of, type_of_key};
use crate::session::Session;
use crate::world::{DATABASE, World};
use pg_errand_queue::Key;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Outsider {
    /// Its transaction has locked the key.
    Locks(Key),
    /// So many workers inside show the key.
    Counts(Key, u32),
    /// It has locked the row of a task.
    Leases(Key, usize),
    /// Its transaction has ended, and holds the lock for a moment yet. The task that it has leased, if any.
    Unlocks(Key, Option<usize>),
    Works(usize),
    Gone,
}

impl Outsider {
    /// The task whose row its transaction has locked.
    pub fn locked(&self) -> Option<usize> {
        match self {
            Outsider::Leases(_, task) => Some(*task),
            _ => None,
        }
    }

    fn locked_key(&self) -> Option<Key> {
        match self {
            Outsider::Locks(key)
            | Outsider::Counts(key, _)
            | Outsider::Leases(key, _)
            | Outsider::Unlocks(key, _) => Some(*key),
            Outsider::Works(_) | Outsider::Gone => None,
        }
    }
}

impl<const W: usize, const C: usize> World<W, C> {
    pub fn is_key_locked(&self, key: Key) -> bool {
        self.outsiders.iter().any(|outsider| outsider.locked_key() == Some(key))
    }

    /// A step of a worker outside, or the begin of another one.
    pub fn step_outsider(&mut self) {
        if self.outsiders.len() < 3 && self.rng.one_in(4) {
            return self.begin_outside();
        }
        let Some(last) = self.outsiders.len().checked_sub(1) else { return };
        let index = self.rng.below(last + 1);
        let now = self.now;
        let outsider = self.outsiders[index];
        self.outsiders[index] = match outsider {
            Outsider::Locks(key) => Outsider::Counts(key, self.shared.shown(DATABASE, key)),
            Outsider::Counts(key, shown) => self.lock_outside(key, shown),
            // The transaction fails.
            Outsider::Leases(key, _) if self.rng.one_in(5) => self.end_transaction(key, None),
            Outsider::Leases(key, task) => {
                let until = now + self.rng.duration() + 1;
                (self.rows[task].is_leased, self.rows[task].not_before) = (true, Some(until));
                self.end_transaction(key, Some((task, until)))
            }
            Outsider::Unlocks(_, task) => task.map_or(Outsider::Gone, Outsider::Works),
            Outsider::Works(task) => {
                let row = &self.rows[task];
                let key = row.key.filter(|_| row.is_open() && row.owner.is_none() && self.is_free(task));
                if let Some(key) = key.filter(|_| !self.rng.one_in(4)) {
                    self.end_outside(task, key);
                }
                Outsider::Gone
            }
            Outsider::Gone => Outsider::Gone,
        };
        self.outsiders.retain(|outsider| *outsider != Outsider::Gone);
    }

    fn begin_outside(&mut self) {
        let task = self.rng.below(self.rows.len().max(1));
        let key = self.rows.get(task).filter(|row| row.is_open()).and_then(|row| row.key);
        if let Some(key) = key.filter(|key| !self.is_key_locked(*key)) {
            self.outsiders.push(Outsider::Locks(key));
        }
    }

    /// Counts the tasks of the key that run, and locks the next one.
    fn lock_outside(&mut self, key: Key, shown: u32) -> Outsider {
        let max_running = type_of_key(&self.key_types, key).max_running;
        let head = head(&self.rows, &self.pauses, key, None, self.now);
        let head = head.filter(|head| head.is_due() && shown + head.busy < max_running);
        let task = match head {
            Some(head) if max_running == 1 => Some(head.task).filter(|task| self.is_lockable(*task, key)),
            Some(_) => tasks_of(&self.rows, key).into_iter().find(|task| self.is_lockable(*task, key)),
            None => None,
        };
        let Some(task) = task else { return self.end_transaction(key, None) };
        self.check_start_of_key(task, max_running, self.steps);
        Outsider::Leases(key, task)
    }

    /// Ends the transaction, which announces the key, and when the lease ends.
    fn end_transaction(&mut self, key: Key, leased: Option<(usize, i64)>) -> Outsider {
        let mut session = Session::of_key(self.entry_of(key, self.now, 0));
        session.due = leased.map(|(_, until)| until);
        self.sessions.push(session);
        Outsider::Unlocks(key, leased.map(|(task, _)| task))
    }
}
