//! Bucket limits.

use super::terms::Admission;
use crate::DatabaseId;

/// A token bucket, shared by all databases that have the same rate for an account. A database with a lower rate has a
/// bucket of its own, since it would delay the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bucket {
    /// The database that used it last.
    pub database: DatabaseId,
    /// 0: free.
    pub account: u64,
    pub interval: i64,
    pub burst: i64,
    /// When the bucket of requests is full again: the theoretical arrival time of the generic cell rate
    /// algorithm (ITU-T I.371), which is a token bucket in one number.
    pub full_at: i64,
}

impl Bucket {
    pub const FREE: Bucket =
        Bucket { database: DatabaseId::NONE, account: 0, interval: 0, burst: 0, full_at: i64::MIN };

    /// Takes a request out of the bucket.
    pub fn admit(&mut self, now: i64) -> Admission {
        self.see_time(now);
        let admitted_at = self.full_at.saturating_sub(self.allowance());
        if admitted_at > now {
            return Admission::Wait(admitted_at);
        }
        self.full_at = self.full_at.max(now) + self.interval;
        Admission::Admitted
    }

    /// An empty bucket is full after this time, and one interval: no time is further ahead, unless the clock was set
    /// back. That is kept, since the wait for it would begin anew with each look.
    pub fn see_time(&mut self, now: i64) {
        self.full_at = self.full_at.min(now + self.allowance() + self.interval);
    }

    /// Time in which the requests of a burst are earned, without the first one.
    pub fn allowance(&self) -> i64 {
        self.interval.saturating_mul(self.burst.max(1) - 1)
    }
}
