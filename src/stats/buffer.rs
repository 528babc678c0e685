//! The buffer of this process, if it is a worker.

use crate::pg::stats_memory;
use pg_errand_stats::{Event, Handle};
use std::cell::Cell;

/// Stands for a process without a slot.
const NONE: usize = usize::MAX;

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(NONE) };
}

/// Lets this process, the worker of a slot, collect what it counts.
pub fn use_slot(slot: usize) {
    SLOT.set(slot);
}

/// Counts an event. It neither allocates nor fails.
pub fn count(handle: Handle, event: Event, at: i64) {
    if let Some((buffer, table)) = stats_memory::buffer(SLOT.get()) {
        buffer.add(table, handle, event, at);
    } else if let Some(table) = stats_memory::table() {
        pg_errand_stats::count(table, handle, event, at);
    }
}
