//! Pauses of the database and of task types, which are lanes here: no task starts from the announcement of a pause until it
//! is resumed.

use crate::session::Session;
use crate::world::{DATABASE, World, all_lanes};
use pg_errand_queue::{Lane, LaneSet, NEVER};

/// The rows of `queues.paused`: what is paused, `None` for the database, and until when.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Paused(Vec<(Option<Lane>, i64)>);

impl Paused {
    /// Those that have not ended.
    pub fn at(&self, now: i64) -> Paused {
        Paused(self.0.iter().copied().filter(|(_, until)| *until > now).collect())
    }

    pub fn has_database(&self) -> bool {
        self.0.iter().any(|(lane, _)| lane.is_none())
    }

    pub fn holds(&self, lane: Lane) -> bool {
        self.0.iter().any(|(paused, _)| *paused == Some(lane))
    }

    /// The lanes that are not paused.
    pub fn others(&self, lanes: LaneSet) -> LaneSet {
        self.0.iter().filter_map(|(lane, _)| *lane).fold(lanes, LaneSet::without)
    }

    /// When the next one ends.
    pub fn ends_at(&self) -> i64 {
        self.0.iter().map(|(_, until)| *until).min().unwrap_or(NEVER)
    }

    fn remove(&mut self, what: Option<Lane>) -> bool {
        let before = self.0.len();
        self.0.retain(|(paused, _)| *paused != what);
        self.0.len() < before
    }
}

impl<const W: usize, const C: usize> World<W, C> {
    /// Commits a pause, or the end of one.
    pub fn change_pause(&mut self) {
        let lanes: Vec<Lane> = all_lanes().iter().collect();
        let what = (!self.rng.one_in(3)).then(|| lanes[self.rng.below(lanes.len())]);
        if !self.resume(what) {
            let until = if self.rng.one_in(2) { NEVER } else { self.now + self.rng.duration() };
            self.paused.0.push((what, until));
        }
        self.sessions.push(Session { pauses: true, ..Session::committed() });
    }

    fn resume(&mut self, what: Option<Lane>) -> bool {
        self.in_force.remove(what);
        self.paused.remove(what)
    }

    /// Commits the end of all pauses.
    pub fn resume_all(&mut self) {
        (self.paused, self.in_force) = (Paused::default(), Paused::default());
        self.sessions.push(Session { pauses: true, ..Session::committed() });
    }

    /// `wake::at_transaction_end` of a transaction that has changed pauses.
    pub fn announce_pauses(&mut self) {
        self.shared.change_pauses(DATABASE, self.now);
        self.in_force = self.paused.clone();
    }

    /// `pauses::end_over`; false if no pause has ended.
    pub fn end_pauses(&mut self) -> bool {
        let now = self.now;
        let is_over = self.shared.database(DATABASE).is_some_and(|database| database.take_pause_end(now));
        if is_over {
            self.paused = self.paused.at(now);
            self.announce_pauses();
        }
        is_over
    }

    /// True if a pause keeps the tasks of a lane from starting, according to the rows.
    pub fn is_paused(&self, lane: Lane) -> bool {
        let paused = self.paused.at(self.now);
        paused.has_database() || paused.holds(lane)
    }

    /// Checks that a task of this lane may be taken.
    pub fn check_pause(&self, lane: Lane) {
        let paused = self.in_force.at(self.now);
        assert!(
            !paused.has_database() && !paused.holds(lane),
            "a task of {lane:?} is taken during {paused:?}"
        );
    }
}
