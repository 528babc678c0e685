//! The limits of a provider, and the outcomes of its calls.

/// The limits of a provider, as defined by its row in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The account, which is never 0.
    pub account: u64,
    /// The time between two requests in microseconds; 0 for no limit.
    pub interval: i64,
    /// The number of requests that may be sent at once after a pause.
    pub burst: i64,
    /// The limit of calls in flight; 0 for no limit.
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
            Refusal::Paused(until)
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
