//! Reconcile: desired against actual, as a pure function.

use crate::shared::{NEVER, Shared, SlotState, ToOid};
use pgrx::pg_sys::Oid;

/// When databases wait for a place, a worker has to leave after this time, in microseconds.
const TURN: i64 = 1_000_000;

pub struct State {
    pub now: i64,
    pub max_workers: usize,
    pub databases: Vec<Database>,
    pub workers: Vec<Worker>,
}

pub struct Database {
    pub oid: Oid,
    /// Workers at most; 0 if it is not to be served.
    pub concurrency: usize,
    pub settings: u64,
    pub has_work: bool,
    pub next_due: i64,
    pub start_allowed_at: i64,
    /// When a worker was started there last.
    pub looked_at: i64,
}

#[derive(Clone, Copy)]
pub struct Worker {
    pub slot: usize,
    pub database: Oid,
    pub settings: u64,
    pub starting: bool,
    pub idle: bool,
    /// It waits, and can take any task.
    pub ready: bool,
    /// It leaves, or has been told to …
    pub leaving: bool,
    /// … at this time.
    pub leaving_since: i64,
    pub started_at: i64,
}

#[derive(Debug, PartialEq)]
pub enum Action {
    Start(Oid),
    /// Something has fallen due, and an idle worker can see to it.
    Wake(Oid),
    /// The worker of this slot leaves after its current task.
    Retire(usize),
}

/// The workers there are.
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

/// What has to be done for the actual state to become the desired one.
pub fn reconcile(state: &State) -> Vec<Action> {
    let mut retired = surplus(state);
    let mut starts = Vec::new();
    let mut free = state.max_workers.saturating_sub(state.workers.len());
    let mut waiting = waiting(state, &retired);
    while free > 0 && !waiting.is_empty() {
        starts.push(waiting.remove(0).0);
        free -= 1;
    }
    // Places that become free anyhow need not be made. A worker that takes long to leave is no such
    // place: its task may take for ever.
    let soon = |worker: &&Worker| worker.leaving && worker.leaving_since + TURN > state.now;
    let coming = retired.len() + state.workers.iter().filter(soon).count();
    for (_, live) in waiting.iter().skip(coming) {
        if let Some(slot) = victim(state, &retired, *live == 0) {
            retired.push(slot);
        }
    }
    let retire = retired.into_iter().map(Action::Retire);
    let due = state.databases.iter().filter(|database| database.next_due <= state.now);
    let wake =
        due.filter(|database| has_ready(state, database.oid)).map(|database| Action::Wake(database.oid));
    retire.chain(starts.into_iter().map(Action::Start)).chain(wake).collect()
}

/// When to look again if nothing happens: the next due time, or the end of a pause.
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

/// Workers that should not be there (any more): of databases that are not to be served, with old
/// settings, above a limit. Idle ones go first.
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

/// Databases that should get another worker, and how many they have; those with fewest first, then
/// those that were served longest ago.
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

/// A worker that can give its place to a waiting database: an idle one; for a database that has
/// none yet also one of several, or one that has had its turn.
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
mod tests {
    use super::*;

    fn oid(n: u32) -> Oid {
        Oid::from_u32(n)
    }

    fn database(n: u32, has_work: bool) -> Database {
        Database {
            oid: oid(n),
            concurrency: 2,
            settings: 0,
            has_work,
            next_due: NEVER,
            start_allowed_at: 0,
            looked_at: 0,
        }
    }

    fn worker(slot: usize, of: u32, idle: bool) -> Worker {
        Worker {
            slot,
            database: oid(of),
            settings: 0,
            starting: false,
            idle,
            ready: idle,
            leaving: false,
            leaving_since: 0,
            started_at: 0,
        }
    }

    fn state(databases: Vec<Database>, workers: Vec<Worker>) -> State {
        State { now: 0, max_workers: 4, databases, workers }
    }

    #[test]
    fn work_gets_one_worker_at_a_time() {
        let mut state = state(vec![database(1, true), database(2, false)], vec![]);
        assert_eq!(reconcile(&state), [Action::Start(oid(1))]);
        state.workers = vec![Worker { starting: true, ..worker(0, 1, false) }];
        assert_eq!(reconcile(&state), []);
    }

    #[test]
    fn concurrency_is_the_limit_and_may_shrink() {
        let mut state = state(vec![database(1, true)], vec![worker(0, 1, false), worker(1, 1, true)]);
        assert_eq!(reconcile(&state), []);
        state.databases[0].concurrency = 1;
        assert_eq!(reconcile(&state), [Action::Retire(1)]);
        state.databases[0].concurrency = 0;
        assert_eq!(reconcile(&state), [Action::Retire(0), Action::Retire(1)]);
    }

    #[test]
    fn every_database_gets_its_first_worker_before_any_gets_a_second() {
        let mut state = state(vec![database(1, true), database(2, true)], vec![worker(0, 1, false)]);
        state.max_workers = 2;
        assert_eq!(reconcile(&state), [Action::Start(oid(2))]);
    }

    #[test]
    fn idle_workers_give_way_at_once() {
        let mut state = state(vec![database(1, false), database(2, true)], vec![worker(0, 1, true)]);
        state.max_workers = 1;
        assert_eq!(reconcile(&state), [Action::Retire(0)]);
    }

    #[test]
    fn a_second_worker_gives_way_to_a_first_one() {
        let workers = vec![worker(0, 1, false), worker(1, 1, false)];
        let mut state = state(vec![database(1, true), database(2, true)], workers);
        state.max_workers = 2;
        assert_eq!(reconcile(&state), [Action::Retire(0)]);
    }

    #[test]
    fn when_all_are_busy_the_oldest_leaves_after_its_turn() {
        let mut state = state(vec![database(1, true), database(2, true)], vec![worker(0, 1, false)]);
        state.max_workers = 1;
        assert_eq!(reconcile(&state), []);
        assert!(next_look(&state) <= TURN);
        state.now = TURN;
        assert_eq!(reconcile(&state), [Action::Retire(0)]);
        state.workers[0].leaving = true;
        state.workers[0].leaving_since = TURN;
        assert_eq!(reconcile(&state), []);
    }

    #[test]
    fn a_worker_that_takes_long_to_leave_is_not_waited_for() {
        let workers = vec![
            Worker { leaving: true, ..worker(0, 1, false) },
            Worker { started_at: 5, ..worker(1, 1, false) },
        ];
        let mut state = state(vec![database(1, true), database(2, true)], workers);
        state.max_workers = 2;
        assert_eq!(reconcile(&state), []);
        state.now = TURN + 5;
        assert_eq!(reconcile(&state), [Action::Retire(1)]);
    }

    #[test]
    fn a_free_place_goes_to_whoever_was_served_longest_ago() {
        let mut state = state(vec![database(1, true), database(2, true)], vec![]);
        state.max_workers = 1;
        state.databases[0].looked_at = 9;
        assert_eq!(reconcile(&state), [Action::Start(oid(2))]);
    }

    #[test]
    fn changed_settings_replace_a_worker() {
        let mut state = state(vec![database(1, true)], vec![worker(0, 1, false)]);
        state.databases[0].settings = 7;
        assert_eq!(reconcile(&state), [Action::Retire(0), Action::Start(oid(1))]);
    }

    #[test]
    fn a_pause_after_failures_is_kept() {
        let mut state = state(vec![database(1, true)], vec![]);
        state.databases[0].start_allowed_at = 5_000_000;
        assert_eq!(reconcile(&state), []);
        assert_eq!(next_look(&state), 5_000_000);
    }

    #[test]
    fn due_times_are_watched() {
        let mut state = state(vec![Database { next_due: 9, ..database(1, false) }], vec![]);
        assert_eq!(next_look(&state), 9);
        state.workers = vec![worker(0, 1, true)];
        assert_eq!(next_look(&state), 9);
        state.now = 9;
        assert_eq!(reconcile(&state), [Action::Wake(oid(1))]);
    }
}
