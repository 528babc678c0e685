//! The tasks that a worker can take.

use crate::ageing::{Ageing, TypeAgeing};
use crate::lane::{Lane, LaneSet, TYPE_LANES};
use crate::limits::StartLimits;

/// The limits of the task types that have lanes for themselves, by [`Lane::type_place`](crate::Lane::type_place).
pub type TypeLimits = [Option<StartLimits>; TYPE_LANES];

/// The lanes from which a worker takes tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sources<'a> {
    pub lanes: LaneSet,
    /// Lanes from which the worker takes tasks even while they are closed, since it can add these tasks to a request
    /// that has already been admitted.
    pub shut_too: LaneSet,
    pub limits: &'a TypeLimits,
    pub ageing: &'a TypeAgeing,
}

impl Sources<'_> {
    /// How the tasks of a lane age.
    pub(super) fn ageing_of(&self, lane: Lane) -> Ageing {
        lane.type_place().map_or(Ageing::NONE, |place| self.ageing[place])
    }
}

impl From<LaneSet> for Sources<'static> {
    fn from(lanes: LaneSet) -> Self {
        Sources {
            lanes,
            shut_too: LaneSet::NONE,
            limits: &[None; TYPE_LANES],
            ageing: &[Ageing::NONE; TYPE_LANES],
        }
    }
}
