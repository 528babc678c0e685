//! Statistics of tasks, handlers and providers: counters and histograms in memory that processes share.
//!
//! All of it consists of atomics. Counting needs no lock; entries are added, replaced and reset by one process at a time.

mod buffer;
mod distribution;
mod entry;
mod key;
mod label;
mod rates;
mod recent;
mod saved;
mod snapshot;
mod summary;
mod table;
mod timing;

#[cfg(test)]
mod tests;

pub use buffer::{Buffer, Event, count};
pub use distribution::{BUCKETS, Distribution, bounds};
pub use entry::{CallCount, Entry, Status, TaskCount};
pub use key::{Key, Kind, Role};
pub use rates::{SLOT, SLOTS};
pub use recent::KEPT;
pub use saved::{Saved, read, write};
pub use snapshot::{COUNTERS, Counter, Snapshot, TIMES, Time};
pub use summary::{Figures, OTHER, Summary};
pub use table::{ENTRIES, Handle, Table};
