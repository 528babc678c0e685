//! The questions of docs/questions.md beside many finished, waiting and failed tasks, with the server's default settings.

use std::time::Instant;

use postgres::Client;

use crate::queue::Queue;
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::statistics::percentile;

const PAGE: &str = include_str!("../../docs/questions.md");
/// The number of times that each statement is measured, after some that fill the caches.
const TURNS: usize = 40;
const WARM: usize = 5;
const TYPES: i64 = 7;
const RARE: i64 = 40;
/// The target in milliseconds, p95.
const ASKED: Asked = Asked::AtMost(20.0);

pub fn run(run: &mut Run) -> Result<()> {
    let finished = run.scale.of(20_000, 1_000_000, 10_000_000);
    let waiting = run.scale.of(200, 10_000, 100_000);
    let failed = run.scale.of(20, 1000, 10_000);
    let server = Server::start(&[])?;
    // The statistics know these tasks, the last ones of a type that is rare by now.
    let mut queue = Queue::warm(&server, RARE)?;
    queue.pause()?;
    queue.sql.batch_execute(&fixture(finished, waiting, failed))?;
    queue.sql.batch_execute("vacuum analyze queues.task")?;
    queue.sql.batch_execute("vacuum analyze queues.error")?;
    run.note(format!(
        "{finished} finished tasks, {failed} of them failed, and {waiting} that wait, of {TYPES} types: a quarter is scheduled, \
         a tenth each has a priority and one of 500 queue keys, a fiftieth is deferred"
    ));
    for (question, statement) in questions() {
        let is_of_rare_type = statement.contains("last_ended");
        let task_type = if is_of_rare_type { "'db_function'" } else { "'type_1'" };
        let times = measure(&mut queue.sql, &statement.replace("'email'", task_type))?;
        run.read(Reading::new(format!("{question} p50"), percentile(&times, 0.5), "ms"));
        run.read(Reading::new(format!("{question} p95"), percentile(&times, 0.95), "ms").asked(ASKED));
    }
    Ok(())
}

/// The statements of the page with the headings above them.
fn questions() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGE.split("\n## ").skip(1).flat_map(|section| {
        let heading = section.lines().next().unwrap_or_default();
        let blocks = section.split("```sql\n").skip(1);
        blocks.filter_map(move |block| Some((heading, block.split("```").next()?.trim())))
    })
}

/// Times in milliseconds.
fn measure(sql: &mut Client, statement: &str) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(TURNS);
    for turn in 0..WARM + TURNS {
        let begun = Instant::now();
        sql.simple_query(statement)?;
        if turn >= WARM {
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    Ok(times)
}

/// Inserts the tasks without their triggers.
fn fixture(finished: i64, waiting: i64, failed: i64) -> String {
    let every = finished / failed;
    format!(
        "set session_replication_role = replica;
         set synchronous_commit = off;
         insert into queues.task_definition (task_type, processor)
         select 'type_' || n, 'db_function' from generate_series(1, {TYPES}) n;
         insert into queues.task (task_type, payload, enqueued_at, scheduled_at, dequeued_at, attempts, finished_at, final_status)
         select 'type_' || n % {TYPES} + 1, '{{\"db_function\": \"bench.nothing\"}}', at, at, at, 1, at,
             case when n % {every} = 0 then 'failed' else 'succeeded' end
         from generate_series(1, {finished}) n,
             lateral (select now() - ({finished} - n) * (interval '50 min' / {finished})) x (at);
         insert into queues.error (task_id, error_message, created_at, task_type, handler, attempt, sqlstate)
         select t.task_id, 'duplicate key ' || t.task_id || ' violates \"constraint_' || t.task_id % 5 || '\" of ' || md5(t.task_id::text),
             t.finished_at, t.task_type, 'bench.nothing', 1, '23505'
         from queues.task t
         where t.final_status = 'failed';
         insert into queues.task (task_type, payload, scheduled_at, priority, queue_key, not_before)
         select 'type_' || n % {TYPES} + 1, '{{\"db_function\": \"bench.nothing\"}}', now() + case when n % 4 = 0 then interval '1 day' else '0' end,
             case when n % 10 = 1 then n % 5 + 1 end, case when n % 10 = 2 then 'customer ' || n % 500 end,
             case when n % 50 = 7 then now() + interval '1 hour' end
         from generate_series(1, {waiting}) n;
         reset session_replication_role;
         reset synchronous_commit;"
    )
}
