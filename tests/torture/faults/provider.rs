//! The provider has a bad day.

use std::time::Duration;

use super::{Outcome, Scene};

/// Most requests are answered badly for a while.
pub fn misbehave(scene: &mut Scene) -> Outcome {
    let percent = scene.rng.u32(30..=90);
    let milliseconds = scene.duration(1500);
    scene.world.misery.set(percent);
    std::thread::sleep(Duration::from_millis(milliseconds));
    scene.world.misery.reset();
    Ok(format!("{percent} of 100 requests for {milliseconds} ms"))
}

/// All answers are kept back for a while. Meanwhile workers may be ended, which have calls in flight then.
pub fn hold(scene: &mut Scene) -> Outcome {
    let milliseconds = scene.duration(800);
    scene.world.standin.hold();
    std::thread::sleep(Duration::from_millis(milliseconds));
    let held = scene.world.standin.held();
    let ended = match scene.rng.u32(0..3) {
        0 => super::processes::terminate_workers(scene),
        1 => super::processes::sigkill_worker(scene),
        _ => Ok("no process".to_owned()),
    };
    scene.world.standin.release();
    Ok(format!("{held} answers for {milliseconds} ms; ended {}", ended?))
}

/// Connections that are open, and the next ones, are closed.
pub fn hang_up(scene: &mut Scene) -> Outcome {
    let connections = scene.rng.usize(1..10);
    scene.world.standin.close_idle_connections();
    scene.world.standin.hang_up_on(connections);
    Ok(format!("on {connections} connections"))
}
