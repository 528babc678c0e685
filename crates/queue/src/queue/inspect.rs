//! What models and simulators look at.

use super::Queue;
use crate::key_line::{KeyEntry, KeyLine};
use crate::lane::{LANES, Lane};
use crate::line::Line;
use crate::position::{Candidate, Class};

impl<const WINDOW: usize, const CALL_WINDOW: usize> Queue<WINDOW, CALL_WINDOW> {
    pub fn line(&self, lane: Lane, class: Class) -> &Line {
        match class {
            Class::Plain => &self.lines[lane.index()],
            Class::Prioritized => &self.prioritized_lines[lane.index()],
        }
    }

    pub fn line_mut(&mut self, lane: Lane, class: Class) -> &mut Line {
        self.line_of(lane, class).line
    }

    /// The keys in the window of a lane, the next one last.
    pub fn known_keys(&self, lane: Lane) -> &[KeyEntry] {
        let keys = match lane.index() {
            0 => &self.local_keys[..],
            index => &self.lane_keys[index - 1][..],
        };
        &keys[..self.key_lines[lane.index()].len]
    }

    /// Notes that all keys have been read, and there are none.
    pub fn forget_keys(&mut self) {
        self.keys_unused = true;
        self.key_lines = [KeyLine { ends: 0, ..KeyLine::NEW }; LANES];
    }

    pub fn sweep_by(&self) -> i64 {
        self.sweep_by
    }

    /// The tasks in the window of a lane, the next one last.
    pub fn known(&self, lane: Lane, class: Class) -> &[Candidate] {
        let tasks = match (class, lane.index()) {
            (Class::Prioritized, index) => &self.prioritized[index][..],
            (Class::Plain, 0) => &self.local[..],
            (Class::Plain, call) => &self.calls[call - 1][..],
        };
        &tasks[..self.line(lane, class).len]
    }
}
