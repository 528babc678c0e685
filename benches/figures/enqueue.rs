//! The cost of enqueueing compared with that of the same rows in a plain table. Workers are paused.

use std::io::Write;
use std::time::Instant;

use postgres::Client;

use crate::queue::{NOTHING, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::statistics::median;

/// The number of times that each is measured, alternately.
const TURNS: usize = 3;

const PREPARE: &str = "
    create table bench.plain (like queues.task including all);
    create function bench.enqueue(_task_type text, _payload jsonb, _scheduled_at timestamptz default now())
    returns bigint
    language sql
    as $$
        insert into bench.plain (task_type, payload, scheduled_at)
        values (_task_type, coalesce(_payload, '{}'), coalesce(_scheduled_at, now()))
        returning task_id;
    $$;";

/// A function that inserts rows into a table: the queue, or the plain one.
type Way = fn(&mut Client, Target, i64) -> Result<()>;

#[derive(Clone, Copy)]
struct Target {
    table: &'static str,
    function: &'static str,
}

const QUEUE: Target = Target { table: "queues.task", function: "queues.enqueue" };
const PLAIN: Target = Target { table: "bench.plain", function: "bench.enqueue" };

pub fn run(run: &mut Run) -> Result<()> {
    let rows = run.scale.of(2000, 100_000, 1_000_000);
    let server = Server::start(&[])?;
    let mut queue = Queue::open(&server)?;
    queue.sql.batch_execute(PREPARE)?;
    queue.pause()?;
    let ways: [(&str, Way, Option<f64>); 5] = [
        ("INSERT … SELECT", insert, Some(1.3)),
        ("queues.enqueue for each row", call, Some(1.1)),
        ("COPY", copy, None),
        ("queues.enqueue_many of payloads", many_payloads, Some(1.2)),
        ("queues.enqueue_many of objects", many_objects, Some(1.2)),
    ];
    for (name, way, asked) in ways {
        let (queue, plain) = compare(&mut queue.sql, way, rows)?;
        let each = 1_000_000.0 / rows as f64;
        let reading = Reading::new(name, queue * each, "µs/row").beside("plain table", plain * each);
        run.read(match asked {
            Some(most) => reading.asked(Asked::RatioAtMost(most)),
            None => reading,
        });
    }
    Ok(())
}

/// The time in seconds for the queue, and for the plain table.
fn compare(sql: &mut Client, way: Way, rows: i64) -> Result<(f64, f64)> {
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..=TURNS {
        for (target, times) in [QUEUE, PLAIN].into_iter().zip(&mut times) {
            sql.batch_execute(&format!("truncate {}", target.table))?;
            let begun = Instant::now();
            way(sql, target, rows)?;
            let seconds = begun.elapsed().as_secs_f64();
            check(sql, target, rows)?;
            // The first turn is not counted, since it fills the caches.
            if turn > 0 {
                times.push(seconds);
            }
        }
    }
    Ok((median(&times[0]), median(&times[1])))
}

fn insert(sql: &mut Client, target: Target, rows: i64) -> Result<()> {
    Ok(sql.batch_execute(&format!(
        "insert into {} (task_type, payload) select 'db_function', {NOTHING} from generate_series(1, {rows})",
        target.table
    ))?)
}

fn call(sql: &mut Client, target: Target, rows: i64) -> Result<()> {
    let query = format!(
        "select count({}('db_function', {NOTHING})) from generate_series(1, {rows})",
        target.function
    );
    Ok(sql.batch_execute(&query)?)
}

/// The plain table receives the same rows by one statement.
fn many(sql: &mut Client, target: Target, rows: i64, argument: &str, call: &str) -> Result<()> {
    let given = format!("(select {argument} from generate_series(1, {rows}))");
    Ok(sql.batch_execute(&match target.table == QUEUE.table {
        true => format!("select count(*) from queues.enqueue_many({})", call.replace('$', &given)),
        false => format!(
            "insert into {} (task_type, payload) select 'db_function', {NOTHING} from generate_series(1, {rows})",
            target.table
        ),
    })?)
}

fn many_payloads(sql: &mut Client, target: Target, rows: i64) -> Result<()> {
    many(sql, target, rows, &format!("array_agg({NOTHING}::jsonb)"), "'db_function', $")
}

fn many_objects(sql: &mut Client, target: Target, rows: i64) -> Result<()> {
    let object = format!("jsonb_build_object('task_type', 'db_function', 'payload', {NOTHING}::jsonb)");
    many(sql, target, rows, &format!("jsonb_agg({object})"), "$")
}

fn copy(sql: &mut Client, target: Target, rows: i64) -> Result<()> {
    let line = b"db_function\t{\"db_function\": \"bench.nothing\"}\n";
    let mut writer = sql.copy_in(&format!("copy {} (task_type, payload) from stdin", target.table))?;
    for _ in 0..rows {
        writer.write_all(line)?;
    }
    writer.finish()?;
    Ok(())
}

fn check(sql: &mut Client, target: Target, rows: i64) -> Result<()> {
    let there: i64 = sql.query_one(&format!("select count(*) from {}", target.table), &[])?.get(0);
    if there != rows {
        return Err(format!("{} has {there} rows instead of {rows}", target.table).into());
    }
    Ok(())
}
