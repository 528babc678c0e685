//! What is known of a provider, for views.

use super::Limiter;
use super::account::Account;
use super::bucket::Bucket;
use super::terms::{BreakerState, CallOutcome, ProviderState, Terms};
use crate::ids::DatabaseId;

impl<const ACCOUNTS: usize> Limiter<ACCOUNTS> {
    /// Keeps the status with which a call has ended, for views. `status`: 0 if there was no response.
    pub(crate) fn keep_status(
        &mut self,
        database: DatabaseId,
        account: u64,
        outcome: CallOutcome,
        status: u16,
        now: i64,
    ) {
        match outcome {
            CallOutcome::Well => {
                if let Some(account) = self.known(database, account) {
                    account.failed_in_a_row = 0;
                }
            }
            CallOutcome::Badly | CallOutcome::Refused => {
                let account = self.account(database, account, now);
                account.failed_in_a_row =
                    account.failed_in_a_row.saturating_add(u32::from(outcome == CallOutcome::Badly));
                (account.failed_at, account.status) = (now, status);
            }
        }
    }

    /// The state of a provider, of whose calls `in_flight` are in flight on this server.
    pub(crate) fn state(
        &self,
        database: DatabaseId,
        terms: &Terms,
        in_flight: u32,
        now: i64,
    ) -> ProviderState {
        let is_it = |known: &&Account| known.id == terms.account && known.database == database;
        let account = self.accounts.iter().find(is_it).copied().unwrap_or(Account::FREE);
        let later = |time: i64| Some(time).filter(|time| *time > now);
        let breaker = match account.broken_until {
            _ if terms.breaker_threshold == 0 => None,
            i64::MIN => Some(BreakerState::Closed),
            until if until > now && !account.probing => Some(BreakerState::Open),
            _ => Some(BreakerState::HalfOpen),
        };
        let is_bucket = |bucket: &&Bucket| {
            (bucket.account, bucket.interval, bucket.burst) == (terms.account, terms.interval, terms.burst)
        };
        let bucket = self.buckets.iter().filter(|_| terms.interval > 0).find(is_bucket);
        ProviderState {
            refusal: self.refusal(database, terms, in_flight, now),
            retry_after: later(account.paused_until).filter(|_| !account.probing),
            next_request_at: bucket
                .and_then(|bucket| later(bucket.full_at.saturating_sub(bucket.allowance()))),
            breaker,
            breaker_until: later(account.broken_until).filter(|_| terms.breaker_threshold > 0),
            failed_in_a_row: account.failed_in_a_row,
            failed_at: Some(account.failed_at).filter(|time| *time != i64::MIN),
            status: Some(account.status).filter(|status| *status != 0),
            in_flight: 0,
        }
    }
}
