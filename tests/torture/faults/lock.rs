//! Locks on the queue that others hold for a while, and commands that take them.

use super::{Outcome, Scene};
use crate::torture::choose::any;

/// The tables of the queue.
const TABLES: [&str; 3] = ["queues.task", "queues.call", "queues.error"];
/// A lock that cannot be had is given up, or the director would wait while others go on.
pub const LIMIT: &str = "set lock_timeout = '3s'";

pub fn lock_table(scene: &mut Scene) -> Outcome {
    const MODES: [&str; 4] = ["share", "exclusive", "access exclusive", "share row exclusive"];
    let mode = any(&mut scene.rng, &MODES).unwrap_or_default();
    hold(scene, &format!("lock table queues.task in {mode} mode"), 500)
}

/// Workers pass over the tasks, and nobody tells them when the locks are gone, so this does.
pub fn lock_rows(scene: &mut Scene) -> Outcome {
    let rows = "select from queues.task where finished_at is null limit 20 for update skip locked";
    hold(scene, &format!("{rows}; select errand.announce(now())"), 500)
}

pub fn reindex(scene: &mut Scene) -> Outcome {
    let table = any(&mut scene.rng, &TABLES).unwrap_or_default();
    let how = if scene.rng.bool() { "" } else { "concurrently " };
    run(scene, &format!("reindex table {how}{table}"))
}

pub fn vacuum(scene: &mut Scene) -> Outcome {
    let table = any(&mut scene.rng, &TABLES).unwrap_or_default();
    const OPTIONS: [&str; 3] = ["full", "freeze, analyze", "truncate off"];
    let options = any(&mut scene.rng, &OPTIONS).unwrap_or_default();
    run(scene, &format!("vacuum ({options}) {table}"))
}

/// Keeps what a statement has locked for up to so many milliseconds.
fn hold(scene: &mut Scene, sql: &str, up_to: u64) -> Outcome {
    let milliseconds = scene.duration(up_to);
    let seconds = milliseconds as f64 / 1000.0;
    let mut client = scene.client();
    client.batch_execute(LIMIT)?;
    client.batch_execute(&format!("begin; {sql}; select pg_sleep({seconds}); commit"))?;
    Ok(format!("{sql}, for {milliseconds} ms"))
}

fn run(scene: &mut Scene, sql: &str) -> Outcome {
    let mut client = scene.client();
    client.batch_execute(LIMIT)?;
    client.batch_execute("set statement_timeout = '5s'")?;
    client.batch_execute(sql)?;
    Ok(sql.to_owned())
}
