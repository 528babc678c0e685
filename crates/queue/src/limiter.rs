//! Rate limits, pauses and circuit breakers of providers. Providers with the same address and credentials have the same
//! account. All workers of the server share the rate limit of an account. Failures and pauses are kept for each database, so
//! that the administrator of one database cannot stop the calls of another.

mod account;
mod bucket;
mod in_flight;
mod refusal;
mod status;
mod terms;

pub(crate) use bucket::Bucket;
pub use in_flight::InFlight;
pub use terms::{Admission, Breaker, BreakerState, CallOutcome, ProviderState, Refusal, Terms};

use crate::ids::DatabaseId;
use account::Account;
use terms::Noted;

/// The number of accounts, and of rate limits, that are known at once.
pub const MAX_ACCOUNTS: usize = 64;

/// How long other requests wait for the outcome of the first request after a pause, in microseconds.
const PROBE: i64 = 250_000;

/// The index for a new entry: a free one, or that of the least valuable entry of the database with the most entries. A
/// database with many entries therefore replaces its own ones.
fn place_for<T: Copy, V: Ord>(
    entries: &[T],
    of: impl Fn(&T) -> Option<DatabaseId>,
    value: impl Fn(&T) -> V,
) -> usize {
    let count = |entry: &T| of(entry).map(|id| entries.iter().filter(|other| of(other) == Some(id)).count());
    let places = entries.iter().enumerate();
    let order =
        |(_, entry): &(usize, &T)| (of(entry).is_some(), std::cmp::Reverse(count(entry)), value(entry));
    places.min_by_key(order).map_or(0, |(place, _)| place)
}

/// All accounts and rate limits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limiter<const ACCOUNTS: usize = MAX_ACCOUNTS> {
    accounts: [Account; ACCOUNTS],
    buckets: [Bucket; ACCOUNTS],
}

impl<const ACCOUNTS: usize> Limiter<ACCOUNTS> {
    pub const NEW: Self = Limiter { accounts: [Account::FREE; ACCOUNTS], buckets: [Bucket::FREE; ACCOUNTS] };

    fn known(&mut self, database: DatabaseId, id: u64) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.id == id && account.database == database)
    }

    /// The account, which is added if it is unknown. A new account replaces one without a pause or failures, and of
    /// these the least recently used one.
    fn account(&mut self, database: DatabaseId, id: u64, now: i64) -> &mut Account {
        if self.known(database, id).is_none() {
            let of = |account: &Account| (account.id != 0).then_some(account.database);
            let value = |account: &Account| {
                let is_new = !account.probing && account.failures == 0;
                (account.waits_until() > now, !is_new, account.used_at)
            };
            let place = place_for(&self.accounts, of, value);
            self.accounts[place] = Account { database, id, ..Account::FREE };
        }
        let place = self.accounts.iter().position(|known| known.id == id && known.database == database);
        let account = &mut self.accounts[place.unwrap_or(0)];
        account.used_at = now;
        account
    }

    fn bucket(&mut self, database: DatabaseId, terms: &Terms) -> &mut Bucket {
        let Terms { account, interval, burst, .. } = *terms;
        let is_it = |bucket: &Bucket| {
            bucket.account == account && bucket.interval == interval && bucket.burst == burst
        };
        let place = self.buckets.iter().position(is_it).unwrap_or_else(|| {
            let of = |bucket: &Bucket| (bucket.account != 0).then_some(bucket.database);
            let place = place_for(&self.buckets, of, |bucket| bucket.full_at);
            self.buckets[place] = Bucket { account, interval, burst, ..Bucket::FREE };
            place
        });
        self.buckets[place].database = database;
        &mut self.buckets[place]
    }

    /// Admits or refuses a request. `in_flight` is the number of calls of the account in flight.
    pub fn admit(&mut self, database: DatabaseId, terms: &Terms, in_flight: u32, now: i64) -> Admission {
        let waits_until =
            self.known(database, terms.account).map_or(i64::MIN, |account| account.waits_until());
        if waits_until > now {
            return Admission::Wait(waits_until);
        }
        if terms.max_in_flight > 0 && in_flight >= terms.max_in_flight {
            return Admission::Full;
        }
        if terms.interval > 0
            && let Admission::Wait(until) = self.bucket(database, terms).admit(now)
        {
            return Admission::Wait(until);
        }
        if waits_until > i64::MIN {
            let account = self.account(database, terms.account, now);
            account.probing = true;
            account.paused_until = now + PROBE;
        }
        Admission::Admitted
    }

    /// Revokes the admission of a request that is not sent, even if it was the first one after a pause. True if other
    /// requests may wait for that.
    pub fn give_back(&mut self, database: DatabaseId, terms: &Terms, now: i64) -> bool {
        if terms.interval > 0 {
            let bucket = self.bucket(database, terms);
            bucket.full_at = bucket.full_at.saturating_sub(terms.interval);
        }
        let account = self.known(database, terms.account).filter(|account| account.probing);
        let was_probe = account.is_some();
        if let Some(account) = account {
            account.probing = false;
            account.paused_until = account.paused_until.min(now);
        }
        terms.interval > 0 || was_probe
    }

    /// Refuses all requests of an account in a database until `until`.
    pub fn pause(&mut self, database: DatabaseId, account: u64, until: i64, now: i64) {
        let account = self.account(database, account, now);
        account.probing = false;
        account.paused_until = account.paused_until.max(until);
    }

    /// Records the outcome of a call.
    pub fn note(&mut self, database: DatabaseId, terms: &Terms, outcome: CallOutcome, now: i64) -> Noted {
        let nothing = Noted::default();
        if terms.breaker_threshold == 0 && self.known(database, terms.account).is_none() {
            return nothing;
        }
        let account = self.account(database, terms.account, now);
        match outcome {
            CallOutcome::Refused => return nothing,
            CallOutcome::Badly => account.failures = account.failures.saturating_add(1),
            CallOutcome::Well => {
                account.failures = 0;
                if std::mem::take(&mut account.probing) {
                    let breaker = (account.broken_until > i64::MIN).then_some(Breaker::Closed);
                    (account.paused_until, account.broken_until) = (i64::MIN, i64::MIN);
                    return Noted { resumed: true, breaker };
                }
            }
        }
        if terms.breaker_threshold == 0 || account.failures < terms.breaker_threshold {
            return nothing;
        }
        account.failures = 0;
        account.probing = false;
        let was_closed = account.broken_until == i64::MIN;
        account.broken_until = account.broken_until.max(now.saturating_add(terms.breaker_cooldown));
        let breaker = was_closed.then_some(Breaker::Opened(account.broken_until));
        Noted { resumed: false, breaker }
    }

    /// Closes the circuit breakers of a database, and resets their counts of failures.
    pub fn close_breakers(&mut self, database: DatabaseId) {
        for account in self.accounts.iter_mut().filter(|account| account.database == database) {
            account.broken_until = i64::MIN;
            (account.failures, account.failed_in_a_row) = (0, 0);
        }
    }

    /// Removes the entries of a database that was dropped, or has no extension any more.
    pub fn forget(&mut self, database: DatabaseId) {
        for account in self.accounts.iter_mut().filter(|account| account.database == database) {
            *account = Account::FREE;
        }
    }

    /// Ends all pauses, since the clock was set back to `now` and they would last too long.
    pub fn set_clock_back(&mut self, now: i64) {
        for account in &mut self.accounts {
            (account.paused_until, account.broken_until) = (i64::MIN, i64::MIN);
        }
        self.buckets.iter_mut().for_each(|bucket| bucket.see_time(now));
    }
}

#[cfg(test)]
mod tests;
