//! Locks of tasks with a unique key, and of queue keys, in PostgreSQL's lock table, where waits for them take part in
//! deadlock detection.

use super::home;
use pg_errand_queue::Key;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

// Distinguish the locks from each other, and from those of other extensions. They are of the type "userlock", not
// "advisory": what users lock and count has nothing to do with them.
const OF_RUN: u16 = 0x5045;
const OF_FOLLOWER: u16 = 0x5046;
const OF_KEY: u16 = 0x5047;

/// The task whose run this process has locked; 0: none.
static RUNNING: AtomicI64 = AtomicI64::new(0);

fn tag(number: i64, kind: u16) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: a plain value of this process.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: (number as u64 >> 32) as u32,
        locktag_field3: number as u32,
        locktag_field4: kind,
        locktag_type: pg_sys::LockTagType::LOCKTAG_USERLOCK as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}

fn acquire(tag: &pg_sys::LOCKTAG, mode: u32, lasts: bool, is_conditional: bool) -> bool {
    // SAFETY: within a transaction; a valid tag. A wait can be interrupted.
    let result = unsafe { pg_sys::LockAcquire(tag, mode as _, lasts, is_conditional) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn release(tag: &pg_sys::LOCKTAG, mode: u32, lasts: bool) {
    // SAFETY: a lock of this process.
    unsafe { pg_sys::LockRelease(tag, mode as _, lasts) };
}

/// Locks the run of a task until [`end_run`], also over the end of the transaction. False if a session is about to change
/// the task, or another worker runs it.
pub fn begin_run(task_id: i64) -> bool {
    if RUNNING.load(Relaxed) == task_id {
        return true;
    }
    end_run();
    let is_locked = acquire(&tag(task_id, OF_RUN), pg_sys::AccessExclusiveLock, true, true);
    if is_locked {
        RUNNING.store(task_id, Relaxed);
    }
    is_locked
}

/// Ends what [`begin_run`] has begun, if anything.
pub fn end_run() {
    let task_id = RUNNING.swap(0, Relaxed);
    if task_id != 0 {
        release(&tag(task_id, OF_RUN), pg_sys::AccessExclusiveLock, true);
    }
}

/// Keeps workers from starting a task while `body` runs; `None` if one runs it.
pub fn while_not_running<R>(task_id: i64, body: impl FnOnce() -> R) -> Option<R> {
    let tag = tag(task_id, OF_RUN);
    if RUNNING.load(Relaxed) == task_id || !acquire(&tag, pg_sys::AccessShareLock, false, true) {
        return None;
    }
    // An error releases the lock with the (sub)transaction.
    let value = body();
    release(&tag, pg_sys::AccessShareLock, false);
    Some(value)
}

/// Locks a queue key until the end of the transaction; false if another session has locked it.
pub fn try_lock_key(key: Key) -> bool {
    acquire(&of_key(key), pg_sys::AccessExclusiveLock, false, true)
}

/// True if no session has locked a queue key with [`try_lock_key`].
pub fn is_key_free(key: Key) -> bool {
    let tag = of_key(key);
    let is_free = acquire(&tag, pg_sys::AccessShareLock, false, true);
    if is_free {
        release(&tag, pg_sys::AccessShareLock, false);
    }
    is_free
}

/// Waits until no other transaction enqueues a follower of a task with this key, and keeps others from it until the end
/// of the transaction.
pub fn lock_follower(task_type: &str, key: &str) {
    acquire(&follower(task_type, key), pg_sys::AccessExclusiveLock, false, false);
}

/// Undoes [`lock_follower`], if no follower was enqueued.
pub fn unlock_follower(task_type: &str, key: &str) {
    release(&follower(task_type, key), pg_sys::AccessExclusiveLock, false);
}

/// Waits until no other transaction is enqueueing a follower of a task with this key.
pub fn wait_for_followers(task_type: &str, key: &str) {
    let tag = follower(task_type, key);
    acquire(&tag, pg_sys::AccessShareLock, false, false);
    release(&tag, pg_sys::AccessShareLock, false);
}

fn of_key(key: Key) -> pg_sys::LOCKTAG {
    tag(key.task_type.rotate_left(32) ^ key.queue_key, OF_KEY)
}

/// Keys of the same digest share a lock, which only makes some wait longer.
fn follower(task_type: &str, key: &str) -> pg_sys::LOCKTAG {
    tag(home::digest(&format!("{task_type} {key}")), OF_FOLLOWER)
}
