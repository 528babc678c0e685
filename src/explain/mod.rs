//! Explains why a task has not started or not ended: reads the rows and shared memory, and says in words what
//! `crates/queue` decides.

mod ahead;
pub mod database;
mod obstacle;
pub mod parts;
mod passed_over;
mod paused;
mod rows;
mod running;
mod text;

use crate::config;
use crate::home;
use crate::pauses::Pause;
use crate::pg::guc::split_list;
use crate::pg::{backend, shmem};
use crate::provider;
use crate::queue_key;
use crate::shared::{
    CallState, KeyOf, Lane, Obstacle, Paused, Ready, Reason, Refusal, StartLimits, Surroundings, TaskState,
    Terms, ToId,
};
use crate::task_definition::TaskDefinitions;
use ahead::Counted;
use parts::{Names, Text};
use passed_over::PassedOver;
use rows::{KeyRow, Leased, TaskRow};

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
    let now = backend::now();
    let origin = home::origin();
    let needs = Needs::of(&row, origin);
    let mut around = surroundings(&row, &needs, now);
    let state = state(&row, &needs, origin, now);
    let mut has_keys = false;
    if let Some(origin) = origin.filter(|_| Reason::of(&state, &around, now).is_next()) {
        let definitions = TaskDefinitions::now();
        let passed_over = PassedOver::find(&definitions, now);
        let counted = Counted { origin, passed_over: &passed_over, limit: COUNTED };
        around.ahead = counted.before(&row, &definitions, now);
        has_keys = around.ahead == 0 && rows::has_keys(origin, &passed_over.tasks, &passed_over.types);
    }
    let reason = Reason::of(&state, &around, now);
    let names = Names {
        database: backend::database_name(),
        task_type: row.task_type.clone(),
        leased: needs.leased.first,
        role: role(),
        provider: needs.provider.clone().unwrap_or_default(),
        version: row.version.clone().unwrap_or_default(),
        counted: COUNTED,
        takes_turns: needs.key.is_some() || has_keys,
        queue_key: row.queue_key.clone().unwrap_or_default(),
        busy_of_key: needs.key.and_then(|(row, _)| row.first_busy),
        is_key_leased: is_key_leased(reason, &needs, now),
        max_running_per_key: needs.key.map_or(1, |(_, key)| key.max_running),
        pause: needs.pause.clone().and_then(|(_, pause)| pause),
        blocker: match reason {
            Reason::Running(worker) => running::blocker(worker),
            _ => None,
        },
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
    limits: Option<StartLimits>,
    /// The leased tasks of its type, if the type limits how many run.
    leased: Leased,
    /// Its queue key, while the task has not started.
    key: Option<(KeyRow, KeyOf)>,
    provider: Option<String>,
    /// What an operator has paused.
    pause: Option<(Paused, Option<Pause>)>,
    /// Why the task will fail when it is started.
    problem: Option<String>,
}

impl Needs {
    const NOTHING: Needs = Needs {
        lane: Lane::LOCAL,
        terms: None,
        limits: None,
        leased: Leased::NONE,
        key: None,
        provider: None,
        pause: None,
        problem: None,
    };

    fn of(row: &TaskRow, origin: Option<i64>) -> Needs {
        let definitions = TaskDefinitions::now();
        let key = origin.and_then(|origin| key(row, origin, &definitions));
        let Some(definition) = definitions.find(&row.task_type) else {
            let problem = Some(format!("there is no task type \"{}\"", row.task_type));
            let pause = paused::of_database(&definitions);
            return Needs { problem, key, pause, ..Needs::NOTHING };
        };
        let needed = definitions.needed_provider(definition);
        let (provider, problem) = needed.map_or_else(|problem| (None, Some(problem)), |found| (found, None));
        // Between the steps of its call the task counts already.
        let limits = definition.limits.filter(|_| row.finished_at.is_none() && !row.is_calling);
        let counts = limits.is_some_and(|limits| limits.terms.max_in_flight > 0);
        Needs {
            limits,
            key,
            leased: if counts { leased(&row.task_type) } else { Leased::NONE },
            lane: definitions.lane_of(definition),
            pause: paused::of(&definitions, definition, row),
            terms: provider.as_ref().map(|provider| provider::terms(provider)),
            provider: provider.map(|provider| provider.name.clone()),
            problem,
        }
    }
}

/// True if a worker outside has leased the task that keeps the queue key of this one busy.
fn is_key_leased(reason: Reason, needs: &Needs, now: i64) -> bool {
    let busy = match reason {
        Reason::KeyBusy(task_id) => Some(task_id),
        Reason::Obstacle(Obstacle::KeyBusy(None)) => needs.key.and_then(|(row, _)| row.first_busy),
        _ => None,
    };
    busy.and_then(rows::task).is_some_and(|row| row.is_leased && row.not_before > Some(now))
}

/// The leased tasks of a type.
fn leased(task_type: &str) -> Leased {
    rows::leased(&[task_type]).remove(task_type).unwrap_or(Leased::NONE)
}

/// What is known of the queue key of a task that has not started.
fn key(row: &TaskRow, origin: i64, definitions: &TaskDefinitions) -> Option<(KeyRow, KeyOf)> {
    if row.finished_at.is_some() || row.is_calling || row.origin != origin {
        return None;
    }
    let found = rows::key(row, origin)?;
    let limits = queue_key::limits(definitions, &row.task_type);
    let of_key = KeyOf {
        key: queue_key::key_of(&row.task_type, row.queue_key.as_deref()?),
        max_running: limits.max_running,
        busy: found.busy,
        has_rate: limits.interval > 0,
    };
    Some((found, of_key))
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
        key_paused: needs.key.and_then(|(row, _)| row.paused),
        key_busy: needs.key.and_then(|(row, key)| {
            // If only one runs at a time, the first one keeps its turn whatever it waits for.
            let first = row.predecessor.or(row.first_busy);
            first.filter(|_| key.max_running == 1)
        }),
        paused: needs.pause.as_ref().map(|(paused, _)| *paused),
    }
}

/// What is known of the call of a task.
fn call(row: &TaskRow, needs: &Needs, now: i64) -> CallState {
    let by_operator = match needs.pause {
        Some((Paused::Provider(until), _)) => Some(Refusal::ByOperator(until)),
        _ => None,
    };
    let unknown =
        CallState { worker: None, has_response: row.has_response, refusal: by_operator, is_queued: None };
    if !shmem::available() {
        return unknown;
    }
    let (database, terms) = (backend::database().id(), needs.terms);
    shmem::read(|shared| {
        let worker = row.owner.and_then(|owner| shared.worker_of(database, owner));
        CallState {
            worker: worker.map(|slot| slot.pid),
            refusal: by_operator.or_else(|| shared.refusal(database, &terms?, now)),
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
    let Needs { limits, leased, key, .. } = *needs;
    let key = key.map(|(_, key)| key);
    let task = Ready { database, task_id: row.task_id, lane, terms, limits, leased: leased.count, key };
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

/// The role that the workers of this database connect as.
pub fn role() -> String {
    let database = backend::database();
    let stored = shmem::available().then(|| {
        shmem::read(|shared| {
            let entry = shared.databases.iter().find(|entry| entry.id == database.id());
            entry.map(|entry| entry.role.as_str().to_owned())
        })
    });
    config::role_of(&stored.flatten().unwrap_or_default())
}
