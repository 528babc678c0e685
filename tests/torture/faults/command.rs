//! Commands that cannot run beside workers, which are ended for them and must come back, whatever becomes of the command.

use postgres::{Client, Error};

use super::lock::LIMIT;
use super::{Outcome, Scene};
use crate::torture::world::{DATABASE, SIDE};

/// Changes its mind about the extension.
pub fn drop_extension_and_roll_back(scene: &mut Scene) -> Outcome {
    let world = scene.world;
    let _alone = world.alone();
    let milliseconds = scene.duration(400);
    let mut client = scene.client();
    client.batch_execute(LIMIT)?;
    let seconds = milliseconds as f64 / 1000.0;
    client.batch_execute(&format!(
        "begin; drop extension pg_errand cascade; select pg_sleep({seconds}); rollback"
    ))?;
    Ok(format!("after {milliseconds} ms"))
}

/// An update to the version that is there.
pub fn update_extension(scene: &mut Scene) -> Outcome {
    let world = scene.world;
    let _alone = world.alone();
    let mut client = scene.client();
    client.batch_execute(LIMIT)?;
    client.batch_execute("alter extension pg_errand update")?;
    Ok(String::new())
}

/// Sessions are in the database, so it cannot be copied; that is found out after some seconds. Should they have left just
/// then, the copy must not do what the original has to do.
pub fn copy_in_vain(scene: &mut Scene) -> Outcome {
    let world = scene.world;
    let _alone = world.alone();
    let name = format!("vain_{}", scene.rng.u32(..));
    let mut client = world.cluster.connect("postgres");
    let limit = scene.duration(2000);
    client.batch_execute(&format!("set statement_timeout = {limit}"))?;
    client.batch_execute(&format!("create database {name} template {DATABASE}"))?;
    client.batch_execute("set statement_timeout = 0")?;
    client.batch_execute(&format!("drop database {name}"))?;
    Ok("not in vain".to_owned())
}

/// The other database has another name for a moment.
pub fn rename(scene: &mut Scene) -> Outcome {
    const ASIDE: &str = "aside";
    let world = scene.world;
    let _alone = world.alone();
    let renamed = scene.client().batch_execute(&format!("alter database {SIDE} rename to {ASIDE}"));
    let milliseconds = scene.duration(300);
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    world.insist("renaming it back", |client| rename_if_there(client, ASIDE, SIDE));
    // Whether the server said so or not: it may have been the answer that was lost.
    renamed.map(|()| format!("for {milliseconds} ms"))
}

fn rename_if_there(client: &mut Client, from: &str, to: &str) -> Result<(), Error> {
    match client.query_opt("select from pg_database where datname = $1", &[&from])? {
        Some(_) => client.batch_execute(&format!("alter database {from} rename to {to}")),
        None => Ok(()),
    }
}
