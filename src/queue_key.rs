//! Queue keys of tasks, as shared memory and the indexes of `queues.task` know them.

use crate::pg::{backend, home};
use crate::shared::{Key, KeyEntry, Lane};
use crate::start_limits::KeyLimits;
use crate::task_definition::TaskDefinitions;

/// Identifies the tasks of a type and queue key. The indexes of sql/20_task.sql have the same digests.
pub fn key_of(task_type: &str, queue_key: &str) -> Key {
    Key { task_type: home::digest(task_type), queue_key: home::digest(queue_key) }
}

/// The lane and the entry of a key. `since`: the time of its task, in microseconds since 2000-01-01.
pub fn entry(
    definitions: &TaskDefinitions,
    task_type: &str,
    key: Key,
    since: i64,
    priority: i16,
) -> (Lane, KeyEntry) {
    let lane = definitions.lane_of_type(task_type);
    let max_running = limits(definitions, task_type).max_running;
    (lane, KeyEntry { key, since, priority, max_running, after: None })
}

/// The entry of a key of which another task may run now. Its priority is unknown, so a worker looks for it at once.
pub fn entry_now(definitions: &TaskDefinitions, task_type: &str, queue_key: &str) -> (Lane, KeyEntry) {
    entry(definitions, task_type, key_of(task_type, queue_key), backend::now(), i16::MAX)
}

/// The limits of each queue key of a type.
pub fn limits(definitions: &TaskDefinitions, task_type: &str) -> KeyLimits {
    definitions.find(task_type).map_or(KeyLimits::USUAL, |definition| definition.key_limits)
}
