//! Explains why a task has not started or not ended: reads the rows and shared memory, and says in words what
//! `crates/queue` decides.

mod obstacle;
mod parts;
mod rows;
mod text;

use crate::config;
use crate::home;
use crate::pg::guc::split_list;
use crate::pg::{backend, shmem};
use crate::provider;
use crate::shared::{CallState, Lane, Obstacle, Ready, Reason, Shared, Surroundings, TaskState, Terms, ToId};
use crate::task_definition::TaskDefinitions;
use parts::{Names, Text};
use rows::TaskRow;

/// The number up to which tasks are counted that come first.
const COUNTED: i64 = 1000;

/// What is said about a task.
pub struct Explained {
    pub task_type: String,
    pub status: String,
    pub reason: Reason,
    pub text: Text,
}

/// Explains a task; `None` if there is none of this number.
pub fn explain(task_id: i64) -> Option<Explained> {
    let row = rows::task(task_id)?;
    let needs = Needs::of(&row);
    let now = backend::now();
    let origin = home::origin();
    let mut around = surroundings(&row, &needs, now);
    let state = state(&row, &needs, origin, now);
    if Reason::of(&state, &around, now).is_next() {
        around.ahead = origin.map_or(0, |origin| ahead(&row, origin));
    }
    let reason = Reason::of(&state, &around, now);
    let names = Names {
        database: backend::database_name(),
        role: role(),
        provider: needs.provider.clone().unwrap_or_default(),
        version: row.version.clone().unwrap_or_default(),
        counted: COUNTED,
    };
    let problem = needs.problem.as_deref().filter(|_| !reason.is_running() && !state.is_finished);
    Some(Explained {
        status: row.status(reason, now).to_owned(),
        text: text::describe(&row, reason, &names, problem),
        task_type: row.task_type,
        reason,
    })
}

/// What the task needs according to its type.
struct Needs {
    lane: Lane,
    terms: Option<Terms>,
    provider: Option<String>,
    /// Why the task will fail when it is started.
    problem: Option<String>,
}

impl Needs {
    fn of(row: &TaskRow) -> Needs {
        let definitions = TaskDefinitions::now();
        let Some(definition) = definitions.find(&row.task_type) else {
            let problem = Some(format!("there is no task type \"{}\"", row.task_type));
            return Needs { lane: Lane::LOCAL, terms: None, provider: None, problem };
        };
        let needed = definitions.needed_provider(definition);
        let (provider, problem) = needed.map_or_else(|problem| (None, Some(problem)), |found| (found, None));
        Needs {
            lane: definitions.lane_of(definition),
            terms: provider.as_ref().map(|provider| provider::terms(provider)),
            provider: provider.map(|provider| provider.name.clone()),
            problem,
        }
    }
}

fn state(row: &TaskRow, needs: &Needs, origin: Option<i64>, now: i64) -> TaskState {
    TaskState {
        is_finished: row.finished_at.is_some(),
        is_uncommitted: row.is_uncommitted,
        is_unadopted: origin.is_some_and(|origin| origin != row.origin),
        scheduled_at: row.scheduled_at,
        not_before: row.not_before,
        is_leased: row.is_leased,
        call: row.is_calling.then(|| call(row, needs, now)),
        locked_by: row.locked_by,
        follows: row.predecessor,
    }
}

/// What is known of the call of a task.
fn call(row: &TaskRow, needs: &Needs, now: i64) -> CallState {
    let unknown = CallState { worker: None, has_response: row.has_response, refusal: None, is_queued: None };
    if !shmem::available() {
        return unknown;
    }
    let (database, terms) = (backend::database().id(), needs.terms);
    shmem::read(|shared| {
        let worker = row.owner.and_then(|owner| shared.worker_of(database, owner));
        CallState {
            worker: worker.map(|slot| slot.pid),
            refusal: terms.and_then(|terms| shared.refusal(database, &terms, now)),
            is_queued: worker.and_then(|slot| slot.queued.holds(row.task_id)),
            ..unknown
        }
    })
}

fn surroundings(row: &TaskRow, needs: &Needs, now: i64) -> Surroundings {
    let is_preloaded = shmem::available();
    let around = Surroundings {
        is_preloaded,
        is_standby: backend::is_standby(),
        is_current: row.version.as_deref() == Some(env!("CARGO_PKG_VERSION")),
        runner: None,
        obstacle: None,
        ahead: 0,
    };
    if !is_preloaded || around.is_standby {
        return around;
    }
    let database = backend::database().id();
    let (lane, terms) = if row.is_calling { (Lane::LOCAL, None) } else { (needs.lane, needs.terms) };
    let task = Ready { database, task_id: row.task_id, lane, terms };
    let max_workers = config::MAX_WORKERS.get() as usize;
    let (runner, obstacle) = shmem::read_journal(|shared, journal| {
        let obstacle = shared.obstacle(journal, &task, max_workers, now);
        (shared.runner_of(database, row.task_id), obstacle)
    });
    // The launcher forgets databases that are not listed.
    let is_forgotten = obstacle == Some(Obstacle::Launcher) && !is_listed();
    Surroundings {
        runner,
        obstacle: if is_forgotten { Some(Obstacle::NotServed) } else { obstacle },
        ..around
    }
}

fn is_listed() -> bool {
    let listed = split_list(&config::DATABASES.get()).unwrap_or_default();
    listed.is_empty() || listed.contains(&backend::database_name())
}

/// The number of ready tasks before this one, without those that are running.
fn ahead(row: &TaskRow, origin: i64) -> i64 {
    let database = backend::database();
    let running: Vec<i64> = shmem::read(|shared: &Shared| {
        shared.slots_of(database.id()).map(|slot| slot.task_id).filter(|id| *id != 0).collect()
    });
    rows::ahead(row, origin, running, COUNTED)
}

/// The role that the workers of this database connect as.
fn role() -> String {
    let database = backend::database();
    let stored = shmem::available().then(|| {
        shmem::read(|shared| {
            let entry = shared.databases.iter().find(|entry| entry.id == database.id());
            entry.map(|entry| entry.role.as_str().to_owned())
        })
    });
    config::role_of(&stored.flatten().unwrap_or_default())
}
