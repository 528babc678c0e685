//! How long what was written stays without being flushed, looked at from outside.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postgres::{Client, Statement};

use crate::result::Result;
use crate::server::Server;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(40);
/// While what was written is waited for.
const STEP: Duration = Duration::from_micros(500);
/// Nobody seems to flush it.
const LONGEST: Duration = Duration::from_millis(500);

/// A look at the end of the log, and when all of it was flushed.
pub struct Look {
    /// Seconds since 1970.
    pub at: f64,
    /// From then on.
    pub milliseconds: f64,
}

/// Looks again and again while `work` goes on.
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
