//! Tasks with queue keys: how many run per second, in order, and how soon another key's task starts beside a key with a long
//! queue.

use std::thread::sleep;
use std::time::Duration;

use super::latency::pickups_of;
use super::throughput::WARM;
use crate::queue::{Batch, NOTHING, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::statistics::percentile;

const KEYS: i64 = 1000;

const ENQUEUE: &str = "
    select queues.enqueue(
        'db_function',
        jsonb_build_object('db_function', 'bench.start', 'n', $1::bigint),
        _queue_key => 'other ' || $1
    )";

/// True if the tasks of each key ran one after the other, in order.
const IN_ORDER: &str = "
    select not exists (
        select
        from (
            select t.dequeued_at, lag(t.finished_at) over (
                partition by t.queue_key
                order by t.scheduled_at, t.task_id
            ) as before
            from queues.task t
            where t.queue_key is not null
        ) o
        where o.dequeued_at < o.before
    )";

pub fn run(run: &mut Run) -> Result<()> {
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    many_keys(run, &mut queue)?;
    one_key(run, &mut queue)
}

fn many_keys(run: &mut Run, queue: &mut Queue) -> Result<()> {
    let tasks = run.scale.of(20_000, 200_000, 200_000);
    let plain = queue.work_off(NOTHING, tasks)?;
    let plain = queue.rate(plain)?;

    queue.pause()?;
    let batch = enqueue(queue, tasks, KEYS)?;
    queue.resume()?;
    queue.wait()?;
    queue.check(batch)?;
    if !queue.one::<bool>(IN_ORDER)? {
        return Err("tasks of a key ran together, or not in order".into());
    }
    let keyed = queue.rate(batch)?;
    let reading = Reading::new(format!("no-op, {KEYS} keys"), keyed, "tasks/s");
    run.read(reading.beside("without keys", plain).asked(Asked::RatioAtLeast(0.6)));
    Ok(())
}

fn one_key(run: &mut Run, queue: &mut Queue) -> Result<()> {
    let backlog = run.scale.of(20_000, 100_000, 100_000);
    let samples = run.scale.of(20, 100, 200);
    queue.pause()?;
    enqueue(queue, backlog, 1)?;
    queue.resume()?;
    queue.wait_until("select exists (select from queues.worker where state = 'busy')")?;
    let waits = pickups_of(queue, ENQUEUE, samples, |_| {
        sleep(Duration::from_millis(3));
        Ok(())
    })?;
    let waiting = "select exists (select from queues.task where finished_at is null and queue_key = 'key 0')";
    if !queue.one::<bool>(waiting)? {
        return Err("the backlog has ended before the samples".into());
    }
    let name = |share| format!("a task beside a key with {backlog} tasks, {share}");
    run.read(Reading::new(name("p50"), percentile(&waits, 0.5), "ms"));
    run.read(Reading::new(name("p99"), percentile(&waits, 0.99), "ms").asked(Asked::AtMost(10.0)));
    Ok(())
}

/// Enqueues tasks of this number of keys, in turn.
fn enqueue(queue: &mut Queue, count: i64, keys: i64) -> Result<Batch> {
    let batch = Batch { after: queue.last_task()?, count };
    queue.sql.batch_execute(&format!(
        "insert into queues.task (task_type, payload, queue_key)
         select 'db_function', {NOTHING}, 'key ' || n % {keys} from generate_series(1, {count}) n"
    ))?;
    Ok(batch)
}
