//! The worst case for queue tables: a steady load, and overlapping long transactions. At any time one of them holds a
//! snapshot, so that row versions of finished tasks can never be removed entirely.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::paced::{Paced, check, dead};
use super::throughput::WARM;
use crate::queue::Queue;
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::statistics::percentile;

const RATE: f64 = 800.0;
const SNAPSHOTS: u32 = 3;

pub fn run(run: &mut Run) -> Result<()> {
    let seconds = run.scale.of(6, 60, 900);
    let length = Duration::from_secs(run.scale.of(3, 30, 120));
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let over = AtomicBool::new(false);
    let mut most_dead = 0.0_f64;
    let (tasks, backlog) = scope(|threads| {
        let (server, over) = (&server, &over);
        let start = |number| threads.spawn(move || hold(server, length, number, over));
        let holders: Vec<_> = (0..SNAPSHOTS).map(start).collect();
        let result = load(&mut queue, seconds, &mut most_dead);
        over.store(true, Relaxed);
        for holder in holders {
            holder.join().map_err(|_| "a snapshot's thread panicked")??;
        }
        result
    })?;
    let last_dead = dead(&mut queue)?;
    queue.wait()?;
    check(&mut queue, tasks)?;
    run.read(Reading::new("left at the end", backlog, "tasks").asked(Asked::AtMost(0.0)));
    let waits = queue.numbers(
        "select greatest(extract(epoch from started_at - enqueued_at) * 1000, 0)::float8
         from bench.pickup order by started_at",
    )?;
    let asked = Asked::AtMost(5.0);
    run.read(Reading::new("pickup, p50", percentile(&waits, 0.5), "ms"));
    run.read(Reading::new("pickup, p99", percentile(&waits, 0.99), "ms").asked(asked));
    let last = &waits[waits.len() * 4 / 5..];
    run.read(Reading::new("pickup in the last fifth, p99", percentile(last, 0.99), "ms").asked(asked));
    run.read(Reading::new("dead row versions, most", most_dead, "rows"));
    run.read(Reading::new("dead row versions at the end", last_dead, "rows"));
    Ok(())
}

/// The number of tasks, and the number that were left shortly after the last one.
fn load(queue: &mut Queue, seconds: u64, most_dead: &mut f64) -> Result<(i64, f64)> {
    let paced = Paced { rate: RATE, seconds, batch: 1 };
    let tasks = paced.run(queue, |queue, _| {
        *most_dead = most_dead.max(dead(queue)?);
        Ok(())
    })?;
    sleep(Duration::from_millis(100));
    let backlog = queue.one("select count(*)::float8 from queues.task where finished_at is null")?;
    Ok((tasks, backlog))
}

/// Holds a snapshot for `length`, then a new one, and so on; the sessions start at different times.
fn hold(server: &Server, length: Duration, number: u32, over: &AtomicBool) -> Result<()> {
    let mut sql = server.connect("postgres")?;
    pause(length * number / SNAPSHOTS, over);
    while !over.load(Relaxed) {
        sql.batch_execute("begin isolation level repeatable read; select max(task_id) from queues.task")?;
        pause(length, over);
        sql.batch_execute("commit")?;
    }
    Ok(())
}

fn pause(length: Duration, over: &AtomicBool) {
    let since = Instant::now();
    while since.elapsed() < length && !over.load(Relaxed) {
        sleep(Duration::from_millis(50));
    }
}
