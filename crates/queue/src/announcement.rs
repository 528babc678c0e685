//! What a committed transaction announces to the workers of its database.

use crate::key_line::KeyEntry;
use crate::lane::{LANES, Lane, LaneSet};
use crate::numbers::NEVER;
use crate::position::{Class, Position};

/// The number of tasks that are announced one by one. Of more tasks, only the first of each lane and
/// class is announced.
pub const MAX_SINGLE: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Announcement<const FEW: usize = MAX_SINGLE> {
    /// The number of tasks that were enqueued or brought forward.
    tasks: u32,
    /// The first of these tasks in each lane, of each class.
    first: [[Position; LANES]; 2],
    /// The tasks themselves, as long as there is room for them.
    few: [(Lane, Position); FEW],
    /// The number of `few_keys`; more than there is room for if not all keys are there.
    keys: u32,
    /// The keys of tasks that were enqueued or brought forward, or of which a task has ended.
    few_keys: [(Lane, KeyEntry); FEW],
    /// The lanes of these keys.
    key_lanes: LaneSet,
    /// Some of the tasks are prioritized.
    pub prioritized: bool,
    /// The earliest time at which a task becomes ready.
    pub due: i64,
    /// The latest time at which a task becomes ready.
    last: i64,
    /// A task whose position is unknown becomes ready, for instance a deferred one.
    pub elsewhere: bool,
    /// The transaction has added unadopted tasks.
    pub unadopted: bool,
    /// The transaction has added orphaned calls.
    pub orphans: bool,
    /// Task definitions or providers have changed.
    pub definitions: bool,
    /// Pauses have changed.
    pub pauses: bool,
    /// A transaction that another session has prepared was committed.
    pub prepared: bool,
    /// Some tasks are left out because a pause keeps them from starting, according to the pauses as of this
    /// `Database::definition_changes`.
    pub paused_as_of: Option<u64>,
}

impl<const FEW: usize> Announcement<FEW> {
    pub const NOTHING: Self = Announcement {
        tasks: 0,
        first: [[Position::END; LANES]; 2],
        few: [(Lane::LOCAL, Position::END); FEW],
        keys: 0,
        few_keys: [(Lane::LOCAL, KeyEntry::NONE); FEW],
        key_lanes: LaneSet::NONE,
        prioritized: false,
        due: NEVER,
        last: i64::MIN,
        elsewhere: false,
        unadopted: false,
        orphans: false,
        definitions: false,
        pauses: false,
        prepared: false,
        paused_as_of: None,
    };

    pub fn is_nothing(&self) -> bool {
        self.due == NEVER
            && self.tasks == 0
            && self.keys == 0
            && self.paused_as_of.is_none()
            && !(self.unadopted || self.orphans || self.definitions || self.pauses || self.prepared)
    }

    /// The number of workers that can find a task.
    pub fn tasks(&self) -> u32 {
        self.tasks.saturating_add(self.keys).saturating_add(u32::from(self.elsewhere))
    }

    /// Adds a task.
    pub fn task(&mut self, lane: Lane, place: Position) {
        if let Some(free) = self.few.get_mut(self.tasks as usize) {
            *free = (lane, place);
        }
        self.tasks = self.tasks.saturating_add(1);
        self.note_time(place.scheduled_at);
        self.prioritized |= place.class() == Class::Prioritized;
        let first = &mut self.first[place.class() as usize][lane.index()];
        *first = place.min(*first);
    }

    /// Adds a key that has a task to run since or from `entry.since`.
    pub fn key(&mut self, lane: Lane, entry: KeyEntry) {
        self.note_time(entry.since);
        self.key_lanes = self.key_lanes.with(lane);
        let known = self.few_keys.iter_mut().take(self.keys as usize);
        if let Some((_, known)) = known.into_iter().find(|(_, known)| known.key == entry.key) {
            // The first task decides about the place of its key, and when it is due.
            if (entry.since, -i32::from(entry.priority)) < (known.since, -i32::from(known.priority)) {
                *known = entry;
            }
            return;
        }
        if let Some(free) = self.few_keys.get_mut(self.keys as usize) {
            *free = (lane, entry);
        }
        self.keys = self.keys.saturating_add(1);
    }

    /// Adds a task that becomes ready at `due`.
    pub fn due(&mut self, due: i64) {
        self.note_time(due);
        self.elsewhere = true;
    }

    /// Notes that a task or key is left out, because a pause keeps it from starting.
    pub fn paused(&mut self, as_of: u64) {
        self.paused_as_of.get_or_insert(as_of);
    }

    fn note_time(&mut self, due: i64) {
        self.due = self.due.min(due);
        self.last = self.last.max(due);
    }

    /// True if a task becomes ready only after `now`.
    pub fn has_later(&self, now: i64) -> bool {
        self.last > now
    }

    /// The tasks, unless there were too many to keep them.
    pub fn all(&self) -> Option<&[(Lane, Position)]> {
        self.few.get(..self.tasks as usize)
    }

    /// The keys, unless there were too many to keep them.
    pub fn all_keys(&self) -> Option<&[(Lane, KeyEntry)]> {
        self.few_keys.get(..self.keys as usize)
    }

    /// The lanes of the keys.
    pub(crate) fn key_lanes(&self) -> LaneSet {
        self.key_lanes
    }

    /// The first task of a class in a lane; `None` if there is none that is due at `now`, as far as its position tells.
    pub(crate) fn first(&self, lane: Lane, class: Class, now: i64) -> Option<Position> {
        let first = self.first[class as usize][lane.index()];
        let may_be_due = match class {
            Class::Plain => first.scheduled_at <= now,
            // A task behind the first one may be due earlier.
            Class::Prioritized => first != Position::END,
        };
        may_be_due.then_some(first)
    }
}
