//! Fifty sessions that enqueue tasks with unique keys while no worker runs.

use super::throughput::WARM;
use crate::pgbench::Pgbench;
use crate::queue::Queue;
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

const CLIENTS: u32 = 50;
const PLAIN: &str = "select queues.enqueue('db_function', '{\"db_function\": \"bench.nothing\"}')";
const NEW: &str = "
\\set n random(1, 1000000000000)
select queues.enqueue('db_function', '{\"db_function\": \"bench.nothing\"}', _unique_key => 'key ' || :n)";
const SAME: &str =
    "select queues.enqueue('db_function', '{\"db_function\": \"bench.nothing\"}', _unique_key => 'same')";

pub fn run(run: &mut Run) -> Result<()> {
    let each = run.scale.of(50, 1000, 1000);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    queue.pause()?;
    let rate = |script| -> Result<f64> {
        Ok(Pgbench::transactions(script, each).clients(CLIENTS).asynchronous().run(&server)?.tps)
    };
    let plain = rate(PLAIN)?;
    let asked = Asked::RatioAtLeast(0.7);
    for (name, script) in [("a new key each", NEW), ("the same key", SAME)] {
        let reading = Reading::new(format!("{CLIENTS} sessions, {name}"), rate(script)?, "enqueues/s");
        run.read(reading.beside("without keys", plain).asked(asked));
    }
    let rows = "select count(*) from queues.task where unique_key = 'same'";
    if queue.one::<i64>(rows)? != 1 {
        return Err("more than one task has the same key".into());
    }
    Ok(())
}
