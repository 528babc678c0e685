//! When a busy worker reports its statistics.

use crate::pg::activity;
use std::time::{Duration, Instant};

/// Statistics are reported at least this often while a worker is busy.
const INTERVAL: Duration = Duration::from_secs(1);

pub struct Statistics {
    reported_at: Instant,
    /// There is activity that has not been reported.
    is_due: bool,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics { reported_at: Instant::now(), is_due: false }
    }
}

impl Statistics {
    /// Notes that the worker has done something.
    pub fn note(&mut self) {
        self.is_due = true;
    }

    /// Reports the statistics if it is time; otherwise returns the time until then, if there is anything to report.
    pub fn report(&mut self) -> Option<Duration> {
        let left = INTERVAL.saturating_sub(self.reported_at.elapsed());
        if left.is_zero() && self.is_due {
            activity::flush_statistics();
            self.reported_at = Instant::now();
            self.is_due = false;
        }
        self.is_due.then_some(left)
    }
}
