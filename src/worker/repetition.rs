//! How often, and after which pause, a step is repeated.

use std::time::Duration;

/// Maximum number of runs of a task whose runs end in serialization failures or deadlocks.
pub const MAX_RUNS: i32 = 10;

/// Backoff before the `n`th repetition: 10 ms, doubled each time, at most 2 s.
pub fn repeat_pause(n: u32) -> Duration {
    Duration::from_millis(10 << n.min(8)).min(Duration::from_secs(2))
}
