//! The limits of a provider, and the outcomes of its calls.

use crate::numbers::NEVER;

/// The limits of a provider or of a task type, as defined by its row in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The account, which is never 0.
    pub account: u64,
    /// The time between two requests in microseconds; 0 for no limit.
    pub interval: i64,
    /// The number of requests that may be sent at once after a pause.
    pub burst: i64,
    /// The limit of calls in flight, or of running tasks; 0 for no limit.
    pub max_in_flight: u32,
    /// The number of consecutive failures that open the circuit breaker; 0 if there is none.
    pub breaker_threshold: u32,
    /// How long an open circuit breaker refuses requests, in microseconds.
    pub breaker_cooldown: i64,
}

/// The decision about a request that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// The request has to wait until this time, in microseconds since 2000-01-01.
    Wait(i64),
    /// The request has to wait until another call has ended.
    Full,
}

/// Why no request is admitted. Times are in microseconds since 2000-01-01.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// An operator has paused the provider, until this time or until it is resumed (`NEVER`).
    ByOperator(i64),
    /// The provider has requested a pause, until this time.
    Paused(i64),
    /// The circuit breaker is open, until this time.
    Broken(i64),
    /// The first request after a pause is in flight; others wait for its outcome, at most until this time.
    Probing(i64),
    /// The rate limit admits the next request at this time.
    Rate(i64),
    /// All calls that may be in flight are.
    Full,
}

impl Refusal {
    /// Until when no request is admitted, at most.
    pub fn until(self) -> Option<i64> {
        match self {
            Refusal::ByOperator(NEVER) => None,
            Refusal::ByOperator(until)
            | Refusal::Paused(until)
            | Refusal::Broken(until)
            | Refusal::Probing(until)
            | Refusal::Rate(until) => Some(until),
            Refusal::Full => None,
        }
    }
}

/// The outcome of a call, as far as it concerns the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Well,
    /// The provider failed, not the request.
    Badly,
    /// The provider requests a pause.
    Refused,
}

/// A change of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// The circuit breaker is open, and refuses requests until this time.
    Opened(i64),
    Closed,
}

/// The effect of a call's outcome on other requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// A pause has ended for which other requests waited.
    pub resumed: bool,
    pub breaker: Option<Breaker>,
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    Closed,
    Open,
    /// The next request, or the one in flight, decides.
    HalfOpen,
}

/// What is known of a provider in one database. Times are in microseconds since 2000-01-01.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProviderState {
    /// Why no request is admitted now.
    pub refusal: Option<Refusal>,
    /// The end of the pause that the provider has requested.
    pub retry_after: Option<i64>,
    /// When the rate limit admits the next request, if it does not now.
    pub next_request_at: Option<i64>,
    /// `None` if the provider has none.
    pub breaker: Option<BreakerState>,
    /// Until when the circuit breaker is open.
    pub breaker_until: Option<i64>,
    pub failed_in_a_row: u32,
    pub failed_at: Option<i64>,
    /// The status of the last failure.
    pub status: Option<u16>,
    /// The calls that the workers of the database have in flight.
    pub in_flight: u32,
}
