//! Tasks whose end could not be written: they are left alone for a while, so that others run.

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
}

impl Avoided {
    /// Leaves a task alone for a second, or for twice as long as the last time, up to `longest`.
    pub fn add(&mut self, task_id: i64, longest: Duration) {
        let length = self.0.get(&task_id).map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(longest));
        self.0.retain(|_, pause| pause.until + LONGEST > Instant::now());
        self.0.insert(task_id, Pause { until: Instant::now() + length, length });
    }

    /// The tasks to leave alone now.
    pub fn now(&self) -> Vec<i64> {
        let now = Instant::now();
        self.0.iter().filter(|(_, pause)| pause.until > now).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut avoided = Avoided::default();
        let lengths: Vec<u64> = (0..8)
            .map(|_| {
                avoided.add(7, LONGEST);
                avoided.0[&7].length.as_secs()
            })
            .collect();
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(avoided.now(), [7]);
    }
}
