//! Processes that end, or are interrupted, while the server goes on or recovers.

use std::time::Duration;

use super::{Outcome, Scene};
use crate::harness::process::{is_alive, kill};
use crate::harness::wait::within;

const WORKER: &str = "backend_type = 'pg_errand worker'";
const BUSY_WORKER: &str = "backend_type = 'pg_errand worker' and state = 'active'";
const LAUNCHER: &str = "backend_type = 'pg_errand launcher'";
const SESSION: &str = "backend_type = 'client backend'";
const CHECKPOINTER: &str = "backend_type = 'checkpointer'";

/// How soon a crash is noticed, if it was one: another fault may have ended the process just before.
const NOTICED: Duration = Duration::from_secs(3);

pub fn terminate_worker(scene: &mut Scene) -> Outcome {
    end_by_server(scene, WORKER, "pid = $1")
}

pub fn terminate_workers(scene: &mut Scene) -> Outcome {
    end_by_server(scene, WORKER, "$1 > 0 and backend_type = 'pg_errand worker'")
}

pub fn terminate_everybody(scene: &mut Scene) -> Outcome {
    let others = "$1 > 0 and backend_type in ('pg_errand worker', 'pg_errand launcher', 'client backend', \
                  'autovacuum worker') and pid <> pg_backend_pid()";
    end_by_server(scene, SESSION, others)
}

pub fn cancel_worker(scene: &mut Scene) -> Outcome {
    let Some(pid) = scene.process(WORKER)? else { return nobody() };
    scene.client().execute("select pg_cancel_backend($1)", &[&pid])?;
    Ok(format!("process {pid}"))
}

pub fn sigterm_worker(scene: &mut Scene) -> Outcome {
    send(scene, WORKER, libc::SIGTERM)
}

pub fn sigkill_worker(scene: &mut Scene) -> Outcome {
    crash(scene, WORKER, libc::SIGKILL)
}

pub fn sigsegv_worker(scene: &mut Scene) -> Outcome {
    crash(scene, BUSY_WORKER, libc::SIGSEGV)
}

pub fn sigterm_launcher(scene: &mut Scene) -> Outcome {
    send(scene, LAUNCHER, libc::SIGTERM)
}

pub fn sigint_launcher(scene: &mut Scene) -> Outcome {
    send(scene, LAUNCHER, libc::SIGINT)
}

pub fn sigkill_launcher(scene: &mut Scene) -> Outcome {
    crash(scene, LAUNCHER, libc::SIGKILL)
}

pub fn sigkill_session(scene: &mut Scene) -> Outcome {
    crash(scene, SESSION, libc::SIGKILL)
}

pub fn sigkill_checkpointer(scene: &mut Scene) -> Outcome {
    crash(scene, CHECKPOINTER, libc::SIGKILL)
}

/// A worker that gets no time for a while, as on an overloaded machine.
pub fn freeze_worker(scene: &mut Scene) -> Outcome {
    let Some(pid) = scene.process(WORKER)? else { return nobody() };
    let milliseconds = scene.duration(600);
    kill(pid, libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(milliseconds));
    kill(pid, libc::SIGCONT);
    Ok(format!("process {pid} for {milliseconds} ms"))
}

/// `pg_terminate_backend` for all processes that fulfil `which`, if there is one that fulfils `condition`.
fn end_by_server(scene: &mut Scene, condition: &str, which: &str) -> Outcome {
    let Some(pid) = scene.process(condition)? else { return nobody() };
    // In a case, since otherwise everybody might be ended before it is asked who it is.
    let sql = format!(
        "select pid from pg_stat_activity where case when {which} then pg_terminate_backend(pid) else false end"
    );
    let rows = scene.client().query(&sql, &[&pid])?;
    let pids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    pids.iter().for_each(|pid| scene.world.history.note_kill(*pid, libc::SIGTERM));
    Ok(format!("processes {pids:?}"))
}

fn send(scene: &mut Scene, condition: &str, signal: i32) -> Outcome {
    let Some(pid) = scene.process(condition)? else { return nobody() };
    if kill(pid, signal) && signal != libc::SIGINT {
        scene.world.history.note_kill(pid, signal);
    }
    Ok(format!("process {pid}"))
}

/// A signal that takes the whole server down, which then starts anew by itself.
fn crash(scene: &mut Scene, condition: &str, signal: i32) -> Outcome {
    let Some(pid) = scene.process(condition)? else { return nobody() };
    let mut session = scene.client();
    scene.world.history.note_down();
    scene.world.history.note_kill(pid, signal);
    kill(pid, signal);
    if within(NOTICED, || !is_alive(pid) && session.simple_query("").is_err()) {
        Ok(format!("process {pid}"))
    } else {
        Ok(format!("process {pid}, which had ended before"))
    }
}

fn nobody() -> Outcome {
    Ok("there was none".to_owned())
}
