//! A long task before many short ones, which the other worker runs meanwhile.

use super::throughput::WARM;
use crate::queue::{Batch, NOTHING, Queue};
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(1000, 10_000, 10_000);
    let seconds = run.scale.of(2, 10, 10);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let alone = queue.work_off(NOTHING, tasks)?;
    let (alone, _) = course(&mut queue, alone)?;

    queue.pause()?;
    let rest = format!("jsonb_build_object('db_function', 'bench.rest', 'seconds', {seconds})");
    let long = queue.enqueue(&rest, 1)?;
    let short = queue.enqueue(NOTHING, tasks)?;
    queue.resume()?;
    queue.wait()?;
    queue.check(long)?;
    queue.check(short)?;
    let (beside, gap) = course(&mut queue, short)?;
    let name = format!("{tasks} short tasks behind one of {seconds} s");
    run.read(Reading::new(&name, beside * 1000.0, "ms").beside("without it", alone * 1000.0));
    run.read(Reading::new(format!("{name}: longest pause between two starts"), gap * 1000.0, "ms"));
    Ok(())
}

/// The seconds from the first start to the last end, and the maximum time between two starts.
///
/// # Errors
/// If the server reports an error.
pub fn course(queue: &mut Queue, batch: Batch) -> Result<(f64, f64)> {
    let row = queue.sql.query_one(
        "select extract(epoch from max(finished_at) - min(dequeued_at))::float8,
             extract(epoch from max(gap))::float8
         from (
             select finished_at, dequeued_at, dequeued_at - lag(dequeued_at) over (order by dequeued_at) as gap
             from queues.task where task_id > $1 and task_id <= $1 + $2
         ) t",
        &[&batch.after, &batch.count],
    )?;
    Ok((row.get(0), row.get(1)))
}
