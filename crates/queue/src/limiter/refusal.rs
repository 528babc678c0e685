//! Why an account admits no request.

use super::Limiter;
use super::account::Account;
use super::bucket::Bucket;
use super::terms::{Admission, Refusal, Terms};
use crate::ids::DatabaseId;

impl<const ACCOUNTS: usize> Limiter<ACCOUNTS> {
    /// Why [`Limiter::admit`] would refuse a request now; `None` if it would not.
    pub fn refusal(&self, database: DatabaseId, terms: &Terms, in_flight: u32, now: i64) -> Option<Refusal> {
        if let Some(refusal) = self.pause_of(database, terms.account, now) {
            return Some(refusal);
        }
        if terms.max_in_flight > 0 && in_flight >= terms.max_in_flight {
            return Some(Refusal::Full);
        }
        let is_it = |bucket: &&Bucket| {
            (bucket.account, bucket.interval, bucket.burst) == (terms.account, terms.interval, terms.burst)
        };
        let mut bucket = *self.buckets.iter().filter(|_| terms.interval > 0).find(is_it)?;
        match bucket.admit(now) {
            Admission::Wait(until) => Some(Refusal::Rate(until)),
            Admission::Admitted | Admission::Full => None,
        }
    }

    /// The pause of an account in a database that lasts at `now`.
    pub fn pause_of(&self, database: DatabaseId, account: u64, now: i64) -> Option<Refusal> {
        let is_it = |known: &&Account| known.id == account && known.database == database;
        let account = self.accounts.iter().find(is_it).filter(|account| account.waits_until() > now)?;
        Some(match account.waits_until() {
            until if account.broken_until == until => Refusal::Broken(until),
            until if account.probing => Refusal::Probing(until),
            until => Refusal::Paused(until),
        })
    }
}
