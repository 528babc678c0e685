//! Deferred tasks: tasks that this worker does not run for a while, so that other tasks run.

use crate::shared::{Key, KeyEntry, Lane, TaskId};
use crate::slot::{MySlot, Taken};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
pub const LONGEST: Duration = Duration::from_secs(60);
/// The longest pause after an error of the server that may be temporary.
pub const WHILE_PASSING: Duration = Duration::from_secs(5);

/// The first pause of a key that another session has locked, and the longest.
const KEY_PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Tasks that are not run before a certain time, and keys that are not looked at.
#[derive(Default)]
pub struct Deferred {
    tasks: HashMap<TaskId, Pause>,
    keys: HashMap<Key, Pause>,
}

struct Pause {
    until: Instant,
    length: Duration,
    /// What is handed back to the queue at the end of the pause.
    taken: Option<Taken>,
}

impl Deferred {
    /// Defers the task that this worker took last, as [`Deferred::add`] does, and shows that to other processes.
    pub fn defer(&mut self, slot: MySlot, task_id: TaskId, longest: Duration) {
        let length = self.add(task_id, longest, slot.taken());
        slot.note_deferred(task_id, length);
    }

    /// Defers a task for a second, or for twice as long as the last time, up to `longest`. Returns for how long.
    fn add(&mut self, task_id: TaskId, longest: Duration, taken: Option<Taken>) -> Duration {
        let length = next_length(self.tasks.get(&task_id), (FIRST_PAUSE, longest));
        self.hold(task_id, length, taken);
        length
    }

    /// Defers a task for this long.
    pub fn hold(&mut self, task_id: TaskId, length: Duration, taken: Option<Taken>) {
        insert(&mut self.tasks, task_id, length, taken);
    }

    /// Hands a key back after this time.
    pub fn hold_key_for(&mut self, lane: Lane, entry: KeyEntry, length: Duration) {
        insert(&mut self.keys, entry.key, length, Some(Taken::Key(lane, entry)));
    }

    /// Hands a key back after a moment, or after twice as long as the last time.
    pub fn hold_key(&mut self, lane: Lane, entry: KeyEntry) {
        let last = self.keys.get(&entry.key).filter(|last| last.until + KEY_PAUSES.1 > Instant::now());
        self.hold_key_for(lane, entry, next_length(last, KEY_PAUSES));
    }

    /// True if a task is deferred now. What was taken for it is handed back later.
    pub fn holds(&mut self, task_id: TaskId, taken: Taken) -> bool {
        let Some(pause) = self.tasks.get_mut(&task_id).filter(|pause| pause.until > Instant::now()) else {
            return false;
        };
        pause.taken = Some(taken);
        true
    }

    /// The tasks that are deferred now.
    pub fn held(&self) -> impl Iterator<Item = TaskId> {
        let now = Instant::now();
        self.tasks.iter().filter(move |(_, pause)| pause.until > now).map(|(id, _)| *id)
    }

    /// Forgets all keys, since definitions have changed: they are read again, in their lanes.
    pub fn forget_keys(&mut self) {
        self.keys.clear();
        self.tasks.values_mut().for_each(|pause| {
            pause.taken = pause.taken.filter(|taken| matches!(taken, Taken::Task(..)));
        });
    }

    /// What is to be handed back, since its pause is over.
    pub fn over(&mut self) -> Vec<Taken> {
        if self.tasks.is_empty() && self.keys.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let pauses = self.tasks.values_mut().chain(self.keys.values_mut());
        pauses.filter(|pause| pause.until <= now).filter_map(|pause| pause.taken.take()).collect()
    }

    /// The time until the next pause is over.
    pub fn next(&self) -> Option<Duration> {
        let waiting = self.tasks.values().chain(self.keys.values()).filter(|pause| pause.taken.is_some());
        waiting.map(|pause| pause.until.saturating_duration_since(Instant::now())).min()
    }
}

fn next_length(last: Option<&Pause>, (first, longest): (Duration, Duration)) -> Duration {
    last.map_or(first, |pause| (pause.length * 2).min(longest))
}

fn insert<K: Eq + Hash>(pauses: &mut HashMap<K, Pause>, key: K, length: Duration, taken: Option<Taken>) {
    pauses.retain(|_, pause| pause.until + LONGEST > Instant::now());
    pauses.insert(key, Pause { until: Instant::now() + length, length, taken });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Position;

    const TAKEN: Taken = Taken::Task(Lane::LOCAL, Position { priority: 0, scheduled_at: 1, task_id: 7 });

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut deferred = Deferred::default();
        let lengths: Vec<u64> = (0..8)
            .map(|_| {
                deferred.add(TaskId::new(7), LONGEST, Some(TAKEN));
                deferred.tasks[&TaskId::new(7)].length.as_secs()
            })
            .collect();
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(deferred.holds(TaskId::new(7), TAKEN));
        assert!(deferred.over().is_empty() && deferred.next() > Some(Duration::from_secs(50)));
    }
}
