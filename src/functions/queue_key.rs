//! Functions of `sql/58_queue_key.sql`.

use crate::key_turn;
use pgrx::prelude::*;

/// `errand.announce_key(text, text)`.
#[pg_extern(sql = false)]
fn announce_key(task_type: &str, queue_key: &str) {
    key_turn::announce(task_type, queue_key);
}

/// `errand.try_key_lock(text, text)`.
#[pg_extern(sql = false)]
fn try_key_lock(task_type: &str, queue_key: &str) -> bool {
    key_turn::try_lock(task_type, queue_key)
}

/// `errand.workers_of_key(text, text)`.
#[pg_extern(sql = false)]
fn workers_of_key(task_type: &str, queue_key: &str) -> i32 {
    key_turn::shown(task_type, queue_key) as i32
}

/// `errand.has_key_start(text, text)`.
#[pg_extern(sql = false)]
fn has_key_start(task_type: &str, queue_key: &str) -> bool {
    key_turn::has_start(task_type, queue_key)
}

/// `errand.reserve_key_start(text, text)`.
#[pg_extern(sql = false)]
fn reserve_key_start(task_type: &str, queue_key: &str) -> bool {
    key_turn::reserve_start(task_type, queue_key)
}

/// `errand.give_back_key_start(text, text)`.
#[pg_extern(sql = false)]
fn give_back_key_start(task_type: &str, queue_key: &str) {
    key_turn::give_back_start(task_type, queue_key);
}
