//! What a worker takes next: a task, a key, or what it has to read first.

use super::{Next, Queue};
use crate::lane::{Lane, LaneSet};
use crate::line::NOBODY;
use crate::numbers::NEVER;
use crate::position::{Candidate, Class, Position};
use crate::sources::Sources;

impl<const WINDOW: usize, const CALL_WINDOW: usize> Queue<WINDOW, CALL_WINDOW> {
    /// Removes the next task from the window for the worker of `slot`, or returns what the worker has to do first.
    /// `occupied` is true for pages on which another worker is briefly busy. Workers use different pages, since they
    /// would otherwise wait for each other's page locks.
    pub fn take(&mut self, slot: usize, sources: Sources, now: i64, occupied: impl Fn(u32) -> bool) -> Next {
        let mut reading = false;
        let mut first: Option<(Position, Lane, Option<Class>)> = None;
        for lane in sources.lanes.iter() {
            if !self.is_open(lane, now) && !sources.shut_too.holds(lane) {
                continue;
            }
            let ageing = sources.ageing_of(lane);
            self.prioritized_lines[lane.index()].age(ageing);
            for class in Class::ALL {
                let window = self.line_of(lane, class);
                if window.wants_reading() {
                    if window.line.reader == NOBODY {
                        window.line.reader = slot as u32;
                        return Next::Read(lane, class, window.line.cursor);
                    }
                    reading = true;
                }
                if let Some(next) = window.next().map(|next| ageing.effective(next, now))
                    && first.is_none_or(|(known, ..)| next < known)
                {
                    first = Some((next, lane, Some(class)));
                }
            }
            if !self.uses_keys() {
                continue;
            }
            let window = self.keys_of(lane);
            if window.wants_reading() {
                if window.line.reader == NOBODY {
                    window.line.reader = slot as u32;
                    return Next::ReadKeys(lane, window.line.cursor);
                }
                reading = true;
            }
            if let Some(next) = window.next().map(|next| ageing.effective(next, now))
                && first.is_none_or(|(known, ..)| next < known)
            {
                first = Some((next, lane, None));
            }
        }
        let next = first.and_then(|(_, lane, class)| match class {
            None => Some(Next::Key(lane, self.keys_of(lane).take()?)),
            Some(class) => Some(Next::Task(lane, self.line_of(lane, class).take(occupied)?)),
        });
        next.unwrap_or(if reading { Next::Wait } else { Next::Nothing })
    }

    /// True if a worker that takes from `lanes` would find a task, or tasks to read.
    pub fn has_more(&self, lanes: LaneSet, now: i64) -> bool {
        lanes.iter().any(|lane| self.is_open(lane, now) && self.may_have_tasks(lane))
    }

    fn may_have_tasks(&self, lane: Lane) -> bool {
        let keys = &self.key_lines[lane.index()];
        self.lines_of(lane).iter().any(|line| line.len > 0 || line.is_unread())
            || self.uses_keys() && (keys.len > 0 || keys.is_unread())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == LaneSet::NONE
    }

    /// Adds a task that was just taken from the window.
    pub(crate) fn restore(&mut self, lane: Lane, task: Candidate) {
        self.line_of(lane, task.position.class()).insert(task);
    }

    /// True if a task is known that a worker can take.
    pub(crate) fn has_known(&self, now: i64) -> bool {
        self.waiting().iter().any(|lane| self.is_open(lane, now))
    }

    /// The lanes that have tasks in their window.
    pub fn waiting(&self) -> LaneSet {
        let waits = |lane: &Lane| {
            self.lines_of(*lane).iter().any(|line| line.len > 0) || self.key_lines[lane.index()].len > 0
        };
        LaneSet::ALL.iter().filter(waits).fold(LaneSet::NONE, LaneSet::with)
    }

    /// The time at which the next lane opens that may have tasks.
    pub fn opens_at(&self, now: i64) -> i64 {
        let shut = LaneSet::ALL.iter().filter(|lane| !self.is_open(*lane, now) && self.may_have_tasks(*lane));
        shut.map(|lane| self.lines[lane.index()].opens_at).min().unwrap_or(NEVER)
    }
}
