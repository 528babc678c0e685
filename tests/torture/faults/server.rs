//! The whole server stops, one way or another, and is started again.

use std::time::Duration;

use super::{Outcome, Scene};
use crate::harness::cluster::StopMode;
use crate::harness::process::kill;
use crate::torture::world::linger;

pub fn smart(scene: &mut Scene) -> Outcome {
    // It waits for the sessions.
    scene.world.keep_away(true);
    let outcome = restart(scene, StopMode::Smart);
    scene.world.keep_away(false);
    outcome
}

pub fn fast(scene: &mut Scene) -> Outcome {
    restart(scene, StopMode::Fast)
}

pub fn immediate(scene: &mut Scene) -> Outcome {
    restart(scene, StopMode::Immediate)
}

pub fn kill_everything(scene: &mut Scene) -> Outcome {
    restart(scene, StopMode::Kill)
}

pub fn kill_postmaster(scene: &mut Scene) -> Outcome {
    restart(scene, StopMode::KillPostmaster)
}

/// A session is killed, and the server that recovers from that is killed, too.
pub fn crash_twice(scene: &mut Scene) -> Outcome {
    let pid: i32 = scene.client().query_one("select pg_backend_pid()", &[])?.get(0);
    let victim = scene.process("backend_type = 'background writer'")?.unwrap_or(pid);
    scene.world.history.note_down();
    scene.world.history.note_kill(victim, libc::SIGKILL);
    kill(victim, libc::SIGKILL);
    std::thread::sleep(Duration::from_millis(scene.duration(200)));
    restart(scene, StopMode::Kill)
}

fn restart(scene: &mut Scene, mode: StopMode) -> Outcome {
    scene.world.history.note_down();
    if matches!(mode, StopMode::Kill | StopMode::KillPostmaster) {
        scene.world.history.note_kill(scene.world.cluster.postmaster_pid(), libc::SIGKILL);
    }
    scene.world.cluster.stop(mode);
    linger(&mut scene.rng, 300);
    scene.world.cluster.start_again();
    Ok(format!("{mode:?}"))
}
