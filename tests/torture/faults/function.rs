//! Functions that go while they are called.

use super::{Outcome, Scene};

/// Drops a handler and creates it again, in one transaction or with a gap.
pub fn recreate(scene: &mut Scene) -> Outcome {
    let world = scene.world;
    let _alone = world.alone();
    let mut client = scene.client();
    let definition: String =
        client.query_one("select pg_get_functiondef('app.work(jsonb)'::regprocedure)", &[])?.get(0);
    let definition = definition.replace("app.work(", "app.fleeting(");
    let drop = "drop function if exists app.fleeting(jsonb)";
    let gap = scene.rng.bool();
    if gap {
        client.batch_execute(drop)?;
        client.batch_execute("select pg_sleep(0.1)")?;
        client.batch_execute(&definition)?;
    } else {
        client.batch_execute(&format!("begin; {drop}; {definition}; commit"))?;
    }
    Ok(if gap { "with a gap" } else { "at once" }.to_owned())
}
