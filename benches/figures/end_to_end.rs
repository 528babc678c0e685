//! Enqueueing and running at the same time, from the first enqueue to the end of the last task.

use super::limits::{REFERENCE, reference};
use super::throughput::WARM;
use crate::pgbench::Pgbench;
use crate::queue::{Batch, NOTHING, Queue};
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

const CLIENTS: i64 = 2;
const LARGE: i64 = 1000;
/// A script that enqueues one task per transaction.
pub const SINGLE: &str = "insert into queues.task (task_type, payload) values ('db_function', '{\"db_function\": \"bench.nothing\"}');";

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(4000, 200_000, 1_000_000);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let reference = reference(run, &server)?;
    for (name, script, size) in [
        ("a row a transaction", SINGLE, 1),
        ("a thousand rows a transaction", load(LARGE as f64).as_str(), LARGE),
    ] {
        let rate = both(&mut queue, script, size, tasks, CLIENTS)?;
        run.read(Reading::new(name, rate, "tasks/s").beside(REFERENCE, reference));
    }
    Ok(())
}

/// The rate in tasks per second while `clients` enqueue `size` tasks per transaction by a script.
///
/// # Errors
/// If a task fails.
pub fn both(queue: &mut Queue, script: &str, size: i64, tasks: i64, clients: i64) -> Result<f64> {
    let batch = Batch { after: queue.last_task()?, count: tasks };
    let transactions = u64::try_from(tasks / size / clients)?;
    let load = Pgbench::transactions(script, transactions).clients(u32::try_from(clients)?);
    load.asynchronous().run(queue.server)?;
    queue.wait()?;
    queue.check(batch)?;
    Ok(queue
        .sql
        .query_one(
            "select count(*) / extract(epoch from max(finished_at) - min(enqueued_at))::float8
             from queues.task where task_id > $1",
            &[&batch.after],
        )?
        .get(0))
}

/// A script that enqueues this many tasks per transaction.
pub fn load(batch: f64) -> String {
    format!(
        "insert into queues.task (task_type, payload) select 'db_function', {NOTHING} from generate_series(1, {batch});"
    )
}
