//! Many sessions that enqueue at the same time.

use super::end_to_end::{SINGLE, both};
use super::throughput::WARM;
use crate::queue::Queue;
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

const CLIENTS: i64 = 50;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(5000, 100_000, 500_000);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let two = both(&mut queue, SINGLE, 1, tasks, 2)?;
    let fifty = both(&mut queue, SINGLE, 1, tasks, CLIENTS)?;
    run.read(Reading::new("fifty sessions that enqueue", fifty, "tasks/s").beside("two", two));
    Ok(())
}
