//! What a worker holds back by itself. Only explanations read it.

/// The number of queued calls that a slot shows.
const SHOWN: usize = 16;
/// The number of deferred tasks that a slot shows.
const DEFERRED: usize = 4;

/// The calls of a worker that wait until their providers admit them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct QueuedCalls {
    /// Their number, up to one more than a slot shows.
    count: u32,
    /// The tasks of the first of them; 0 for a free entry.
    first: [i64; SHOWN],
}

impl QueuedCalls {
    pub const NONE: QueuedCalls = QueuedCalls { count: 0, first: [0; SHOWN] };

    pub fn of(tasks: impl Iterator<Item = i64>) -> QueuedCalls {
        let mut queued = QueuedCalls::NONE;
        for task_id in tasks.take(SHOWN + 1) {
            if let Some(free) = queued.first.get_mut(queued.count as usize) {
                *free = task_id;
            }
            queued.count = queued.count.saturating_add(1);
        }
        queued
    }

    /// Whether the call of a task is queued; `None` if there are too many to tell.
    pub fn holds(&self, task_id: i64) -> Option<bool> {
        let is_shown = self.first.contains(&task_id);
        (is_shown || self.count as usize <= SHOWN).then_some(is_shown)
    }
}

/// The tasks that a worker has deferred last, each with the time until which it does not run them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeferredTasks {
    tasks: [(i64, i64); DEFERRED],
    next: usize,
}

impl DeferredTasks {
    pub const NONE: DeferredTasks = DeferredTasks { tasks: [(0, i64::MIN); DEFERRED], next: 0 };

    pub fn add(&mut self, task_id: i64, until: i64) {
        let known = self.tasks.iter().position(|(known, _)| *known == task_id);
        let place = known.unwrap_or(self.next);
        self.tasks[place] = (task_id, until);
        if known.is_none() {
            self.next = (self.next + 1) % DEFERRED;
        }
    }

    /// Until when a task is deferred, if it is at `now`.
    pub fn until(&self, task_id: i64, now: i64) -> Option<i64> {
        let is_it = |(known, until): &&(i64, i64)| *known == task_id && *until > now;
        self.tasks.iter().find(is_it).map(|(_, until)| *until)
    }

    /// The tasks that are deferred at `now`.
    pub fn at(&self, now: i64) -> impl Iterator<Item = i64> {
        self.tasks.iter().filter(move |(_, until)| *until > now).map(|(task_id, _)| *task_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_not_told() {
        let few = QueuedCalls::of(1..=3);
        assert_eq!((few.holds(3), few.holds(4)), (Some(true), Some(false)));
        let many = QueuedCalls::of(1..=100);
        assert_eq!((many.holds(3), many.holds(100), many.holds(101)), (Some(true), None, None));
    }

    #[test]
    fn the_last_deferred_tasks_are_known_until_their_time() {
        let mut deferred = DeferredTasks::NONE;
        (1..=5).for_each(|task_id| deferred.add(task_id, 10 * task_id));
        deferred.add(5, 60);
        assert_eq!(
            (deferred.until(1, 0), deferred.until(2, 0), deferred.until(5, 0)),
            (None, Some(20), Some(60))
        );
        assert_eq!(deferred.until(5, 60), None);
        assert_eq!(deferred.at(30).collect::<Vec<_>>(), [5, 4]);
    }
}
