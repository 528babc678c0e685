//! The cost of databases without work.

use std::thread::sleep;
use std::time::Duration;

use postgres::Client;

use crate::cpu;
use crate::queue::Queue;
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

/// The time after the last worker has exited until its statistics have been reported and nothing is written to the log.
const SETTLED: Duration = Duration::from_secs(4);

pub fn run(run: &mut Run) -> Result<()> {
    let many = run.scale.of(4, 20, 200);
    let seconds = run.scale.of(4, 20, 60);
    // Autovacuum's visits would be counted, too.
    let server = Server::start(&[("pg_errand.max_idle_time", "1s"), ("autovacuum", "off")])?;
    let mut watcher = server.connect("template1")?;
    Queue::warm(&server, 1000)?;
    watch(run, &server, &mut watcher, "one database", seconds)?;
    for number in 1..many {
        let database = format!("idle{number}");
        watcher.batch_execute(&format!("create database {database} template template0"))?;
        server.connect(&database)?.batch_execute(
            "create extension pg_errand;
             select queues.enqueue('db_function', '{\"db_function\": \"now\"}', now() + interval '1 day')",
        )?;
    }
    watch(run, &server, &mut watcher, &format!("{many} databases"), seconds)
}

/// The counters of activity.
struct Count {
    transactions: i64,
    bytes: i64,
    seconds: f64,
}

impl Count {
    /// Excludes the database of the session itself.
    fn now(watcher: &mut Client, launcher: i32) -> Result<Self> {
        let row = watcher.query_one(
            "select sum(xact_commit + xact_rollback)::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint
             from pg_stat_database where datname <> current_database()",
            &[],
        )?;
        Ok(Self { transactions: row.get(0), bytes: row.get(1), seconds: cpu::seconds(launcher)? })
    }
}

fn watch(run: &mut Run, server: &Server, watcher: &mut Client, name: &str, seconds: u64) -> Result<()> {
    wait_for_no_worker(server)?;
    watcher.batch_execute("checkpoint")?;
    sleep(SETTLED);
    let launcher: i32 = watcher
        .query_one("select pid from pg_stat_activity where backend_type = 'pg_errand launcher'", &[])?
        .get(0);
    let before = Count::now(watcher, launcher)?;
    let mut most = 0;
    for _ in 0..seconds {
        sleep(Duration::from_secs(1));
        most = most.max(workers(watcher)?);
    }
    let after = Count::now(watcher, launcher)?;
    let minute = |count: f64| count * 60.0 / seconds as f64;
    let transactions = minute((after.transactions - before.transactions) as f64);
    let bytes = minute((after.bytes - before.bytes) as f64);
    let processor = minute((after.seconds - before.seconds) * 1000.0);
    run.read(Reading::new(format!("{name}: transactions"), transactions, "per minute"));
    run.read(Reading::new(format!("{name}: write-ahead log"), bytes, "bytes/minute"));
    run.read(Reading::new(format!("{name}: launcher's processor time"), processor, "ms/minute"));
    let workers = Reading::new(format!("{name}: worker processes, most"), most as f64, "processes");
    run.read(workers.asked(Asked::AtMost(0.0)));
    Ok(())
}

fn wait_for_no_worker(server: &Server) -> Result<()> {
    let mut watcher = server.connect("template1")?;
    for _ in 0..3000 {
        if workers(&mut watcher)? == 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    Err("workers stay".into())
}

fn workers(watcher: &mut Client) -> Result<i64> {
    let query = "select count(*) from pg_stat_activity where backend_type = 'pg_errand worker'";
    Ok(watcher.query_one(query, &[])?.get(0))
}
