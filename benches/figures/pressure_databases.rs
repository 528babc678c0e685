//! Many databases with work at the same time, with a limit on the workers of all together.

use super::fairness_workers::rate_with;
use super::throughput::WARM;
use crate::queue::{Batch, NOTHING, Queue};
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

pub fn run(run: &mut Run) -> Result<()> {
    let databases = run.scale.of(6, 32, 32);
    let tasks = run.scale.of(200, 2000, 10_000);
    let server = Server::start(&[])?;
    let mut first = Queue::warm(&server, WARM)?;
    let one = rate_with(&mut first, 2, tasks * databases)?;
    first.pause()?;
    let mut queues = Vec::new();
    for number in 1..=databases {
        let database = format!("busy{number}");
        first.sql.batch_execute(&format!("create database {database} template template0"))?;
        let mut queue = Queue::open_in(&server, &database)?;
        let batch = queue.enqueue(NOTHING, tasks)?;
        queues.push((queue, batch));
    }
    first.resume()?;
    let rate = work_off(&mut queues, tasks * databases)?;
    let name = format!("{databases} databases");
    run.read(Reading::new(name, rate, "tasks/s").beside("one database", one));
    Ok(())
}

/// Tasks per second of all databases together, from the first start to the last end.
fn work_off(queues: &mut [(Queue, Batch)], tasks: i64) -> Result<f64> {
    let (mut first, mut last) = (f64::INFINITY, 0.0_f64);
    for (queue, batch) in queues {
        queue.wait()?;
        queue.check(*batch)?;
        let (begun, ended) = queue.course(*batch)?;
        first = first.min(begun);
        last = last.max(ended);
    }
    Ok(tasks as f64 / (last - first))
}
