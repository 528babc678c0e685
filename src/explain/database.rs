//! What keeps the workers of this database from running, whatever its tasks are.

use super::obstacle;
use super::parts::{Names, Text};
use super::text::{not_preloaded, version_mismatch};
use super::{is_listed, role};
use crate::config;
use crate::pg::{backend, shmem};
use crate::shared::{Obstacle, Reason, ToId};

/// What keeps workers from running.
pub struct Problem {
    pub reason: Reason,
    pub text: Text,
}

/// What keeps workers from running in this database, whose extension has the version `version`; `None` if they can run, or
/// if the server is a standby.
pub fn problem(version: &str) -> Option<Problem> {
    if backend::is_standby() {
        return None;
    }
    let names = Names {
        database: backend::database_name(),
        role: role(),
        version: version.into(),
        ..Names::default()
    };
    if !shmem::available() {
        return Some(Problem { reason: Reason::NotPreloaded, text: not_preloaded() });
    }
    if version != env!("CARGO_PKG_VERSION") {
        return Some(Problem { reason: Reason::VersionMismatch, text: version_mismatch(&names) });
    }
    let obstacle = obstacle_to_workers()?;
    Some(Problem { reason: Reason::Obstacle(obstacle), text: obstacle::sentence(obstacle, &names) })
}

/// What keeps the database from having workers, or a further one that it needs, unless it is without work or its worker is just starting.
fn obstacle_to_workers() -> Option<Obstacle> {
    let (id, now) = (backend::database().id(), backend::now());
    let max_workers = config::MAX_WORKERS.get() as usize;
    let (found, has_work) = shmem::read(|shared| {
        let database = shared.databases.iter().find(|database| database.id == id);
        let has_work = database.is_some_and(|database| database.has_work(now));
        let lacks = || shared.lacks_process(id, now).then_some(Obstacle::NoProcess);
        (shared.obstacle_to_workers(id, max_workers, now).or_else(lacks), has_work)
    });
    match found? {
        Obstacle::Starting => None,
        Obstacle::Launcher if !is_listed() => Some(Obstacle::NotServed),
        Obstacle::NoPlace => has_work.then_some(Obstacle::NoPlace),
        lasts => Some(lasts),
    }
}
