//! A pure function from the desired and the actual state to actions.

use crate::shared::{NEVER, Shared, SlotState, ToOid};
use pgrx::pg_sys::Oid;

/// The time after which a worker has to exit if databases wait for one, in microseconds.
const TURN: i64 = 1_000_000;

pub struct State {
    pub now: i64,
    pub max_workers: usize,
    /// There is no process that could read stored settings, without which a database gets no worker.
    pub lacks_reader: bool,
    pub databases: Vec<Database>,
    pub workers: Vec<Worker>,
}

pub struct Database {
    pub oid: Oid,
    /// The maximum number of workers; 0 if the database is not to be served.
    pub concurrency: usize,
    pub settings: u64,
    pub has_work: bool,
    pub next_due: i64,
    pub start_allowed_at: i64,
    /// When a worker was last started in the database.
    pub looked_at: i64,
}

#[derive(Clone, Copy)]
pub struct Worker {
    pub slot: usize,
    pub database: Oid,
    pub settings: u64,
    pub starting: bool,
    pub idle: bool,
    /// The worker waits, and can process any task.
    pub ready: bool,
    /// The worker is exiting or has been requested to exit.
    pub leaving: bool,
    /// When the worker was requested to exit.
    pub leaving_since: i64,
    pub started_at: i64,
}

#[derive(Debug, PartialEq)]
pub enum Action {
    Start(Oid),
    /// Wake an idle worker, since a task is due.
    Wake(Oid),
    /// Request that the worker of this slot exit after its current task.
    Retire(usize),
}

/// The actual workers.
pub fn workers(shared: &Shared, now: i64) -> Vec<Worker> {
    let taken = shared.slots.iter().enumerate().filter(|(_, slot)| slot.state != SlotState::Free);
    taken
        .map(|(index, slot)| Worker {
            slot: index,
            database: slot.database.oid(),
            settings: slot.settings,
            starting: slot.state == SlotState::Starting,
            idle: slot.state == SlotState::Idle && slot.in_flight == 0,
            ready: slot.state == SlotState::Idle && !slot.full,
            leaving: slot.retire || slot.state == SlotState::Leaving,
            leaving_since: if slot.retire { slot.retire_since } else { now },
            started_at: slot.started_at,
        })
        .collect()
}

/// The actions that turn the actual state into the desired one.
pub fn reconcile(state: &State) -> Vec<Action> {
    let mut retired = surplus(state);
    let mut starts = Vec::new();
    let mut free = state.max_workers.saturating_sub(state.workers.len());
    let mut waiting = waiting(state, &retired);
    while free > 0 && !waiting.is_empty() {
        starts.push(waiting.remove(0).0);
        free -= 1;
    }
    // Workers that exit anyway make room. One that takes long to exit does not count, since its task may never end.
    let soon = |worker: &&Worker| worker.leaving && worker.leaving_since + TURN > state.now;
    let coming = retired.len() + state.workers.iter().filter(soon).count();
    let lives = waiting.iter().map(|(_, live)| *live);
    for live in state.lacks_reader.then_some(0).into_iter().chain(lives).skip(coming) {
        if let Some(slot) = victim(state, &retired, live == 0) {
            retired.push(slot);
        }
    }
    let retire = retired.into_iter().map(Action::Retire);
    let due = state.databases.iter().filter(|database| database.next_due <= state.now);
    let wake =
        due.filter(|database| has_ready(state, database.oid)).map(|database| Action::Wake(database.oid));
    retire.chain(starts.into_iter().map(Action::Start)).chain(wake).collect()
}

/// The databases that should get another worker, while no process can be started for one.
pub fn unserved(state: &State) -> Vec<Oid> {
    waiting(state, &[]).into_iter().map(|(database, _)| database).collect()
}

/// When to reconcile again if nothing happens before.
pub fn next_look(state: &State) -> i64 {
    let mut next = NEVER;
    for database in state.databases.iter().filter(|database| database.concurrency > 0) {
        let workers = || state.workers.iter().filter(|worker| worker.database == database.oid);
        if database.has_work {
            next = next.min(database.start_allowed_at.max(state.now + TURN));
        }
        if has_ready(state, database.oid) {
            next = next.min(database.next_due);
        } else if workers().count() < database.concurrency {
            next = next.min(database.next_due.max(database.start_allowed_at));
        }
    }
    next
}

fn has_ready(state: &State, database: Oid) -> bool {
    staying(state).any(|worker| worker.database == database && worker.ready)
}

/// Workers that should not exist (any longer): of databases that are not served, with outdated settings, or above a
/// limit. Idle ones come first.
fn surplus(state: &State) -> Vec<usize> {
    let mut retired = Vec::new();
    for worker in staying(state) {
        let database = state.databases.iter().find(|database| database.oid == worker.database);
        if database.is_none_or(|database| database.concurrency == 0 || database.settings != worker.settings) {
            retired.push(worker.slot);
        }
    }
    for database in &state.databases {
        let of_database = |worker: &Worker| worker.database == database.oid;
        retire_above(state, &mut retired, database.concurrency, of_database);
    }
    retire_above(state, &mut retired, state.max_workers, |_| true);
    retired
}

fn retire_above(state: &State, retired: &mut Vec<usize>, limit: usize, belongs: impl Fn(&Worker) -> bool) {
    let mut staying: Vec<&Worker> =
        staying(state).filter(|worker| belongs(worker) && !retired.contains(&worker.slot)).collect();
    staying.sort_by_key(|worker| !worker.idle);
    let above = staying.len().saturating_sub(limit);
    retired.extend(staying.iter().take(above).map(|worker| worker.slot));
}

fn staying(state: &State) -> impl Iterator<Item = &Worker> {
    state.workers.iter().filter(|worker| !worker.leaving)
}

/// Databases that should get another worker, and how many they have. Those with the fewest come first, then those that
/// have not been served for the longest time.
fn waiting(state: &State, retired: &[usize]) -> Vec<(Oid, usize)> {
    let mut waiting: Vec<(&Database, usize)> = state
        .databases
        .iter()
        .filter(|database| database.has_work && database.start_allowed_at <= state.now)
        .filter(|database| !(database.next_due <= state.now && has_ready(state, database.oid)))
        .filter_map(|database| {
            let own = || state.workers.iter().filter(|worker| worker.database == database.oid);
            let staying = own().filter(|w| !w.leaving && !retired.contains(&w.slot)).count();
            let starting = own().any(|worker| worker.starting);
            (staying < database.concurrency && !starting).then_some((database, staying))
        })
        .collect();
    waiting.sort_by_key(|(database, live)| (*live, database.looked_at));
    waiting.into_iter().map(|(database, live)| (database.oid, live)).collect()
}

/// A worker that can be replaced by one of a waiting database: an idle one or, for a database that has none yet, also
/// one of several, or one that has had its turn.
fn victim(state: &State, retired: &[usize], for_first: bool) -> Option<usize> {
    let candidates = || staying(state).filter(|w| !w.starting && !retired.contains(&w.slot));
    let idle = candidates().find(|worker| worker.idle);
    if idle.is_some() || !for_first {
        return idle.map(|worker| worker.slot);
    }
    let has_others =
        |worker: &&Worker| candidates().filter(|other| other.database == worker.database).count() > 1;
    let had_its_turn = |worker: &&Worker| worker.started_at + TURN <= state.now;
    candidates()
        .find(has_others)
        .or_else(|| candidates().filter(had_its_turn).min_by_key(|worker| worker.started_at))
        .map(|worker| worker.slot)
}

#[cfg(test)]
mod tests;
