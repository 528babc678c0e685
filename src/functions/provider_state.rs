//! The function of `sql/87_provider_status.sql`.

use super::shown::{require_select, timestamp};
use crate::pg::{backend, shmem};
use crate::provider;
use crate::shared::{BreakerState, ProviderState, Refusal, Terms, ToId};
use crate::task_definition::TaskDefinitions;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// `errand.provider_state()`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn provider_state() -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(in_flight, i32),
        name!(retry_after, Option<TimestampWithTimeZone>),
        name!(next_request_at, Option<TimestampWithTimeZone>),
        name!(breaker, Option<&'static str>),
        name!(breaker_until, Option<TimestampWithTimeZone>),
        name!(consecutive_failures, i32),
        name!(last_failure_at, Option<TimestampWithTimeZone>),
        name!(last_status, Option<i32>),
        name!(state, &'static str),
    ),
> {
    require_select(&["provider_status"], "the state of providers");
    TableIterator::new(states().into_iter().map(|(name, state)| {
        let time = |time: Option<i64>| time.and_then(timestamp);
        (
            name,
            count(state.in_flight),
            time(state.retry_after),
            time(state.next_request_at),
            state.breaker.map(word_of_breaker),
            time(state.breaker_until),
            count(state.failed_in_a_row),
            time(state.failed_at),
            state.status.map(i32::from),
            word(&state),
        )
    }))
}

/// The providers and their states; none where no worker can run.
fn states() -> Vec<(String, ProviderState)> {
    if !shmem::available() || backend::is_standby() {
        return Vec::new();
    }
    let definitions = TaskDefinitions::now();
    let known: Vec<(String, Terms)> =
        definitions.providers().map(|known| (known.name.clone(), provider::terms(known))).collect();
    let (id, now) = (backend::database().id(), backend::now());
    let state = |(name, terms): (String, Terms)| {
        let state = shmem::read(|shared| shared.provider_state(id, &terms, now));
        (name, state)
    };
    known.into_iter().map(state).collect()
}

fn word_of_breaker(breaker: BreakerState) -> &'static str {
    match breaker {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half_open",
    }
}

/// The word that sums up the state.
fn word(state: &ProviderState) -> &'static str {
    match state.refusal {
        Some(Refusal::ByOperator(_) | Refusal::Paused(_)) => "paused",
        Some(Refusal::Broken(_)) => "broken",
        Some(Refusal::Probing(_)) => "probing",
        _ if state.breaker == Some(BreakerState::HalfOpen) => "probing",
        Some(Refusal::Full) => "full",
        Some(Refusal::Rate(_)) => "rate_limited",
        None => "ok",
    }
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
