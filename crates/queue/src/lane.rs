//! Lanes: groups of tasks that wait together.

/// The lane in which a task waits: the local one, that of a provider, or that of a task type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lane(u8);

/// The number of lanes.
pub const LANES: usize = 33;
/// The first lane of a task type; the lanes before it are the local one and those of providers.
const FIRST_OF_TYPES: u8 = 16;
/// The last lane, see [`Lane::PAUSED`].
const PAUSED: u8 = LANES as u8 - 1;
/// The number of task types that have a lane for themselves.
pub const TYPE_LANES: usize = (PAUSED - FIRST_OF_TYPES) as usize - 1;

impl Lane {
    /// The lane of all tasks that need no provider.
    pub const LOCAL: Lane = Lane(0);
    /// The lane that providers without a lane of their own share.
    pub const LAST: Lane = Lane(FIRST_OF_TYPES - 1);
    /// The lane of tasks that a pause keeps from starting. It is in no set of lanes, so nothing is read or taken from it.
    /// When a pause ends, all tasks are read again, in the lanes where they wait then.
    pub const PAUSED: Lane = Lane(PAUSED);

    /// The lane of a provider. Numbers start at 1.
    pub fn call(number: i16) -> Lane {
        u8::try_from(number).ok().filter(|n| (1..FIRST_OF_TYPES).contains(n)).map_or(Lane::LAST, Lane)
    }

    /// The lane of the task type at this place, from 0, among those that wait in lanes of their own. Types without a lane
    /// for themselves share the last one.
    pub fn of_type(place: usize) -> Lane {
        Lane(FIRST_OF_TYPES + place.min(TYPE_LANES) as u8)
    }

    /// The place of the only task type that waits in this lane.
    pub fn type_place(self) -> Option<usize> {
        self.index().checked_sub(usize::from(FIRST_OF_TYPES)).filter(|place| *place < TYPE_LANES)
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The bit of the lane in a set; 0 for [`Lane::PAUSED`].
    fn bit(self) -> u32 {
        1u32.checked_shl(u32::from(self.0)).unwrap_or(0)
    }
}

/// A set of lanes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneSet(u32);

/// The bits of all lanes but [`Lane::PAUSED`].
const ALL: u32 = u32::MAX;

impl LaneSet {
    pub const NONE: LaneSet = LaneSet(0);
    pub const LOCAL: LaneSet = LaneSet(1);
    pub const ALL: LaneSet = LaneSet(ALL);
    /// The lanes of task types.
    pub const OF_TYPES: LaneSet = LaneSet(ALL << FIRST_OF_TYPES);
    /// The local lane and those of providers.
    pub const OTHERS: LaneSet = LaneSet(!LaneSet::OF_TYPES.0);

    pub fn with(self, lane: Lane) -> LaneSet {
        LaneSet(self.0 | lane.bit())
    }

    pub fn and(self, others: LaneSet) -> LaneSet {
        LaneSet(self.0 | others.0)
    }

    pub fn common(self, others: LaneSet) -> LaneSet {
        LaneSet(self.0 & others.0)
    }

    pub fn without(self, lane: Lane) -> LaneSet {
        LaneSet(self.0 & !lane.bit())
    }

    pub fn holds(self, lane: Lane) -> bool {
        self.0 & lane.bit() != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Lane> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let first = rest.trailing_zeros() as u8;
            (rest != 0).then(|| {
                rest &= rest - 1;
                Lane(first)
            })
        })
    }
}
