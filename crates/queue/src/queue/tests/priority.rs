use super::*;
use crate::Sweep;

const LOCAL: LaneSet = LaneSet::LOCAL;

/// The position of a task that is due.
fn of(priority: i16, task_id: i64) -> Position {
    Position { priority, ..at(task_id) }
}

fn candidates(positions: &[Position]) -> Vec<Candidate> {
    positions.iter().map(|position| Candidate { position: *position, address: None }).collect()
}

fn publish_prioritized(queue: &mut Queue, positions: &[Position], all_due_at: Option<i64>, is_unused: bool) {
    let tasks = candidates(positions);
    let read = Read { lane: Lane::LOCAL, class: Class::Prioritized, tasks: &tasks, all_due_at, is_unused };
    queue.publish(&read, |_| false);
}

fn next(queue: &mut Queue) -> Next {
    loop {
        let next = queue.take(1, LOCAL.into(), 0, |_| false);
        let Next::ReadKeys(lane, _) = next else { return next };
        queue.publish_keys(lane, &no_keys(0));
    }
}

fn read_prioritized(queue: &mut Queue) -> Position {
    match next(queue) {
        Next::Read(Lane::LOCAL, Class::Prioritized, after) => after,
        other => panic!("{other:?}"),
    }
}

fn taken(queue: &mut Queue) -> Vec<i64> {
    std::iter::from_fn(|| match next(queue) {
        Next::Task(_, task) => Some(task.position.task_id),
        _ => None,
    })
    .collect()
}

/// What a sweep has found.
fn due(tasks: &[Candidate], all_due_at: Option<i64>) -> Read<'_> {
    Read { lane: Lane::LOCAL, class: Class::Prioritized, tasks, all_due_at, is_unused: false }
}

/// A queue whose window of plain tasks is full, with more behind it.
fn with_backlog() -> Queue {
    let mut queue = Queue::FREE;
    read(&mut queue);
    publish(&mut queue, &(1..=WINDOW as i64).collect::<Vec<_>>(), None);
    queue.publish_keys(Lane::LOCAL, &no_keys(0));
    queue
}

#[test]
fn a_higher_priority_precedes_an_earlier_time() {
    assert!(of(9, 5) < of(1, 1) && of(1, 5) < at(1) && at(5) < of(-1, 1) && of(3, 1) < of(3, 2));
    assert!(Position::START < of(i16::MAX, 1) && of(i16::MIN, 1) < Position::END);
    assert_eq!([at(1).class(), of(-1, 1).class()], [Class::Plain, Class::Prioritized]);
}

#[test]
fn tasks_come_by_priority() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    publish(&mut queue, &[4, 5], Some(100));
    assert_eq!(read_prioritized(&mut queue), Position::START);
    publish_prioritized(&mut queue, &[of(9, 8), of(2, 1), of(-1, 2)], Some(100), false);
    assert_eq!(taken(&mut queue), [8, 1, 4, 5, 2]);
    assert_eq!(next(&mut queue), Next::Nothing);
}

#[test]
fn an_announced_task_of_a_higher_priority_is_next_before_a_backlog() {
    let mut queue = with_backlog();
    publish_prioritized(&mut queue, &[], Some(1_000), true);
    queue.hand_over(Lane::LOCAL, of(9, 10_000), false);
    let task = Candidate { position: of(9, 10_000), address: None };
    assert_eq!(next(&mut queue), Next::Task(Lane::LOCAL, task));
}

#[test]
fn an_announced_task_precedes_known_ones_of_a_lower_priority() {
    let mut queue = with_backlog();
    let low: Vec<_> = (100..108).map(|id| of(5, id)).collect();
    publish_prioritized(&mut queue, &low, None, false);
    queue.hand_over(Lane::LOCAL, of(9, 900), false);
    assert_eq!(read_prioritized(&mut queue), of(9, 900).before());
    let found: Vec<_> = [of(9, 900)].into_iter().chain(low[..7].iter().copied()).collect();
    publish_prioritized(&mut queue, &found, None, false);
    assert_eq!(taken(&mut queue)[..4], [900, 100, 101, 102]);
}

#[test]
fn what_falls_due_at_a_higher_priority_is_found_by_a_sweep() {
    let mut queue = with_backlog();
    publish_prioritized(&mut queue, &[of(5, 1)], Some(15), false);
    queue.note_looked_for(LONG_AGO, 15);
    queue.note_due();
    queue.swept_at = 0;
    assert_eq!(queue.begin_sweep(75, NEVER), Some(Sweep::Due));
    assert_eq!(queue.due_since(), Some(15));
    queue.add(&due(&candidates(&[of(9, 7)]), Some(75)), |_| false);
    queue.note_looked_for(15, 75);
    assert_eq!(taken(&mut queue)[..3], [7, 1, 1]);
    queue.set_clock_back(20);
    // A sweep that began before.
    queue.note_looked_for(75, 80);
    assert_eq!(queue.due_since(), Some(19));
}

#[test]
fn when_many_fall_due_the_others_are_read_on() {
    let mut queue = with_backlog();
    publish_prioritized(&mut queue, &[of(-1, 1)], Some(15), false);
    let first: Vec<_> = (10..18).map(|id| of(9, id)).collect();
    queue.add(&due(&candidates(&first), None), |_| false);
    assert_eq!(taken(&mut queue), [10, 11, 12, 13, 14, 15, 16, 17]);
    queue.stop_reading(1);
    assert_eq!(read_prioritized(&mut queue), of(9, 17));
    publish_prioritized(&mut queue, &[of(9, 18), of(-1, 1)], Some(300), false);
    assert_eq!(taken(&mut queue)[..3], [18, 1, 2]);
}

#[test]
fn nothing_is_looked_for_while_priorities_are_not_used() {
    let mut queue = with_backlog();
    publish_prioritized(&mut queue, &[], Some(15), true);
    assert_eq!(queue.due_since(), None);
    // A prioritized task may be there that is not due yet.
    queue.note_prioritized();
    assert_eq!(queue.due_since(), Some(LONG_AGO));
}

#[test]
fn a_sweep_during_which_the_clock_was_set_back_has_looked_for_nothing() {
    let mut queue = with_backlog();
    // Also the first one.
    for _ in 0..2 {
        let since = queue.due_since().unwrap();
        queue.set_clock_back(20);
        queue.note_looked_for(since, 75);
        assert!(queue.due_since().unwrap() < 20);
        queue.note_looked_for(queue.due_since().unwrap(), 30);
        assert_eq!(queue.due_since(), Some(30));
    }
}

#[test]
fn a_prioritized_task_of_the_future_that_is_announced_during_a_read_counts() {
    let mut queue = with_backlog();
    read_prioritized(&mut queue);
    queue.note_prioritized();
    publish_prioritized(&mut queue, &[], Some(15), true);
    assert!(!queue.unused);
    read_prioritized(&mut queue);
    publish_prioritized(&mut queue, &[], Some(15), true);
    assert!(queue.unused);
}

#[test]
fn a_page_that_is_occupied_changes_no_priority() {
    let mut queue = with_backlog();
    let on = |page, position| Candidate { position, address: Some(Address { page, line: NonZeroU16::MIN }) };
    let tasks = [on(1, of(9, 1)), on(2, of(5, 2))];
    let read = Read {
        lane: Lane::LOCAL,
        class: Class::Prioritized,
        tasks: &tasks,
        all_due_at: Some(15),
        is_unused: false,
    };
    queue.publish(&read, |_| false);
    assert_eq!(queue.take(1, LOCAL.into(), 0, |page| page == 1), Next::Task(Lane::LOCAL, tasks[0]));
}

#[test]
fn a_task_that_is_handed_back_keeps_its_priority() {
    let mut queue = with_backlog();
    publish_prioritized(&mut queue, &[of(-3, 1), of(-4, 2)], Some(15), false);
    assert_eq!(taken(&mut queue).len(), WINDOW - WINDOW * 3 / 8);
    publish(&mut queue, &[], Some(1_000));
    assert_eq!(taken(&mut queue).last(), Some(&2));
    queue.hand_back(Lane::LOCAL, of(-4, 2));
    queue.hand_back(Lane::LOCAL, of(-3, 1));
    assert_eq!(taken(&mut queue), [1, 2]);
}

#[test]
fn a_sweep_and_a_change_of_definitions_read_all_priorities_again() {
    let mut queue = with_backlog();
    publish_prioritized(&mut queue, &[], Some(15), true);
    let tasks = candidates(&[of(4, 3)]);
    let read = Read {
        lane: Lane::LOCAL,
        class: Class::Prioritized,
        tasks: &tasks,
        all_due_at: Some(40),
        is_unused: false,
    };
    assert_eq!(queue.begin_sweep(0, 0), Some(Sweep::All));
    queue.sweep(&read, |_| false);
    assert!(matches!(next(&mut queue), Next::Task(_, task) if task.position == of(4, 3)));
    queue.rewind_all();
    assert_eq!(super::read(&mut queue), Position::START);
    publish(&mut queue, &[], Some(40));
    assert_eq!(read_prioritized(&mut queue), Position::START);
}
