//! Limits of task types and of their queue keys: columns of `queues.task_definition`.

use crate::pg::backend;
use crate::shared::{StartLimits, Terms, ToId, type_account};
use pg_errand_calls::limits::Limits;

/// The limits of each queue key.
#[derive(Clone, Copy)]
pub struct KeyLimits {
    /// The number of its tasks that run at a time.
    pub max_running: u32,
    /// The time between two starts in microseconds; 0 for no limit.
    pub interval: i64,
}

impl KeyLimits {
    /// The limits of a type that sets none.
    pub const USUAL: KeyLimits = KeyLimits { max_running: 1, interval: 0 };

    /// The limits of keys in a row.
    pub fn of_row(max_running: Option<i32>, starts_per_second: Option<f64>) -> KeyLimits {
        let limits = Limits { requests_per_second: starts_per_second, ..Limits::default() };
        let max_running = max_running.and_then(|number| u32::try_from(number).ok()).unwrap_or(1).max(1);
        KeyLimits { max_running, interval: limits.quota().interval }
    }
}

/// The limits in a row; `None` if there are none. `calls`: the tasks are sent to a provider.
pub fn of_row(
    task_type: &str,
    max_running: Option<i32>,
    starts_per_second: Option<f64>,
    burst: Option<i32>,
    calls: bool,
) -> Option<StartLimits> {
    let positive = |number: i32| u32::try_from(number).ok().filter(|number| *number > 0);
    let limits = Limits {
        requests_per_second: starts_per_second,
        burst: burst.and_then(positive),
        max_in_flight: max_running.and_then(positive),
        ..Limits::default()
    };
    let quota = limits.quota();
    let terms = Terms {
        account: type_account(backend::database().id(), task_type),
        interval: quota.interval,
        burst: quota.burst,
        max_in_flight: quota.max_in_flight,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    (terms.interval > 0 || terms.max_in_flight > 0).then_some(StartLimits { terms, calls })
}
