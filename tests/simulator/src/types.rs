//! Task types with limits and ageing, whose tasks make no calls.

use crate::worker::{Hand, Signals};
use crate::world::{DATABASE, World};
use pg_errand_queue::{
    Admission, Ageing, Lane, LaneSet, StartLimits, TYPE_LANES, Terms, TypeAgeing, TypeLimits, type_account,
};

/// The number of such types.
pub const TYPES: usize = 4;
/// The types whose tasks age. The second one has no limits.
const AGEING: [usize; 2] = [1, 3];

const UNLIMITED: Terms =
    Terms { account: 0, interval: 0, burst: 1, max_in_flight: 0, breaker_threshold: 0, breaker_cooldown: 0 };

/// The lanes of these types.
pub fn type_lanes() -> LaneSet {
    (0..TYPES).map(Lane::of_type).fold(LaneSet::NONE, LaneSet::with)
}

pub fn is_of_type(lane: Lane) -> bool {
    type_lanes().holds(lane)
}

fn name(place: usize) -> String {
    format!("type{place}")
}

/// The type of a task in this lane, as its slot shows it.
pub fn type_of(lane: Lane) -> String {
    lane.type_place().map(name).unwrap_or_default()
}

pub fn limits() -> TypeLimits {
    let mut limits = TypeLimits::default();
    let terms = [
        Terms { max_in_flight: 1, ..UNLIMITED },
        Terms { max_in_flight: 3, ..UNLIMITED },
        Terms { max_in_flight: 2, interval: 30_000, burst: 3, ..UNLIMITED },
    ];
    for (place, terms) in terms.into_iter().enumerate() {
        let account = type_account(DATABASE, &name(place));
        limits[place] = Some(StartLimits { terms: Terms { account, ..terms }, calls: false });
    }
    limits
}

/// A lane whose tasks age.
pub fn aged_lane() -> Lane {
    Lane::of_type(AGEING[1])
}

/// How tasks age, with this interval.
pub fn ageing(interval: i64) -> TypeAgeing {
    let mut ageing = [Ageing::NONE; TYPE_LANES];
    AGEING.into_iter().for_each(|place| ageing[place] = Ageing::every(interval));
    ageing
}

/// The limits of the type that waits in a lane.
pub fn limits_of(lane: Lane) -> Option<StartLimits> {
    limits()[lane.type_place()?]
}

impl<const W: usize, const C: usize> World<W, C> {
    /// How the tasks of a lane age.
    pub fn ageing_of(&self, lane: Lane) -> Ageing {
        lane.type_place().map_or(Ageing::NONE, |place| ageing(self.ages_every)[place])
    }

    /// Reserves the start of a claimed task, if its type has limits; otherwise returns the next step.
    pub fn reserve_start(&mut self, worker: usize, signals: Signals, task: usize) -> Option<Hand> {
        let lane = self.rows[task].lane;
        let limits = limits_of(lane)?;
        let slot = self.workers[worker].slot;
        let admission = self.shared.start(slot, &limits, self.now);
        if admission == Admission::Admitted {
            return None;
        }
        self.shared.shut_start(slot, admission, &limits, lane, signals.definition_changes);
        Some(Hand::Turns)
    }

    /// Checks that no more tasks of a type run than its limit allows.
    pub fn check_types(&self) {
        for (place, limits) in limits().iter().enumerate() {
            let Some(limits) = limits else { continue };
            let runs = |worker: &&crate::worker::Worker| match worker.hand {
                Hand::Runs(task, _) => self.rows[task].lane == Lane::of_type(place),
                _ => false,
            };
            let running = self.workers.iter().filter(runs).count();
            let most = limits.terms.max_in_flight;
            assert!(running <= most as usize, "{running} tasks of type {place} run");
        }
    }
}
