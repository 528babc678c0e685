//! How much providers let us do: one account for each, which all workers of the server share. Who is at the
//! same address with the same secret has the same account.

use super::LANES;

/// Accounts that are known at once.
const ACCOUNTS: usize = 64;

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
    pub break_after: u32,
    pub break_for: i64,
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
pub enum Went {
    Well,
    /// The provider failed, not the request.
    Badly,
    /// The provider has asked us to wait.
    Refused,
}

#[derive(Clone, Copy)]
struct Account {
    /// 0: free.
    id: u64,
    /// When the bucket of requests is full again: the theoretical arrival time of the generic cell rate
    /// algorithm (ITU-T I.371), which is a token bucket in one number.
    full_at: i64,
    paused_until: i64,
    /// After a pause one request has gone out; others wait for what comes of it.
    probing: bool,
    failures: u32,
    used_at: i64,
}

impl Account {
    const FREE: Account = Account {
        id: 0,
        full_at: i64::MIN,
        paused_until: i64::MIN,
        probing: false,
        failures: 0,
        used_at: i64::MIN,
    };
}

/// All accounts.
#[derive(Clone, Copy)]
pub struct Limiter {
    accounts: [Account; ACCOUNTS],
}

impl Limiter {
    pub const NEW: Limiter = Limiter { accounts: [Account::FREE; ACCOUNTS] };

    fn knows(&self, id: u64) -> bool {
        self.accounts.iter().any(|account| account.id == id)
    }

    /// The account, made if need be in place of one of which there is least to remember, and that was not used
    /// for longest.
    fn account(&mut self, id: u64, now: i64) -> &mut Account {
        let known = self.accounts.iter().position(|account| account.id == id);
        let place = known.unwrap_or_else(|| {
            let by_age = |(_, account): &(usize, &Account)| {
                let is_new = account.full_at <= now && !account.probing && account.failures == 0;
                (account.paused_until > now, !is_new, account.used_at)
            };
            self.accounts.iter().enumerate().min_by_key(by_age).map_or(0, |(place, _)| place)
        });
        let account = &mut self.accounts[place];
        if known.is_none() {
            *account = Account { id, ..Account::FREE };
        }
        account.used_at = now;
        account
    }

    /// Whether a request may go out now; then it counts. `in_flight`: calls under way.
    pub fn admit(&mut self, terms: &Terms, in_flight: u32, now: i64) -> Admission {
        let is_full = terms.max_in_flight > 0 && in_flight >= terms.max_in_flight;
        // One of many hosts, for instance.
        if terms.interval == 0 && !self.knows(terms.account) {
            return if is_full { Admission::Full } else { Admission::Admitted };
        }
        let account = self.account(terms.account, now);
        if account.paused_until > now {
            return Admission::Wait(account.paused_until);
        }
        if is_full {
            return Admission::Full;
        }
        if terms.interval > 0 {
            let allowance = terms.interval.saturating_mul(terms.burst.max(1) - 1);
            // Also when the clock or the terms have changed: never further ahead than the allowance.
            let full_at = account.full_at.clamp(now, now + allowance + terms.interval);
            if full_at - allowance > now {
                return Admission::Wait(full_at - allowance);
            }
            account.full_at = full_at + terms.interval;
        }
        if account.paused_until > i64::MIN {
            account.probing = true;
            account.paused_until = now + PROBE;
        }
        Admission::Admitted
    }

    /// No request goes out before `until`.
    pub fn pause(&mut self, account: u64, until: i64, now: i64) {
        let account = self.account(account, now);
        account.probing = false;
        account.paused_until = account.paused_until.max(until);
    }

    /// A call has ended; true if others waited for that.
    pub fn note(&mut self, terms: &Terms, went: Went, now: i64) -> bool {
        if terms.break_after == 0 && !self.knows(terms.account) {
            return false;
        }
        let account = self.account(terms.account, now);
        match went {
            Went::Refused => return false,
            Went::Badly => account.failures = account.failures.saturating_add(1),
            Went::Well => {
                account.failures = 0;
                if std::mem::take(&mut account.probing) {
                    account.paused_until = i64::MIN;
                    return true;
                }
            }
        }
        if terms.break_after > 0 && account.failures >= terms.break_after {
            account.failures = 0;
            account.probing = false;
            account.paused_until = account.paused_until.max(now.saturating_add(terms.break_for));
        }
        false
    }

    /// The clock was set back: no pause ends later than it would have.
    pub fn set_back(&mut self) {
        for account in &mut self.accounts {
            account.paused_until = i64::MIN;
        }
    }
}

/// Calls of a worker, by account.
#[derive(Clone, Copy)]
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms =
        Terms { account: 7, interval: 500, burst: 1, max_in_flight: 0, break_after: 0, break_for: 0 };

    #[test]
    fn requests_are_spread_evenly() {
        let mut limiter = Limiter::NEW;
        assert_eq!(limiter.admit(&TERMS, 0, 1_000), Admission::Admitted);
        assert_eq!(limiter.admit(&TERMS, 0, 1_000), Admission::Wait(1_500));
        assert_eq!(limiter.admit(&TERMS, 0, 1_499), Admission::Wait(1_500));
        assert_eq!(limiter.admit(&TERMS, 0, 1_500), Admission::Admitted);
        assert_eq!(limiter.admit(&TERMS, 0, 9_000), Admission::Admitted);
        assert_eq!(limiter.admit(&TERMS, 0, 9_000), Admission::Wait(9_500));
    }

    #[test]
    fn after_a_pause_a_burst_may_go_out() {
        let mut limiter = Limiter::NEW;
        let terms = Terms { burst: 3, ..TERMS };
        let admitted = (0..10).filter(|_| limiter.admit(&terms, 0, 1_000) == Admission::Admitted).count();
        assert_eq!(admitted, 3);
        assert_eq!(limiter.admit(&terms, 0, 1_000), Admission::Wait(1_500));
    }

    #[test]
    fn in_any_span_of_time_no_more_than_the_burst_and_what_is_earned() {
        let mut limiter = Limiter::NEW;
        let terms = Terms { burst: 4, ..TERMS };
        let times: Vec<i64> = (0..100_000)
            .step_by(37)
            .filter(|now| limiter.admit(&terms, 0, *now) == Admission::Admitted)
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
        let mut limiter = Limiter::NEW;
        limiter.pause(7, 5_000, 0);
        assert_eq!(limiter.admit(&TERMS, 0, 1_000), Admission::Wait(5_000));
        assert_eq!(limiter.admit(&Terms { account: 8, ..TERMS }, 0, 1_000), Admission::Admitted);
        // A shorter pause does not end a longer one.
        limiter.pause(7, 2_000, 0);
        assert_eq!(limiter.admit(&TERMS, 0, 2_000), Admission::Wait(5_000));
        assert_eq!(limiter.admit(&TERMS, 0, 5_000), Admission::Admitted);
    }

    #[test]
    fn after_a_pause_one_request_goes_first() {
        let mut limiter = Limiter::NEW;
        let terms = Terms { interval: 0, ..TERMS };
        limiter.pause(7, 5_000, 0);
        assert_eq!(limiter.admit(&terms, 0, 5_000), Admission::Admitted);
        assert_eq!(limiter.admit(&terms, 0, 5_001), Admission::Wait(5_000 + PROBE));
        limiter.pause(7, 9_000, 5_002);
        assert!(!limiter.note(&terms, Went::Refused, 5_002));
        assert_eq!(limiter.admit(&terms, 0, 9_000 + PROBE), Admission::Admitted);
        assert!(limiter.note(&terms, Went::Well, 10_000));
        assert_eq!(limiter.admit(&terms, 0, 10_000), Admission::Admitted);
        assert_eq!(limiter.admit(&terms, 0, 10_000), Admission::Admitted);
    }

    #[test]
    fn a_paused_account_is_not_forgotten_for_others() {
        let mut limiter = Limiter::NEW;
        limiter.pause(7, 5_000, 0);
        for account in 100..100 + 2 * ACCOUNTS as u64 {
            limiter.admit(&Terms { account, ..TERMS }, 0, 1_000);
        }
        assert_eq!(limiter.admit(&TERMS, 0, 1_000), Admission::Wait(5_000));
    }

    #[test]
    fn a_full_provider_takes_no_call() {
        let mut limiter = Limiter::NEW;
        let terms = Terms { max_in_flight: 2, ..TERMS };
        assert_eq!(limiter.admit(&terms, 2, 1_000), Admission::Full);
        assert_eq!(limiter.admit(&terms, 1, 1_000), Admission::Admitted);
    }

    #[test]
    fn failures_in_a_row_are_followed_by_a_pause() {
        let mut limiter = Limiter::NEW;
        let terms = Terms { interval: 0, break_after: 2, break_for: 1_000, ..TERMS };
        limiter.note(&terms, Went::Badly, 0);
        limiter.note(&terms, Went::Well, 0);
        limiter.note(&terms, Went::Badly, 0);
        assert_eq!(limiter.admit(&terms, 0, 0), Admission::Admitted);
        limiter.note(&terms, Went::Badly, 10);
        assert_eq!(limiter.admit(&terms, 0, 20), Admission::Wait(1_010));
    }

    #[test]
    fn calls_are_counted_by_account() {
        let mut calls = InFlight::NONE;
        [5, 6, 5].into_iter().for_each(|account| calls.add(account));
        assert_eq!((calls.of(5), calls.of(6), calls.of(9)), (2, 1, 0));
    }
}
