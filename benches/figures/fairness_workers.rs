//! More workers than processors, which must not obstruct each other.

use super::throughput::WARM;
use crate::queue::{NOTHING, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(2000, 100_000, 100_000);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let two = rate_with(&mut queue, 2, tasks)?;
    let four = rate_with(&mut queue, 4, tasks)?;
    let reading = Reading::new("four workers", four, "tasks/s").beside("two workers", two);
    run.read(reading.asked(Asked::RatioAtLeast(0.9)));
    Ok(())
}

/// Tasks per second with this number of workers.
///
/// # Errors
/// If a task fails.
pub fn rate_with(queue: &mut Queue, workers: u32, tasks: i64) -> Result<f64> {
    queue.pause()?;
    let batch = queue.enqueue(NOTHING, tasks)?;
    queue.resume_with(workers)?;
    queue.wait()?;
    queue.check(batch)?;
    queue.rate(batch)
}
