//! Deferred tasks: tasks that this worker does not run for a while, so that other tasks run.

use crate::shared::{Lane, Position, TaskId};
use crate::slot::MySlot;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
pub const LONGEST: Duration = Duration::from_secs(60);
/// The longest pause after an error of the server that may be temporary.
pub const WHILE_PASSING: Duration = Duration::from_secs(5);

/// Tasks that are not run before a certain time.
#[derive(Default)]
pub struct Deferred(HashMap<TaskId, Pause>);

struct Pause {
    until: Instant,
    length: Duration,
    /// The position in the queue to which the task is handed back at the end of the pause.
    position: Option<(Lane, Position)>,
}

impl Deferred {
    /// Defers the task that this worker took last, as [`Deferred::add`] does, and shows that to other processes.
    pub fn defer(&mut self, slot: MySlot, task_id: TaskId, longest: Duration) {
        let length = self.add(task_id, longest, slot.taken());
        slot.note_deferred(task_id, length);
    }

    /// Defers a task for a second, or for twice as long as the last time, up to `longest`. Returns for how long.
    fn add(&mut self, task_id: TaskId, longest: Duration, position: Option<(Lane, Position)>) -> Duration {
        let length = self.0.get(&task_id).map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(longest));
        self.hold(task_id, length, position);
        length
    }

    /// Defers a task for this long.
    pub fn hold(&mut self, task_id: TaskId, length: Duration, position: Option<(Lane, Position)>) {
        self.0.retain(|_, pause| pause.until + LONGEST > Instant::now());
        self.0.insert(task_id, Pause { until: Instant::now() + length, length, position });
    }

    /// True if a task is deferred now. It is handed back to its position later.
    pub fn holds(&mut self, lane: Lane, position: Position) -> bool {
        let Some(pause) =
            self.0.get_mut(&TaskId::new(position.task_id)).filter(|pause| pause.until > Instant::now())
        else {
            return false;
        };
        pause.position = Some((lane, position));
        true
    }

    /// The tasks whose pause is over, to be handed back.
    pub fn over(&mut self) -> Vec<(Lane, Position)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        self.0
            .values_mut()
            .filter(|pause| pause.until <= now)
            .filter_map(|pause| pause.position.take())
            .collect()
    }

    /// The time until the next pause is over.
    pub fn next(&self) -> Option<Duration> {
        let waiting = self.0.values().filter(|pause| pause.position.is_some());
        waiting.map(|pause| pause.until.saturating_duration_since(Instant::now())).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position { priority: 0, scheduled_at: 1, task_id: 7 };

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut deferred = Deferred::default();
        let lengths: Vec<u64> = (0..8)
            .map(|_| {
                deferred.add(TaskId::new(7), LONGEST, Some((Lane::LOCAL, POSITION)));
                deferred.0[&TaskId::new(7)].length.as_secs()
            })
            .collect();
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(deferred.holds(Lane::LOCAL, POSITION));
        assert!(deferred.over().is_empty() && deferred.next() > Some(Duration::from_secs(50)));
    }
}
