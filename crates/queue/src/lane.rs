//! Lanes: groups of tasks that wait together.

/// The lane in which a task waits: the local one, or that of a provider.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lane(u8);

/// The number of lanes.
pub const LANES: usize = 16;

impl Lane {
    /// The lane of all tasks that need no provider.
    pub const LOCAL: Lane = Lane(0);
    /// The lane that providers without a lane of their own share.
    pub const LAST: Lane = Lane(LANES as u8 - 1);

    /// The lane of a provider. Numbers start at 1.
    pub fn call(number: i16) -> Lane {
        u8::try_from(number).ok().filter(|n| (1..LANES as u8).contains(n)).map_or(Lane::LAST, Lane)
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of lanes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneSet(u16);

impl LaneSet {
    pub const NONE: LaneSet = LaneSet(0);
    pub const LOCAL: LaneSet = LaneSet(1);
    pub const ALL: LaneSet = LaneSet(u16::MAX);

    pub fn with(self, lane: Lane) -> LaneSet {
        LaneSet(self.0 | 1 << lane.0)
    }

    pub fn and(self, others: LaneSet) -> LaneSet {
        LaneSet(self.0 | others.0)
    }

    pub fn common(self, others: LaneSet) -> LaneSet {
        LaneSet(self.0 & others.0)
    }

    pub fn without(self, lane: Lane) -> LaneSet {
        LaneSet(self.0 & !(1 << lane.0))
    }

    pub fn holds(self, lane: Lane) -> bool {
        self.0 & 1 << lane.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Lane> {
        (0..LANES as u8).map(Lane).filter(move |lane| self.holds(*lane))
    }
}

/// The lanes from which a worker takes tasks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sources {
    pub lanes: LaneSet,
    /// Lanes from which the worker takes tasks even while they are closed, since it can add these tasks to a request
    /// that has already been admitted.
    pub shut_too: LaneSet,
}

impl From<LaneSet> for Sources {
    fn from(lanes: LaneSet) -> Sources {
        Sources { lanes, shut_too: LaneSet::NONE }
    }
}
