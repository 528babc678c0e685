//! What a provider permits, and how its calls end.

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

/// How a call outcome, as far as it says something about the provider.
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
