//! How many tasks ended lately.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The time that one count covers, in microseconds.
pub const SLOT: i64 = 20_000_000;
/// The number of counts, for somewhat more than ten minutes.
pub const SLOTS: usize = 32;

/// The number of tasks that ended in each of the last spans of time. A count is the number of its span and the number of
/// tasks in one integer, so that no process adds to the count of another span.
pub struct Rates([AtomicU64; SLOTS]);

/// The number of the span of a time.
const fn span_of(time: i64) -> u32 {
    time.div_euclid(SLOT) as u32
}

impl Rates {
    #[cfg(test)]
    pub const fn empty() -> Rates {
        Rates([const { AtomicU64::new(0) }; SLOTS])
    }

    pub fn count(&self, time: i64, number: u32) {
        let span = span_of(time);
        let add = |count: u64| {
            let known = if (count >> 32) as u32 == span { count as u32 } else { 0 };
            Some(u64::from(span) << 32 | u64::from(known.saturating_add(number)))
        };
        let _ = self.0[span as usize % SLOTS].fetch_update(Relaxed, Relaxed, add);
    }

    /// The number of tasks that ended in the span of `now` and in `spans` ones before it.
    pub fn lately(&self, now: i64, spans: u32) -> u64 {
        let last = span_of(now);
        let of_span = |back: u32| {
            let span = last.wrapping_sub(back);
            let count = self.0[span as usize % SLOTS].load(Relaxed);
            if (count >> 32) as u32 == span { u64::from(count as u32) } else { 0 }
        };
        (0..=spans.min(SLOTS as u32 - 1)).map(of_span).sum()
    }

    pub fn clear(&self) {
        self.0.iter().for_each(|count| count.store(0, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_count_for_the_spans_in_which_they_ended() {
        let rates = Rates::empty();
        let at = |span: i64| 800_000_000_000_000 + span * SLOT + 5;
        rates.count(at(0), 1);
        rates.count(at(0), 2);
        rates.count(at(1), 4);
        rates.count(at(3), 8);
        assert_eq!([0, 1, 2, 3, 9].map(|spans| rates.lately(at(3), spans)), [8, 8, 12, 15, 15]);
        // A count is taken over by a later span.
        rates.count(at(SLOTS as i64), 16);
        assert_eq!(rates.lately(at(SLOTS as i64), 100), 16 + 4 + 8);
        assert_eq!(rates.lately(at(1000), 100), 0);
        rates.clear();
        assert_eq!(rates.lately(at(3), 9), 0);
    }
}
