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
    State { now: 0, max_workers: 4, lacks_reader: false, databases, workers }
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
fn a_worker_gives_way_to_the_reader_of_settings() {
    let mut state = state(vec![database(1, false)], vec![worker(0, 1, false), worker(1, 1, true)]);
    state.max_workers = 2;
    assert_eq!(reconcile(&state), []);
    state.lacks_reader = true;
    assert_eq!(reconcile(&state), [Action::Retire(1)]);
    state.workers[1].leaving = true;
    assert_eq!(reconcile(&state), [], "one leaves already");
}

#[test]
fn databases_that_should_get_another_worker_are_unserved() {
    let workers = vec![worker(0, 1, false), worker(1, 3, false), worker(2, 3, false)];
    let databases = vec![database(1, true), database(2, false), database(3, true), database(4, true)];
    assert_eq!(unserved(&state(databases, workers)), [oid(4), oid(1)]);
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
