//! How long what was written stays without being flushed, looked at from outside.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use postgres::Client;

use crate::Result;
use crate::server::Server;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(40);
/// While what was written is waited for.
const STEP: Duration = Duration::from_micros(500);
/// Nothing more to come: the last records of all are not of a task that ended.
const LONGEST: Duration = Duration::from_millis(500);

/// Milliseconds from a look at the end of the log until all of it was flushed, again and again while `work` goes on.
///
/// # Errors
/// Of `work`, or as the server says.
pub fn watch(server: &Server, work: impl FnOnce() -> Result<()>) -> Result<Vec<f64>> {
    let mut sql = server.connect("postgres")?;
    let over = AtomicBool::new(false);
    scope(|threads| {
        let watcher = threads.spawn(|| {
            let mut lags = Vec::new();
            while !over.load(Relaxed) {
                lags.extend(lag(&mut sql, &over)?);
                sleep(PAUSE);
            }
            Ok(lags)
        });
        let done = work();
        over.store(true, Relaxed);
        let lags = watcher.join().map_err(|_| "the watcher panicked")?;
        done?;
        lags
    })
}

/// Nothing when the work ended meanwhile.
fn lag(sql: &mut Client, over: &AtomicBool) -> Result<Option<f64>> {
    let written: String = sql.query_one("select pg_current_wal_insert_lsn()::text", &[])?.get(0);
    let since = Instant::now();
    let flushed = sql.prepare("select pg_current_wal_flush_lsn() >= ($1::text)::pg_lsn")?;
    while !sql.query_one(&flushed, &[&written])?.get::<_, bool>(0) {
        if over.load(Relaxed) || since.elapsed() > LONGEST {
            return Ok((!over.load(Relaxed)).then_some(LONGEST.as_secs_f64() * 1000.0));
        }
        sleep(STEP);
    }
    Ok(Some(since.elapsed().as_secs_f64() * 1000.0))
}
