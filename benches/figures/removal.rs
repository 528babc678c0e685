//! Many finished tasks are removed, and many waiting ones cancelled, beside workers that have all they can do.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::fairness::course;
use super::throughput::WARM;
use crate::queue::{NOTHING, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

/// The longest pause between two starts of tasks, in milliseconds.
const PAUSE: Asked = Asked::AtMost(50.0);
/// The longest statement, in milliseconds.
const STATEMENT: Asked = Asked::AtMost(1000.0);
/// How often a part of the kept tasks is replaced by new ones.
const ROUNDS: i64 = 20;

/// What a session did while the workers were busy.
#[derive(Default)]
struct Steered {
    tasks: i64,
    seconds: f64,
    longest: f64,
}

pub fn run(run: &mut Run) -> Result<()> {
    let old = run.scale.of(20_000, 1_000_000, 10_000_000);
    let load = run.scale.of(5000, 300_000, 1_000_000);
    let server = Server::start(&[("autovacuum_naptime", "1s"), ("pg_errand.retention", "0")])?;
    let mut queue = Queue::open(&server)?;
    queue.sql.batch_execute(&fixture(old))?;
    queue.sql.batch_execute("vacuum analyze queues.task")?;
    queue.work_off(NOTHING, WARM)?;
    run.note(format!(
        "{old} tasks that ended two hours ago, a tenth as many for tomorrow, {load} tasks that run meanwhile"
    ));

    let alone = measure(run, &mut queue, "alone", load, None)?;
    for (name, statement) in
        [("cancel_where", "select queues.cancel_where('later')"), ("purge", "select queues.purge('1 hour')")]
    {
        measure(run, &mut queue, name, load, Some((statement, alone)))?;
    }
    replace(run, &mut queue, old / 5)?;
    queue.set("pg_errand.retention", "1h")?;
    measure(run, &mut queue, "retention", load, Some(("", alone)))?;
    let begun = Instant::now();
    queue.wait_until(
        "select not exists (select from queues.task where finished_at < now() - interval '62 min' limit 1)",
    )?;
    run.read(Reading::new("retention: until all are removed", begun.elapsed().as_secs_f64(), "s"));
    Ok(())
}

/// Tasks that are old, and tasks that wait.
fn fixture(old: i64) -> String {
    format!(
        "set session_replication_role = replica;
         insert into queues.task_definition (task_type, processor) values ('later', 'db_function');
         insert into queues.task (task_type, payload, enqueued_at, scheduled_at, dequeued_at, attempts, finished_at, final_status)
         select 'db_function', {NOTHING}, at, at, at, 1, at, 'succeeded'
         from generate_series(1, {old}) n, lateral (select now() - interval '2 h' + n * interval '1 us') t (at);
         insert into queues.task (task_type, payload, scheduled_at)
         select 'later', {NOTHING}, now() + interval '1 day' from generate_series(1, {old} / 10);
         reset session_replication_role;"
    )
}

/// Runs `load` tasks while a session repeats a statement (none if it is empty). Returns the rate.
fn measure(
    run: &mut Run,
    queue: &mut Queue,
    name: &str,
    load: i64,
    beside: Option<(&str, f64)>,
) -> Result<f64> {
    queue.pause()?;
    let batch = queue.enqueue(NOTHING, load)?;
    let over = AtomicBool::new(false);
    let statement = beside.map(|(statement, _)| statement).filter(|statement| !statement.is_empty());
    let server = queue.server;
    let steered = scope(|threads| {
        let steering = statement.map(|statement| threads.spawn(|| steer(server, statement, &over)));
        let ended = queue.resume().and_then(|()| queue.wait());
        over.store(true, Relaxed);
        let steered = steering.map(|steering| steering.join().map_err(|_| "a session's thread panicked")?);
        ended.and(steered.transpose())
    })?;
    queue.check(batch)?;
    let (seconds, pause) = course(queue, batch)?;
    let rate = load as f64 / seconds;
    let reading = Reading::new(format!("{name}: tasks run meanwhile"), rate, "tasks/s");
    run.read(match beside {
        Some((_, alone)) => reading.beside("alone", alone),
        None => reading,
    });
    run.read(
        Reading::new(format!("{name}: longest pause between two starts"), pause * 1000.0, "ms").asked(PAUSE),
    );
    if let Some(steered) = steered {
        run.read(Reading::new(format!("{name}: rows"), steered.tasks as f64 / steered.seconds, "rows/s"));
        run.read(Reading::new(format!("{name}: longest statement"), steered.longest, "ms").asked(STATEMENT));
    }
    Ok(rate)
}

/// Repeats a statement that returns the number of rows it has touched, until it touches none.
fn steer(server: &Server, statement: &str, over: &AtomicBool) -> Result<Steered> {
    let mut sql = server.connect("postgres")?;
    let mut steered = Steered::default();
    loop {
        let begun = Instant::now();
        let tasks: i64 = sql.query_one(statement, &[])?.get(0);
        let seconds = begun.elapsed().as_secs_f64();
        steered.tasks += tasks;
        steered.seconds += seconds;
        steered.longest = steered.longest.max(seconds * 1000.0);
        if tasks == 0 || over.load(Relaxed) {
            return Ok(steered);
        }
    }
}

/// Removes the oldest tasks and runs as many new ones, again and again: the table must not grow.
fn replace(run: &mut Run, queue: &mut Queue, tasks: i64) -> Result<()> {
    let size = "select pg_table_size('queues.task')::float8 / count(*) from queues.task";
    queue.sql.batch_execute("vacuum full queues.task")?;
    let fresh: f64 = queue.one(size)?;
    for _ in 0..ROUNDS {
        queue.sql.execute("select queues.purge('0', _limit => $1)", &[&i32::try_from(tasks / ROUNDS)?])?;
        // An autovacuum comes at the next second if enough rows are dead.
        sleep(Duration::from_millis(1500));
        queue.wait_until("select not exists (select from pg_stat_progress_vacuum)")?;
        queue.work_off(NOTHING, tasks / ROUNDS)?;
    }
    let name = format!("table per task, after {ROUNDS} times a part was replaced");
    let reading = Reading::new(name, queue.one(size)?, "bytes").beside("freshly written", fresh);
    run.read(reading.asked(Asked::RatioAtMost(1.3)));
    Ok(())
}
