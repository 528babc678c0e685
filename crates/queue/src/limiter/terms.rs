//! What a provider permits, and how its calls end.

/// The limits of a provider, as its row in a database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The account, which is never 0.
    pub account: u64,
    /// The time between two requests in microseconds; 0 for no limit.
    pub interval: i64,
    /// The number of requests that may go out at once after a pause.
    pub burst: i64,
    /// The limit of calls in flight; 0 for no limit.
    pub max_in_flight: u32,
    /// The number of failures in a row that open the circuit breaker; 0 if there is none.
    pub breaker_threshold: u32,
    /// How long an open circuit breaker refuses requests, in microseconds.
    pub breaker_cooldown: i64,
}

/// The answer to a request that wants to go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// The request has to wait until this time, in microseconds since 2000-01-01.
    Wait(i64),
    /// The request has to wait until another call has ended.
    Full,
}

/// The outcome of a call, as far as it says something about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Well,
    /// The provider failed, not the request.
    Badly,
    /// The provider has asked us to wait.
    Refused,
}

/// A change of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// It refuses requests until this time.
    Opened(i64),
    Closed,
}

/// What the outcome of a call means for other requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// A pause has ended that others waited for.
    pub resumed: bool,
    pub breaker: Option<Breaker>,
}
