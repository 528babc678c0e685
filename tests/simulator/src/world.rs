//! The whole simulated system.

use crate::checks::Checks;
use crate::keys::{KeyTypes, Pauses, key_types};
use crate::launcher::Launcher;
use crate::outsider::Outsider;
use crate::pauses::Paused;
use crate::rng::Rng;
use crate::row::Row;
use crate::session::Session;
use crate::types::type_lanes;
use crate::worker::Worker;
use pg_errand_queue::{DatabaseId, Lane, LaneSet, Latch, Terms};

pub const SLOTS: usize = 5;
pub const DATABASE: DatabaseId = DatabaseId::new(1);
/// `pg_errand.poll_interval`, in microseconds.
pub const POLL_INTERVAL: i64 = 5_000_000;
/// `priority_ages_every` of some task types, in microseconds.
pub const AGES_EVERY: i64 = 20_000;
/// The lanes of providers.
pub const PROVIDERS: usize = 3;

/// A latch that records whether it is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flag(pub bool);

impl Latch for Flag {
    const NONE: Flag = Flag(false);

    fn set(&mut self) {
        self.0 = true;
    }
}

pub type Shared<const W: usize, const C: usize> = pg_errand_queue::Shared<Flag, SLOTS, 2, W, C, 8>;
pub type Journal = pg_errand_queue::Journal<SLOTS, 512>;

pub struct World<const W: usize, const C: usize> {
    pub rng: Rng,
    pub now: i64,
    pub shared: Shared<W, C>,
    pub journal: Journal,
    pub rows: Vec<Row>,
    pub sessions: Vec<Session>,
    pub workers: Vec<Worker>,
    pub outsiders: Vec<Outsider>,
    /// The task types with keys, as committed.
    pub key_types: KeyTypes,
    pub pauses: Pauses,
    /// What operators have paused, as committed.
    pub paused: Paused,
    /// Of these, what has been announced.
    pub in_force: Paused,
    pub launcher: Launcher,
    /// The processes whose commands quiesce the database.
    pub quiescers: Vec<i32>,
    pub checks: Checks,
    /// Idle workers look for tasks that were not announced.
    pub polls: bool,
    pub has_faults: bool,
    /// Tasks have priorities.
    pub has_priorities: bool,
    /// Tasks have queue keys.
    pub has_keys: bool,
    /// Operators pause what they like.
    pub has_pauses: bool,
    /// The interval at which tasks of some types age, in microseconds; 0: they do not.
    pub ages_every: i64,
    pub steps: u64,
}

/// The lane of a provider.
pub fn lane(provider: usize) -> Lane {
    Lane::call(provider as i16 + 1)
}

pub fn all_lanes() -> LaneSet {
    (0..PROVIDERS).map(lane).fold(LaneSet::LOCAL.and(type_lanes()), LaneSet::with)
}

/// The limits of the provider of a lane.
pub fn terms(lane: Lane) -> Terms {
    let plain = Terms {
        account: 100 + lane.index() as u64,
        interval: 0,
        burst: 1,
        max_in_flight: 0,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    match lane.index() {
        1 => Terms { max_in_flight: 2, ..plain },
        2 => Terms { interval: 20_000, burst: 3, breaker_threshold: 3, breaker_cooldown: 500_000, ..plain },
        _ => Terms { interval: 5_000, burst: 2, max_in_flight: 3, ..plain },
    }
}

impl<const W: usize, const C: usize> World<W, C> {
    pub fn new(seed: u64) -> Self {
        let now = 1_000_000_000;
        let mut shared = Shared::new(now);
        let database = shared.database_or_new(DATABASE);
        database.into_iter().for_each(|database| database.has_extension = true);
        World {
            rng: Rng::new(seed),
            now,
            shared,
            journal: Journal::EMPTY,
            rows: Vec::new(),
            sessions: Vec::new(),
            workers: Vec::new(),
            outsiders: Vec::new(),
            key_types: key_types(),
            pauses: Pauses::new(),
            paused: Paused::default(),
            in_force: Paused::default(),
            launcher: Launcher::new(),
            quiescers: Vec::new(),
            checks: Checks::default(),
            polls: true,
            has_faults: true,
            has_priorities: !seed.is_multiple_of(4),
            has_keys: !seed.is_multiple_of(5),
            has_pauses: !seed.is_multiple_of(3),
            ages_every: AGES_EVERY,
            steps: 0,
        }
    }

    /// Takes this number of steps, and occasionally lets all tasks come to their end.
    pub fn run(mut self, steps: u64) -> (u64, usize) {
        while self.steps < steps {
            let length = 1_000 + self.rng.below(4_000) as u64;
            self.has_faults = !self.rng.one_in(3);
            let end = steps.min(self.steps + length);
            while self.steps < end {
                self.step();
            }
            self.drain();
            if self.has_priorities && self.rng.one_in(4) {
                self.check_starvation();
            }
            self.forget_rows();
        }
        (self.steps, self.checks.ended)
    }

    /// A step of any process.
    fn step(&mut self) {
        self.steps += 1;
        match self.rng.below(100) {
            0..12 => self.step_session(),
            12..24 => self.step_launcher(),
            24..28 => self.now += self.rng.duration(),
            28 if self.has_faults => self.fault(),
            29..37 if self.has_keys => self.step_outsider(),
            _ => self.step_any_worker(),
        }
        self.check();
    }

    pub fn step_any_worker(&mut self) {
        if !self.workers.is_empty() {
            let index = self.rng.below(self.workers.len());
            self.step_worker(index);
        }
    }

    /// Continues with new rows after a shutdown of the server.
    fn forget_rows(&mut self) {
        if self.rows.len() > 300 {
            self.restart();
            self.rows.clear();
            self.journal.forget_all(DATABASE);
            self.checks.forget_runs();
        }
    }
}
