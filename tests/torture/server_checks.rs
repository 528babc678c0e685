//! Checks that are not about a single task: the log, and what must not be left behind.

use std::time::Duration;

use postgres::{Client, Error};

use super::world::World;
use crate::harness::wait::{patience, within};

/// How soon workers have nothing to do.
const PROMPT: Duration = Duration::from_secs(10);

/// What must not be in the server's log.
const ALARMS: [&str; 4] = ["PANIC", "panicked at", "TRAP: ", "Rust panic"];

/// Queries that must return 0, and what it means if they don't.
const NONE: [(&str, &str); 5] = [
    (
        "select count(*) from app.gone_task where finished_at is null",
        "tasks were removed before they had ended",
    ),
    ("select count(*) from pg_prepared_xacts", "prepared transactions are left"),
    (
        "select count(*) from queues.task where calling and finished_at is not null",
        "tasks that have ended are calling",
    ),
    (
        "select count(*) from pg_locks l join pg_stat_activity a using (pid) \
         where a.backend_type = 'pg_errand worker' and l.locktype = 'advisory'",
        "workers hold advisory locks",
    ),
    (
        "select abs((select sum(n) from app.pair) - 2 * (select count(*) from app.effect e join app.every_task t \
         on t.payload ->> 'label' = e.label where not e.outside and t.payload ->> 'db_function' = 'app.tangle'))::bigint",
        "rows that deadlocks were about do not add up",
    ),
];

/// Complaints about the server as a whole.
///
/// # Errors
/// If the server reports an error.
pub fn complaints(world: &World, client: &mut Client) -> Result<Vec<String>, Error> {
    let mut complaints = world.history.complaints();
    for (sql, meaning) in NONE {
        let count: i64 = client.query_one(sql, &[])?.get(0);
        if count != 0 {
            complaints.push(format!("{meaning}: {count}"));
        }
    }
    if !within(patience(PROMPT), || idle(client)) {
        complaints.push("workers are busy though every task has ended".to_owned());
    }
    let log = world.cluster.log();
    complaints
        .extend(log.lines().filter(|line| is_alarm(world, line)).map(|line| format!("the log says: {line}")));
    Ok(complaints)
}

fn idle(client: &mut Client) -> bool {
    let busy =
        "select count(*) from queues.worker where state <> 'idle' or in_flight <> 0 or task_id is not null";
    client.query_one(busy, &[]).is_ok_and(|row| row.get::<_, i64>(0) == 0)
}

fn is_alarm(world: &World, line: &str) -> bool {
    ALARMS.iter().any(|alarm| line.contains(alarm))
        || is_crash_of_its_own(world, line)
        || is_internal_error(line)
}

/// «… (PID 123) was terminated by signal 11: Segmentation fault», though nobody had sent one.
fn is_crash_of_its_own(world: &World, line: &str) -> bool {
    let Some((before, after)) = line.split_once(" was terminated by signal ") else { return false };
    let pid = before.rsplit_once("(PID ").and_then(|(_, pid)| pid.trim_end_matches(')').parse().ok());
    // Without a postmaster, and while the server recovers, others end the rest.
    let by_itself = ["6:", "7:", "8:", "11:"].iter().any(|signal| after.starts_with(signal));
    by_itself && !pid.is_some_and(|pid| world.history.was_killed(pid))
}

/// An internal error in one of our processes; a function that is dropped while it is called explains some.
fn is_internal_error(line: &str) -> bool {
    let ours = line.contains("pg_errand worker") || line.contains("pg_errand launcher");
    ours && line.contains(" XX000 ") && !line.contains("cache lookup failed for function")
}
