//! Rate limits, as token buckets.

use super::terms::Admission;
use crate::ids::DatabaseId;

/// The token bucket of an account and a rate, shared by all databases that have this rate. A database with a lower rate has a
/// bucket of its own, because it would delay the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bucket {
    /// The database that used the bucket last.
    pub database: DatabaseId,
    /// The account, or 0 if the entry is free.
    pub account: u64,
    pub interval: i64,
    pub burst: i64,
    /// The time at which the bucket is full again: the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371),
    /// which is a token bucket in one number.
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

    /// Corrects `full_at` after the clock was set back: no bucket takes longer to fill than an empty one. The corrected
    /// time is stored, since the wait would otherwise begin again with each request.
    pub fn see_time(&mut self, now: i64) {
        self.full_at = self.full_at.min(now + self.allowance() + self.interval);
    }

    /// The time to fill the bucket with the requests of a burst, without the first one.
    pub fn allowance(&self) -> i64 {
        self.interval.saturating_mul(self.burst.max(1) - 1)
    }
}
