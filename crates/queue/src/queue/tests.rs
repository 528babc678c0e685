use super::*;
use crate::Address;
use crate::tests::no_keys;
use std::num::NonZeroU16;

fn mails() -> Lane {
    Lane::call(1)
}

fn lanes(with_calls: bool) -> LaneSet {
    if with_calls { LaneSet::LOCAL.with(mails()) } else { LaneSet::LOCAL }
}

fn at(task_id: i64) -> Position {
    Position { priority: 0, scheduled_at: task_id * 10, task_id }
}

fn ready(id: i64) -> Candidate {
    Candidate { position: at(id), address: Some(Address { page: id as u32 / 10, line: NonZeroU16::MIN }) }
}

fn found(ids: &[i64]) -> Vec<Candidate> {
    ids.iter().map(|id| ready(*id)).collect()
}

fn take(queue: &mut Queue, slot: usize, with_calls: bool) -> Next {
    take_beside(queue, slot, lanes(with_calls), |_| false)
}

fn take_beside(queue: &mut Queue, slot: usize, lanes: LaneSet, occupied: impl Fn(u32) -> bool) -> Next {
    loop {
        let next = queue.take(slot, lanes.into(), 0, &occupied);
        if let Next::ReadKeys(lane, _) = next {
            queue.publish_keys(lane, &no_keys(0));
            continue;
        }
        // There is no prioritized task.
        let Next::Read(lane, class @ Class::Prioritized, _) = next else { return next };
        queue.publish(&Read { lane, class, tasks: &[], all_due_at: Some(0), is_unused: true }, |_| false);
    }
}

fn publish(queue: &mut Queue, ids: &[i64], all_due_at: Option<i64>) {
    queue.publish(
        &Read { lane: Lane::LOCAL, class: Class::Plain, is_unused: false, tasks: &found(ids), all_due_at },
        |_| false,
    );
}

fn read(queue: &mut Queue) -> Position {
    match take(queue, 1, false) {
        Next::Read(Lane::LOCAL, Class::Plain, after) => after,
        other => panic!("{other:?}"),
    }
}

fn all(queue: &mut Queue) -> Vec<i64> {
    std::iter::from_fn(|| match take(queue, 1, false) {
        Next::Task(_, task) => Some(task.position.task_id),
        _ => None,
    })
    .collect()
}

#[test]
fn tasks_come_in_order_and_are_read_once() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    assert_eq!(read(&mut queue), Position::START);
    publish(&mut queue, &[1, 2, 3], Some(35));
    assert_eq!(all(&mut queue), [1, 2, 3]);
    assert_eq!(take(&mut queue, 1, false), Next::Nothing);
    assert_eq!(queue.lines[0].cursor, Class::Plain.after_all_due(35));
}

#[test]
fn one_worker_reads_at_a_time_and_others_take_what_is_known() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    assert_eq!(take(&mut queue, 2, false), Next::Wait);
    publish(&mut queue, &(1..=WINDOW as i64).collect::<Vec<_>>(), None);
    for id in 1..=(WINDOW - WINDOW * 3 / 8) as i64 {
        assert_eq!(take(&mut queue, 2, false), Next::Task(Lane::LOCAL, ready(id)));
    }
    assert_eq!(read(&mut queue), at(WINDOW as i64));
    assert!(matches!(take(&mut queue, 2, false), Next::Task(..)));
}

#[test]
fn what_is_announced_during_a_read_is_read_again() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    queue.rewind(Lane::LOCAL, at(2));
    publish(&mut queue, &[1, 3], Some(35));
    assert_eq!(read(&mut queue), at(2).before());
    publish(&mut queue, &[2, 3], Some(36));
    assert_eq!(all(&mut queue), [1, 2, 3]);
}

#[test]
fn a_reader_that_dies_loses_nothing() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    queue.stop_reading(0);
    assert_eq!(take(&mut queue, 2, false), Next::Wait);
    queue.stop_reading(1);
    assert_eq!(read(&mut queue), Position::START);
}

#[test]
fn a_task_is_handed_over_without_reading_if_all_others_are_known() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    queue.hand_over(Lane::LOCAL, at(5), true);
    assert_eq!(read(&mut queue), Position::START);
    publish(&mut queue, &[5], Some(55));
    queue.hand_over(Lane::LOCAL, at(7), true);
    queue.hand_over(Lane::LOCAL, at(6), true);
    assert_eq!(all(&mut queue), [5, 6, 7]);
    assert_eq!(take(&mut queue, 1, false), Next::Nothing);
    assert_eq!(queue.lines[0].cursor, at(7));
}

#[test]
fn what_has_fallen_due_comes_before_what_is_handed_over() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    publish(&mut queue, &[], Some(55));
    // Task 6 has fallen due, and no worker has looked for it yet.
    queue.hand_over(Lane::LOCAL, at(7), false);
    queue.note_due();
    assert_eq!(read(&mut queue), Class::Plain.after_all_due(55));
    publish(&mut queue, &[6, 7], Some(75));
    assert_eq!(all(&mut queue), [6, 7]);
}

#[test]
fn what_falls_due_during_a_read_is_read_after_it() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    queue.note_due();
    publish(&mut queue, &[5], Some(55));
    assert_eq!(take(&mut queue, 1, false), Next::Task(Lane::LOCAL, ready(5)));
    assert_eq!(read(&mut queue), Class::Plain.after_all_due(55));
    publish(&mut queue, &[6], Some(65));
    assert_eq!(all(&mut queue), [6]);
}

#[test]
fn an_earlier_task_comes_first_though_others_are_known() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    publish(&mut queue, &(10..10 + WINDOW as i64).collect::<Vec<_>>(), None);
    queue.rewind(Lane::LOCAL, at(1));
    assert_eq!(read(&mut queue), at(1).before());
    publish(&mut queue, &[1, 10, 11], None);
    assert_eq!(take(&mut queue, 1, false), Next::Read(Lane::LOCAL, Class::Plain, at(11)));
    let rest: Vec<i64> = (12..10 + WINDOW as i64).collect();
    publish(&mut queue, &rest, Some(100_000));
    let last = 9 + WINDOW as i64;
    assert_eq!(all(&mut queue), [vec![1], (10..last).collect()].concat());
    // The window had no room for the last one.
    assert_eq!(queue.lines[0].cursor, at(last).before());
}

#[test]
fn tasks_that_somebody_has_are_not_handed_out_again() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    queue.publish(
        &Read {
            lane: Lane::LOCAL,
            class: Class::Plain,
            is_unused: false,
            tasks: &found(&[1, 2]),
            all_due_at: Some(30),
        },
        |id| id == 1,
    );
    assert_eq!(all(&mut queue), [2]);
}

#[test]
fn workers_keep_apart_while_there_is_room() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    publish(&mut queue, &[8, 9, 10, 11], Some(300));
    let mut other = |occupied: u32| match take_beside(&mut queue, 1, LaneSet::LOCAL, |page| page == occupied)
    {
        Next::Task(_, task) => task.position.task_id,
        next => panic!("{next:?}"),
    };
    assert_eq!([other(0), other(0), other(0), other(7)], [10, 11, 8, 9]);
}

#[test]
fn calls_wait_for_room() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    publish(&mut queue, &[2], Some(35));
    assert_eq!(take(&mut queue, 1, true), Next::Read(mails(), Class::Plain, Position::START));
    queue.publish(
        &Read {
            lane: mails(),
            class: Class::Plain,
            is_unused: false,
            tasks: &found(&[1]),
            all_due_at: Some(35),
        },
        |_| false,
    );
    assert_eq!(take(&mut queue, 1, false), Next::Task(Lane::LOCAL, ready(2)));
    assert!(!queue.has_more(lanes(false), 0) && queue.has_more(lanes(true), 0));
    assert_eq!(take(&mut queue, 1, true), Next::Task(mails(), ready(1)));
}

#[test]
fn a_sweep_brings_what_nobody_announced() {
    let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
    read(&mut queue);
    publish(&mut queue, &[5], Some(55));
    queue.add(
        &Read {
            lane: Lane::LOCAL,
            class: Class::Plain,
            is_unused: false,
            tasks: &found(&[1, 2]),
            all_due_at: None,
        },
        |_| false,
    );
    assert_eq!(read(&mut queue), at(2));
    publish(&mut queue, &[3, 5], Some(55));
    assert_eq!(all(&mut queue), [1, 2, 3, 5]);
}

mod ageing;
mod priority;
