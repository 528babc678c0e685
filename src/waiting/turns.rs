//! The tasks of one queue key that wait for nothing but their turn.

use super::group::{Class, Group, Place};

/// Later than every task.
const NONE: Place = (i64::MAX, i64::MAX);

/// The tasks of a queue key.
pub struct Turns {
    /// The first of all unfinished ones.
    head: Place,
    /// The number of those that wait for their turn, the first two, and the last one that was read.
    tasks: i64,
    first: [Place; 2],
    last_read: i64,
}

impl Turns {
    pub const NOBODY: Turns = Turns { head: NONE, tasks: 0, first: [NONE; 2], last_read: 0 };

    /// Notes an unfinished task of the key.
    pub fn note(&mut self, task: Place) {
        self.head = self.head.min(task);
    }

    /// Adds a task that waits for its turn.
    pub fn add(&mut self, task: Place) {
        self.tasks += 1;
        self.last_read = task.1;
        let [first, second] = self.first;
        self.first = if task < first { [task, first] } else { [first, task.min(second)] };
    }

    /// Those that are ready, and those that are not, with the reason.
    pub fn groups(&self, is_paused: bool, max_running: u32) -> [Option<Group>; 2] {
        let [first, second] = self.first;
        let all = |class| {
            let group = Group { class, tasks: self.tasks, oldest: first, other: self.last_read, until: None };
            (self.tasks > 0).then_some(group)
        };
        if is_paused {
            return [None, all(Class::KeyPaused)];
        }
        if max_running != 1 {
            return [all(Class::KeyReady), None];
        }
        if first != self.head {
            return [None, all(Class::KeyBehind)];
        }
        let behind = all(Class::KeyBehind).filter(|group| group.tasks > 1);
        [
            Some(Group::of_one(Class::KeyReady, first, None)),
            behind.map(|group| Group {
                tasks: group.tasks - 1,
                oldest: second,
                other: if group.other == first.1 { second.1 } else { group.other },
                ..group
            }),
        ]
    }
}

#[cfg(test)]
mod tests;
