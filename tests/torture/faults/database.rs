//! Other databases come and go. What they do must not disturb the one whose tasks are counted.

use super::{Outcome, Scene};
use crate::torture::world::SIDE;

/// Copies the other database, whose workers give way, and drops the copy again.
pub fn copy(scene: &mut Scene) -> Outcome {
    let world = scene.world;
    let _alone = world.alone();
    let name = format!("copy_{}", scene.rng.u32(..));
    let mut client = scene.client();
    client.batch_execute("set statement_timeout = '15s'")?;
    client.batch_execute(&format!("create database {name} template {SIDE}"))?;
    let milliseconds = scene.duration(400);
    client.batch_execute(&format!("select pg_sleep({})", milliseconds as f64 / 1000.0))?;
    client.batch_execute(&format!("drop database {name}"))?;
    Ok(format!("for {milliseconds} ms"))
}

/// Drops the extension in the other database and creates it again, with a task.
pub fn recreate_extension(scene: &mut Scene) -> Outcome {
    let world = scene.world;
    let _alone = world.alone();
    let mut client = scene.world.cluster.connect(SIDE);
    client.batch_execute("set statement_timeout = '15s'")?;
    client.batch_execute("drop extension if exists pg_errand cascade; create extension pg_errand")?;
    client.batch_execute(
        "insert into queues.task (task_type, payload) values ('db_function', '{\"db_function\": \"public.work\"}')",
    )?;
    Ok(String::new())
}
