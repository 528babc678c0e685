//! Tasks whose end could not be written: they are left alone for a while, so that others run.

use crate::shared::{Lane, Position};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause,
pub const LONGEST: Duration = Duration::from_secs(60);
/// and after errors that are the server's, which may be over soon.
pub const WHILE_PASSING: Duration = Duration::from_secs(5);

/// Tasks to leave alone, each until some time.
#[derive(Default)]
pub struct Avoided(HashMap<i64, Pause>);

struct Pause {
    until: Instant,
    length: Duration,
    /// Where it waits for the end of the pause; taken when it is handed out again.
    place: Option<(Lane, Position)>,
}

impl Avoided {
    /// Leaves a task alone for a second, or for twice as long as the last time, up to `longest`.
    pub fn add(&mut self, task_id: i64, longest: Duration, place: Option<(Lane, Position)>) {
        let length = self.0.get(&task_id).map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(longest));
        self.hold(task_id, length, place);
    }

    /// Leaves a task alone for so long.
    pub fn hold(&mut self, task_id: i64, length: Duration, place: Option<(Lane, Position)>) {
        self.0.retain(|_, pause| pause.until + LONGEST > Instant::now());
        self.0.insert(task_id, Pause { until: Instant::now() + length, length, place });
    }

    /// True if it is to be left alone now. Then it waits at its place.
    pub fn holds(&mut self, lane: Lane, place: Position) -> bool {
        let Some(pause) = self.0.get_mut(&place.task_id).filter(|pause| pause.until > Instant::now()) else {
            return false;
        };
        pause.place = Some((lane, place));
        true
    }

    /// The tasks whose pause is over, to be handed out again.
    pub fn over(&mut self) -> Vec<(Lane, Position)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        self.0
            .values_mut()
            .filter(|pause| pause.until <= now)
            .filter_map(|pause| pause.place.take())
            .collect()
    }

    /// When the next such pause is over.
    pub fn next(&self) -> Option<Duration> {
        let waiting = self.0.values().filter(|pause| pause.place.is_some());
        waiting.map(|pause| pause.until.saturating_duration_since(Instant::now())).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Position = Position { scheduled_at: 1, task_id: 7 };

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut avoided = Avoided::default();
        let lengths: Vec<u64> = (0..8)
            .map(|_| {
                avoided.add(7, LONGEST, Some((Lane::LOCAL, PLACE)));
                avoided.0[&7].length.as_secs()
            })
            .collect();
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(avoided.holds(Lane::LOCAL, PLACE));
        assert!(avoided.over().is_empty() && avoided.next() > Some(Duration::from_secs(50)));
    }
}
