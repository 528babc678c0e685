use super::*;
use crate::journal::RunEnd;
use crate::key_line::KeyEntry;
use crate::lane::LaneSet;
use crate::limiter::{Admission, CallOutcome};
use crate::position::{Candidate, Position};
use crate::slot::Over;
use crate::{Database, EndedCall, InFlight};

type Shared = crate::Shared<Nobody, 4, 2, 8, 2, 8>;
type Runs = Journal<4, 8>;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Nobody;

impl Latch for Nobody {
    const NONE: Nobody = Nobody;

    fn set(&mut self) {}
}

const DATABASE: DatabaseId = DatabaseId::new(5);
const NOW: i64 = 10_000_000;
const TERMS: Terms = Terms {
    account: 9,
    interval: 0,
    burst: 1,
    max_in_flight: 0,
    breaker_threshold: 0,
    breaker_cooldown: 60_000_000,
};

fn ready(terms: Option<Terms>) -> Ready {
    let lane = if terms.is_some() { Lane::call(1) } else { Lane::LOCAL };
    Ready { database: DATABASE, task_id: 7, lane, terms, limits: None, leased: 0, key: None }
}

/// A task of a type with these limits.
fn limited(max_running: u32, interval: i64, calls: bool) -> Ready {
    let terms =
        Terms { account: type_account(DATABASE, "limited"), interval, max_in_flight: max_running, ..TERMS };
    Ready { lane: Lane::of_type(0), limits: Some(StartLimits { terms, calls }), ..ready(None) }
}

/// A database that two workers may serve, with these workers.
fn served(states: &[SlotState]) -> Box<Shared> {
    let mut shared = Box::new(Shared::new(1));
    shared.database_or_new(DATABASE).unwrap().service = Service::Workers(2);
    for state in states {
        let slot = shared.allocate(DATABASE, 0, 0).unwrap();
        (shared.slots[slot].state, shared.slots[slot].pid) = (*state, 100 + slot as i32);
    }
    shared
}

fn change(shared: &mut Shared, change: impl FnOnce(&mut Database)) {
    shared.database(DATABASE).into_iter().next().map(change).unwrap();
}

fn obstacle(shared: &Shared, task: &Ready) -> Option<Obstacle> {
    shared.obstacle(&Runs::EMPTY, task, 3, NOW)
}

fn local(shared: &Shared) -> Option<Obstacle> {
    obstacle(shared, &ready(None))
}

#[test]
fn the_launcher_s_decision_is_told() {
    let mut shared = served(&[]);
    for (service, expected) in [
        (Service::Undecided, Obstacle::Launcher),
        (Service::NotServed, Obstacle::NotServed),
        (Service::Hindered(Hindrance::NoRole), Obstacle::Hindered(Hindrance::NoRole)),
        (Service::Workers(0), Obstacle::Paused),
        (Service::Workers(1), Obstacle::Starting),
    ] {
        change(&mut shared, |database| database.service = service);
        assert_eq!(local(&shared), Some(expected));
    }
    assert!(shared.quiesce(DATABASE, 42, NOW).is_some());
    assert_eq!(local(&shared), Some(Obstacle::Quiesced(42)));
    let mut unknown = Shared::new(1);
    assert_eq!(local(&unknown), Some(Obstacle::Launcher));
    (1..=2).for_each(|id| assert!(unknown.database_or_new(DatabaseId::new(id)).is_some()));
    assert_eq!(local(&unknown), Some(Obstacle::TooManyDatabases));
}

#[test]
fn why_there_is_no_worker_is_told() {
    let mut shared = served(&[]);
    change(&mut shared, |database| database.no_process_at = NOW - REFUSED_FOR / 2);
    assert_eq!(local(&shared), Some(Obstacle::NoProcess));
    change(&mut shared, |database| database.no_process_at = NOW - REFUSED_FOR);
    assert_eq!(local(&shared), Some(Obstacle::Starting));
    (0..3).for_each(|_| assert!(shared.allocate(DatabaseId::new(6), 0, 0).is_some()));
    assert_eq!(local(&shared), Some(Obstacle::NoPlace));
    change(&mut shared, |database| (database.failures, database.failed_at) = (3, NOW));
    let until = NOW + 2_000_000;
    assert_eq!(local(&shared), Some(Obstacle::Failing { failures: 3, until }));
    assert_eq!(local(&shared).unwrap().until(), Some(until));
    // A worker that has attached is not failing any more.
    let slot = shared.allocate(DATABASE, 0, 0).unwrap();
    shared.slots[slot].state = SlotState::Working;
    assert_eq!(local(&shared), None);
    shared.retire(slot, NOW);
    assert_eq!(local(&shared), Some(Obstacle::Failing { failures: 3, until }), "it takes nothing any more");
}

#[test]
fn a_database_that_no_process_could_look_at_is_told_from_one_at_which_the_launcher_will_look() {
    let mut shared = served(&[]);
    change(&mut shared, |database| database.service = Service::Undecided);
    assert_eq!(local(&shared), Some(Obstacle::Launcher));
    shared.no_process_at = NOW - REFUSED_FOR / 2;
    assert_eq!(local(&shared), Some(Obstacle::NoProcess));
    shared.no_process_at = NOW - REFUSED_FOR;
    assert_eq!(local(&shared), Some(Obstacle::Launcher));
}

#[test]
fn a_process_is_lacking_while_the_launcher_is_refused_one_and_all_workers_are_busy() {
    let mut shared = served(&[SlotState::Working]);
    assert!(!shared.lacks_process(DATABASE, NOW));
    change(&mut shared, |database| database.no_process_at = NOW);
    assert!(shared.lacks_process(DATABASE, NOW));
    assert!(!shared.lacks_process(DATABASE, NOW + REFUSED_FOR));
    shared.slots[0].state = SlotState::Idle;
    assert!(!shared.lacks_process(DATABASE, NOW));
    shared.slots[0].state = SlotState::Leaving;
    assert!(!shared.lacks_process(DATABASE, NOW), "it has no worker at all");
}

#[test]
fn workers_are_busy_if_none_is_free() {
    let mut shared = served(&[SlotState::Working, SlotState::Working]);
    let mut journal = Runs::EMPTY;
    shared.begin(&mut journal, 0, 3, "", "", 20).unwrap();
    assert_eq!(local(&shared), None);
    shared.begin(&mut journal, 1, 4, "", "", 10).unwrap();
    let first = Busy { pid: 101, task_id: 4, since: 10 };
    let busy = |bound| Some(Obstacle::Busy { workers: 2, first, bound });
    assert_eq!(local(&shared), busy(Some(Bound::Concurrency(2))));
    // A third worker would be started.
    change(&mut shared, |database| database.service = Service::Workers(3));
    assert_eq!(local(&shared), busy(None));
    change(&mut shared, |database| database.no_process_at = NOW - REFUSED_FOR / 2);
    assert_eq!(local(&shared), busy(Some(Bound::Processes)));
    shared.allocate(DatabaseId::new(6), 0, 0).unwrap();
    assert_eq!(local(&shared), busy(Some(Bound::MaxWorkers)));
    assert_eq!(shared.runner_of(DATABASE, 4), Some(first));
    assert_eq!(shared.runner_of(DatabaseId::new(6), 4), None);
    assert_eq!((shared.busy_worker(DATABASE, 101), shared.busy_worker(DATABASE, 7)), (Some(first), None));
}

#[test]
fn a_task_that_made_its_workers_leave_or_that_a_worker_deferred_waits() {
    let mut shared = served(&[SlotState::Idle]);
    let mut journal = Runs::EMPTY;
    for _ in 0..2 {
        journal.begin(0, DATABASE, 7);
        journal.interrupt(0, RunEnd::Evicted { early: true, now: NOW }, false);
    }
    let found = shared.obstacle(&journal, &ready(None), 3, NOW);
    assert_eq!(found, Some(Obstacle::Interrupted(NOW + 1_000_000)));
    shared.slots[0].deferred.add(7, NOW + 5);
    assert_eq!(local(&shared), Some(Obstacle::Deferred { pid: 100, until: NOW + 5 }));
    assert_eq!(shared.obstacle(&Runs::EMPTY, &ready(None), 3, NOW + 5), None);
}

#[test]
fn why_a_provider_admits_nothing_is_told() {
    let provider = |shared: &Shared, terms: Terms| match obstacle(shared, &ready(Some(terms))) {
        Some(Obstacle::Provider(refusal)) => Some(refusal),
        other => {
            assert_eq!(other, None);
            None
        }
    };
    let mut shared = served(&[SlotState::Idle]);
    assert_eq!(provider(&shared, TERMS), None);
    shared.pause(0, TERMS.account, NOW + 7, NOW);
    assert_eq!(provider(&shared, TERMS), Some(Refusal::Paused(NOW + 7)));

    let mut shared = served(&[SlotState::Idle]);
    let breaks = Terms { breaker_threshold: 1, ..TERMS };
    let ended = EndedCall { terms: breaks, outcome: CallOutcome::Badly, status: None, breaker: None };
    shared.set_calls(0, InFlight::NONE, &mut [ended], NOW);
    let until = NOW + TERMS.breaker_cooldown;
    assert_eq!(provider(&shared, breaks), Some(Refusal::Broken(until)));
    // The first request after it.
    assert_eq!(shared.admit(0, &breaks, until), Admission::Admitted);
    let after = shared.obstacle(&Runs::EMPTY, &ready(Some(breaks)), 3, until);
    assert!(matches!(after, Some(Obstacle::Provider(Refusal::Probing(_)))), "{after:?}");

    let mut shared = served(&[SlotState::Idle]);
    let slow = Terms { interval: 1_000, ..TERMS };
    assert_eq!(shared.admit(0, &slow, NOW), Admission::Admitted);
    assert_eq!(provider(&shared, slow), Some(Refusal::Rate(NOW + 1_000)));
    assert_eq!(shared.admit(0, &slow, NOW), Admission::Wait(NOW + 1_000), "the same");

    let mut shared = served(&[SlotState::Idle]);
    let single = Terms { max_in_flight: 1, ..TERMS };
    assert_eq!(shared.admit(0, &single, NOW), Admission::Admitted);
    assert_eq!(provider(&shared, single), Some(Refusal::Full));
}

#[test]
fn a_call_waits_for_busy_workers_though_another_one_is_full() {
    let mut shared = served(&[SlotState::Working, SlotState::Idle]);
    let mut journal = Runs::EMPTY;
    shared.begin(&mut journal, 0, 3, "", "", 20).unwrap();
    shared.slots[1].full = true;
    let first = Busy { pid: shared.slots[0].pid, task_id: 3, since: 20 };
    assert_eq!(
        obstacle(&shared, &ready(Some(TERMS))),
        Some(Obstacle::Busy { workers: 1, first, bound: Some(Bound::Concurrency(2)) })
    );
    assert_eq!(local(&shared), None);
}

#[test]
fn a_closed_lane_and_workers_with_many_calls_are_told() {
    let mut shared = served(&[SlotState::Idle]);
    shared.slots[0].full = true;
    assert_eq!(local(&shared), None);
    assert_eq!(obstacle(&shared, &ready(Some(TERMS))), Some(Obstacle::Full));
    let place = shared.queue_or_new(DATABASE).unwrap();
    let lane = LaneSet::ALL.iter().nth(1).unwrap();
    shared.queues[place].shut(lane, NOW + 9, TERMS.account + 1);
    assert_eq!(obstacle(&shared, &ready(Some(TERMS))), Some(Obstacle::Lane(NOW + 9)));
    shared.queues[place].shut(lane, NEVER, TERMS.account);
    assert_eq!(obstacle(&shared, &ready(Some(TERMS))), Some(Obstacle::Lane(NEVER)));
    assert_eq!(Obstacle::Lane(NEVER).until(), None);
    // What the provider itself refuses comes first.
    shared.pause(0, TERMS.account, NOW + 7, NOW);
    let paused = Obstacle::Provider(Refusal::Paused(NOW + 7));
    assert_eq!(obstacle(&shared, &ready(Some(TERMS))), Some(paused));
}

#[test]
fn why_no_other_task_of_a_type_starts_is_told() {
    let mut shared = served(&[SlotState::Working, SlotState::Idle]);
    let mut journal = Runs::EMPTY;
    let (single, slow) = (limited(1, 0, false), limited(0, 1_000, false));
    assert_eq!((obstacle(&shared, &single), obstacle(&shared, &slow)), (None, None));
    // Leased tasks count.
    let leased = Ready { leased: 1, ..single };
    assert_eq!(obstacle(&shared, &leased), Some(Obstacle::TypeFull(None)));

    assert_eq!(shared.start(0, &single.limits.unwrap(), NOW), Admission::Admitted);
    assert_eq!(obstacle(&shared, &single), Some(Obstacle::TypeFull(None)));
    shared.begin(&mut journal, 0, 3, "limited", "", 20).unwrap();
    let first = Busy { pid: 100, task_id: 3, since: 20 };
    assert_eq!(obstacle(&shared, &single), Some(Obstacle::TypeFull(Some(first))));
    assert_eq!(obstacle(&shared, &limited(2, 0, false)), None);
    shared.end_start(0, Over::Succeeded);
    shared.slots[0].end(Over::Succeeded);
    assert_eq!(obstacle(&shared, &single), None);

    assert_eq!(shared.start(0, &slow.limits.unwrap(), NOW), Admission::Admitted);
    let until = NOW + 1_000;
    assert_eq!(obstacle(&shared, &slow), Some(Obstacle::TypeRate(until)));
    assert_eq!(Obstacle::TypeRate(until).until(), Some(until));
    assert_eq!(shared.start(1, &slow.limits.unwrap(), NOW), Admission::Wait(until), "the same");
}

#[test]
fn the_start_that_is_reserved_for_the_task_itself_is_not_in_its_way() {
    let mut shared = served(&[SlotState::Working, SlotState::Idle]);
    let single = limited(1, 0, false);
    assert_eq!(shared.start(0, &single.limits.unwrap(), NOW), Admission::Admitted);
    let position = Position { priority: 0, scheduled_at: 1, task_id: 7 };
    shared.slots[0].taken = Some((single.lane, Candidate { position, address: None }));
    assert_eq!(obstacle(&shared, &single), None);
    assert_eq!(obstacle(&shared, &Ready { task_id: 8, ..single }), Some(Obstacle::TypeFull(None)));
}

#[test]
fn orphaned_calls_and_other_types_of_the_lane_are_told() {
    let mut shared = served(&[SlotState::Working]);
    let (calls, local) = (limited(1, 0, true), limited(1, 0, false));
    assert_eq!(obstacle(&shared, &calls), Some(Obstacle::TypeUncounted));
    assert_eq!(obstacle(&shared, &local), None);
    let seen = shared.begin_take_over(0);
    assert_eq!(obstacle(&shared, &calls), Some(Obstacle::TypeUncounted));
    shared.end_take_over(0, Some(seen));
    assert_eq!(obstacle(&shared, &calls), None);
    let place = shared.queue_or_new(DATABASE).unwrap();
    shared.queues[place].shut(local.lane, NOW + 9, TERMS.account);
    assert_eq!(obstacle(&shared, &local), Some(Obstacle::Lane(NOW + 9)));
}

#[test]
fn a_key_of_which_as_many_tasks_run_as_may_is_told_with_one_of_them() {
    let mut shared = served(&[SlotState::Working, SlotState::Idle]);
    let mut journal = Runs::EMPTY;
    let key = Key { task_type: 1, queue_key: 2 };
    let of_key = |max_running, busy| Ready {
        key: Some(KeyOf { key, max_running, busy, has_rate: false }),
        ..ready(None)
    };
    assert_eq!(obstacle(&shared, &of_key(1, 0)), None);
    // Calls and leases count.
    assert_eq!(obstacle(&shared, &of_key(1, 1)), Some(Obstacle::KeyBusy(None)));
    assert_eq!(obstacle(&shared, &of_key(2, 1)), None);

    let entry = KeyEntry { key, since: 0, priority: 0, max_running: 1, after: None };
    assert!(shared.show_key(0, Lane::LOCAL, entry));
    // The worker may be about to start this very task.
    assert_eq!(obstacle(&shared, &of_key(1, 0)), None);
    shared.begin(&mut journal, 0, 3, "type", "", 20).unwrap();
    let first = Busy { pid: 100, task_id: 3, since: 20 };
    assert_eq!(obstacle(&shared, &of_key(1, 0)), Some(Obstacle::KeyBusy(Some(first))));
    assert_eq!(obstacle(&shared, &of_key(2, 0)), None);
    assert_eq!(obstacle(&shared, &Ready { task_id: 3, ..of_key(1, 0) }), None, "it is the task itself");
    let other = Key { queue_key: 3, ..key };
    let of_other =
        Ready { key: Some(KeyOf { key: other, max_running: 1, busy: 0, has_rate: false }), ..ready(None) };
    assert_eq!(obstacle(&shared, &of_other), None);
}

#[test]
fn the_rate_of_a_key_is_told() {
    let mut shared = served(&[SlotState::Working]);
    let key = Key { task_type: 1, queue_key: 2 };
    let of_key = Ready { key: Some(KeyOf { key, max_running: 1, busy: 0, has_rate: true }), ..ready(None) };
    assert_eq!(shared.key_rates.admit(DATABASE, key, 1_000, NOW), Admission::Admitted);
    assert_eq!(obstacle(&shared, &of_key), Some(Obstacle::KeyRate(NOW + 1_000)));
    assert_eq!(Obstacle::KeyRate(NOW).until(), Some(NOW));
    // The worker that has the start is about to use it.
    let entry = KeyEntry { key, since: 0, priority: 0, max_running: 1, after: None };
    assert!(shared.show_key(0, Lane::LOCAL, entry));
    assert_eq!(obstacle(&shared, &of_key), None);
}

#[test]
fn tasks_of_a_type_that_may_not_start_are_passed_over() {
    let mut shared = served(&[SlotState::Working, SlotState::Working]);
    let mut journal = Runs::EMPTY;
    let (single, call) = (limited(1, 0, false), ready(Some(TERMS)));
    let passed = |shared: &Shared| [ready(None), single, call].map(|task| shared.is_passed_over(&task, NOW));
    assert_eq!(passed(&shared), [false; 3]);
    // Busy workers take these tasks next.
    assert_eq!(shared.start(0, &single.limits.unwrap(), NOW), Admission::Admitted);
    shared.begin(&mut journal, 0, 3, "limited", "", 20).unwrap();
    shared.begin(&mut journal, 1, 4, "", "", 10).unwrap();
    assert_eq!(passed(&shared), [false, true, false]);
    assert!(shared.is_passed_over(&Ready { leased: 2, ..limited(3, 0, false) }, NOW));
    shared.pause(0, TERMS.account, NOW + 7, NOW);
    assert_eq!(passed(&shared), [false, true, true]);

    let mut shared = served(&[SlotState::Idle]);
    shared.slots[0].full = true;
    assert_eq!(passed(&shared), [false, false, true]);
    shared.slots[0].full = false;
    let place = shared.queue_or_new(DATABASE).unwrap();
    shared.queues[place].shut(single.lane, NOW + 9, 1);
    assert_eq!(passed(&shared), [false, true, false]);
}

#[test]
fn tasks_that_are_deferred_or_interrupted_are_withheld() {
    let mut shared = served(&[SlotState::Idle]);
    let mut journal = Runs::EMPTY;
    for _ in 0..2 {
        journal.begin(0, DATABASE, 7);
        journal.interrupt(0, RunEnd::Evicted { early: true, now: NOW }, false);
    }
    shared.slots[0].deferred.add(8, NOW + 5);
    let withheld = |id, now| shared.withheld(&journal, id, now).collect::<Vec<_>>();
    assert_eq!(withheld(DATABASE, NOW), [8, 7]);
    assert_eq!(withheld(DATABASE, NOW + 5), [7]);
    assert_eq!(withheld(DatabaseId::new(6), NOW), []);
}
