//! Many more workers than processors.

use super::fairness_workers::rate_with;
use super::throughput::WARM;
use crate::queue::Queue;
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(2000, 50_000, 200_000);
    let server = Server::start(&[("pg_errand.max_workers", "16"), ("max_worker_processes", "24")])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let two = rate_with(&mut queue, 2, tasks)?;
    let sixteen = rate_with(&mut queue, 16, tasks)?;
    run.read(Reading::new("sixteen workers", sixteen, "tasks/s").beside("two workers", two));
    Ok(())
}
