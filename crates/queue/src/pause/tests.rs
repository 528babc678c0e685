use super::*;
use crate::lane::{Lane, LaneSet};
use crate::numbers::NEVER;
use crate::position::Position;
use crate::queue::Next;
use crate::shared::Rest;
use crate::slot::SlotState;
use crate::tests::Flag;

type Small = Shared<Flag, 4, 2, 8, 8, 8>;

const DATABASE: DatabaseId = DatabaseId::new(5);
const REST: Rest = Rest { next_due: NEVER, nothing_prepared: true };

/// Two workers in a database whose only task is known.
fn world() -> Box<Small> {
    let mut shared = Box::new(Small::new(1));
    shared.database_or_new(DATABASE).unwrap().look = false;
    for _ in 0..2 {
        let slot = shared.allocate(DATABASE, 0, 0).unwrap();
        shared.slots[slot].state = SlotState::Working;
    }
    shared.queue_or_new(DATABASE).unwrap();
    announce(&mut shared, 1, 10);
    shared
}

fn announce(shared: &mut Small, task_id: i64, now: i64) {
    let mut announcement: Announcement = Announcement::NOTHING;
    announcement.task(Lane::LOCAL, Position { priority: 0, scheduled_at: now, task_id });
    shared.announce(DATABASE, &announcement, now);
}

fn entry(shared: &mut Small) -> &mut Database {
    shared.database(DATABASE).unwrap()
}

fn take(shared: &mut Small) -> Next {
    let changes = entry(shared).definition_changes;
    shared.take(0, LaneSet::LOCAL, changes, 20)
}

#[test]
fn a_paused_database_hands_out_nothing_and_starts_no_worker() {
    let mut shared = world();
    shared.set_pauses(DATABASE, 0, true, NEVER, 10);
    assert_eq!(take(&mut shared), Next::Nothing);
    let announced = entry(&mut shared).announced;
    entry(&mut shared).due_unknown = false;
    assert_eq!(shared.go_idle(0, announced, Some(REST), 20), Some(NEVER));
    // What becomes ready wakes no worker.
    announce(&mut shared, 2, 30);
    assert_eq!(shared.slots[0].state, SlotState::Idle);
    entry(&mut shared).needs_worker = true;
    entry(&mut shared).next_due = 30;
    assert!(!entry(&mut shared).has_work(40));
    // Orphaned calls go on.
    entry(&mut shared).orphans = true;
    assert!(entry(&mut shared).has_work(40));
}

#[test]
fn the_end_of_a_pause_wakes_one_worker() {
    let mut shared = world();
    shared.set_pauses(DATABASE, 0, true, 100, 10);
    let announced = entry(&mut shared).announced;
    assert_eq!(shared.go_idle(0, announced, Some(REST), 20), Some(100));
    assert!(!entry(&mut shared).has_work(99) && entry(&mut shared).has_work(100));
    shared.wake_for_due(DATABASE, 100);
    assert_eq!(shared.slots[0].state, SlotState::Working);
    assert!(entry(&mut shared).pause_over && !entry(&mut shared).has_work(101));
    assert!(entry(&mut shared).take_pause_end(101));
    // If that worker fails, another one tries after a while.
    assert!(!entry(&mut shared).take_pause_end(101));
    assert!(entry(&mut shared).take_pause_end(101 + RETRY));
}

#[test]
fn what_was_read_before_a_change_is_not_noted() {
    let mut shared = world();
    shared.forget_queue(DATABASE, 10);
    shared.set_pauses(DATABASE, 0, true, NEVER, 10);
    assert!(!shared.starts_nothing(DATABASE));
    shared.set_pauses(DATABASE, 1, true, NEVER, 10);
    assert!(shared.starts_nothing(DATABASE));
}

#[test]
fn a_drain_counts_at_once_and_ends_with_its_transaction() {
    let mut shared = world();
    assert!(shared.begin_drain(DATABASE, 7) && shared.begin_drain(DATABASE, 8));
    assert_eq!(take(&mut shared), Next::Nothing);
    shared.end_drain(8, 20);
    assert_eq!(entry(&mut shared).drained_by(), Some(7));
    let changes = entry(&mut shared).definition_changes;
    shared.end_drain(7, 30);
    // No worker takes a task before it has read whether there is a pause now.
    assert_eq!(shared.take(0, LaneSet::LOCAL, changes, 30), Next::Wait);
    assert_ne!(take(&mut shared), Next::Nothing);
    let mut shared = world();
    assert!((1..=8).all(|pid| shared.begin_drain(DATABASE, pid)));
    assert!(!shared.begin_drain(DATABASE, 9));
}

#[test]
fn tasks_that_were_left_out_are_looked_for_if_the_pause_has_ended() {
    let mut shared = world();
    assert!(shared.announce_paused(DATABASE, 0, 20));
    let swept = |shared: &mut Small| shared.queue(DATABASE).unwrap().requested_sweep_at() != NEVER;
    assert!(!swept(&mut shared));
    shared.forget_queue(DATABASE, 30);
    shared.queue(DATABASE).unwrap().begin_sweep(50, NEVER);
    assert!(!swept(&mut shared));
    assert!(!shared.announce_paused(DATABASE, 0, 60));
    assert!(swept(&mut shared) && entry(&mut shared).due_unknown);
}

#[test]
fn nothing_is_taken_from_the_lane_of_paused_tasks() {
    assert!(!LaneSet::ALL.holds(Lane::PAUSED) && !LaneSet::NONE.with(Lane::PAUSED).holds(Lane::PAUSED));
    assert!(LaneSet::ALL.without(Lane::PAUSED).iter().eq(LaneSet::ALL.iter()));
    assert_eq!((Lane::PAUSED.type_place(), LaneSet::ALL.iter().count()), (None, 32));
}

#[test]
fn the_end_of_a_pause_is_not_lost_if_a_worker_reads_the_rows_after_it() {
    let mut shared = world();
    shared.set_pauses(DATABASE, 0, false, 100, 10);
    shared.set_pauses(DATABASE, 0, false, NEVER, 100);
    let announced = entry(&mut shared).announced;
    assert_eq!(shared.go_idle(0, announced, Some(REST), 100), None);
    assert!(entry(&mut shared).take_pause_end(100));
}

#[test]
fn a_database_without_workers_gets_one_when_it_is_resumed() {
    let mut shared = world();
    shared.set_pauses(DATABASE, 0, true, NEVER, 10);
    entry(&mut shared).needs_worker = true;
    shared.slots.iter_mut().for_each(|slot| slot.state = SlotState::Free);
    shared.launcher = Flag(false);
    assert!(!entry(&mut shared).has_work(10));
    shared.change_pauses(DATABASE, 20);
    assert!(shared.launcher.0 && entry(&mut shared).has_work(20));
}
