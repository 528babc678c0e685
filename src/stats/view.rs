//! What functions and views show of the statistics of this database.

use crate::pg::{backend, stats_memory};
use pg_errand_stats::{Distribution, Entry, Key, Kind, Snapshot, Status};

/// An entry as it is shown.
pub struct Shown {
    pub kind: Kind,
    pub task_type: String,
    /// The name of the handler or of the provider.
    pub name: String,
    pub role: &'static str,
    pub counts: Snapshot,
    pub since: i64,
}

/// All entries of this database in which something was counted.
pub fn entries() -> Vec<Shown> {
    of_database(|entry| {
        let counts = entry.counts();
        (!counts.is_empty()).then(|| Shown {
            kind: entry.kind(),
            task_type: entry.task_type(),
            name: entry.name(),
            role: entry.role().as_str(),
            counts,
            since: entry.since(),
        })
    })
}

/// The share of times up to which each of the quantiles goes that are shown.
pub const SHARES: [f64; 3] = [0.5, 0.95, 0.99];

/// A histogram in milliseconds: the quantiles of [`SHARES`], the longest time and the mean. `None` if it is empty.
pub fn figures(times: &Distribution) -> Option<Vec<f64>> {
    let mut figures: Vec<f64> = SHARES.iter().filter_map(|share| times.quantile(*share)).collect();
    figures.push(times.max as f64);
    figures.push(times.mean()?);
    Some(figures.into_iter().map(|micros| micros / 1000.0).collect())
}

/// How many tasks of a type ended with each status within a while.
pub struct Lately {
    pub task_type: String,
    pub ended: [u64; Status::ALL.len()],
}

/// The tasks that ended in the current span of time and in `spans` ones before it.
pub fn lately(now: i64, spans: u32) -> Vec<Lately> {
    of_database(|entry| {
        let ended = Status::ALL.map(|status| entry.lately(status, now, spans));
        let is_shown = entry.kind() == Kind::Tasks && ended.iter().any(|number| *number > 0);
        is_shown.then(|| Lately { task_type: entry.task_type(), ended })
    })
}

/// The last tasks of a type that ended, or that failed; the last one first.
pub fn last_ended(task_type: &str, only_failed: bool) -> Vec<i64> {
    let digest = Key::of_tasks(backend::database().to_u32(), task_type).digest();
    let found = stats_memory::read(|table| {
        table.find(digest).and_then(|handle| table.get(handle)).map(|entry| entry.last_ended(only_failed))
    });
    found.flatten().unwrap_or_default()
}

fn of_database<R>(show: impl Fn(&Entry) -> Option<R>) -> Vec<R> {
    let database = backend::database().to_u32();
    stats_memory::read(|table| table.of_database(database).filter_map(|(_, entry)| show(entry)).collect())
        .unwrap_or_default()
}
