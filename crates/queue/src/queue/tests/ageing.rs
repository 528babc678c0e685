//! Lanes whose tasks age.

use super::*;
use crate::{Ageing, Sources, TYPE_LANES};

const EVERY: i64 = 100;
const NOW: i64 = 10_000;

fn aged() -> Lane {
    Lane::of_type(3)
}

fn ages(every: i64) -> [Ageing; TYPE_LANES] {
    let mut ageing = [Ageing::NONE; TYPE_LANES];
    ageing[3] = Ageing::every(every);
    ageing
}

fn of(priority: i16, scheduled_at: i64, task_id: i64) -> Position {
    Position { priority, scheduled_at, task_id }
}

fn take_at(queue: &mut Queue, lanes: LaneSet, every: i64, now: i64) -> Next {
    let ageing = ages(every);
    loop {
        let next = queue.take(1, Sources { ageing: &ageing, ..Sources::from(lanes) }, now, |_| false);
        let Next::ReadKeys(lane, _) = next else { return next };
        queue.publish_keys(lane, &no_keys(now));
    }
}

fn next(queue: &mut Queue) -> Next {
    take_at(queue, LaneSet::LOCAL.with(aged()), EVERY, NOW)
}

fn found_in(queue: &mut Queue, lane: Lane, class: Class, tasks: &[Position], all_due_at: Option<i64>) {
    let tasks: Vec<Candidate> =
        tasks.iter().map(|position| Candidate { position: *position, address: None }).collect();
    queue.publish(&Read { lane, class, tasks: &tasks, all_due_at, is_unused: false }, |_| false);
}

/// The tasks that are handed out one after the other, without reading.
fn taken(queue: &mut Queue) -> Vec<i64> {
    std::iter::from_fn(|| match next(queue) {
        Next::Task(_, task) => Some(task.position.task_id),
        _ => None,
    })
    .collect()
}

/// A queue whose lines have all been read to their end, and were empty.
fn empty() -> Queue {
    let mut queue = Queue::FREE;
    while let Next::Read(lane, class, _) = next(&mut queue) {
        found_in(&mut queue, lane, class, &[], Some(NOW));
    }
    queue
}

#[test]
fn an_old_task_comes_before_those_of_a_higher_priority() {
    let mut queue = empty();
    queue.hand_over(aged(), of(5, NOW - 10, 1), true);
    queue.hand_over(aged(), of(1, NOW - 600, 2), true);
    queue.hand_over(aged(), of(-1, NOW - 650, 3), true);
    queue.hand_over(aged(), of(0, NOW - 520, 4), true);
    queue.hand_over(Lane::LOCAL, of(6, NOW - 1, 5), true);
    queue.hand_over(Lane::LOCAL, of(0, NOW - 5_000, 6), true);
    // Their effective priorities are 7, 6, 5 since 20, 5 since 10, 5 since 50, and 0.
    assert_eq!(taken(&mut queue), [2, 5, 3, 4, 1, 6]);
}

#[test]
fn a_task_overtakes_others_while_it_waits() {
    for (now, expected) in [(NOW + 1, 1), (NOW + 399, 1), (NOW + 400, 2)] {
        let mut queue = empty();
        queue.hand_over(Lane::LOCAL, of(3, NOW + 1, 1), true);
        queue.hand_over(aged(), of(0, NOW, 2), true);
        let next = take_at(&mut queue, LaneSet::LOCAL.with(aged()), EVERY, now);
        assert!(matches!(next, Next::Task(_, task) if task.position.task_id == expected), "{now}: {next:?}");
    }
}

#[test]
fn reads_continue_in_the_order_of_the_type() {
    let mut queue = Queue::FREE;
    let lanes = LaneSet::NONE.with(aged());
    let read = |queue: &mut Queue| match take_at(queue, lanes, EVERY, NOW) {
        Next::Read(_, Class::Prioritized, after) => after,
        Next::Read(lane, class, _) => {
            found_in(queue, lane, class, &[], Some(NOW));
            let Next::Read(_, _, after) = take_at(queue, lanes, EVERY, NOW) else { panic!() };
            after
        }
        next => panic!("{next:?}"),
    };
    assert_eq!(read(&mut queue), Position::START);
    let tasks: Vec<Position> = (0..8).map(|n| of((8 - n) as i16, NOW - 10, n)).collect();
    found_in(&mut queue, aged(), Class::Prioritized, &tasks, None);
    for _ in 0..5 {
        assert!(matches!(take_at(&mut queue, lanes, EVERY, NOW), Next::Task(..)));
    }
    let after = read(&mut queue);
    assert_eq!(Ageing::every(EVERY).at_place(after, 1), tasks[7]);
    found_in(&mut queue, aged(), Class::Prioritized, &[], Some(NOW));
    for id in 5..8 {
        let next = take_at(&mut queue, lanes, EVERY, NOW);
        assert!(matches!(next, Next::Task(_, task) if task.position.task_id == id), "{next:?}");
    }
    // What was announced in bulk may come before the first one.
    queue.rewind(aged(), of(3, NOW - 1, 20));
    assert_eq!(read(&mut queue), Position::START);
}

#[test]
fn a_full_window_drops_the_last_task_in_the_order_of_the_type() {
    let mut queue = empty();
    for n in 1..=CALL_WINDOW as i64 {
        queue.hand_over(aged(), of(1, NOW - 10 * n, n), true);
    }
    let tasks = [Candidate { position: of(-4, NOW - 900, 20), address: None }];
    let read = Read {
        lane: aged(),
        class: Class::Prioritized,
        tasks: &tasks,
        all_due_at: Some(NOW),
        is_unused: false,
    };
    queue.add(&read, |_| false);
    // Task 1 has to be read again, but only after the others.
    let cursor = queue.prioritized_lines[aged().index()].cursor;
    assert_eq!(Ageing::every(EVERY).at_place(cursor, 1), of(1, NOW - 10, 1).before());
    for id in [20, 8, 7, 6, 5, 4, 3, 2] {
        assert!(matches!(next(&mut queue), Next::Task(_, task) if task.position.task_id == id), "{id}");
    }
    let Next::Read(_, Class::Prioritized, after) = next(&mut queue) else { panic!() };
    assert_eq!(after, cursor);
}

#[test]
fn what_is_found_in_part_is_read_on_in_the_order_of_the_type() {
    let mut queue = empty();
    let last = of(3, NOW - 10, 2);
    let tasks = [of(0, NOW - 500, 1), last].map(|position| Candidate { position, address: None });
    let read =
        Read { lane: aged(), class: Class::Prioritized, tasks: &tasks, all_due_at: None, is_unused: false };
    queue.add(&read, |_| false);
    queue.hand_back(aged(), of(-1, NOW - 5, 3));
    let cursor = queue.prioritized_lines[aged().index()].cursor;
    assert_eq!(Ageing::every(EVERY).at_place(cursor, 3), last);
}

#[test]
fn a_task_that_is_handed_back_during_a_read_is_read_again() {
    let mut queue = empty();
    queue.rewind(aged(), of(1, NOW, 9));
    let lanes = LaneSet::NONE.with(aged());
    assert!(matches!(take_at(&mut queue, lanes, EVERY, NOW), Next::Read(..)));
    queue.hand_back(aged(), of(2, NOW - 7, 3));
    found_in(&mut queue, aged(), Class::Prioritized, &[], Some(NOW));
    let Next::Read(_, _, after) = take_at(&mut queue, lanes, EVERY, NOW) else { panic!() };
    assert_eq!(Ageing::every(EVERY).at_place(after, 2), of(2, NOW - 7, 3).before());
}

#[test]
fn a_change_of_the_interval_reads_the_lane_again() {
    let mut queue = empty();
    queue.hand_over(aged(), of(5, NOW - 10, 1), true);
    let lanes = LaneSet::NONE.with(aged());
    let next = take_at(&mut queue, lanes, 2 * EVERY, NOW);
    assert_eq!(next, Next::Read(aged(), Class::Prioritized, Position::START));
    found_in(&mut queue, aged(), Class::Prioritized, &[of(5, NOW - 10, 1)], Some(NOW));
    assert!(matches!(take_at(&mut queue, lanes, 2 * EVERY, NOW), Next::Task(..)));
    assert_eq!(take_at(&mut queue, lanes, 2 * EVERY, NOW), Next::Nothing);
}

#[test]
fn workers_on_the_same_page_keep_the_order_of_tasks_that_age() {
    let mut queue = empty();
    let on = |page, position| Candidate { position, address: Some(Address { page, line: NonZeroU16::MIN }) };
    let tasks = [on(1, of(2, NOW - 500, 1)), on(2, of(2, NOW - 100, 2))];
    let read = Read {
        lane: aged(),
        class: Class::Prioritized,
        tasks: &tasks,
        all_due_at: Some(NOW),
        is_unused: false,
    };
    queue.add(&read, |_| false);
    let ageing = ages(EVERY);
    let sources = Sources { ageing: &ageing, ..Sources::from(LaneSet::NONE.with(aged())) };
    assert_eq!(queue.take(1, sources, NOW, |page| page == 1), Next::Task(aged(), tasks[0]));
}

#[test]
fn definitions_that_change_leave_no_task_in_a_former_lane() {
    let mut queue = empty();
    queue.hand_over(Lane::LOCAL, of(5, NOW - 10, 1), true);
    queue.hand_over(Lane::LOCAL, of(0, NOW - 10, 2), true);
    queue.forget_known();
    assert_eq!(queue.waiting(), LaneSet::NONE);
    assert_eq!(next(&mut queue), Next::Read(Lane::LOCAL, Class::Plain, Position::START));
}
