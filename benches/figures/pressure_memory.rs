//! A server with very little memory.

use super::fairness_workers::rate_with;
use super::throughput::WARM;
use crate::queue::Queue;
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(1000, 50_000, 200_000);
    let usual = rate(&[], tasks)?;
    let short = rate(&[("shared_buffers", "1MB")], tasks)?;
    run.read(Reading::new("shared_buffers = 1MB", short, "tasks/s").beside("by default", usual));
    Ok(())
}

fn rate(settings: &[(&str, &str)], tasks: i64) -> Result<f64> {
    let server = Server::start(settings)?;
    let mut queue = Queue::warm(&server, WARM)?;
    rate_with(&mut queue, 2, tasks)
}
