//! Workers and an application that keeps the server busy: how much each slows the other down.

use super::fairness_workers::rate_with;
use super::throughput::WARM;
use crate::pgbench::{Pgbench, initialize};
use crate::queue::{NOTHING, Queue};
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

pub fn run(run: &mut Run) -> Result<()> {
    let scale = run.scale.of(1, 10, 50);
    let seconds = run.scale.of(2, 20, 60);
    let tasks = run.scale.of(2000, 50_000, 200_000);
    let server = Server::start(&[])?;
    initialize(&server, scale)?;
    let mut queue = Queue::warm(&server, WARM)?;
    let script = script(scale);
    let application = Pgbench::seconds(&script, seconds);
    let tps_alone = application.run(&server)?.tps;
    let alone = rate_with(&mut queue, 2, tasks)?;

    // There are more tasks than can run during the application's run; those that end meanwhile are counted.
    queue.pause()?;
    let waiting = tasks.max(ceiling(alone, seconds));
    let batch = queue.enqueue(NOTHING, waiting)?;
    queue.resume()?;
    let tps = application.run(&server)?.tps;
    let done: f64 = queue.one(&format!(
        "select count(*)::float8 from queues.task where finished_at is not null and task_id > {}",
        batch.after
    ))?;
    queue.wait()?;
    queue.check(batch)?;
    let both = Reading::new("tasks beside TPC-B", done / seconds as f64, "tasks/s");
    run.read(both.beside("tasks alone", alone));
    run.read(Reading::new("TPC-B beside tasks", tps, "tps").beside("TPC-B alone", tps_alone));
    Ok(())
}

fn ceiling(rate: f64, seconds: u64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a number of tasks")]
    let tasks = (rate * seconds as f64) as i64;
    tasks
}

/// pgbench's own script for this many branches.
fn script(scale: u32) -> String {
    let accounts = 100_000 * scale;
    let tellers = 10 * scale;
    format!(
        "\\set aid random(1, {accounts})
\\set bid random(1, {scale})
\\set tid random(1, {tellers})
\\set delta random(-5000, 5000)
begin;
update pgbench_accounts set abalance = abalance + :delta where aid = :aid;
select abalance from pgbench_accounts where aid = :aid;
update pgbench_tellers set tbalance = tbalance + :delta where tid = :tid;
update pgbench_branches set bbalance = bbalance + :delta where bid = :bid;
insert into pgbench_history (tid, bid, aid, delta, mtime) values (:tid, :bid, :aid, :delta, now());
end;
"
    )
}
