//! The end of the faults: everything is made well again, and every task gets the time to end.

use std::time::{Duration, Instant};

use fastrand::Rng;
use postgres::error::SqlState;

use super::book::{Draft, Fate};
use super::history::History;
use super::kinds::NEXT;
use super::world::{DATABASE, SETTINGS, World};
use crate::harness::wait::{patience, within};

/// How long the last task may take after the last fault. A task whose end could not be written may be left alone for a
/// minute, and a database whose workers could not start as well.
const DEADLINE: Duration = Duration::from_secs(90);

/// And in a lull between faults.
const LULL: Duration = Duration::from_secs(60);

/// How soon a task ends when there is no other.
const PROMPT: Duration = Duration::from_secs(10);
/// How many tasks are tried one after the other.
const ROLL: i32 = 6;

/// What may explain it, a text each.
const DETAILS: [&str; 5] = [
    "select format('worker %s', w) from queues.worker w",
    "select format('process %s %s %s %s %s', pid, datname, backend_type, state, query) from pg_stat_activity",
    "select format('lock not granted: %s', l) from pg_locks l where not granted",
    "select format('setting %s = %s', name, setting) from pg_settings where name ~ '^pg_errand'",
    "select format('stored: %s', s) from pg_db_role_setting s",
];

const UNFINISHED: &str = "select count(*) from queues.task where finished_at is null";

/// A lull: no faults and no new tasks, but nothing is put right either. Every task has to end nevertheless.
///
/// # Panics
/// One doesn't.
pub fn lull(world: &World) {
    world.keep_away(true);
    world.misery.end();
    if !within(patience(DEADLINE), || sessions(world) == 1) {
        panic!("the sessions do not leave");
    }
    commit_prepared(world);
    let started = Instant::now();
    let all_ended = within(patience(LULL), || unfinished(world) == 0);
    if !all_ended {
        let stuck = stuck(world);
        panic!("in a lull, these tasks did not end: {stuck:#?}");
    }
    world.history.add(format!("a lull: all tasks ended after {:.1} s", started.elapsed().as_secs_f64()));
    call_roll(world);
    world.misery.reset();
    world.keep_away(false);
}

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
    if within(patience(DEADLINE), || unfinished(world) == 0) {
        call_roll(world);
        world.history.add(format!(
            "all tasks have ended {:.1} s after the last fault",
            started.elapsed().as_secs_f64()
        ));
        return Vec::new();
    }
    stuck(world)
}

/// Tasks one after the other, now and a little later, while nobody polls: each is started because its commit is
/// announced, or because it falls due, whatever the workers have been through.
///
/// # Panics
/// One is not.
fn call_roll(world: &World) {
    poll(world, "1h");
    for n in 0..ROLL {
        let label = world.book.label();
        let draft = Draft { label: label.clone(), kind: NEXT, task_id: None };
        world.insist("enqueuing", |client| {
            let payload = NEXT.payload(&label, &mut Rng::with_seed(0));
            let delay = f64::from(n % 2) * 0.3;
            let sql = "select queues.enqueue('db_function', $1, now() + $2 * interval '1 s')";
            client.execute(sql, &[&payload, &delay])
        });
        world.book.note(&[draft], Fate::Committed);
        if !within(patience(PROMPT), || unfinished(world) == 0) {
            panic!("nobody starts it, though there is nothing else to do: {:#?}", stuck(world));
        }
    }
    poll(world, "1s");
}

fn poll(world: &World, interval: &str) {
    world.insist("changing the interval", |client| {
        client.batch_execute(&format!("alter database {DATABASE} reset pg_errand.poll_interval"))?;
        client.batch_execute(&format!("alter system set pg_errand.poll_interval = '{interval}'"))?;
        client.execute("select pg_reload_conf()", &[])
    });
}

/// How many sessions there are, with the one that asks.
fn sessions(world: &World) -> i64 {
    let sql = "select count(*) from pg_stat_activity where backend_type = 'client backend'";
    world.insist("counting sessions", |client| Ok(client.query_one(sql, &[])?.get(0)))
}

fn unfinished(world: &World) -> i64 {
    world.insist("counting tasks", |client| Ok(client.query_one(UNFINISHED, &[])?.get(0)))
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
            match client.batch_execute(&format!("commit prepared '{gid}'")) {
                // Some session was faster.
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {}
                other => other?,
            }
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
               t.payload ->> 'label', t.task_id, s.status, t.attempts, t.calling, t.leased, t.not_before, t.scheduled_at) \
               from queues.task t join queues.task_status s using (task_id) where t.finished_at is null order by t.task_id";
    world.insist("listing what is stuck", |client| {
        for details in DETAILS {
            let rows = client.query(details, &[])?;
            rows.iter().for_each(|row| world.history.add(row.get::<_, String>(0)));
        }
        Ok(client.query(sql, &[])?.iter().map(|row| row.get(0)).collect())
    })
}
