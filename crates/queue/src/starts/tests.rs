use super::*;
use crate::journal::Journal;
use crate::lane::LaneSet;
use crate::outside::Outside;
use crate::position::{Candidate, Class, Position};
use crate::queue::Read;
use crate::tests::{Flag, no_keys};

type Small = Shared<Flag, 4, 2, 8, 8, 8>;

const DATABASE: DatabaseId = DatabaseId::new(5);
const NAME: &str = "limited";

fn limits(max_running: u32, interval: i64) -> TypeLimits {
    let terms = Terms {
        account: type_account(DATABASE, NAME),
        interval,
        burst: 1,
        max_in_flight: max_running,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    let mut limits = TypeLimits::default();
    limits[0] = Some(StartLimits { terms, calls: true });
    limits
}

fn lane() -> Lane {
    Lane::of_type(0)
}

fn task(task_id: i64) -> Candidate {
    Candidate { position: Position { priority: 0, scheduled_at: 1, task_id }, address: None }
}

/// A task of this priority.
fn prioritized(priority: i16, task_id: i64) -> Candidate {
    let Candidate { position, address } = task(task_id);
    Candidate { position: Position { priority, ..position }, address }
}

/// Three workers, and plain tasks of a limited type.
fn world() -> Box<Small> {
    with_prioritized(&[])
}

/// Three workers, and plain and prioritized tasks of a limited type.
fn with_prioritized(prioritized: &[Candidate]) -> Box<Small> {
    let mut shared = Box::new(Small::new(1));
    shared.database_or_new(DATABASE).unwrap().look = false;
    shared.note_limits();
    for _ in 0..3 {
        let slot = shared.allocate(DATABASE, 0, 0).unwrap();
        shared.slots[slot].state = SlotState::Working;
    }
    let seen = shared.begin_take_over(0);
    shared.end_take_over(0, Some(seen));
    let plain: Vec<Candidate> = (1..=5).map(task).collect();
    for (class, tasks) in Class::ALL.into_iter().zip([&plain, prioritized]) {
        let next = take(&mut shared, 0, &TypeLimits::default());
        assert!(matches!(next, Next::Read(_, read, _) if read == class));
        let read = Read { lane: lane(), class, tasks, all_due_at: Some(10), is_unused: tasks.is_empty() };
        shared.publish(0, &read, 0);
    }
    shared
}

fn take(shared: &mut Small, slot: usize, limits: &TypeLimits) -> Next {
    take_at(shared, slot, limits, 10)
}

fn take_at(shared: &mut Small, slot: usize, limits: &TypeLimits, now: i64) -> Next {
    let sources = crate::Sources { limits, ..crate::Sources::from(LaneSet::NONE.with(lane())) };
    loop {
        let next = shared.take(slot, sources, 0, now);
        let Next::ReadKeys(lane, _) = next else { return next };
        shared.publish_keys(slot, lane, &no_keys(now), 0);
    }
}

fn session(session: i32, leased: u32) -> Outside {
    Outside { database: DATABASE, session, leased }
}

fn begin(shared: &mut Small, slot: usize, task_id: i64) {
    let mut journal = Box::new(Journal::<4>::EMPTY);
    shared.begin(&mut journal, slot, task_id, NAME, "", 10).unwrap();
}

fn end(shared: &mut Small, slot: usize, how: Over) {
    shared.end_start(slot, how);
    shared.slots[slot].end(how);
}

#[test]
fn tasks_are_handed_out_up_to_the_limit_and_the_end_of_one_lets_the_next_pass() {
    let (mut shared, limits) = (world(), limits(2, 0));
    for slot in 0..2 {
        assert_eq!(take(&mut shared, slot, &limits), Next::Task(lane(), task(slot as i64 + 1)));
        begin(&mut shared, slot, slot as i64 + 1);
    }
    assert_eq!(take(&mut shared, 2, &limits), Next::Nothing);
    end(&mut shared, 0, Over::Succeeded);
    assert_eq!(take(&mut shared, 2, &limits), Next::Task(lane(), task(3)));
    assert_eq!(take(&mut shared, 0, &limits), Next::Nothing);
}

#[test]
fn a_limit_counts_for_all_priorities_and_the_highest_comes_first() {
    let (high, low) = (prioritized(9, 8), prioritized(-1, 9));
    let (mut shared, limits) = (with_prioritized(&[high, low]), limits(1, 0));
    let mut order = Vec::new();
    while let Next::Task(_, taken) = take(&mut shared, 0, &limits) {
        begin(&mut shared, 0, taken.position.task_id);
        // A refused task returns to the line of its class.
        assert_eq!(take(&mut shared, 1, &limits), Next::Nothing);
        assert_eq!(take(&mut shared, 1, &limits), Next::Nothing);
        end(&mut shared, 0, Over::Succeeded);
        order.push(taken);
    }
    assert_eq!(order, [high, task(1), task(2), task(3), task(4), task(5), low]);
}

#[test]
fn a_refused_start_loses_no_task_of_any_class() {
    let urgent = prioritized(3, 8);
    let (mut shared, limits) = (with_prioritized(&[urgent]), limits(1, 0));
    let own = limits[0].unwrap();
    // The lane is open, and the limit is used up.
    assert!(shared.start_outside(&session(77, 0), &own, 10));
    assert_eq!(take(&mut shared, 0, &limits), Next::Nothing);
    let queue = shared.queue(DATABASE).unwrap();
    assert_eq!(queue.closed(lane(), 10), Some(NEVER));
    assert!(!queue.has_known(10));
    shared.end_outside(77);
    assert!(shared.queue(DATABASE).unwrap().has_known(10));
    assert_eq!(take(&mut shared, 0, &limits), Next::Task(lane(), urgent));
    shared.shut_start(0, Admission::Wait(500), &own, lane(), 0);
    assert_eq!(take_at(&mut shared, 0, &limits, 499), Next::Nothing);
    assert_eq!(take_at(&mut shared, 0, &limits, 500), Next::Task(lane(), urgent));
}

#[test]
fn a_task_in_the_lane_of_another_type_is_read_again_whatever_its_class() {
    let (mut shared, limits) = (world(), limits(1, 0));
    shared.slots[1].taken = Some((Lane::LOCAL, task(9)));
    shared.shut_start(1, Admission::Full, &limits[0].unwrap(), lane(), 0);
    for class in Class::ALL {
        assert_eq!(take(&mut shared, 1, &limits), Next::Read(lane(), class, Position::START));
        let read = Read { lane: lane(), class, tasks: &[], all_due_at: Some(10), is_unused: true };
        shared.publish(1, &read, 0);
    }
}

#[test]
fn a_task_that_cannot_be_claimed_returns_its_start() {
    let (mut shared, limits) = (world(), limits(1, 1_000));
    assert_eq!(take(&mut shared, 0, &limits), Next::Task(lane(), task(1)));
    // Its row is locked, so the worker takes the next one.
    assert_eq!(take(&mut shared, 0, &limits), Next::Task(lane(), task(2)));
    shared.put_back(0);
    assert_eq!(take(&mut shared, 1, &limits), Next::Task(lane(), task(2)));
    begin(&mut shared, 1, 2);
    end(&mut shared, 1, Over::Succeeded);
    // The rate allows one start.
    assert_eq!(take(&mut shared, 1, &limits), Next::Nothing);
    assert_eq!(take_at(&mut shared, 1, &limits, 1_010), Next::Task(lane(), task(3)));
}

#[test]
fn a_lane_that_is_closed_after_the_claim_stays_closed() {
    let (mut shared, limits) = (world(), limits(1, 0));
    assert_eq!(take(&mut shared, 0, &limits), Next::Task(lane(), task(1)));
    // Leases use up the limit.
    shared.shut_start(0, Admission::Wait(500), &limits[0].unwrap(), lane(), 0);
    assert_eq!(shared.running(DATABASE, type_account(DATABASE, NAME)), 0);
    assert_eq!(take_at(&mut shared, 0, &limits, 499), Next::Nothing);
    assert_eq!(take_at(&mut shared, 0, &limits, 500), Next::Task(lane(), task(1)));
    // A lane of several types is closed until a task ends, and a task in the lane of another type is read again.
    shared.put_back(0);
    assert_eq!(take_at(&mut shared, 0, &limits, 500), Next::Task(lane(), task(1)));
    begin(&mut shared, 0, 1);
    shared.slots[1].taken = Some((Lane::LOCAL, task(2)));
    shared.shut_start(1, Admission::Full, &limits[0].unwrap(), lane(), 0);
    assert_eq!(shared.slots[1].taken, None);
    assert_eq!(take_at(&mut shared, 1, &limits, 501), Next::Nothing);
}

#[test]
fn calls_count_until_their_last_step_has_ended() {
    let (mut shared, limits) = (world(), limits(1, 0));
    assert_eq!(take(&mut shared, 0, &limits), Next::Task(lane(), task(1)));
    begin(&mut shared, 0, 1);
    end(&mut shared, 0, Over::Calling);
    assert_eq!(take(&mut shared, 1, &limits), Next::Nothing);
    let mut starts = Starts::NONE;
    starts.add(type_account(DATABASE, NAME));
    shared.set_starts(0, starts);
    begin(&mut shared, 0, 1);
    shared.slots[0].is_last_step = true;
    assert_eq!(shared.running(DATABASE, type_account(DATABASE, NAME)), 1);
    end(&mut shared, 0, Over::Succeeded);
    assert_eq!(take(&mut shared, 1, &limits), Next::Nothing);
    shared.set_starts(0, Starts::NONE);
    assert_eq!(take(&mut shared, 1, &limits), Next::Task(lane(), task(2)));
}

#[test]
fn orphaned_calls_let_nothing_start_until_they_are_taken_over() {
    let (mut shared, limits) = (world(), limits(1, 0));
    assert_eq!(take(&mut shared, 0, &limits), Next::Task(lane(), task(1)));
    begin(&mut shared, 0, 1);
    end(&mut shared, 0, Over::Calling);
    shared.slots[0].in_flight = 1;
    let mut journal = Box::new(Journal::<4>::EMPTY);
    shared.detach(&mut journal, 0, 10);
    assert_eq!(take(&mut shared, 1, &limits), Next::Nothing);
    let later = 10 + ORPHANS_PAUSE;
    let seen = shared.begin_take_over(2);
    assert_eq!(take_at(&mut shared, 1, &limits, later), Next::Nothing);
    let mut starts = Starts::NONE;
    starts.add(type_account(DATABASE, NAME));
    shared.set_starts(2, starts);
    shared.end_take_over(2, Some(seen));
    assert_eq!(take_at(&mut shared, 1, &limits, later + ORPHANS_PAUSE), Next::Nothing);
    shared.set_starts(2, Starts::NONE);
    assert_eq!(take_at(&mut shared, 1, &limits, later + ORPHANS_PAUSE), Next::Task(lane(), task(2)));
}

#[test]
fn tasks_that_were_started_without_a_limit_count_when_it_is_introduced() {
    let mut shared = world();
    assert!(matches!(take(&mut shared, 0, &TypeLimits::default()), Next::Task(..)));
    begin(&mut shared, 0, 1);
    assert_eq!(take(&mut shared, 1, &limits(1, 0)), Next::Nothing);
    end(&mut shared, 0, Over::Succeeded);
    assert!(matches!(take(&mut shared, 1, &limits(1, 0)), Next::Task(..)));
}

#[test]
fn sessions_for_workers_outside_reserve_starts_until_their_transaction_ends() {
    let (mut shared, limits) = (world(), limits(2, 0));
    let own = limits[0].unwrap();
    assert!(shared.start_outside(&session(77, 0), &own, 10));
    assert!(!shared.start_outside(&session(78, 1), &own, 10));
    // Without a reservation, the same is said.
    assert!(!shared.has_start_outside(&session(78, 1), &own, 10));
    assert!(shared.has_start_outside(&session(78, 0), &own, 10));
    assert!(shared.has_start_outside(&session(77, 1), &own, 10), "it has counted its own lease");
    assert!(matches!(take(&mut shared, 0, &limits), Next::Task(..)));
    assert_eq!(take(&mut shared, 1, &limits), Next::Nothing);
    shared.end_outside(77);
    assert!(matches!(take(&mut shared, 1, &limits), Next::Task(..)));
    assert!(!shared.start_outside(&session(78, 0), &own, 10));
    let (may_be_leased, leasings) = shared.may_have_leases(DATABASE);
    assert!(may_be_leased);
    shared.see_no_leases(DATABASE, leasings);
    assert!(!shared.may_have_leases(DATABASE).0);
}

#[test]
fn more_types_than_can_be_told_apart_count_for_every_type() {
    let mut starts = Starts::NONE;
    (1..=40).for_each(|account| starts.add(account));
    assert_eq!(starts.of(1), 1 + 40 - crate::lane::LANES as u32);
    assert_eq!(starts.of(1000), 40 - crate::lane::LANES as u32);
}
