//! Flushes the ends of tasks while workers are busy, with one write for all that have committed since the last one.
//!
//! Workers commit asynchronously. With PostgreSQL's own means, every such commit wakes the WAL writer as soon as a page
//! of WAL is complete (xlog.c, XLogSetAsyncXactLSN), which costs a worker a fifth of its time, and the commit is
//! flushed only after up to three times `wal_writer_delay`.

use crate::config;
use crate::pg::wait_event::WaitEvent;
use crate::pg::{latch, shmem, transaction};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The minimum pause between two flushes. The pause is as long as the last flush if that took longer, so that other
/// processes can use the disk.
const PAUSE: Duration = Duration::from_micros(200);
/// The maximum pause between two flushes.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Waits until the latch is set or `limit` has passed, and flushes meanwhile.
pub fn wait(limit: Duration) {
    while let Some(end) = shmem::write(|shared| shared.take_unflushed()) {
        let start = Instant::now();
        transaction::flush(end);
        let pause = start.elapsed().max(PAUSE).min(MAX_PAUSE);
        match config::FLUSH_INTERVAL.duration() {
            // A wait for the latch takes whole milliseconds.
            interval if interval.is_zero() => sleep(pause),
            interval => latch::wait_unreset(WaitEvent::Launcher, None, interval),
        }
        if latch::is_set() {
            latch::reset();
            return;
        }
    }
    latch::wait(WaitEvent::Launcher, None, limit);
}
