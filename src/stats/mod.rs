//! Statistics in shared memory: what was done with tasks, counted when the transaction that did it commits, and the
//! invocations and calls, counted when they end.

mod buffer;
mod cache;
pub mod history;
mod pending;
pub mod view;

use crate::pg::{backend, callbacks};
pub use buffer::use_slot;
use pg_errand_stats::{CallCount, Counter, Event, Key, Role, TaskCount};
use std::time::Duration;

/// Installs the callbacks with which transactions count what they have done.
pub fn init() {
    crate::pg::stats_memory::init();
    callbacks::on_transaction_end(pending::at_transaction_end);
    callbacks::on_savepoint_end(pending::at_savepoint_end);
}

/// Lets the commit of the current transaction count what it has done with a task.
pub fn note_task(task_type: &str, count: TaskCount) {
    if let Some(handle) = cache::find(&Key::of_tasks(database(), task_type)) {
        pending::add(handle, count);
    }
}

/// Counts the invocation of a handler.
pub fn count_invocation(task_type: &str, role: &str, name: &str, took: Duration, has_failed: bool) {
    let Some(role) = Role::named(role) else { return };
    if let Some(handle) = cache::find(&Key::of_handler(database(), task_type, role, name)) {
        let event = Event::Invocation { took: took.as_micros() as i64, has_failed };
        buffer::count(handle, event, backend::now());
    }
}

/// Counts a call that has ended.
pub fn count_call(task_type: &str, provider: &str, call: CallCount) {
    if let Some(entry) = cache::entry(&Key::of_calls(database(), task_type, provider)) {
        entry.count_call(call, backend::now());
    }
}

/// Counts how a call continues after it has ended.
pub fn count_call_as(task_type: &str, provider: &str, counter: Counter) {
    if let Some(entry) = cache::entry(&Key::of_calls(database(), task_type, provider)) {
        entry.count_call_as(counter);
    }
}

fn database() -> u32 {
    backend::database().to_u32()
}
