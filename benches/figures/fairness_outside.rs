//! Workers outside compete with those inside, without a deadlock, and each task is done once.

use std::thread::{scope, sleep};
use std::time::Duration;

use crate::queue::{EFFECT, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

const CLIENTS: usize = 4;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(1000, 20_000, 100_000);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, 1000)?;
    queue.pause()?;
    let batch = queue.enqueue(EFFECT, tasks)?;
    let outside = scope(|threads| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| threads.spawn(|| client(&server))).collect();
        queue.resume()?;
        let mut done = 0;
        for client in clients {
            done += client.join().map_err(|_| "a client panicked")??;
        }
        Result::Ok(done)
    })?;
    queue.wait()?;
    queue.check(batch)?;
    queue.check_effects("bench.effect", tasks)?;
    let deadlocks = queue.one("select sum(deadlocks)::float8 from pg_stat_database")?;
    let rate = queue.rate(batch)?;
    run.read(Reading::new("two workers inside and four outside", rate, "tasks/s"));
    run.read(Reading::new("of that outside", f64::from(outside), "tasks").beside("all", tasks as f64));
    run.read(Reading::new("deadlocks", deadlocks, "deadlocks").asked(Asked::AtMost(0.0)));
    Ok(())
}

/// Dequeues and completes tasks until there are none; returns their number.
fn client(server: &Server) -> Result<u32> {
    let mut sql = server.connect("postgres")?;
    let take = sql.prepare(
        "select task_id, (payload ->> 'n')::bigint from queues.dequeue_next_available_task() where task_id is not null",
    )?;
    let effect = sql.prepare("insert into bench.effect values ($1)")?;
    let complete = sql.prepare("select queues.complete_task($1)")?;
    let left = sql.prepare("select exists (select from queues.task where finished_at is null)")?;
    let mut done = 0;
    loop {
        if let Some(row) = sql.query_opt(&take, &[])? {
            let (task, number): (i64, i64) = (row.get(0), row.get(1));
            let mut transaction = sql.transaction()?;
            transaction.execute(&effect, &[&number])?;
            transaction.execute(&complete, &[&task])?;
            transaction.commit()?;
            done += 1;
        } else if sql.query_one(&left, &[])?.get(0) {
            sleep(Duration::from_millis(5));
        } else {
            return Ok(done);
        }
    }
}
