//! The function of `sql/87_provider_status.sql`.

use super::shown::{require_select, timestamp};
use crate::pg::{backend, shmem};
use crate::provider;
use crate::shared::{BreakerState, ProviderState, Refusal, ToId};
use crate::task_definition::TaskDefinitions;
use pg_errand_calls::provider::Provider;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use std::sync::Arc;

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
        name!(secret_problem, Option<String>),
    ),
> {
    require_select(&["provider_status"], "the state of providers");
    TableIterator::new(states().into_iter().map(|Known { name, state, secret_problem }| {
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
            secret_problem,
        )
    }))
}

struct Known {
    name: String,
    state: ProviderState,
    /// Why no request can be sent: a secret cannot be looked up.
    secret_problem: Option<String>,
}

/// The providers and their states; none where no worker can run.
fn states() -> Vec<Known> {
    if !shmem::available() || backend::is_standby() {
        return Vec::new();
    }
    let definitions = TaskDefinitions::now();
    let (id, now) = (backend::database().id(), backend::now());
    let state = |known: &Arc<Provider>| {
        let terms = provider::terms(known);
        Known {
            name: known.name.clone(),
            state: shmem::read(|shared| shared.provider_state(id, &terms, now)),
            secret_problem: provider::check_secrets(known).err(),
        }
    };
    definitions.providers().map(state).collect()
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
