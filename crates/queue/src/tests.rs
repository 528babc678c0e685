use super::*;

/// A latch that records whether it is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flag(pub bool);

impl Latch for Flag {
    const NONE: Flag = Flag(false);

    fn set(&mut self) {
        self.0 = true;
    }
}

type Shared = super::Shared<Flag>;

const DATABASE: DatabaseId = DatabaseId::new(5);

const REST: Rest = Rest { next_due: NEVER, nothing_prepared: true };

fn journal() -> Box<Journal> {
    Box::new(Journal::EMPTY)
}

fn shared_with(states: &[SlotState]) -> Box<Shared> {
    let mut shared = Box::new(Shared::new(1));
    shared.database_or_new(DATABASE).unwrap().look = false;
    for state in states {
        let slot = shared.allocate(DATABASE, 0, 0).unwrap();
        shared.slots[slot].state = *state;
    }
    shared
}

/// A number of tasks that are due at the same time.
fn tasks(count: i64, due: i64) -> Announcement {
    let mut announcement: Announcement = Announcement::NOTHING;
    for task_id in 1..=count {
        announcement.task(Lane::LOCAL, Position { priority: 0, scheduled_at: due, task_id });
    }
    announcement
}

#[test]
fn an_announcement_wakes_as_many_idle_workers_as_there_are_tasks() {
    let mut shared = shared_with(&[SlotState::Idle, SlotState::Idle, SlotState::Idle]);
    shared.announce(DATABASE, &tasks(2, 10), 10);
    let idle = shared.slots_of(DATABASE).filter(|s| s.state == SlotState::Idle).count();
    assert_eq!(idle, 1);
    assert!(!shared.database(DATABASE).unwrap().needs_worker);
}

#[test]
fn work_without_an_idle_worker_makes_the_database_hungry() {
    let mut shared = shared_with(&[SlotState::Working, SlotState::Leaving]);
    shared.announce(DATABASE, &tasks(1, 10), 10);
    assert!(shared.database(DATABASE).unwrap().needs_worker);
}

#[test]
fn a_worker_that_missed_an_announcement_does_not_settle() {
    let mut shared = shared_with(&[SlotState::Working]);
    let seen = shared.database(DATABASE).unwrap().announced;
    shared.announce(DATABASE, &tasks(1, 50), 10);
    assert!(shared.go_idle(0, seen, Some(REST), 0).is_none());
    assert_eq!(shared.database(DATABASE).unwrap().next_due, 50);
    let rest = Rest { next_due: 50, nothing_prepared: true };
    assert_eq!(shared.go_idle(0, seen + 1, Some(rest), 0), Some(50));
}

#[test]
fn a_worker_does_not_settle_while_nobody_knows_what_falls_due() {
    let mut shared = shared_with(&[SlotState::Working]);
    assert_eq!(shared.go_idle(0, 0, Some(REST), 0), Some(NEVER));
    shared.announce(DATABASE, &tasks(1, 50), 10);
    shared.see_to_due(DATABASE, 60);
    assert_eq!(shared.go_idle(0, 1, None, 0), None);
    assert_eq!(shared.go_idle(0, 1, Some(REST), 0), Some(NEVER));
    assert_eq!(shared.go_idle(0, 1, None, 0), Some(NEVER));
}

#[test]
fn a_worker_woken_at_the_last_moment_does_not_leave() {
    let mut shared = shared_with(&[SlotState::Idle]);
    shared.announce(DATABASE, &tasks(1, 10), 10);
    assert!(!shared.leave(0));
}

#[test]
fn the_wake_up_of_a_dead_worker_is_passed_on() {
    let mut shared = shared_with(&[SlotState::Idle]);
    shared.announce(DATABASE, &tasks(1, 10), 10);
    shared.detach(&mut journal(), 0, 0);
    assert!(shared.database(DATABASE).unwrap().look);
}

#[test]
fn workers_that_fail_at_once_are_started_less_and_less_often() {
    let mut shared = shared_with(&[]);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let slot = shared.allocate(DATABASE, 0, 0).unwrap();
        shared.slots[slot].state = SlotState::Working;
        shared.detach(&mut journal(), slot, 0);
        pauses.push(shared.database(DATABASE).unwrap().start_allowed_at() / 1_000_000);
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
}

#[test]
fn a_bar_ends_workers_and_keeps_new_ones_from_attaching() {
    let mut shared = shared_with(&[SlotState::Idle, SlotState::Starting]);
    shared.slots[0].pid = 77;
    let pids = shared.quiesce(DATABASE, 9, 0).unwrap();
    assert_eq!(pids.iter().filter(|pid| **pid != 0).collect::<Vec<_>>(), [&77]);
    assert_eq!(shared.slots[1].state, SlotState::Free);
    shared.quiesce(DATABASE, 10, 0).unwrap();
    shared.end_quiesce(9, 0);
    assert!(shared.database(DATABASE).unwrap().is_quiesced());
    shared.end_quiesce(10, 0);
    assert!(!shared.database(DATABASE).unwrap().is_quiesced());
}

#[test]
fn of_the_tasks_that_a_bar_interrupts_the_one_that_was_started_last_is_suspected() {
    let mut shared = shared_with(&[SlotState::Working; 3]);
    let mut journal = journal();
    let second = 1_000_000;
    for (slot, since) in [(0, 0), (1, 9 * second), (2, 8 * second)] {
        shared.begin(&mut journal, slot, 7 + slot as i64, "db_function", "f", since).unwrap();
    }
    shared.quiesce(DATABASE, 9, 10 * second).unwrap();
    // Another session quiesces the database while the workers exit.
    shared.quiesce(DATABASE, 10, 11 * second).unwrap();
    (0..3).for_each(|slot| shared.detach(&mut journal, slot, 12 * second));
    let evictions = |journal: &mut Journal, id| journal.begin(0, DATABASE, id).early_evictions;
    assert_eq!([7, 8, 9].map(|id| evictions(&mut journal, id)), [0, 1, 0]);
    assert_eq!([7, 8, 9].map(|id| journal.begin(0, DATABASE, id).deaths), [0; 3]);
}

#[test]
fn workers_come_back_later_and_later_while_bars_follow_each_other() {
    let mut shared = shared_with(&[]);
    let mut now = 50_000_000;
    let mut pauses = Vec::new();
    for _ in 0..10 {
        shared.quiesce(DATABASE, 9, now).unwrap();
        shared.end_quiesce(9, now);
        let allowed_at = shared.database(DATABASE).unwrap().start_allowed_at().max(now);
        pauses.push((allowed_at - now) / 1000);
        now = allowed_at + 1;
    }
    assert_eq!(pauses, [0, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
    shared.quiesce(DATABASE, 9, now + 60_000_000).unwrap();
    shared.end_quiesce(9, now + 60_000_000);
    assert_eq!(shared.database(DATABASE).unwrap().start_allowed_at(), 0);
}

#[test]
fn a_task_is_begun_by_one_worker_at_a_time() {
    let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
    let mut journal = journal();
    let mut begin =
        |shared: &mut Shared, slot| shared.begin(&mut journal, slot, 7, "db_function", "f", 0).is_ok();
    assert!(begin(&mut shared, 0));
    assert!(!begin(&mut shared, 1));
    shared.slots[0].end(Over::GivenBack);
    assert!(begin(&mut shared, 1));
}

#[test]
fn a_worker_that_was_made_to_leave_died_of_nothing() {
    let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
    let mut journal = journal();
    let begin = |shared: &mut Shared, journal: &mut Journal, slot| {
        let earlier = shared.begin(journal, slot, 7, "db_function", "f", 0);
        earlier.ok().map(|earlier| (earlier.runs, earlier.deaths))
    };
    assert_eq!(begin(&mut shared, &mut journal, 0), Some((0, 0)));
    shared.detach(&mut journal, 0, 0);
    assert_eq!(begin(&mut shared, &mut journal, 1), Some((1, 1)));
    shared.retire(1, 0);
    shared.detach(&mut journal, 1, 0);
    let again = shared.allocate(DATABASE, 0, 0).unwrap();
    assert_eq!(begin(&mut shared, &mut journal, again), Some((2, 1)));
}

#[test]
fn an_idle_worker_that_is_retired_is_not_woken() {
    let mut shared = shared_with(&[SlotState::Idle]);
    shared.retire(0, 0);
    shared.announce(DATABASE, &tasks(1, 10), 10);
    assert!(shared.database(DATABASE).unwrap().needs_worker);
    shared.expect_worker(DATABASE, 10);
    shared.detach(&mut journal(), 0, 0);
    assert!(!shared.database(DATABASE).unwrap().look);
}

#[test]
fn a_worker_that_finds_nothing_more_ends_the_wish_for_one_that_could_not_be_started() {
    let mut shared = shared_with(&[SlotState::Working]);
    shared.announce(DATABASE, &tasks(1, 10), 10);
    let start_in_vain = |shared: &mut Shared| {
        let slot = shared.allocate(DATABASE, 0, 10).unwrap();
        shared.expect_worker(DATABASE, 10);
        shared.return_slot(slot);
    };
    start_in_vain(&mut shared);
    let wishes = |shared: &mut Shared| {
        let database = shared.database(DATABASE).unwrap();
        (database.look, database.needs_worker)
    };
    assert_eq!(wishes(&mut shared), (false, true));
    let announced = shared.database(DATABASE).unwrap().announced;
    assert!(shared.go_idle(0, announced, Some(REST), 10).is_some());
    assert_eq!(wishes(&mut shared), (false, false));
    shared.retire(0, 10);
    start_in_vain(&mut shared);
    assert_eq!(wishes(&mut shared), (true, false));
}

#[test]
fn numbers_are_the_smallest_free_ones_and_identities_never_repeat() {
    let mut shared = shared_with(&[SlotState::Idle, SlotState::Idle]);
    let owners: Vec<i64> = shared.slots_of(DATABASE).map(|slot| slot.owner).collect();
    shared.detach(&mut journal(), 0, 0);
    let again = shared.allocate(DATABASE, 0, 0).unwrap();
    assert_eq!(shared.slots[again].number, 1);
    assert!(!owners.contains(&shared.slots[again].owner));
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let mut text = Text::<4>::EMPTY;
    text.set("abcé");
    assert_eq!(text.as_str(), "abc");
}

#[test]
fn a_clock_that_is_set_back_prolongs_no_pause_and_no_turn() {
    let mut shared = shared_with(&[SlotState::Working]);
    let slot = &mut shared.slots[0];
    (slot.started_at, slot.retire_since, slot.cancelled_at) = (900, 900, 3);
    let database = shared.database(DATABASE).unwrap();
    (database.failures, database.failed_at, database.looked_at) = (2, 900, 900);
    shared.set_clock_back(100);
    let slot = &shared.slots[0];
    assert_eq!((slot.started_at, slot.retire_since, slot.cancelled_at), (100, 100, 3));
    let database = shared.database(DATABASE).unwrap();
    assert_eq!(database.start_allowed_at(), 100 + 1_000_000);
    assert_eq!(database.looked_at, 100);
}

/// The result of reading while no task has a key.
pub fn no_keys(now: i64) -> ReadKeys<'static> {
    ReadKeys { entries: &[], end: None, now, is_unused: true }
}

/// Takes while there are neither prioritized tasks nor keys.
fn take<'a>(
    shared: &mut Shared,
    slot: usize,
    sources: impl Into<Sources<'a>> + Copy,
    changes: u64,
    now: i64,
) -> Next {
    loop {
        let next = shared.take(slot, sources, changes, now);
        if let Next::ReadKeys(lane, _) = next {
            shared.publish_keys(slot, lane, &no_keys(now), changes);
            continue;
        }
        let Next::Read(lane, class @ Class::Prioritized, _) = next else { return next };
        let nothing = Read { lane, class, tasks: &[], all_due_at: Some(now), is_unused: true };
        shared.publish(slot, &nothing, changes);
    }
}

/// Reads all there is at `now` for the worker of slot 0.
fn read_all(shared: &mut Shared, ids: &[i64], now: i64) {
    assert!(matches!(take(shared, 0, LaneSet::LOCAL, 0, now), Next::Read(Lane::LOCAL, Class::Plain, _)));
    let ready = |task_id: &i64| Candidate {
        position: Position { priority: 0, scheduled_at: 10, task_id: *task_id },
        address: None,
    };
    let tasks: Vec<Candidate> = ids.iter().map(ready).collect();
    shared.publish(
        0,
        &Read {
            lane: Lane::LOCAL,
            class: Class::Plain,
            is_unused: false,
            tasks: &tasks,
            all_due_at: Some(now),
        },
        0,
    );
}

#[test]
fn a_task_that_has_fallen_due_unnoticed_is_read_though_a_later_one_is_handed_over() {
    let mut shared = shared_with(&[SlotState::Working]);
    read_all(&mut shared, &[], 10);
    shared.announce(DATABASE, &tasks(1, 50), 20);
    // No worker is free at 50.
    shared.announce(DATABASE, &tasks(1, 60), 60);
    shared.see_to_due(DATABASE, 70);
    let after = Class::Plain.after_all_due(10);
    assert_eq!(take(&mut shared, 0, LaneSet::LOCAL, 0, 70), Next::Read(Lane::LOCAL, Class::Plain, after));
}

#[test]
fn a_task_that_could_not_be_locked_is_handed_out_again() {
    let mut shared = shared_with(&[SlotState::Working]);
    read_all(&mut shared, &[1], 10);
    assert!(matches!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Task(..)));
    assert_eq!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Nothing);
    let task = Candidate { position: Position { priority: 0, scheduled_at: 10, task_id: 1 }, address: None };
    shared.add(
        0,
        &Read {
            lane: Lane::LOCAL,
            class: Class::Plain,
            is_unused: false,
            tasks: &[task],
            all_due_at: Some(10),
        },
        0,
    );
    assert_eq!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Task(Lane::LOCAL, task));
}

#[test]
fn a_task_left_to_another_worker_is_handed_out_again_if_that_has_given_it_back() {
    let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
    read_all(&mut shared, &[1], 10);
    let Next::Task(_, task) = take(&mut shared, 0, LaneSet::LOCAL, 0, 10) else { panic!() };
    shared.slots[1].task_id = 1;
    shared.leave_to_other(0);
    assert_eq!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Nothing);
    shared.slots[0].taken = Some((Lane::LOCAL, task));
    shared.slots[1].task_id = 0;
    shared.leave_to_other(0);
    assert!(matches!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Task(..)));
}

#[test]
fn a_lane_that_is_shut_opens_in_time_or_when_a_call_ends() {
    let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
    let (lane, lanes) = (Lane::call(1), LaneSet::LOCAL.with(Lane::call(1)));
    let terms = Terms {
        account: 7,
        interval: 0,
        burst: 1,
        max_in_flight: 1,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    take(&mut shared, 0, LaneSet::LOCAL, 0, 10);
    shared.publish(
        0,
        &Read { lane: Lane::LOCAL, class: Class::Plain, is_unused: false, tasks: &[], all_due_at: Some(10) },
        0,
    );
    assert!(matches!(take(&mut shared, 0, lanes, 0, 10), Next::Read(read, Class::Plain, _) if read == lane));
    let task =
        |task_id| Candidate { position: Position { priority: 0, scheduled_at: 1, task_id }, address: None };
    shared.publish(
        0,
        &Read {
            lane,
            class: Class::Plain,
            is_unused: false,
            tasks: &[task(1), task(2)],
            all_due_at: Some(10),
        },
        0,
    );
    assert_eq!(take(&mut shared, 0, lanes, 0, 10), Next::Task(lane, task(1)));
    assert_eq!(shared.admit(0, &terms, 10), Admission::Admitted);
    shared.slots[0].taken = None;

    assert_eq!(take(&mut shared, 1, lanes, 0, 10), Next::Task(lane, task(2)));
    assert_eq!(shared.admit(1, &terms, 10), Admission::Full);
    shared.shut(1, Admission::Full, &terms, 0);
    assert_eq!(take(&mut shared, 1, lanes, 0, i64::MAX - 1), Next::Nothing);
    shared.set_calls(0, InFlight::NONE, &mut [well(terms)], 20);
    assert_eq!(take(&mut shared, 1, lanes, 0, 20), Next::Task(lane, task(2)));

    // A pause.
    shared.pause(0, 7, 500, 20);
    let refused = shared.admit(1, &terms, 20);
    assert_eq!(refused, Admission::Wait(500));
    shared.shut(1, refused, &terms, 0);
    assert_eq!(take(&mut shared, 1, lanes, 0, 499), Next::Nothing);
    // The task joins a request that has already been admitted.
    let beside = Sources { shut_too: LaneSet::NONE.with(lane), ..Sources::from(lanes) };
    assert_eq!(take(&mut shared, 1, beside, 0, 499), Next::Task(lane, task(2)));
    shared.shut(1, refused, &terms, 0);
    assert_eq!(shared.go_idle(1, 0, Some(REST), 20), Some(500));
    assert_eq!(take(&mut shared, 1, lanes, 0, 500), Next::Task(lane, task(2)));

    // Without workers, the database's entry keeps the time.
    shared.shut(1, Admission::Wait(900), &terms, 0);
    shared.detach(&mut journal(), 0, 600);
    shared.detach(&mut journal(), 1, 600);
    assert_eq!(shared.database(DATABASE).unwrap().next_due, 900);
}

fn well(terms: Terms) -> EndedCall {
    EndedCall { terms, outcome: CallOutcome::Well, status: None, breaker: None }
}

#[test]
fn the_end_of_a_pause_is_told_to_those_who_hold_requests() {
    let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
    let terms = Terms {
        account: 7,
        interval: 0,
        burst: 1,
        max_in_flight: 0,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    shared.pause(0, 7, 500, 10);
    assert_eq!(shared.admit(0, &terms, 500), Admission::Admitted);
    assert!(matches!(shared.admit(1, &terms, 501), Admission::Wait(_)));
    assert_eq!(shared.resumes, 0);
    shared.set_calls(0, InFlight::NONE, &mut [well(terms)], 502);
    assert_eq!((shared.resumes, shared.admit(1, &terms, 503)), (1, Admission::Admitted));
    shared.set_calls(0, InFlight::NONE, &mut [well(terms)], 504);
    assert_eq!(shared.resumes, 1);
}

#[test]
fn a_request_that_is_not_sent_lets_the_next_task_pass_and_concerns_no_held_requests() {
    let terms = Terms {
        account: 7,
        interval: 1_000,
        burst: 1,
        max_in_flight: 0,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    for is_probe in [false, true] {
        let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
        let (lane, lanes) = (Lane::call(1), LaneSet::LOCAL.with(Lane::call(1)));
        take(&mut shared, 0, LaneSet::LOCAL, 0, 10);
        shared.publish(
            0,
            &Read {
                lane: Lane::LOCAL,
                class: Class::Plain,
                is_unused: false,
                tasks: &[],
                all_due_at: Some(10),
            },
            0,
        );
        assert!(
            matches!(take(&mut shared, 0, lanes, 0, 10), Next::Read(read, Class::Plain, _) if read == lane)
        );
        let task = |task_id| Candidate {
            position: Position { priority: 0, scheduled_at: 1, task_id },
            address: None,
        };
        shared.publish(
            0,
            &Read {
                lane,
                class: Class::Plain,
                is_unused: false,
                tasks: &[task(1), task(2)],
                all_due_at: Some(10),
            },
            0,
        );
        if is_probe {
            shared.pause(0, 7, 100, 10);
        }
        assert_eq!(take(&mut shared, 0, lanes, 0, 100), Next::Task(lane, task(1)));
        assert_eq!(shared.admit(0, &terms, 100), Admission::Admitted);
        assert_eq!(take(&mut shared, 1, lanes, 0, 100), Next::Task(lane, task(2)));
        let refused = shared.admit(1, &terms, 100);
        assert!(matches!(refused, Admission::Wait(_)));
        shared.shut(1, refused, &terms, 0);
        assert_eq!(take(&mut shared, 1, lanes, 0, 100), Next::Nothing);

        shared.give_back(0, &terms, 100);
        assert_eq!(shared.resumes, 0);
        assert_eq!(take(&mut shared, 1, lanes, 0, 100), Next::Task(lane, task(2)));
        assert_eq!(shared.admit(1, &terms, 100), Admission::Admitted);
    }
}

#[test]
fn a_call_that_ends_before_its_lane_is_shut_leaves_it_open() {
    let mut shared = shared_with(&[SlotState::Working, SlotState::Working]);
    let lane = Lane::call(1);
    let terms = Terms {
        account: 7,
        interval: 0,
        burst: 1,
        max_in_flight: 1,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    shared.admit(0, &terms, 10);
    assert_eq!(shared.admit(1, &terms, 10), Admission::Full);
    shared.set_calls(0, InFlight::NONE, &mut [well(terms)], 10);
    take(&mut shared, 1, LaneSet::NONE.with(lane), 0, 10);
    let task = Candidate { position: Position { priority: 0, scheduled_at: 1, task_id: 1 }, address: None };
    shared.publish(
        1,
        &Read { lane, class: Class::Plain, is_unused: false, tasks: &[task], all_due_at: Some(10) },
        0,
    );
    assert_eq!(take(&mut shared, 1, LaneSet::NONE.with(lane), 0, 10), Next::Task(lane, task));
    shared.shut(1, Admission::Full, &terms, 0);
    assert_eq!(take(&mut shared, 1, LaneSet::NONE.with(lane), 0, 10), Next::Task(lane, task));
}

#[test]
fn what_was_read_before_a_new_type_was_known_is_read_anew() {
    let mut shared = shared_with(&[SlotState::Working]);
    assert!(matches!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Read(Lane::LOCAL, Class::Plain, _)));
    shared.forget_queue(DATABASE, 10);
    let task = Candidate { position: Position { priority: 0, scheduled_at: 1, task_id: 1 }, address: None };
    shared.publish(
        0,
        &Read {
            lane: Lane::LOCAL,
            class: Class::Plain,
            is_unused: false,
            tasks: &[task],
            all_due_at: Some(10),
        },
        0,
    );
    assert!(matches!(take(&mut shared, 0, LaneSet::LOCAL, 1, 10), Next::Read(Lane::LOCAL, Class::Plain, _)));
}

#[test]
fn a_provider_shuts_the_lane_of_no_other_tasks() {
    let mut shared = shared_with(&[SlotState::Working]);
    let terms = Terms {
        account: 7,
        interval: 0,
        burst: 1,
        max_in_flight: 1,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    take(&mut shared, 0, LaneSet::LOCAL, 0, 10);
    let task =
        |task_id| Candidate { position: Position { priority: 0, scheduled_at: 1, task_id }, address: None };
    shared.publish(
        0,
        &Read {
            lane: Lane::LOCAL,
            class: Class::Plain,
            is_unused: false,
            tasks: &[task(1), task(2)],
            all_due_at: Some(10),
        },
        0,
    );
    assert_eq!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Task(Lane::LOCAL, task(1)));
    shared.shut(0, Admission::Wait(500), &terms, 0);
    // The task is searched for in its own lane.
    assert!(matches!(take(&mut shared, 0, LaneSet::NONE.with(Lane::call(1)), 0, 10), Next::Read(..)));
    shared.put_back(0);
    assert!(matches!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Read(Lane::LOCAL, Class::Plain, _)));
    shared.publish(
        0,
        &Read {
            lane: Lane::LOCAL,
            class: Class::Plain,
            is_unused: false,
            tasks: &[task(2)],
            all_due_at: Some(10),
        },
        0,
    );
    assert_eq!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Task(Lane::LOCAL, task(2)));
}

#[test]
fn a_refusal_by_terms_that_have_changed_since_shuts_no_lane() {
    let mut shared = shared_with(&[SlotState::Working]);
    let (lane, terms) = (
        Lane::call(1),
        Terms {
            account: 7,
            interval: 1_000_000,
            burst: 1,
            max_in_flight: 0,
            breaker_threshold: 0,
            breaker_cooldown: 0,
        },
    );
    take(&mut shared, 0, LaneSet::NONE.with(lane), 0, 10);
    let task = Candidate { position: Position { priority: 0, scheduled_at: 1, task_id: 1 }, address: None };
    shared.publish(
        0,
        &Read { lane, class: Class::Plain, is_unused: false, tasks: &[task], all_due_at: Some(10) },
        0,
    );
    assert_eq!(take(&mut shared, 0, LaneSet::NONE.with(lane), 0, 10), Next::Task(lane, task));
    shared.forget_queue(DATABASE, 10);
    shared.shut(0, Admission::Wait(1_000_000), &terms, 0);
    assert!(matches!(take(&mut shared, 0, LaneSet::NONE.with(lane), 1, 10), Next::Task(..) | Next::Read(..)));
}

#[test]
fn a_worker_takes_nothing_before_it_knows_the_task_types_of_now() {
    let mut shared = shared_with(&[SlotState::Working]);
    shared.forget_queue(DATABASE, 10);
    assert_eq!(take(&mut shared, 0, LaneSet::LOCAL, 0, 10), Next::Wait);
    assert!(matches!(take(&mut shared, 0, LaneSet::LOCAL, 1, 10), Next::Read(Lane::LOCAL, Class::Plain, _)));
}

#[test]
fn calls_of_a_worker_that_ends_are_looked_for() {
    for (in_flight, has_orphans) in [(0, false), (3, true)] {
        let mut shared = shared_with(&[SlotState::Working, SlotState::Idle]);
        shared.slots[0].in_flight = in_flight;
        shared.detach(&mut journal(), 0, 0);
        assert_eq!(shared.database(DATABASE).unwrap().orphans, has_orphans, "{in_flight}");
    }
}

#[test]
fn memory_that_was_used_is_new_after_a_reset() {
    type Small = super::Shared<Flag, 4, 2, 8, 8, 8>;
    let mut shared = Box::new(Small::new(1));
    shared.allocate(DATABASE, 0, 0).unwrap();
    shared.announce(DATABASE, &tasks(20, 1), 2);
    shared.queue_or_new(DATABASE).unwrap();
    shared.phases[0].begin(true);
    shared.note_unflushed(7);
    shared.no_process_at = 5;
    shared.has_limits = true;
    shared.reset(9);
    assert!(*shared == Small::new(9));
}

#[test]
fn a_worker_does_not_rest_before_a_sweep_that_was_requested() {
    let mut shared = shared_with(&[SlotState::Working]);
    let place = shared.queue_or_new(DATABASE).unwrap();
    let known = Candidate { position: Position { priority: 0, scheduled_at: 10, task_id: 1 }, address: None };
    shared.queues[place].restore(Lane::LOCAL, known);
    let mut unknown: Announcement = Announcement::NOTHING;
    unknown.due(10);
    shared.announce(DATABASE, &unknown, 10);
    let announced = shared.database(DATABASE).unwrap().announced;
    let sweep_at = shared.go_idle(0, announced, Some(REST), 10).unwrap();
    assert!(sweep_at < NEVER, "a task is known, and the sweep waits for a moment");
    assert_eq!(shared.go_idle(0, announced, Some(REST), sweep_at), None);
    // Another worker takes the last known task, and runs it for long.
    shared.queues[place] = Queue::new(DATABASE);
    shared.queues[place].ask_for_sweep(10);
    assert_eq!(shared.go_idle(0, announced, Some(REST), 10), None);
}
