//! The number of short tasks per second that two workers run, if the tasks are waiting already.

use super::limits::{REFERENCE, reference};
use crate::figures::durability;
use crate::queue::{EFFECT, NOTHING, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::statistics::percentile;

/// The target, relative to plain inserts.
const ASKED: Asked = Asked::RatioAtLeast(1.2);

/// The number of tasks that run before the measurement.
pub const WARM: i64 = 5000;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(2000, 100_000, 1_000_000);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let reference = reference(run, &server)?;
    let mut read = |name: &str, rate| {
        run.read(Reading::new(name, rate, "tasks/s").beside(REFERENCE, reference).asked(ASKED));
    };

    let batch = queue.work_off(NOTHING, tasks)?;
    read("no-op", queue.rate(batch)?);

    let batch = queue.work_off(EFFECT, tasks)?;
    queue.check_effects("bench.effect", tasks)?;
    read("handler inserts a row", queue.rate(batch)?);

    durably(run, &mut queue, tasks, reference)
}

/// The same with every end flushed within 10 ms.
fn durably(run: &mut Run, queue: &mut Queue, tasks: i64, reference: f64) -> Result<()> {
    if !queue.has_setting("pg_errand.flush_interval")? {
        run.note("there is no setting pg_errand.flush_interval; the variant «durable» was left out");
        return Ok(());
    }
    queue.set("pg_errand.flush_interval", "5ms")?;
    queue.pause()?;
    let batch = queue.enqueue(NOTHING, tasks)?;
    let looks = durability::watch(queue.server, || {
        queue.resume()?;
        queue.wait()
    })?;
    queue.check(batch)?;
    let rate = queue.rate(batch)?;
    run.read(Reading::new("no-op, durable", rate, "tasks/s").beside(REFERENCE, reference).asked(ASKED));

    // WAL that is written after all tasks have ended may stay unflushed.
    let (first, last) = queue.course(batch)?;
    let during = looks.iter().filter(|look| look.at > first && look.at < last - 0.05);
    let lags: Vec<f64> = during.map(|look| look.milliseconds).collect();
    for (name, share) in [("p99", 0.99), ("longest", 1.0)] {
        let lag =
            Reading::new(format!("no-op, durable: until on disk, {name}"), percentile(&lags, share), "ms");
        run.read(lag.asked(Asked::AtMost(10.0)));
    }
    Ok(())
}
