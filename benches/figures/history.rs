//! Finished tasks that are kept must not slow down those that wait.

use super::throughput::WARM;
use crate::queue::{NOTHING, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(2000, 100_000, 100_000);
    let kept = run.scale.of(10_000, 500_000, 10_000_000);
    let history = format!(
        "insert into queues.task (task_type, payload, enqueued_at, scheduled_at, dequeued_at, attempts,
             finished_at, final_status)
         select 'db_function', {NOTHING}, at, at, at, 1, at, 'succeeded'
         from generate_series(1, {kept}) n, lateral (select now() - interval '1 h' + n * interval '1 us') t (at)"
    );
    let with = rate_beside(&history, tasks)?;
    let without = rate_beside("", tasks)?;
    let reading = Reading::new(format!("{kept} finished tasks kept"), with, "tasks/s");
    run.read(reading.beside("none kept", without).asked(Asked::RatioAtLeast(0.9)));
    Ok(())
}

/// The rate at which a server runs tasks after a statement has prepared its queue.
///
/// # Errors
/// If a task fails.
pub fn rate_beside(statement: &str, tasks: i64) -> Result<f64> {
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    queue.pause()?;
    queue.sql.batch_execute(statement)?;
    queue.sql.batch_execute("vacuum analyze queues.task")?;
    let batch = queue.work_off(NOTHING, tasks)?;
    queue.rate(batch)
}
