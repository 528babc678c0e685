//! How much providers let us do. Rows with the same address and credentials have the same account. All workers of the
//! server share its rate, if their rows have the same rate. Failures of calls and the pauses that follow are kept by
//! database, so that the administrator of one database cannot stop the calls of another.

use super::{DatabaseId, LANES};

/// Accounts that are known at once, and rates.
pub const MAX_ACCOUNTS: usize = 64;

/// After a pause the next request follows the first one when that has gone well, or after this time; in
/// microseconds.
const PROBE: i64 = 250_000;

/// What a provider lets us do, as its row in some database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Tells accounts apart; never 0.
    pub account: u64,
    /// Time between two requests in microseconds; 0: no matter.
    pub interval: i64,
    /// Requests that may go out at once after a pause.
    pub burst: i64,
    /// Calls in flight; 0: any number.
    pub max_in_flight: u32,
    /// Failures in a row that are followed by a pause (0: none), and how long that is, in microseconds.
    pub breaker_threshold: u32,
    pub breaker_cooldown: i64,
}

/// Whether a request may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// Not before this time; microseconds since 2000-01-01.
    Wait(i64),
    /// Not before a call has ended.
    Full,
}

/// How a call went, as far as it says something about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Well,
    /// The provider failed, not the request.
    Badly,
    /// The provider has asked us to wait.
    Refused,
}

/// What became of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// No call before this time.
    Opened(i64),
    Closed,
}

/// What the end of a call means for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Others waited for that.
    pub resumed: bool,
    pub breaker: Option<Breaker>,
}

/// What has come of a database's calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Account {
    database: DatabaseId,
    /// 0: free.
    id: u64,
    /// End of the pause that the provider has asked for.
    paused_until: i64,
    /// End of the circuit breaker's pause; set when it opens, and cleared when a call has gone well.
    broken_until: i64,
    /// After a pause one request has gone out; others wait for what comes of it.
    probing: bool,
    failures: u32,
    used_at: i64,
}

impl Account {
    const FREE: Account = Account {
        database: DatabaseId::NONE,
        id: 0,
        paused_until: i64::MIN,
        broken_until: i64::MIN,
        probing: false,
        failures: 0,
        used_at: i64::MIN,
    };

    fn waits_until(&self) -> i64 {
        self.paused_until.max(self.broken_until)
    }
}

/// A token bucket, shared by all databases that have the same rate for an account. A database with a lower rate has a
/// bucket of its own, since it would delay the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Rate {
    /// The database that used it last.
    database: DatabaseId,
    /// 0: free.
    account: u64,
    interval: i64,
    burst: i64,
    /// When the bucket of requests is full again: the theoretical arrival time of the generic cell rate
    /// algorithm (ITU-T I.371), which is a token bucket in one number.
    full_at: i64,
}

impl Rate {
    const FREE: Rate =
        Rate { database: DatabaseId::NONE, account: 0, interval: 0, burst: 0, full_at: i64::MIN };

    /// Takes a request out of the bucket.
    fn admit(&mut self, now: i64) -> Admission {
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
    fn see_time(&mut self, now: i64) {
        self.full_at = self.full_at.min(now + self.allowance() + self.interval);
    }

    /// Time in which the requests of a burst are earned, without the first one.
    fn allowance(&self) -> i64 {
        self.interval.saturating_mul(self.burst.max(1) - 1)
    }
}

/// The place for a new entry: a free one, or the least valuable entry of the database that has most. So a database
/// with many entries displaces its own, not those of others.
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

/// All accounts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limiter<const ACCOUNTS: usize = MAX_ACCOUNTS> {
    accounts: [Account; ACCOUNTS],
    rates: [Rate; ACCOUNTS],
}

impl<const ACCOUNTS: usize> Limiter<ACCOUNTS> {
    pub const NEW: Self = Limiter { accounts: [Account::FREE; ACCOUNTS], rates: [Rate::FREE; ACCOUNTS] };

    fn known(&mut self, database: DatabaseId, id: u64) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.id == id && account.database == database)
    }

    /// The account, made if need be in place of one of which there is least to remember, and that was not used
    /// for longest.
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

    fn rate(&mut self, database: DatabaseId, terms: &Terms) -> &mut Rate {
        let Terms { account, interval, burst, .. } = *terms;
        let is_it = |rate: &Rate| rate.account == account && rate.interval == interval && rate.burst == burst;
        let place = self.rates.iter().position(is_it).unwrap_or_else(|| {
            let of = |rate: &Rate| (rate.account != 0).then_some(rate.database);
            let place = place_for(&self.rates, of, |rate| rate.full_at);
            self.rates[place] = Rate { account, interval, burst, ..Rate::FREE };
            place
        });
        self.rates[place].database = database;
        &mut self.rates[place]
    }

    /// Whether a request of a database may go out now; then it counts. `in_flight`: calls under way.
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
            && let Admission::Wait(until) = self.rate(database, terms).admit(now)
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

    /// A request that was admitted is not sent: another one may take its place, also as the first one after a pause.
    /// True if others may wait for that.
    pub fn give_back(&mut self, database: DatabaseId, terms: &Terms, now: i64) -> bool {
        if terms.interval > 0 {
            let rate = self.rate(database, terms);
            rate.full_at = rate.full_at.saturating_sub(terms.interval);
        }
        let account = self.known(database, terms.account).filter(|account| account.probing);
        let was_probe = account.is_some();
        if let Some(account) = account {
            account.probing = false;
            account.paused_until = account.paused_until.min(now);
        }
        terms.interval > 0 || was_probe
    }

    /// No request of a database goes out before `until`.
    pub fn pause(&mut self, database: DatabaseId, account: u64, until: i64, now: i64) {
        let account = self.account(database, account, now);
        account.probing = false;
        account.paused_until = account.paused_until.max(until);
    }

    /// A call has ended.
    pub fn note(&mut self, database: DatabaseId, terms: &Terms, went: CallOutcome, now: i64) -> Noted {
        let nothing = Noted::default();
        if terms.breaker_threshold == 0 && self.known(database, terms.account).is_none() {
            return nothing;
        }
        let account = self.account(database, terms.account, now);
        match went {
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

    /// The providers of a database have changed: its circuit breakers are closed, and have counted nothing.
    pub fn close_breakers(&mut self, database: DatabaseId) {
        for account in self.accounts.iter_mut().filter(|account| account.database == database) {
            account.broken_until = i64::MIN;
            account.failures = 0;
        }
    }

    /// The database is gone, or has no extension any more.
    pub fn forget(&mut self, database: DatabaseId) {
        for account in self.accounts.iter_mut().filter(|account| account.database == database) {
            *account = Account::FREE;
        }
    }

    /// The clock was set back to `now`: no pause ends later than it would have.
    pub fn set_back(&mut self, now: i64) {
        for account in &mut self.accounts {
            (account.paused_until, account.broken_until) = (i64::MIN, i64::MIN);
        }
        self.rates.iter_mut().for_each(|rate| rate.see_time(now));
    }
}

/// Calls of a worker, by account.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InFlight {
    /// Account and calls; an account of 0 is none.
    counts: [(u64, u32); LANES],
}

impl InFlight {
    pub const NONE: InFlight = InFlight { counts: [(0, 0); LANES] };

    pub fn of(&self, account: u64) -> u32 {
        self.counts.iter().find(|(known, _)| *known == account).map_or(0, |(_, calls)| *calls)
    }

    pub fn accounts(self) -> impl Iterator<Item = u64> {
        self.counts.into_iter().map(|(account, _)| account).filter(|account| *account != 0)
    }

    /// Adds a call. Of more accounts than there is room for, the last ones are not counted.
    pub fn add(&mut self, account: u64) {
        let known = self.counts.iter().position(|(known, _)| *known == account);
        let place = known.or_else(|| self.counts.iter().position(|(known, _)| *known == 0));
        if let Some(place) = place {
            self.counts[place].0 = account;
            self.counts[place].1 += 1;
        }
    }

    /// Takes a call away that was added.
    pub fn remove(&mut self, account: u64) {
        if let Some((known, calls)) = self.counts.iter_mut().find(|(known, _)| *known == account) {
            *calls = calls.saturating_sub(1);
            *known = if *calls == 0 { 0 } else { *known };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: DatabaseId = DatabaseId::new(5);
    const THERE: DatabaseId = DatabaseId::new(6);
    const TERMS: Terms = Terms {
        account: 7,
        interval: 500,
        burst: 1,
        max_in_flight: 0,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };

    #[test]
    fn requests_are_spread_evenly() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Wait(1_500));
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_499), Admission::Wait(1_500));
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_500), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 9_000), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 9_000), Admission::Wait(9_500));
    }

    #[test]
    fn what_is_given_back_goes_to_the_next_request() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { burst: 2, ..TERMS };
        for _ in 0..5 {
            assert_eq!(limiter.admit(HERE, &terms, 0, 1_000), Admission::Admitted);
            assert!(limiter.give_back(HERE, &terms, 1_000));
        }
        let admitted =
            (0..10).filter(|_| limiter.admit(HERE, &terms, 0, 1_000) == Admission::Admitted).count();
        assert_eq!(admitted, 2);
    }

    #[test]
    fn a_request_that_is_not_sent_after_a_pause_leaves_that_to_the_next_one() {
        for interval in [0, 500] {
            let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
            let terms = Terms { interval, ..TERMS };
            limiter.pause(HERE, 7, 2_000, 1_000);
            assert_eq!(limiter.admit(HERE, &terms, 0, 2_000), Admission::Admitted);
            assert_eq!(limiter.admit(HERE, &terms, 0, 2_001), Admission::Wait(2_000 + PROBE));
            assert!(limiter.give_back(HERE, &terms, 2_001));
            // The next one is the only one, too, until it has gone well.
            assert_eq!(limiter.admit(HERE, &terms, 0, 2_001), Admission::Admitted);
            assert_eq!(limiter.admit(HERE, &terms, 0, 2_600), Admission::Wait(2_001 + PROBE));
            assert!(limiter.note(HERE, &terms, CallOutcome::Well, 2_700).resumed);
            assert_eq!(limiter.admit(HERE, &terms, 0, 2_700), Admission::Admitted);
            assert_eq!(limiter.give_back(HERE, &terms, 2_700), interval > 0);
        }
    }

    #[test]
    fn after_a_pause_a_burst_may_go_out() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { burst: 3, ..TERMS };
        let admitted =
            (0..10).filter(|_| limiter.admit(HERE, &terms, 0, 1_000) == Admission::Admitted).count();
        assert_eq!(admitted, 3);
        assert_eq!(limiter.admit(HERE, &terms, 0, 1_000), Admission::Wait(1_500));
    }

    #[test]
    fn a_clock_that_is_set_back_costs_one_wait_however_often_it_is_looked_at() {
        for noticed in [false, true] {
            let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
            assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000_000), Admission::Admitted);
            if noticed {
                limiter.set_back(1_000);
            }
            assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Wait(1_500));
            for now in 1_001..1_500 {
                assert_eq!(limiter.admit(HERE, &TERMS, 0, now), Admission::Wait(1_500));
            }
            assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_500), Admission::Admitted);
        }
    }

    #[test]
    fn a_changed_rate_counts_at_once() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let slow = Terms { interval: 1_000_000_000, ..TERMS };
        assert_eq!(limiter.admit(HERE, &slow, 0, 1_000), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &slow, 0, 2_000), Admission::Wait(1_000_001_000));
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 2_000), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 2_000), Admission::Wait(2_500));
        // Back again, the earlier request counts.
        assert_eq!(limiter.admit(HERE, &slow, 0, 3_000), Admission::Wait(1_000_001_000));
    }

    #[test]
    fn in_any_span_of_time_no_more_than_the_burst_and_what_is_earned() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { burst: 4, ..TERMS };
        let times: Vec<i64> = (0..100_000)
            .step_by(37)
            .filter(|now| limiter.admit(HERE, &terms, 0, *now) == Admission::Admitted)
            .collect();
        for (i, from) in times.iter().enumerate() {
            for (n, to) in times[i..].iter().enumerate() {
                assert!((n as i64) < 4 + (to - from) / 500, "{from} {to}");
            }
        }
        assert!(times.len() > 190);
    }

    #[test]
    fn accounts_do_not_concern_each_other() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        limiter.pause(HERE, 7, 5_000, 0);
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Wait(5_000));
        assert_eq!(limiter.admit(HERE, &Terms { account: 8, ..TERMS }, 0, 1_000), Admission::Admitted);
        // A shorter pause does not end a longer one.
        limiter.pause(HERE, 7, 2_000, 0);
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 2_000), Admission::Wait(5_000));
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 5_000), Admission::Admitted);
    }

    #[test]
    fn after_a_pause_one_request_goes_first() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { interval: 0, ..TERMS };
        limiter.pause(HERE, 7, 5_000, 0);
        assert_eq!(limiter.admit(HERE, &terms, 0, 5_000), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &terms, 0, 5_001), Admission::Wait(5_000 + PROBE));
        limiter.pause(HERE, 7, 9_000, 5_002);
        assert!(!limiter.note(HERE, &terms, CallOutcome::Refused, 5_002).resumed);
        assert_eq!(limiter.admit(HERE, &terms, 0, 9_000 + PROBE), Admission::Admitted);
        assert!(limiter.note(HERE, &terms, CallOutcome::Well, 10_000).resumed);
        assert_eq!(limiter.admit(HERE, &terms, 0, 10_000), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &terms, 0, 10_000), Admission::Admitted);
    }

    #[test]
    fn a_paused_account_is_not_forgotten_for_others() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        limiter.pause(HERE, 7, 5_000, 0);
        for account in 100..100 + 2 * MAX_ACCOUNTS as u64 {
            limiter.admit(HERE, &Terms { account, ..TERMS }, 0, 1_000);
        }
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 1_000), Admission::Wait(5_000));
    }

    #[test]
    fn a_full_provider_takes_no_call() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { max_in_flight: 2, ..TERMS };
        assert_eq!(limiter.admit(HERE, &terms, 2, 1_000), Admission::Full);
        assert_eq!(limiter.admit(HERE, &terms, 1, 1_000), Admission::Admitted);
    }

    #[test]
    fn failures_in_a_row_are_followed_by_a_pause() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { interval: 0, breaker_threshold: 2, breaker_cooldown: 1_000, ..TERMS };
        limiter.note(HERE, &terms, CallOutcome::Badly, 0);
        limiter.note(HERE, &terms, CallOutcome::Well, 0);
        limiter.note(HERE, &terms, CallOutcome::Badly, 0);
        assert_eq!(limiter.admit(HERE, &terms, 0, 0), Admission::Admitted);
        limiter.note(HERE, &terms, CallOutcome::Badly, 10);
        assert_eq!(limiter.admit(HERE, &terms, 0, 20), Admission::Wait(1_010));
    }

    #[test]
    fn one_database_s_pauses_breakers_and_slower_rate_are_not_another_s() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let broken = Terms { interval: 0, breaker_threshold: 1, breaker_cooldown: 1_000_000, ..TERMS };
        let plain = Terms { interval: 0, ..TERMS };
        let opened = limiter.note(THERE, &broken, CallOutcome::Badly, 0);
        assert_eq!(opened.breaker, Some(Breaker::Opened(1_000_000)));
        // It is told once.
        assert_eq!(limiter.note(THERE, &broken, CallOutcome::Badly, 1).breaker, None);
        assert_eq!(limiter.admit(THERE, &broken, 0, 10), Admission::Wait(1_000_001));
        assert_eq!(limiter.admit(HERE, &plain, 0, 10), Admission::Admitted);
        limiter.pause(THERE, 7, 2_000_000, 10);
        assert_eq!(limiter.admit(HERE, &plain, 0, 10), Admission::Admitted);

        limiter.close_breakers(THERE);
        assert_eq!(limiter.admit(THERE, &broken, 0, 10), Admission::Wait(2_000_000));

        let slow = Terms { interval: 1_000_000, ..TERMS };
        assert_eq!(limiter.admit(DatabaseId::new(8), &slow, 0, 10), Admission::Admitted);
        assert_eq!(limiter.admit(HERE, &TERMS, 0, 10), Admission::Admitted);
        // The same rate is shared.
        assert_eq!(limiter.admit(DatabaseId::new(8), &TERMS, 0, 10), Admission::Wait(510));
    }

    #[test]
    fn a_breaker_closes_with_the_first_call_that_goes_well_after_its_pause() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { interval: 0, breaker_threshold: 1, breaker_cooldown: 1_000, ..TERMS };
        limiter.note(HERE, &terms, CallOutcome::Badly, 0);
        assert_eq!(limiter.admit(HERE, &terms, 0, 1_000), Admission::Admitted);
        let noted = limiter.note(HERE, &terms, CallOutcome::Well, 1_500);
        assert_eq!(noted, Noted { resumed: true, breaker: Some(Breaker::Closed) });
        assert_eq!(limiter.admit(HERE, &terms, 0, 1_501), Admission::Admitted);
    }

    #[test]
    fn a_database_with_many_accounts_has_none_of_another_forgotten() {
        let mut limiter = Limiter::<MAX_ACCOUNTS>::NEW;
        let terms = Terms { breaker_threshold: 2, breaker_cooldown: 1_000, ..TERMS };
        limiter.note(HERE, &terms, CallOutcome::Badly, 0);
        limiter.admit(HERE, &terms, 0, 0);
        for account in 100..100 + 2 * MAX_ACCOUNTS as u64 {
            limiter.admit(THERE, &Terms { account, interval: 40_000, ..terms }, 0, 10);
            limiter.pause(THERE, account, i64::MAX, 10);
        }
        assert_eq!(limiter.admit(HERE, &terms, 0, 10), Admission::Wait(500));
        assert!(limiter.note(HERE, &terms, CallOutcome::Badly, 10).breaker.is_some());
    }

    #[test]
    fn calls_are_counted_by_account() {
        let mut calls = InFlight::NONE;
        [5, 6, 5].into_iter().for_each(|account| calls.add(account));
        assert_eq!((calls.of(5), calls.of(6), calls.of(9)), (2, 1, 0));
    }
}
