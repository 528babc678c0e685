//! Histograms of times, and the quantiles that they yield.

use serde::{Deserialize, Serialize};

/// The number of buckets of a histogram: one for each of 0 to 3 microseconds, then four for each octave up to 2^42
/// microseconds (51 days). The last one also counts longer times.
pub const BUCKETS: usize = 164;

/// The exponent of the first octave.
const FIRST: u32 = 2;

/// The bucket of a time in microseconds.
pub fn bucket_of(micros: u64) -> usize {
    let Some(octave) = micros.checked_ilog2().filter(|octave| *octave >= FIRST) else {
        return micros as usize;
    };
    let quarter = (micros >> (octave - FIRST)) & 3;
    (4 + (octave - FIRST) as usize * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The lowest time of a bucket, and the lowest one of the next bucket, in microseconds.
pub fn bounds(bucket: usize) -> (u64, u64) {
    let from = |bucket: usize| match bucket.checked_sub(4) {
        None => bucket as u64,
        Some(place) => (4 + place as u64 % 4) << (place / 4),
    };
    (from(bucket), from(bucket + 1))
}

/// A histogram that no other process changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(from = "Sparse", into = "Sparse")]
pub struct Distribution {
    pub buckets: [u64; BUCKETS],
    /// The sum of all times, in microseconds.
    pub sum: u64,
    /// The longest time, in microseconds. A difference of two histograms does not know it.
    pub max: u64,
}

impl Distribution {
    pub const EMPTY: Distribution = Distribution { buckets: [0; BUCKETS], sum: 0, max: 0 };

    /// The number of times.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The mean in microseconds; `None` if there is none.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The time in microseconds that this share of all times does not exceed; `None` if there are none. It differs from
    /// the exact one by at most a ninth, since it lies in the same bucket.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut passed = 0;
        let bucket = self.buckets.iter().position(|times| {
            passed += times;
            passed >= rank
        })?;
        let (from, to) = bounds(bucket);
        if from < 4 {
            return Some(from as f64);
        }
        // Its relative distance to both bounds is the same.
        let middle = 2.0 * from as f64 * to as f64 / (from + to) as f64;
        Some(if self.max >= from { middle.min(self.max as f64) } else { middle })
    }

    /// The number of times below 2^`exponent` microseconds.
    pub fn count_below(&self, exponent: u32) -> u64 {
        self.buckets[..bucket_of(1 << exponent)].iter().sum()
    }

    pub fn add(&mut self, other: &Distribution) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(times, more)| *times += more);
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// What was added since an earlier state.
    pub fn since(&self, earlier: &Distribution) -> Distribution {
        let buckets = std::array::from_fn(|n| self.buckets[n].saturating_sub(earlier.buckets[n]));
        Distribution { buckets, sum: self.sum.saturating_sub(earlier.sum), max: 0 }
    }
}

/// A histogram as it is stored: only the buckets that hold something.
#[derive(Serialize, Deserialize)]
struct Sparse {
    buckets: Vec<(usize, u64)>,
    sum: u64,
    #[serde(default)]
    max: u64,
}

impl From<Sparse> for Distribution {
    fn from(stored: Sparse) -> Self {
        let mut all = Distribution { sum: stored.sum, max: stored.max, ..Distribution::EMPTY };
        for (bucket, times) in stored.buckets {
            if let Some(place) = all.buckets.get_mut(bucket) {
                *place = times;
            }
        }
        all
    }
}

impl From<Distribution> for Sparse {
    fn from(all: Distribution) -> Self {
        let held = all.buckets.into_iter().enumerate().filter(|(_, times)| *times > 0);
        Sparse { buckets: held.collect(), sum: all.sum, max: all.max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that differ from run to run of the loop, not from run to run of the test.
    fn random(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    fn of(times: &[u64]) -> Distribution {
        let mut all = Distribution::EMPTY;
        for time in times {
            all.buckets[bucket_of(*time)] += 1;
            all.sum += time;
            all.max = all.max.max(*time);
        }
        all
    }

    #[test]
    fn each_time_lies_within_the_bounds_of_its_bucket() {
        let mut seed = 7;
        let shifted = (0..20_000).map(|n| random(&mut seed) >> (22 + n % 42));
        for time in (0..5000).chain(shifted) {
            let (from, to) = bounds(bucket_of(time));
            assert!(from <= time && time < to, "{time}: {from} {to}");
        }
        assert!((1..BUCKETS).all(|bucket| bounds(bucket - 1).1 == bounds(bucket).0));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bounds(BUCKETS - 1).1, 1 << 42);
    }

    #[test]
    fn quantiles_differ_from_those_of_the_sorted_times_by_a_ninth_at_most() {
        let mut seed = 42;
        for round in 0..200u64 {
            let spread = 22 + (round % 40) as u32;
            let number = 1 + random(&mut seed) % 500;
            let mut times: Vec<u64> =
                (0..number).map(|_| random(&mut seed) >> spread >> (random(&mut seed) % 8)).collect();
            let all = of(&times);
            times.sort_unstable();
            for share in [0.0, 0.01, 0.5, 0.95, 0.99, 1.0] {
                let rank = ((share * number as f64).ceil() as usize).clamp(1, times.len());
                let (exact, found) = (times[rank - 1] as f64, all.quantile(share).unwrap());
                assert!((found - exact).abs() <= exact / 9.0 + 1e-9, "{share} of {number}: {exact} {found}");
            }
            assert_eq!(all.mean(), Some(times.iter().sum::<u64>() as f64 / number as f64));
        }
        assert_eq!((Distribution::EMPTY.quantile(0.5), Distribution::EMPTY.mean()), (None, None));
    }

    #[test]
    fn what_was_added_is_the_difference_of_two_states() {
        let (early, late) = (of(&[1, 100, 100]), of(&[1, 100, 100, 7, 100]));
        let mut sum = late.since(&early);
        assert_eq!(sum, Distribution { max: 0, ..of(&[7, 100]) });
        sum.add(&early);
        assert_eq!(sum, late);
        // After a reset an earlier state holds more.
        assert_eq!(early.since(&late).count(), 0);
    }

    #[test]
    fn a_histogram_is_stored_with_the_buckets_that_hold_something() {
        let all = of(&[0, 5, 5, 1 << 20]);
        let text = serde_json::to_string(&all).unwrap();
        assert!(text.len() < 80, "{text}");
        assert_eq!(serde_json::from_str::<Distribution>(&text).unwrap(), all);
        let damaged = r#"{"buckets": [[9999, 1], [3, 2]], "sum": 6}"#;
        assert_eq!(serde_json::from_str::<Distribution>(damaged).unwrap().count(), 2);
    }

    #[test]
    fn times_are_counted_below_powers_of_two() {
        let all = of(&[0, 63, 64, 255, 256, 1 << 30]);
        assert_eq!([6, 8, 30, 31, 42].map(|exponent| all.count_below(exponent)), [2, 4, 5, 6, 6]);
    }
}
