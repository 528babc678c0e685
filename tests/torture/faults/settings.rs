//! Settings that change while workers are at work.

use std::time::Duration;

use super::{Outcome, Scene};
use crate::torture::choose::any;
use crate::torture::world::{DATABASE, OTHER_ROLE, SIDE};
use postgres::{Client, Error};

/// Settings, and what they are changed to.
const CHOICES: &[(&str, &[&str])] = &[
    ("concurrency", &["1", "2", "3", "4"]),
    ("max_workers", &["1", "2", "4", "6"]),
    ("max_in_flight", &["1", "2", "64"]),
    ("poll_interval", &["50ms", "1s", "3s"]),
    ("max_idle_time", &["0", "100ms", "1s", "30s"]),
    ("call_timeout", &["300ms", "1s", "3s"]),
    ("handler_timeout", &["0", "0", "400ms"]),
    ("log_level", &["debug", "info", "warning", "error"]),
    ("lease_duration", &["300ms", "2s", "4s"]),
    ("retention", &["0", "1s", "5s", "1h"]),
    ("role", &["errand_worker", OTHER_ROLE]),
];
/// Those of them that can be given for a database.
const FOR_DATABASE: &[usize] = &[0, 2, 3, 4, 5, 6, 8, 10];

/// Some settings at once, for the whole server.
pub fn change(scene: &mut Scene) -> Outcome {
    let mut done = Vec::new();
    let mut client = scene.client();
    for _ in 0..scene.rng.usize(1..4) {
        let index = scene.rng.usize(0..CHOICES.len());
        let (name, value) = choice(scene, index);
        client.batch_execute(&format!("alter system set pg_errand.{name} = '{value}'"))?;
        done.push(format!("{name} = {value}"));
    }
    reload(&mut client)?;
    Ok(done.join(", "))
}

/// A setting for the database, or none any more.
pub fn change_for_database(scene: &mut Scene) -> Outcome {
    let world = scene.world;
    let _alone = world.alone();
    const ISOLATION: [&str; 2] = ["serializable", "repeatable read"];
    let sql = if scene.rng.u32(0..3) == 0 {
        format!("alter database {DATABASE} reset all")
    } else if scene.rng.u32(0..6) == 0 {
        let level = any(&mut scene.rng, &ISOLATION).unwrap_or_default();
        format!("alter database {DATABASE} set default_transaction_isolation = '{level}'")
    } else {
        let index = any(&mut scene.rng, FOR_DATABASE).unwrap_or_default();
        let (name, value) = choice(scene, index);
        format!("alter database {DATABASE} set pg_errand.{name} = '{value}'")
    };
    scene.client().batch_execute(&sql)?;
    Ok(sql)
}

/// No workers for a while.
pub fn pause(scene: &mut Scene) -> Outcome {
    let mut client = scene.client();
    const WAYS: [(&str, &str); 3] = [("concurrency", "0"), ("max_workers", "0"), ("databases", SIDE)];
    let (name, value) = any(&mut scene.rng, &WAYS).unwrap_or_default();
    let set = client.batch_execute(&format!("alter system set pg_errand.{name} = '{value}'"));
    let paused = set.and_then(|()| reload(&mut client));
    let milliseconds = scene.duration(1000);
    std::thread::sleep(Duration::from_millis(milliseconds));
    // Whether it was acknowledged or not: only the answer may have been lost.
    scene.world.insist("ending a pause", |client| {
        client.batch_execute(&format!("alter system reset pg_errand.{name}"))?;
        reload(client)
    });
    paused.map(|()| format!("{name} = {value} for {milliseconds} ms"))
}

fn choice(scene: &mut Scene, index: usize) -> (&'static str, &'static str) {
    let (name, values) = CHOICES[index];
    (name, any(&mut scene.rng, values).unwrap_or_default())
}

fn reload(client: &mut Client) -> Result<(), Error> {
    client.execute("select pg_reload_conf()", &[]).map(drop)
}
