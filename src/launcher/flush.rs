//! Makes the ends of tasks durable while workers are busy, one write to the disk for all that have
//! come since the last one.
//!
//! Workers commit without waiting. Left to PostgreSQL, every such commit wakes its WAL writer as soon as a page
//! of WAL is not on the disk yet (xlog.c, XLogSetAsyncXactLSN), which costs a worker a fifth of its time; and what
//! it writes is durable only after three times `wal_writer_delay`.

use crate::config;
use crate::pg::{latch, shmem, transaction};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The shortest pause between two writes; as long as a write takes if that is longer, so that the disk has
/// time for others.
const PAUSE: Duration = Duration::from_micros(200);
/// The launcher has other things to do at least so often.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Waits at most `limit` for something to do besides.
pub fn wait(limit: Duration) {
    while let Some(end) = shmem::write(|shared| shared.take_unflushed()) {
        let start = Instant::now();
        transaction::flush(end);
        let pause = start.elapsed().max(PAUSE).min(MAX_PAUSE);
        match config::FLUSH_INTERVAL.duration() {
            // The latch's waits are in milliseconds.
            interval if interval.is_zero() => sleep(pause),
            interval => latch::wait_unreset(None, interval),
        }
        if latch::is_set() {
            latch::reset();
            return;
        }
    }
    latch::wait(None, limit);
}
