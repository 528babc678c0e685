//! Sessions that change tasks with queue keys, and the definitions of their types.

use crate::keys::{KEY_TYPES, KeyType, entry, key, type_of_key};
use crate::row::position;
use crate::session::Session;
use crate::world::{DATABASE, World, lane};
use pg_errand_queue::{Announcement, Key, KeyEntry, Lane};

impl<const W: usize, const C: usize> World<W, C> {
    /// A key of a task. Most tasks have one of a few keys.
    pub fn any_key(&mut self) -> Key {
        let number = if self.rng.one_in(4) { self.rng.below(24) } else { self.rng.below(3) };
        key(self.rng.below(KEY_TYPES), number)
    }

    /// The lane and entry of a key as a session knows its type.
    pub fn entry_of(&self, key: Key, since: i64, priority: i16) -> (Lane, KeyEntry) {
        entry(&self.key_types, key, since, priority)
    }

    /// The same as a worker knows the type, of a key of which another task may run now.
    pub fn entry_now(&self, worker: usize, key: Key) -> (Lane, KeyEntry) {
        entry(&self.workers[worker].key_types, key, self.now, 0)
    }

    pub fn step_key_session(&mut self) {
        match self.rng.below(8) {
            0..3 => self.move_task(),
            3..5 => self.cancel_task(),
            5 => self.pause_key(),
            _ => self.change_definition(),
        }
    }

    /// A waiting task that no process has locked, and whose last change was announced.
    fn any_waiting(&mut self) -> Option<usize> {
        let task = self.rng.below(self.rows.len().max(1));
        let row = self.rows.get(task)?;
        let is_waiting = row.is_open() && row.owner.is_none() && self.is_free(task);
        (is_waiting && self.sessions.iter().all(|session| !session.tasks.contains(&task))).then_some(task)
    }

    /// Changes the time or the key of a waiting task, or lets it have a key or none.
    fn move_task(&mut self) {
        let Some(task) = self.any_waiting() else { return };
        let now = self.now;
        let before = self.rows[task].key;
        match before {
            Some(_) if self.rng.one_in(2) => {
                let change = self.rng.duration();
                self.rows[task].scheduled_at = if self.rng.one_in(2) { now - change } else { now + change };
            }
            Some(_) if self.rng.one_in(6) => self.rows[task].key = None,
            _ => {
                let key = self.any_key();
                self.rows[task].key = Some(key);
                self.rows[task].lane = type_of_key(&self.key_types, key).lane;
            }
        }
        self.rows[task].placed_in = self.steps;
        self.rows[task].is_told = false;
        let mut session = Session::committed();
        session.keys.extend(before.map(|key| self.entry_of(key, now, 0)));
        session.add(&self.rows, task, &self.key_types);
        self.sessions.push(session);
    }

    /// Ends a waiting task.
    fn cancel_task(&mut self) {
        let Some(task) = self.any_waiting() else { return };
        let Some(key) = self.rows[task].key else { return };
        self.end_outside(task, key);
    }

    /// `queues.pause_key` and `queues.resume_key`.
    fn pause_key(&mut self) {
        let key = self.any_key();
        if self.pauses.remove(&key).is_some() {
            return self.sessions.push(Session::of_key(self.entry_of(key, self.now, 0)));
        }
        let until = self.now + 1 + self.rng.duration();
        self.pauses.insert(key, until);
        self.sessions.push(Session { due: Some(until), ..Session::committed() });
    }

    /// Commits the end of a task that no worker inside has run.
    pub fn end_outside(&mut self, task: usize, key: Key) {
        self.rows[task].ends += 1;
        self.checks.ended += 1;
        self.sessions.push(Session::of_key(self.entry_of(key, self.now, 0)));
    }

    /// Changes a type whose tasks have keys.
    fn change_definition(&mut self) {
        let place = self.rng.below(KEY_TYPES);
        // Workers count starts of limited types only for tasks without calls here.
        let lanes = match place {
            1 | 2 => [Lane::LOCAL, lane(1), lane(2)],
            _ => [Lane::LOCAL, Lane::of_type(0), Lane::of_type(1)],
        };
        let earlier = self.key_types[place];
        let lane = if self.rng.one_in(2) { earlier.lane } else { lanes[self.rng.below(3)] };
        let max_running = [1, 1, 2, 3][self.rng.below(4)];
        self.key_types[place] = KeyType { lane, max_running };
        for task in 0..self.rows.len() {
            let is_of = self.rows[task].key.is_some_and(|key| key.task_type == place as i64);
            if is_of && self.rows[task].ends == 0 && self.rows[task].owner.is_none() && self.is_free(task) {
                self.rows[task].lane = lane;
            }
        }
        self.sessions.push(Session { definitions: true, ..Session::committed() });
    }

    /// `record::repeat`: announces when the task may run again.
    pub fn announce_repeat(&mut self, worker: usize, until: i64) {
        let mut announcement: Announcement = Announcement::NOTHING;
        announcement.due(until);
        let task_id = self.shared.slots[self.workers[worker].slot].task_id;
        if let Some(key) = self.rows[crate::row::index(task_id)].key {
            let types = &self.workers[worker].key_types;
            let (lane, entry) = entry(types, key, until, 0);
            announcement.key(lane, entry);
        }
        self.shared.announce(DATABASE, &announcement, self.now);
    }
}

impl Session {
    /// Adds the announcement of a task, as the trigger of the table does.
    pub fn add(&mut self, rows: &[crate::row::Row], task: usize, types: &crate::keys::KeyTypes) {
        let row = &rows[task];
        match row.key {
            Some(key) => self.keys.push(entry(types, key, row.scheduled_at, row.priority)),
            None => self.places.push((task, row.lane, position(rows, task))),
        }
        self.tasks.push(task);
    }
}
