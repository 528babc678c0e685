//! The end of the faults: everything is made well again, and every task gets the time to end.

use std::time::{Duration, Instant};

use super::book::Fate;
use super::history::History;
use super::world::{DATABASE, SETTINGS, World};
use crate::harness::wait::{patience, within};

/// How long the last task may take after the last fault. A task whose end could not be written may be left alone for a
/// minute, and a database whose workers could not start as well.
const DEADLINE: Duration = Duration::from_secs(90);

const UNFINISHED: &str = "select count(*) from queues.task where finished_at is null";

/// Puts everything right and waits for the last task; returns the labels of those that never ended.
///
/// # Panics
/// The server does not come up.
pub fn settle(world: &World) -> Vec<String> {
    world.misery.end();
    world.standin.release();
    world.standin.hang_up_on(0);
    restore_settings(world);
    commit_prepared(world);
    let started = Instant::now();
    let unfinished =
        || -> i64 { world.insist("counting tasks", |client| Ok(client.query_one(UNFINISHED, &[])?.get(0))) };
    if within(patience(DEADLINE), || unfinished() == 0) {
        world.history.add(format!(
            "all tasks have ended {:.1} s after the last fault",
            started.elapsed().as_secs_f64()
        ));
        return Vec::new();
    }
    stuck(world)
}

fn restore_settings(world: &World) {
    world.insist("restoring the settings", |client| {
        client.batch_execute(&format!("alter database {DATABASE} reset all"))?;
        client.batch_execute("alter system reset all")?;
        // Where a reload is missed by somebody, this would show it.
        for (name, value) in SETTINGS {
            client.batch_execute(&format!("alter system set {name} = '{value}'"))?;
        }
        client.execute("select pg_reload_conf()", &[]).map(drop)
    });
}

/// Commits what is still prepared, by whatever session.
fn commit_prepared(world: &World) {
    let mut acknowledged = Vec::new();
    while let Some(prepared) = world.book.take_prepared() {
        acknowledged.push(prepared);
    }
    let left: Vec<String> = world.insist("committing what is prepared", |client| {
        let rows = client.query("select gid from pg_prepared_xacts where database = $1", &[&DATABASE])?;
        let gids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        for gid in &gids {
            client.batch_execute(&format!("commit prepared '{gid}'"))?;
        }
        Ok(gids)
    });
    for (identifier, drafts) in acknowledged {
        if !left.contains(&identifier) {
            lost(&world.history, &identifier);
        }
        world.book.note(&drafts, Fate::Committed);
    }
}

fn lost(history: &History, identifier: &str) {
    history.complain(format!("the prepared transaction {identifier} is gone"));
}

fn stuck(world: &World) -> Vec<String> {
    let sql = "select format('%s (%s, %s, attempts %s, calling %s, leased %s, held until %s, scheduled at %s)', \
               t.payload ->> 'label', t.task_id, s.status, t.attempts, t.calling, t.leased, t.held_until, t.scheduled_at) \
               from queues.task t join queues.task_status s using (task_id) where t.finished_at is null order by t.task_id";
    world.insist("listing what is stuck", |client| {
        let workers = client.query("select format('%s', w) from queues.worker w", &[])?;
        workers.iter().for_each(|row| world.history.add(format!("worker {}", row.get::<_, String>(0))));
        Ok(client.query(sql, &[])?.iter().map(|row| row.get(0)).collect())
    })
}
