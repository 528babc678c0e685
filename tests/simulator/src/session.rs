//! Sessions that enqueue.

use crate::keys::type_of_key;
use crate::pauses::Paused;
use crate::row::{Row, position};
use crate::types::TYPES;
use crate::world::{DATABASE, PROVIDERS, World, lane};
use pg_errand_queue::{Announcement, Key, KeyEntry, Lane, Position};

/// A transaction that has enqueued or changed tasks, and what it announces.
#[derive(Default)]
pub struct Session {
    pub tasks: Vec<usize>,
    /// The places of those tasks that have no key.
    pub places: Vec<(usize, Lane, Position)>,
    pub keys: Vec<(Lane, KeyEntry)>,
    /// A task becomes ready at this time.
    pub due: Option<i64>,
    /// Task definitions have changed.
    pub definitions: bool,
    /// Pauses have changed.
    pub pauses: bool,
    /// The pauses that it has read, and the number of changes as of which it has.
    pub knows: Option<(u64, Paused)>,
    pub is_committed: bool,
    /// It was committed by PREPARE TRANSACTION.
    pub is_prepared: bool,
}

impl Session {
    /// A session whose changes are visible.
    pub fn committed() -> Session {
        Session { is_committed: true, ..Session::default() }
    }

    /// True if it announces no task of this lane, which it knows as paused.
    fn leaves_out(&self, lane: Lane) -> bool {
        self.knows.as_ref().is_some_and(|(_, paused)| paused.holds(lane))
    }

    /// A session that lets another task of a key run.
    pub fn of_key(entry: (Lane, KeyEntry)) -> Session {
        Session { keys: vec![entry], ..Session::committed() }
    }
}

impl<const W: usize, const C: usize> World<W, C> {
    pub fn step_session(&mut self) {
        let open = self.sessions.len();
        if self.has_priorities && self.rng.one_in(10) {
            return self.change_priority();
        }
        if self.has_pauses && self.rng.one_in(25) {
            return self.change_pause();
        }
        if self.has_keys && self.rng.one_in(12) {
            return self.step_key_session();
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
            let mut session = Session::committed();
            session.add(&self.rows, index, &self.key_types);
            self.sessions.push(session);
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
        let changes = self.shared.database(DATABASE).map_or(0, |database| database.definition_changes);
        let knows = Some((changes, self.paused.at(self.now)));
        let mut session = Session { is_prepared: self.rng.one_in(30), knows, ..Session::default() };
        for _ in 0..count {
            let key = (self.has_keys && self.rng.one_in(2)).then(|| self.any_key());
            let lane = match self.rng.below(6) {
                0..3 => Lane::LOCAL,
                3 => Lane::of_type(self.rng.below(TYPES)),
                _ => lane(self.rng.below(PROVIDERS)),
            };
            let delay = if self.rng.one_in(4) { self.rng.duration() } else { 0 };
            let lane = key.map_or(lane, |key| type_of_key(&self.key_types, key).lane);
            let priority = self.priority();
            let task = self.add_row(lane, key, priority, self.now + delay);
            session.add(&self.rows, task, &self.key_types);
        }
        self.sessions.push(session);
    }

    /// A session that enqueues a task that is due.
    pub fn enqueue_one(&mut self, lane: Lane, priority: i16) -> usize {
        let task = self.add_row(lane, None, priority, self.now);
        let mut session = Session::default();
        session.add(&self.rows, task, &self.key_types);
        self.sessions.push(session);
        task
    }

    /// Adds a row that is not committed.
    fn add_row(&mut self, lane: Lane, key: Option<Key>, priority: i16, scheduled_at: i64) -> usize {
        self.rows.push(Row {
            lane,
            key,
            priority,
            scheduled_at,
            not_before: None,
            is_leased: false,
            is_committed: false,
            ends: 0,
            owner: None,
            is_locked: false,
            is_told: false,
            is_disturbed: false,
            placed_in: 0,
        });
        self.rows.len() - 1
    }

    /// The rows become visible. Some are never announced, as if a row had been changed manually.
    fn commit(&mut self, index: usize) {
        let is_untold = self.has_faults && self.rng.one_in(20);
        let session = &mut self.sessions[index];
        session.is_committed = true;
        for task in &session.tasks {
            (self.rows[*task].is_committed, self.rows[*task].placed_in) = (true, self.steps);
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
        // A key that is announced at an earlier time than its last turn stands before others again.
        self.checks.turns.clear();
        if session.definitions {
            self.shared.forget_queue(DATABASE, self.now);
            self.checks.close_breakers();
        }
        if session.pauses {
            self.announce_pauses();
        }
        for (task, lane, place) in &session.places {
            let is_same = self.rows[*task].key.is_none() && position(&self.rows, *task) == *place;
            self.rows[*task].is_told =
                is_same && place.scheduled_at <= self.now && !session.leaves_out(*lane);
        }
        // Some sessions have room for few tasks and keys, so that others are read.
        if self.rng.one_in(2) {
            self.tell(&session, Announcement::<16>::NOTHING);
        } else {
            self.tell(&session, Announcement::<3>::NOTHING);
        }
    }

    fn tell<const FEW: usize>(&mut self, session: &Session, mut announcement: Announcement<FEW>) {
        let (left_out, places): (Vec<_>, Vec<_>) =
            session.places.iter().partition(|(_, lane, _)| session.leaves_out(*lane));
        let (keys_left_out, keys): (Vec<_>, Vec<_>) =
            session.keys.iter().partition(|(lane, _)| session.leaves_out(*lane));
        places.iter().for_each(|(_, lane, place)| announcement.task(*lane, *place));
        keys.iter().for_each(|(lane, entry)| announcement.key(*lane, *entry));
        session.due.into_iter().for_each(|due| announcement.due(due));
        if announcement.tasks() > 0 {
            self.shared.announce(DATABASE, &announcement, self.now);
        }
        if let Some((as_of, _)) = session.knows
            && !(left_out.is_empty() && keys_left_out.is_empty())
        {
            self.shared.announce_paused(DATABASE, as_of, self.now);
        }
    }
}
