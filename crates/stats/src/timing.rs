//! A histogram of times that processes share.

use crate::distribution::{BUCKETS, Distribution, bucket_of};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of times, in microseconds.
pub struct Timing {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Timing {
    #[cfg(test)]
    pub const fn empty() -> Timing {
        Timing {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    pub fn count(&self, micros: u64) {
        self.buckets[bucket_of(micros)].fetch_add(1, Relaxed);
        self.sum.fetch_add(micros, Relaxed);
        if self.max.load(Relaxed) < micros {
            self.max.fetch_max(micros, Relaxed);
        }
    }

    pub fn read(&self) -> Distribution {
        Distribution {
            buckets: std::array::from_fn(|n| self.buckets[n].load(Relaxed)),
            sum: self.sum.load(Relaxed),
            max: self.max.load(Relaxed),
        }
    }

    pub fn write(&self, times: &Distribution) {
        self.buckets.iter().zip(times.buckets).for_each(|(place, count)| place.store(count, Relaxed));
        self.sum.store(times.sum, Relaxed);
        self.max.store(times.max, Relaxed);
    }
}
