use super::*;

const MINUTE: i64 = 60_000_000;

fn task(priority: i16, minute: i64, task_id: i64) -> Position {
    Position { priority, scheduled_at: minute * MINUTE, task_id }
}

fn every_minute() -> Ageing {
    Ageing::every(MINUTE)
}

#[test]
fn a_priority_rises_by_one_for_each_interval() {
    let effective = |minutes: i64| every_minute().effective(task(0, 0, 1), minutes * MINUTE).priority;
    assert_eq!([effective(0), effective(1), effective(7)], [0, 1, 7]);
    assert_eq!(every_minute().effective(task(0, 0, 1), 2 * MINUTE - 1).priority, 1);
    assert_eq!(every_minute().effective(task(-3, 0, 1), 5 * MINUTE).priority, 2);
    assert_eq!(effective(1_000_000), i16::MAX);
}

#[test]
fn a_task_that_is_not_due_does_not_age() {
    assert_eq!(every_minute().effective(task(2, 5, 1), MINUTE), task(2, 5, 1));
    assert_eq!(Ageing::NONE.effective(task(2, 5, 1), 60 * MINUTE), task(2, 5, 1));
}

#[test]
fn equals_start_in_the_order_in_which_they_reached_the_priority() {
    let now = 10 * MINUTE;
    // One reached priority 5 at minute 6, the other one was enqueued with it at minute 5.
    let (aged, other) = (every_minute().effective(task(0, 1, 1), 6 * MINUTE), task(5, 5, 2));
    assert_eq!((aged.priority, aged.scheduled_at), (5, 6 * MINUTE));
    assert!(other < aged);
    assert!(every_minute().effective(task(0, 1, 1), now) < other);
}

#[test]
fn the_order_of_a_type_is_the_same_at_all_times() {
    let tasks: Vec<Position> = (-3..4)
        .flat_map(|priority| (0..9).map(move |n| task(priority, n * 7 % 9, n + 10 * i64::from(priority))))
        .collect();
    for now in [9, 12, 30, 100] {
        let now = now * MINUTE + MINUTE / 3;
        for one in &tasks {
            for other in &tasks {
                let (ages, place) = (every_minute(), |task: &Position| every_minute().place(*task));
                let effective = ages.effective(*one, now).cmp(&ages.effective(*other, now));
                assert_eq!(place(one).cmp(&place(other)), effective, "{one:?}, {other:?}");
            }
        }
    }
}

#[test]
fn a_place_divides_the_tasks_of_a_type_at_a_position_of_another_one() {
    let now = 20 * MINUTE + MINUTE / 4;
    let tasks: Vec<Position> =
        (0..90).map(|n: i64| Position { task_id: n, ..task((n % 7 - 3) as i16, n * 7 % 21, n) }).collect();
    for priority in [i16::MIN, -3, 0, 4, 9, i16::MAX] {
        for minute in [0, 13, 20] {
            let other = task(priority, minute, 45);
            let place = every_minute().place_before(other, now);
            for task in &tasks {
                let is_before = every_minute().effective(*task, now) < other;
                assert_eq!(every_minute().place(*task) < place, is_before, "{task:?}, {other:?}");
            }
        }
    }
}

#[test]
fn a_place_is_that_of_one_position_of_each_priority() {
    for priority in [i16::MIN, -4, 0, 7, i16::MAX] {
        let position = task(priority, 3, 9);
        assert_eq!(every_minute().at_place(every_minute().place(position), priority), position);
    }
}

#[test]
fn times_without_end_stay_in_the_order() {
    for ages in [every_minute(), Ageing::every(Ageing::MAX), Ageing::every(1)] {
        for priority in [i16::MIN, 0, i16::MAX] {
            let first = Position { priority, scheduled_at: i64::MIN, task_id: 4 };
            assert_eq!(ages.place(first), Position { priority: 1, ..first });
            assert_eq!(ages.at_place(ages.place(first), priority), first);
            assert_eq!(ages.effective(first, 0), Position { priority: i16::MAX, ..first });
            let last = Position { scheduled_at: i64::MAX, ..first };
            assert_eq!(ages.place(last).scheduled_at, i64::MAX);
            // The longest interval still keeps due tasks apart from those without a begin or end.
            let due = ages.place(Position { scheduled_at: 800_000_000_000_000_000, ..first });
            assert!(Position::START < due && ages.place(first) < due && due < ages.place(last));
            assert_eq!(ages.at_place(due, priority).scheduled_at, 800_000_000_000_000_000);
        }
    }
}

#[test]
fn an_interval_out_of_range_is_none() {
    assert!([0, -1, i64::MIN, Ageing::MAX + 1].into_iter().all(|interval| Ageing::every(interval).is_none()));
    assert_eq!(Ageing::every(MINUTE).interval(), MINUTE);
}
