//! Detects that the wall clock, by which pauses are measured, was set back.

use std::time::{Duration, Instant};

/// The amount by which the clock may fall behind while it is adjusted gradually.
const TOLERANCE: Duration = Duration::from_millis(100);

/// Compares the wall clock with a monotonic one.
#[derive(Default)]
pub struct Clock(Option<(i64, Instant)>);

impl Clock {
    /// True if the wall clock, which shows `now`, was set back since the previous invocation.
    pub fn was_set_back(&mut self, now: i64, instant: Instant) -> bool {
        let last = self.0.replace((now, instant));
        last.is_some_and(|(last, at)| {
            let passed = instant.saturating_duration_since(at).as_micros() as i64;
            now + (TOLERANCE.as_micros() as i64) < last + passed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_noticed_and_one_that_goes_on_is_not() {
        let mut clock = Clock::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!clock.was_set_back(50_000_000, start));
        assert!(!clock.was_set_back(80_000_000, after(30)));
        // The clock shows a later time than before, but was set back nevertheless.
        assert!(clock.was_set_back(81_000_000, after(60)));
        assert!(!clock.was_set_back(82_000_000, after(61)));
        assert!(!clock.was_set_back(900_000_000, after(62)));
    }
}
