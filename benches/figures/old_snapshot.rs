//! A forgotten transaction: row versions of finished tasks cannot be removed while its snapshot is held.

use std::time::Duration;

use super::throughput::WARM;
use crate::queue::{NOTHING, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(5000, 200_000, 1_000_000);
    let window = run.scale.of(1000, 20_000, 20_000);
    let limit = Duration::from_secs(run.scale.of(60, 300, 1800));
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    queue.pause()?;
    let batch = queue.enqueue(NOTHING, tasks)?;
    let mut forgotten = server.connect("postgres")?;
    forgotten.batch_execute("begin isolation level repeatable read; select count(*) from queues.task")?;
    queue.resume()?;
    // The wait is limited, since workers may become slower and slower.
    let all = queue.wait_at_most(limit)?;
    let done: i64 = queue.one(&format!(
        "select count(*) from queues.task where finished_at is not null and task_id > {}",
        batch.after
    ))?;
    forgotten.batch_execute("commit")?;
    queue.wait()?;
    queue.check(batch)?;

    let row = queue.sql.query_one(
        &format!(
            "with ends as (
                 select array_agg(extract(epoch from finished_at)::float8 order by finished_at) as at
                 from queues.task where task_id > {}
             )
             select {window} / (at[1 + {window}] - at[1]), {window} / (at[{done}] - at[{done} - {window}]) from ends",
            batch.after
        ),
        &[],
    )?;
    let (first, last): (f64, f64) = (row.get(0), row.get(1));
    if !all {
        run.note(format!("only {done} of {tasks} tasks were done within {} s", limit.as_secs()));
    }
    let name = format!("last {window} of {tasks}");
    let reading = Reading::new(name, last, "tasks/s").beside(format!("first {window}"), first);
    run.read(reading.asked(Asked::RatioAtLeast(0.8)));
    Ok(())
}
