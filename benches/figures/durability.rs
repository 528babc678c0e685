//! How long WAL stays unflushed after it was written, measured from outside.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postgres::{Client, Statement};

use crate::result::Result;
use crate::server::Server;

/// The pause between two observations.
const PAUSE: Duration = Duration::from_millis(40);
/// The pause between two checks whether the WAL has been flushed.
const STEP: Duration = Duration::from_micros(500);
/// The time after which WAL counts as never flushed.
const LONGEST: Duration = Duration::from_millis(500);

/// An observation of the end of WAL, and of the time until all of it was flushed.
pub struct Look {
    /// The time of the observation, in seconds since 1970.
    pub at: f64,
    /// The time from the observation to the flush.
    pub milliseconds: f64,
}

/// Observes the end of WAL repeatedly while `work` runs.
///
/// # Errors
/// If `work` fails, or the server reports an error.
pub fn watch(server: &Server, work: impl FnOnce() -> Result<()>) -> Result<Vec<Look>> {
    let mut sql = server.connect("postgres")?;
    let flushed = sql.prepare("select pg_current_wal_flush_lsn() >= ($1::text)::pg_lsn")?;
    let over = AtomicBool::new(false);
    scope(|threads| {
        let watcher = threads.spawn(|| {
            let mut looks = Vec::new();
            while !over.load(Relaxed) {
                looks.push(look(&mut sql, &flushed)?);
                sleep(PAUSE);
            }
            Ok(looks)
        });
        let done = work();
        over.store(true, Relaxed);
        let looks = watcher.join().map_err(|_| "the watcher panicked")?;
        done?;
        looks
    })
}

fn look(sql: &mut Client, flushed: &Statement) -> Result<Look> {
    let written: String = sql.query_one("select pg_current_wal_insert_lsn()::text", &[])?.get(0);
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let since = Instant::now();
    while since.elapsed() < LONGEST && !sql.query_one(flushed, &[&written])?.get::<_, bool>(0) {
        sleep(STEP);
    }
    Ok(Look { at, milliseconds: since.elapsed().as_secs_f64() * 1000.0 })
}
