//! The time until a task starts.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::end_to_end::{both, load};
use super::throughput::WARM;
use crate::pgbench::Pgbench;
use crate::queue::{Queue, START};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::statistics::percentile;

/// The number of tasks in each transaction of the background load.
const BATCH: f64 = 10.0;

pub fn run(run: &mut Run) -> Result<()> {
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    idle(run, &mut queue)?;
    scheduled(run, &mut queue)?;
    half_load(run, &mut queue)?;
    asleep(run, &mut queue)
}

/// The latency while a worker waits for work.
fn idle(run: &mut Run, queue: &mut Queue) -> Result<()> {
    let samples = run.scale.of(100, 2000, 2000);
    let waits = pickups(queue, samples, |_| {
        sleep(Duration::from_millis(3));
        Ok(())
    })?;
    run.read(Reading::new("idle worker, p50", percentile(&waits, 0.5), "ms").asked(Asked::AtMost(0.3)));
    run.read(Reading::new("idle worker, p99", percentile(&waits, 0.99), "ms").asked(Asked::AtMost(1.0)));
    Ok(())
}

/// The latency while there is no worker process.
fn asleep(run: &mut Run, queue: &mut Queue) -> Result<()> {
    let samples = run.scale.of(3, 20, 20);
    queue.set("pg_errand.max_idle_time", "1s")?;
    let waits = pickups(queue, samples, |queue| queue.wait_for_no_worker())?;
    run.read(
        Reading::new("no worker process, p50", percentile(&waits, 0.5), "ms").asked(Asked::AtMost(15.0)),
    );
    run.read(Reading::new("no worker process, longest", percentile(&waits, 1.0), "ms"));
    Ok(())
}

/// The latency of a task that falls due while workers wait.
fn scheduled(run: &mut Run, queue: &mut Queue) -> Result<()> {
    let samples = run.scale.of(50, 2000, 2000);
    let spread = run.scale.of("0.05", "10", "10");
    let due = format!("clock_timestamp() + interval '1 s' * (0.05 + random() * {spread})");
    let batch = queue.enqueue_as("db_function", START, samples, &due)?;
    sleep(Duration::from_millis(200));
    queue.wait()?;
    queue.check(batch)?;
    let late = queue.numbers(&format!(
        "select greatest(extract(epoch from p.started_at - t.scheduled_at) * 1000, 0)::float8
         from bench.pickup p join queues.task t on t.task_id > {} and t.payload ->> 'n' = p.n::text",
        batch.after
    ))?;
    queue.check_effects("bench.pickup", samples)?;
    run.read(Reading::new("scheduled, late p50", percentile(&late, 0.5), "ms"));
    run.read(Reading::new("scheduled, late p99", percentile(&late, 0.99), "ms").asked(Asked::AtMost(5.0)));
    Ok(())
}

/// The latency while workers are at half of their capacity.
fn half_load(run: &mut Run, queue: &mut Queue) -> Result<()> {
    let tasks = run.scale.of(2000, 50_000, 50_000);
    let samples = run.scale.of(100, 2000, 2000);
    // The rate that this machine can enqueue and run at the same time.
    let script = load(BATCH);
    let rate = both(queue, &script, BATCH as i64, tasks, 2)? / 2.0;
    // The load lasts longer than the samples, and is stopped after them.
    let beside = Pgbench::seconds(&script, 600).rate(rate / BATCH).asynchronous().start(queue.server)?;
    sleep(Duration::from_millis(500));
    let waits = pickups(queue, samples, |_| {
        sleep(Duration::from_millis(3));
        Ok(())
    })?;
    drop(beside);
    queue.wait()?;
    queue.check_all()?;
    let name = |share| format!("at half the throughput, {share}");
    run.read(Reading::new("load beside", rate, "tasks/s"));
    run.read(Reading::new(name("p50"), percentile(&waits, 0.5), "ms"));
    run.read(Reading::new(name("p99"), percentile(&waits, 0.99), "ms").asked(Asked::AtMost(5.0)));
    Ok(())
}

/// The milliseconds from the return of the commit to the start of the handler, for each task; `before` runs before each
/// of them. Both sides use the same clock. The latency is zero if the handler starts before the client has the
/// response.
fn pickups(
    queue: &mut Queue,
    samples: i64,
    before: impl FnMut(&mut Queue) -> Result<()>,
) -> Result<Vec<f64>> {
    let enqueue = "select queues.enqueue('db_function', jsonb_build_object('db_function', 'bench.start', 'n', $1::bigint))";
    pickups_of(queue, enqueue, samples, before)
}

/// The same for tasks that the statement `enqueue` enqueues with their number `$1`.
pub fn pickups_of(
    queue: &mut Queue,
    enqueue: &str,
    samples: i64,
    mut before: impl FnMut(&mut Queue) -> Result<()>,
) -> Result<Vec<f64>> {
    let enqueue = queue.sql.prepare(enqueue)?;
    let mut returned = HashMap::new();
    for number in 1..=samples {
        before(queue)?;
        queue.sql.query_one(&enqueue, &[&number])?;
        returned.insert(number, SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64());
    }
    queue.wait_until(&format!("select count(*) >= {samples} from bench.pickup"))?;
    let begun = queue.sql.query("select n, extract(epoch from started_at)::float8 from bench.pickup", &[])?;
    let wait = |row: &postgres::Row| {
        let at: f64 = row.get(1);
        returned.get(&row.get(0)).map(|returned| ((at - returned) * 1000.0).max(0.0))
    };
    let waits = begun.iter().filter_map(wait).collect();
    queue.check_effects("bench.pickup", samples)?;
    Ok(waits)
}
