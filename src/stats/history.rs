//! What the statistics have counted since the history was last written.

use super::view::SHARES;
use crate::pg::{backend, stats_memory};
use pg_errand_stats::{Distribution, Entry, Figures, Handle, Key, Snapshot, Summary};

/// The number of task types, and of providers, whose figures a row of the history has.
pub const MAX_DETAILS: usize = 100;

/// What was counted since the history was last written.
pub struct Unwritten {
    pub summary: Summary,
    counts: Vec<(Handle, Snapshot)>,
    /// When something was counted last.
    pub until: i64,
}

/// True for one process of a database, if the history was not written up to this minute.
pub fn begin_minute(minute: i64) -> bool {
    super::cache::entry(&Key::of_database(super::database())).is_some_and(|entry| entry.begin_minute(minute))
}

/// What has to be written; `None` if nothing was counted.
pub fn unwritten() -> Option<Unwritten> {
    let mut unwritten = Unwritten { summary: Summary::default(), counts: Vec::new(), until: i64::MIN };
    stats_memory::read(|table| {
        table.of_database(super::database()).for_each(|(handle, entry)| unwritten.add(handle, entry));
    })?;
    if unwritten.counts.is_empty() {
        return None;
    }
    unwritten.summary.limit(MAX_DETAILS);
    Some(unwritten)
}

impl Unwritten {
    fn add(&mut self, handle: Handle, entry: &Entry) {
        let counts = entry.counts();
        let new = counts.since(&entry.noted());
        if !new.is_empty() {
            self.summary.add_entry(entry, &new);
            self.counts.push((handle, counts));
            self.until = self.until.max(entry.used_at());
        }
    }

    /// Notes that the history has it.
    pub fn note_written(&self) {
        let Some(table) = stats_memory::table() else { return };
        for (handle, counts) in &self.counts {
            if let Some(entry) = table.get(*handle) {
                entry.note(counts);
            }
        }
    }
}

/// The counters of a row of the history, in the order of `history_insert.sql`.
pub fn counters(figures: &Figures) -> Vec<i64> {
    let Figures { succeeded, failed, cancelled, repeated, errors, calls, failed_calls, .. } = figures;
    [succeeded, failed, cancelled, repeated, errors, calls, failed_calls].into_iter().copied().collect()
}

/// The quantiles of a row of the history in milliseconds, in the order of `history_insert.sql`.
pub fn quantiles(figures: &Figures) -> Vec<Option<f64>> {
    let of = |times: &Distribution| SHARES.map(|share| times.quantile(share).map(|micros| micros / 1000.0));
    [&figures.waiting, &figures.running, &figures.provider].into_iter().flat_map(of).collect()
}

/// The current time, and the minute that it is in.
pub fn now() -> (i64, i64) {
    let now = backend::now();
    (now, now.div_euclid(60_000_000))
}
