//! The counters and histograms of an entry at one moment.

use crate::distribution::Distribution;
use serde::{Deserialize, Serialize};

/// What is counted. An entry uses the counters of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    // of the tasks of a type
    Attempts = 0,
    Succeeded = 1,
    Failed = 2,
    Cancelled = 3,
    /// Attempts that a serialization failure or deadlock has ended.
    Repeated = 4,
    /// Errors of tasks, as `queues.error` has them; of handlers, invocations that raised one.
    Errors = 5,
    // of a handler
    Invocations = 6,
    // of the calls to a provider
    Calls = 7,
    FailedCalls = 8,
    Status2xx = 9,
    Status3xx = 10,
    Status4xx = 11,
    Status5xx = 12,
    NoResponse = 13,
    /// Calls that wait because the provider has asked for it.
    Deferred = 14,
}

pub const COUNTERS: usize = 15;

/// Which time is measured. An entry uses the times of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// From when a task may start to its first start.
    Waiting = 0,
    /// From the start of a task's last attempt to its end; for handlers, of an invocation.
    Running = 1,
    /// From a request to its response. An entry of calls has no other time, so it shares the place of the first one.
    Provider = 2,
}

impl Time {
    /// The place of its histogram.
    pub const fn place(self) -> usize {
        match self {
            Time::Waiting | Time::Provider => 0,
            Time::Running => 1,
        }
    }
}

/// The number of histograms of an entry.
pub const TIMES: usize = 2;

/// The counters and histograms of an entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub counts: [i64; COUNTERS],
    pub times: [Distribution; TIMES],
}

impl Snapshot {
    pub const EMPTY: Snapshot = Snapshot { counts: [0; COUNTERS], times: [Distribution::EMPTY; TIMES] };

    pub const fn count(&self, counter: Counter) -> i64 {
        self.counts[counter as usize]
    }

    pub const fn time(&self, time: Time) -> &Distribution {
        &self.times[time.place()]
    }

    /// True if nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0) && self.times.iter().all(|times| times.count() == 0)
    }

    /// What was counted since an earlier state.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        Snapshot {
            counts: std::array::from_fn(|n| self.counts[n] - earlier.counts[n]),
            times: std::array::from_fn(|n| self.times[n].since(&earlier.times[n])),
        }
    }
}
