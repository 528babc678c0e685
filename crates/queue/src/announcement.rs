//! What a transaction tells the workers of its database when it has become visible.

use super::{LANES, Lane, NEVER, Position};

/// So many tasks are handed over one by one; of more, only the first is told.
pub const MAX_SINGLE: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Announcement<const FEW: usize = MAX_SINGLE> {
    /// Tasks that were enqueued or brought forward,
    tasks: u32,
    /// the first of them in each lane,
    first: [Position; LANES],
    /// and all, if they are few.
    few: [(Lane, Position); FEW],
    /// The earliest time at which something becomes ready.
    pub due: i64,
    /// The latest such time.
    last: i64,
    /// Something else becomes ready then, which has no place that is known.
    pub elsewhere: bool,
    /// Tasks of another database have come,
    pub unadopted: bool,
    /// calls whose worker is gone,
    pub orphans: bool,
    /// the types of tasks have changed,
    pub definitions: bool,
    /// and what another session has prepared.
    pub prepared: bool,
}

impl<const FEW: usize> Announcement<FEW> {
    pub const NOTHING: Self = Announcement {
        tasks: 0,
        first: [Position::END; LANES],
        few: [(Lane::LOCAL, Position::END); FEW],
        due: NEVER,
        last: i64::MIN,
        elsewhere: false,
        unadopted: false,
        orphans: false,
        definitions: false,
        prepared: false,
    };

    pub fn is_nothing(&self) -> bool {
        self.due == NEVER
            && self.tasks == 0
            && !(self.unadopted || self.orphans || self.definitions || self.prepared)
    }

    /// How many workers could do something about it.
    pub fn tasks(&self) -> u32 {
        self.tasks + u32::from(self.elsewhere)
    }

    /// Adds a task.
    pub fn task(&mut self, lane: Lane, place: Position) {
        if let Some(free) = self.few.get_mut(self.tasks as usize) {
            *free = (lane, place);
        }
        self.tasks = self.tasks.saturating_add(1);
        self.note_time(place.scheduled_at);
        let first = &mut self.first[lane.index()];
        *first = place.min(*first);
    }

    /// Adds something that becomes ready at `due`.
    pub fn due(&mut self, due: i64) {
        self.note_time(due);
        self.elsewhere = true;
    }

    fn note_time(&mut self, due: i64) {
        self.due = self.due.min(due);
        self.last = self.last.max(due);
    }

    /// True if something of it becomes ready only after `now`.
    pub fn has_later(&self, now: i64) -> bool {
        self.last > now
    }

    /// The tasks, if they are few enough to be known.
    pub fn all(&self) -> Option<&[(Lane, Position)]> {
        self.few.get(..self.tasks as usize)
    }

    pub fn first(&self, lane: Lane) -> Position {
        self.first[lane.index()]
    }
}
