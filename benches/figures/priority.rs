//! The time until a task of a high priority starts while plain tasks wait and run.

use std::thread::sleep;
use std::time::Duration;

use super::latency::pickups_of;
use super::throughput::WARM;
use crate::queue::{NOTHING, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::statistics::percentile;

const ENQUEUE: &str = "
    select queues.enqueue(
        'db_function', jsonb_build_object('db_function', 'bench.start', 'n', $1::bigint), _priority => 9
    )";

pub fn run(run: &mut Run) -> Result<()> {
    let backlog = run.scale.of(20_000, 200_000, 1_000_000);
    let samples = run.scale.of(20, 200, 1000);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    queue.pause()?;
    queue.enqueue(NOTHING, backlog)?;
    queue.resume()?;
    queue.wait_until("select exists (select from queues.worker where state = 'busy')")?;
    let waits = pickups_of(&mut queue, ENQUEUE, samples, |_| {
        sleep(Duration::from_millis(3));
        Ok(())
    })?;
    let waiting = "select exists (select from queues.task where finished_at is null and priority is null)";
    if !queue.one::<bool>(waiting)? {
        return Err("the backlog has ended before the samples".into());
    }
    let name = |share| format!("priority 9 before {backlog} plain tasks, {share}");
    run.read(Reading::new(name("p50"), percentile(&waits, 0.5), "ms"));
    run.read(Reading::new(name("p99"), percentile(&waits, 0.99), "ms").asked(Asked::AtMost(5.0)));
    Ok(())
}
