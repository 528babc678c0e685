//! What a provider allows.

use crate::seconds;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// The longest time between two requests, in microseconds: a day.
const MAX_INTERVAL: f64 = 86_400e6;
/// The maximum time for which a circuit breaker stays open.
pub const MAX_COOLDOWN: Duration = Duration::from_secs(3600);
const MAX_BURST: i64 = 1_000_000;

/// The limits in a row of `queues.provider`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub requests_per_second: Option<f64>,
    /// Requests that may go out at once after a time without any.
    pub burst: Option<u32>,
    /// Calls in flight, of all workers together.
    pub max_in_flight: Option<u32>,
    /// The maximum time that a request waits if the provider requests a pause.
    #[serde(deserialize_with = "seconds::read")]
    pub max_wait: Option<Duration>,
    /// The number of consecutive failures that opens the circuit breaker.
    pub breaker_threshold: Option<u32>,
    /// How long the circuit breaker stays open.
    #[serde(deserialize_with = "seconds::read")]
    pub breaker_cooldown: Option<Duration>,
}

/// The limits as whole numbers, with times in microseconds; 0 means that there is no such limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Time between two requests.
    pub interval: i64,
    pub burst: i64,
    pub max_in_flight: u32,
    pub breaker_threshold: u32,
    pub breaker_cooldown: i64,
}

impl Limits {
    pub fn quota(&self) -> Quota {
        let rate = self.requests_per_second.filter(|rate| *rate > 0.0);
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        // A burst of less than a tenth of a second would wake a worker for each request to a fast provider.
        let usual_burst = || rate.map_or(1, |rate| (rate / 10.0) as i64);
        Quota {
            interval: rate.map_or(0, |rate| (1e6 / rate).ceil().min(MAX_INTERVAL) as i64),
            burst: self.burst.map_or_else(usual_burst, i64::from).clamp(1, MAX_BURST),
            max_in_flight: self.max_in_flight.unwrap_or(0),
            breaker_threshold: self.breaker_threshold.unwrap_or(0),
            breaker_cooldown: self.breaker_cooldown.map_or(0, |time| micros(time.min(MAX_COOLDOWN))),
        }
    }
}

/// Checks the numbers of a row that is being written.
///
/// # Errors
/// If a column is not above 0.
pub fn check(row: &Value) -> Result<(), String> {
    for name in ["requests_per_second", "burst", "max_in_flight", "breaker_threshold", "batch_size"] {
        let value = row.get(name).filter(|value| !value.is_null());
        let fits = |value: &Value| value.as_f64().is_some_and(|number| number > 0.0 && number.is_finite());
        if value.is_some_and(|value| !fits(value)) {
            return Err(format!("{name} has to be above 0, or null"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_rates_stay_within_what_can_be_counted() {
        let quota = |rate| Limits { requests_per_second: Some(rate), ..Limits::default() }.quota();
        assert_eq!((quota(2.0).interval, quota(2.0).burst), (500_000, 1));
        assert_eq!((quota(100.0).interval, quota(100.0).burst), (10_000, 10));
        assert_eq!(quota(1e-300).interval, 86_400_000_000);
        assert_eq!((quota(1e300).interval, quota(1e300).burst), (1, MAX_BURST));
    }
}
