//! Queue keys: what a transaction announces about them, and what workers outside the database need to know.

use crate::pg::spi::Statement;
use crate::pg::trigger::Transition;
use crate::pg::{backend, key_lock, shmem};
use crate::queue_key;
use crate::shared::{Admission, DatabaseId, Key, ToId};
use crate::task_definition::TaskDefinitions;
use crate::worker::wake;

static OF_REMOVED: Statement = Statement::new(include_str!("../sql/runtime/keys_of_removed.sql"), &[]);

/// Lets the commit announce that the next task of this key may start.
pub fn announce(task_type: &str, queue_key: &str) {
    let (lane, entry) = queue_key::entry_now(&TaskDefinitions::now(), task_type, queue_key);
    wake::note_key(lane, entry);
}

/// Lets the commit announce the keys of the removed tasks.
pub fn announce_removed(gone: &Transition) {
    // Tables of version 0.5.0 lack the column until the extension is updated.
    if !gone.has_column(c"queue_key") {
        return;
    }
    let keys = OF_REMOVED.rows_in_trigger(gone, |row| (row.get::<String>(1), row.get::<String>(2)));
    for (task_type, queue_key) in keys {
        announce(&task_type.unwrap_or_default(), &queue_key.unwrap_or_default());
    }
}

/// Locks a key until the transaction ends; false if another session has locked it. The end is announced, however the
/// transaction ends: a worker inside that finds the key locked turns to other work.
pub fn try_lock(task_type: &str, queue_key: &str) -> bool {
    let (lane, entry) = queue_key::entry_now(&TaskDefinitions::now(), task_type, queue_key);
    let is_locked = key_lock::try_lock_key(entry.key);
    if is_locked {
        wake::note_locked_key(lane, entry);
    }
    is_locked
}

/// The number of workers inside that show a key.
pub fn shown(task_type: &str, queue_key: &str) -> u32 {
    if !shmem::available() {
        return 0;
    }
    let (database, key) = (backend::database().id(), queue_key::key_of(task_type, queue_key));
    shmem::read(|shared| shared.shown(database, key))
}

/// Whether the rate of a key lets a task start now.
pub fn has_start(task_type: &str, queue_key: &str) -> bool {
    let Some((database, key, _)) = limited(task_type, queue_key) else { return true };
    let now = backend::now();
    shmem::read(|shared| shared.key_refusal(database, key, now).is_none())
}

/// Counts the start of a task of a key; false if its rate lets none start now.
pub fn reserve_start(task_type: &str, queue_key: &str) -> bool {
    let Some((database, key, interval)) = limited(task_type, queue_key) else { return true };
    let now = backend::now();
    shmem::write(|shared| shared.start_key_outside(database, key, interval, now)) == Admission::Admitted
}

/// Revokes a start of [`reserve_start`].
pub fn give_back_start(task_type: &str, queue_key: &str) {
    if let Some((database, key, _)) = limited(task_type, queue_key) {
        shmem::write(|shared| shared.give_back_key_start_outside(database, key));
    }
}

/// This database, a key, and the time between two of its starts; `None` if that is not limited.
fn limited(task_type: &str, queue_key: &str) -> Option<(DatabaseId, Key, i64)> {
    let interval = queue_key::limits(&TaskDefinitions::now(), task_type).interval;
    let is_limited = interval > 0 && shmem::available();
    is_limited.then(|| (backend::database().id(), queue_key::key_of(task_type, queue_key), interval))
}
