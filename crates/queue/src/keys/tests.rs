use super::*;
use crate::announcement::Announcement;
use crate::journal::Journal;
use crate::limits::StartLimits;
use crate::position::Class;
use crate::queue::{Next, Read};
use crate::slot::SlotState;
use crate::sources::Sources;
use crate::tests::Flag;
use crate::{Terms, type_account};

type Small = Shared<Flag, 4, 2, 8, 8, 8>;

const DATABASE: DatabaseId = DatabaseId::new(5);

fn entry(number: i64, since: i64) -> KeyEntry {
    KeyEntry { key: Key { task_type: 1, queue_key: number }, since, priority: 0, max_running: 1, after: None }
}

/// Three workers of a database, all of whose keys are known.
fn world() -> Box<Small> {
    let mut shared = Box::new(Small::new(1));
    shared.database_or_new(DATABASE).unwrap().look = false;
    for _ in 0..3 {
        let slot = shared.allocate(DATABASE, 0, 0).unwrap();
        shared.slots[slot].state = SlotState::Working;
    }
    assert_eq!(take(&mut shared, 0), Next::Nothing);
    shared
}

fn take(shared: &mut Small, slot: usize) -> Next {
    take_from(shared, slot, LaneSet::LOCAL.into())
}

/// Takes as long as there is nothing to read.
fn take_from(shared: &mut Small, slot: usize, sources: Sources) -> Next {
    loop {
        match shared.take(slot, sources, 0, 10) {
            Next::Read(lane, class, _) => {
                let is_unused = class == Class::Prioritized;
                shared.publish(slot, &Read { lane, class, tasks: &[], all_due_at: Some(10), is_unused }, 0);
            }
            Next::ReadKeys(lane, _) => {
                let read = ReadKeys { entries: &[], end: None, now: 10, is_unused: false };
                shared.publish_keys(slot, lane, &read, 0);
            }
            next => return next,
        }
    }
}

fn announce(shared: &mut Small, entries: &[KeyEntry]) {
    let mut announcement = Announcement::<4>::NOTHING;
    entries.iter().for_each(|entry| announcement.key(Lane::LOCAL, *entry));
    shared.announce(DATABASE, &announcement, 10);
}

fn begin(shared: &mut Small, slot: usize, task_id: i64) {
    let mut journal = Box::new(Journal::<4>::EMPTY);
    shared.begin(&mut journal, slot, task_id, "job", "", 10).unwrap();
}

fn end(shared: &mut Small, slot: usize, how: Over, has_follower: bool) {
    if how == Over::GivenBack {
        shared.put_back(slot);
    }
    if let Some(shown) = &mut shared.slots[slot].key {
        shown.has_follower = has_follower;
    }
    shared.end_key(slot, how, 10);
    shared.slots[slot].end(how);
}

#[test]
fn a_key_is_shown_by_one_worker_at_a_time() {
    let mut shared = world();
    announce(&mut shared, &[entry(1, 5)]);
    assert_eq!(take(&mut shared, 0), Next::Key(Lane::LOCAL, entry(1, 5)));
    begin(&mut shared, 0, 77);
    announce(&mut shared, &[entry(1, 6), entry(2, 7)]);
    assert_eq!(take(&mut shared, 1), Next::Key(Lane::LOCAL, entry(2, 7)));
    assert_eq!(take(&mut shared, 2), Next::Nothing);
    end(&mut shared, 0, Over::Succeeded, false);
    // What was announced during the run is not lost.
    assert_eq!(take(&mut shared, 2), Next::Key(Lane::LOCAL, entry(1, 10)));
}

#[test]
fn as_many_workers_show_a_key_as_tasks_of_it_may_run() {
    let mut shared = world();
    let two = KeyEntry { max_running: 2, ..entry(1, 5) };
    announce(&mut shared, &[two]);
    for slot in 0..2 {
        assert_eq!(take(&mut shared, slot), Next::Key(Lane::LOCAL, two));
        announce(&mut shared, &[two]);
    }
    assert_eq!(take(&mut shared, 2), Next::Nothing);
    assert_eq!(shared.shown(DATABASE, two.key), 2);
    begin(&mut shared, 0, 77);
    end(&mut shared, 0, Over::Failed, false);
    assert!(matches!(take(&mut shared, 2), Next::Key(..)));
}

#[test]
fn a_follower_is_handed_out_when_the_task_before_it_has_ended() {
    for (how, has_follower, is_handed_out) in [
        (Over::Succeeded, true, true),
        (Over::Cancelled, true, true),
        (Over::Failed, false, false),
        (Over::Calling, true, false),
        (Over::GivenBack, false, true),
    ] {
        let mut shared = world();
        announce(&mut shared, &[entry(1, 5)]);
        assert!(matches!(take(&mut shared, 0), Next::Key(..)));
        begin(&mut shared, 0, 77);
        end(&mut shared, 0, how, has_follower);
        assert_eq!(shared.shown(DATABASE, entry(1, 0).key), 0);
        assert_eq!(take(&mut shared, 1) != Next::Nothing, is_handed_out, "{how:?}");
    }
}

#[test]
fn a_worker_that_finds_no_task_leaves_the_key_unless_it_is_wanted() {
    let mut shared = world();
    announce(&mut shared, &[entry(1, 5)]);
    assert!(matches!(take(&mut shared, 0), Next::Key(..)));
    assert_eq!(take(&mut shared, 0), Next::Nothing);
    announce(&mut shared, &[entry(1, 5)]);
    assert!(matches!(take(&mut shared, 0), Next::Key(..)));
    announce(&mut shared, &[entry(1, 8)]);
    assert_eq!(take(&mut shared, 0), Next::Key(Lane::LOCAL, entry(1, 10)));
}

#[test]
fn the_key_of_a_worker_that_ends_is_handed_out_again() {
    let mut shared = world();
    announce(&mut shared, &[entry(1, 5)]);
    assert!(matches!(take(&mut shared, 0), Next::Key(..)));
    begin(&mut shared, 0, 77);
    shared.detach(&mut Box::new(Journal::<4>::EMPTY), 0, 10);
    assert_eq!(take(&mut shared, 1), Next::Key(Lane::LOCAL, entry(1, 5)));
}

#[test]
fn tasks_and_keys_are_taken_in_the_order_of_time() {
    let mut shared = world();
    let mut announcement = Announcement::<4>::NOTHING;
    for time in [4, 6] {
        let position = crate::Position { priority: 0, scheduled_at: time, task_id: time };
        announcement.task(Lane::LOCAL, position);
    }
    announcement.key(Lane::LOCAL, entry(1, 5));
    announcement.key(Lane::LOCAL, KeyEntry { priority: 3, ..entry(2, 9) });
    assert_eq!(announcement.tasks(), 4);
    shared.announce(DATABASE, &announcement, 10);
    let times = std::iter::from_fn(|| match take(&mut shared, 0) {
        Next::Task(_, task) => Some(task.position.scheduled_at),
        Next::Key(_, entry) => Some(entry.since),
        _ => None,
    });
    assert_eq!(times.collect::<Vec<_>>(), [9, 4, 5, 6]);
}

#[test]
fn of_more_keys_than_can_be_announced_all_are_read() {
    let mut shared = world();
    announce(&mut shared, &[entry(1, 5)]);
    assert!(matches!(take(&mut shared, 0), Next::Key(..)));
    let many: Vec<KeyEntry> = (1..=5).map(|number| entry(number, 5)).collect();
    announce(&mut shared, &many);
    assert!(matches!(shared.take(1, LaneSet::LOCAL, 0, 10), Next::ReadKeys(Lane::LOCAL, Key::FIRST)));
    assert!(shared.slots[0].key.unwrap().is_wanted);
}

#[test]
fn a_database_without_keys_reads_them_once() {
    let mut shared = world();
    assert!(!matches!(take(&mut shared, 0), Next::ReadKeys(..)));
    shared.forget_queue(DATABASE, 10);
    let mut lanes = LaneSet::ALL.iter();
    let read = ReadKeys { entries: &[], end: None, now: 10, is_unused: true };
    loop {
        match shared.take(0, LaneSet::ALL, 1, 10) {
            Next::Read(lane, class, _) => {
                shared.publish(
                    0,
                    &Read { lane, class, tasks: &[], all_due_at: Some(10), is_unused: false },
                    1,
                );
            }
            Next::ReadKeys(lane, _) => {
                assert_eq!(lanes.next(), Some(lane));
                shared.publish_keys(0, lane, &read, 1);
            }
            _ => break,
        }
    }
    assert_eq!(lanes.next(), Some(Lane::call(1)), "the first read tells that there are none");
    // A task that is announced while somebody reads is not overlooked.
    shared.forget_queue(DATABASE, 10);
    while !matches!(shared.take(0, LaneSet::LOCAL, 2, 10), Next::ReadKeys(..)) {
        for class in Class::ALL {
            let read = Read { lane: Lane::LOCAL, class, tasks: &[], all_due_at: Some(10), is_unused: false };
            shared.publish(0, &read, 2);
        }
    }
    announce(&mut shared, &[entry(1, 50)]);
    shared.publish_keys(0, Lane::LOCAL, &read, 2);
    assert!(shared.queue(DATABASE).unwrap().uses_keys());
}

#[test]
fn a_key_whose_type_may_not_start_another_task_waits_in_its_lane() {
    let mut shared = world();
    let lane = Lane::of_type(0);
    let terms = Terms {
        account: type_account(DATABASE, "job"),
        interval: 0,
        burst: 1,
        max_in_flight: 1,
        breaker_threshold: 0,
        breaker_cooldown: 0,
    };
    let mut limits = [None; crate::TYPE_LANES];
    limits[0] = Some(StartLimits { terms, calls: false });
    let sources = Sources { limits: &limits, ..Sources::from(LaneSet::NONE.with(lane)) };
    for slot in 0..2 {
        assert_eq!(take_from(&mut shared, slot, sources), Next::Nothing);
    }
    let mut announcement = Announcement::<4>::NOTHING;
    (1..=2).for_each(|number| announcement.key(lane, entry(number, number)));
    shared.announce(DATABASE, &announcement, 10);
    assert_eq!(take_from(&mut shared, 0, sources), Next::Key(lane, entry(1, 1)));
    begin(&mut shared, 0, 77);
    assert_eq!(take_from(&mut shared, 1, sources), Next::Nothing);
    assert_eq!(shared.shown(DATABASE, entry(2, 2).key), 0);
    shared.end_start(0, Over::Succeeded);
    end(&mut shared, 0, Over::Succeeded, false);
    assert_eq!(take_from(&mut shared, 1, sources), Next::Key(lane, entry(2, 2)));
}

#[test]
fn the_next_look_begins_after_the_last_task_unless_something_was_announced() {
    let first = KeyPlace { scheduled_at: 3, task_id: 77 };
    for (is_announced, after) in [(None, Some(first)), (Some(true), None), (Some(false), None)] {
        let mut shared = world();
        announce(&mut shared, &[entry(1, 5)]);
        assert!(matches!(take(&mut shared, 0), Next::Key(..)));
        begin(&mut shared, 0, 77);
        if is_announced == Some(true) {
            announce(&mut shared, &[entry(1, 6)]);
        }
        shared.note_follower(0, Some(0), Some(first), 10);
        end(&mut shared, 0, Over::Succeeded, true);
        if is_announced == Some(false) {
            announce(&mut shared, &[entry(1, 6)]);
        }
        let Next::Key(_, taken) = take(&mut shared, 1) else { panic!("the key is not handed out") };
        assert_eq!(taken.after, after, "{is_announced:?}");
        // The same holds if the worker puts it back, and something is announced meanwhile.
        announce(&mut shared, &[entry(1, 7)]);
        shared.put_back(1);
        assert!(matches!(take(&mut shared, 2), Next::Key(_, taken) if taken.after.is_none()));
    }
}

#[test]
fn a_worker_that_begins_one_of_several_tasks_wakes_another_for_the_next() {
    for (max_running, has_follower, is_handed_out) in [(2, true, true), (2, false, false), (1, true, false)] {
        let mut shared = world();
        let entry = KeyEntry { max_running, ..entry(1, 5) };
        announce(&mut shared, &[entry]);
        assert!(matches!(take(&mut shared, 0), Next::Key(..)));
        (shared.slots[1].state, shared.slots[1].latch) = (SlotState::Idle, Flag(false));
        begin(&mut shared, 0, 77);
        shared.note_follower(0, has_follower.then_some(0), None, 10);
        assert_eq!(shared.slots[1].latch.0, is_handed_out, "{max_running} {has_follower}");
        assert_eq!(take(&mut shared, 1) != Next::Nothing, is_handed_out);
        // As many show it as may.
        shared.note_follower(0, has_follower.then_some(0), None, 10);
        assert_eq!(take(&mut shared, 2), Next::Nothing);
    }
}

#[test]
fn a_key_that_was_announced_with_an_older_definition_is_corrected() {
    let mut shared = world();
    announce(&mut shared, &[entry(1, 5)]);
    assert!(matches!(take(&mut shared, 0), Next::Key(..)));
    assert!(shared.correct_key(0, Lane::LOCAL, 2, 0));
    assert_eq!(shared.slots[0].key.unwrap().entry.max_running, 2);
    shared.slots[1].state = SlotState::Idle;
    let announced = shared.database(DATABASE).unwrap().announced;
    assert!(!shared.correct_key(0, Lane::call(1), 2, 0), "it is in another lane now");
    assert_eq!(shared.shown(DATABASE, entry(1, 5).key), 0);
    assert!(shared.slots[1].latch.0 && shared.database(DATABASE).unwrap().announced > announced);
    assert_eq!(take(&mut shared, 0), Next::Nothing);
    let sources = LaneSet::NONE.with(Lane::call(1)).into();
    let corrected = KeyEntry { max_running: 2, ..entry(1, 5) };
    assert_eq!(take_from(&mut shared, 1, sources), Next::Key(Lane::call(1), corrected));
}

#[test]
fn the_next_turn_of_a_key_is_left_to_another_worker_by_one_that_may_be_full() {
    for (how, full, is_woken) in
        [(Over::Calling, false, true), (Over::Succeeded, true, true), (Over::Succeeded, false, false)]
    {
        let mut shared = world();
        announce(&mut shared, &[KeyEntry { max_running: 2, ..entry(1, 5) }]);
        assert!(matches!(take(&mut shared, 0), Next::Key(..)));
        begin(&mut shared, 0, 77);
        (shared.slots[0].full, shared.slots[1].state) = (full, SlotState::Idle);
        end(&mut shared, 0, how, true);
        assert_eq!(shared.slots[1].latch.0, is_woken, "{how:?} {full}");
    }
}

/// True if the next worker that looks for work reads the keys.
fn reads_keys(shared: &mut Small, slot: usize) -> bool {
    loop {
        match shared.take(slot, LaneSet::LOCAL, 0, 10) {
            Next::Read(lane, class, _) => {
                let read = Read { lane, class, tasks: &[], all_due_at: Some(10), is_unused: true };
                shared.publish(slot, &read, 0);
            }
            next => return matches!(next, Next::ReadKeys(..)),
        }
    }
}

#[test]
fn all_keys_are_read_after_a_prepared_transaction() {
    let mut shared = world();
    announce(&mut shared, &[entry(1, 5)]);
    assert!(matches!(take(&mut shared, 0), Next::Key(..)));
    shared.database(DATABASE).unwrap().unannounced = true;
    shared.announce_prepared(DATABASE, 10);
    assert!(shared.slots[0].key.unwrap().is_wanted);
    assert!(reads_keys(&mut shared, 1));
}

#[test]
fn all_keys_are_read_after_a_worker_that_may_have_kept_some() {
    for (state, retire, is_read) in [
        (SlotState::Working, false, true),
        (SlotState::Leaving, true, true),
        (SlotState::Leaving, false, false),
    ] {
        let mut shared = world();
        shared.slots[1].state = SlotState::Idle;
        (shared.slots[0].state, shared.slots[0].retire) = (state, retire);
        shared.detach(&mut Box::new(Journal::<4>::EMPTY), 0, 10);
        assert_eq!(shared.slots[1].latch.0, is_read, "{state:?} {retire}");
        assert_eq!(reads_keys(&mut shared, 1), is_read, "{state:?} {retire}");
    }
}

#[test]
fn a_key_that_a_full_worker_hands_back_wakes_another() {
    for full in [true, false] {
        let mut shared = world();
        (shared.slots[0].full, shared.slots[1].state) = (full, SlotState::Idle);
        shared.hand_back_key(0, Lane::LOCAL, entry(1, 5));
        assert_eq!(shared.slots[1].latch.0, full);
        assert_eq!(take(&mut shared, 1), Next::Key(Lane::LOCAL, entry(1, 5)));
    }
}

#[test]
fn an_announcement_of_many_keys_lets_searches_begin_at_the_first_task() {
    let place = Some(KeyPlace { scheduled_at: 3, task_id: 77 });
    let mut shared = world();
    shared.hand_over_key(DATABASE, Lane::LOCAL, KeyEntry { after: place, ..entry(9, 5) });
    let many: Vec<KeyEntry> = (1..=5).map(|number| entry(number, 5)).collect();
    announce(&mut shared, &many);
    while let Next::Key(_, taken) = take(&mut shared, 0) {
        assert_eq!(taken.after, None);
    }
    // The same holds if the window has no room for what is announced.
    let mut shared = world();
    for number in 1..=8 {
        shared.hand_over_key(DATABASE, Lane::LOCAL, KeyEntry { after: place, ..entry(number, number) });
    }
    shared.queue(DATABASE).unwrap().key_lines[0].ends = 1;
    announce(&mut shared, &[entry(8, 1)]);
    let known = |entry: &&KeyEntry| entry.key.queue_key == 8;
    assert_eq!(shared.queue(DATABASE).unwrap().local_keys.iter().find(known).unwrap().after, None);
}

#[test]
fn a_key_has_the_priority_of_its_next_task() {
    let high = KeyEntry { priority: 9, ..entry(1, 5) };
    // The one that follows has a lower priority.
    let mut shared = world();
    announce(&mut shared, &[high, entry(2, 6)]);
    assert_eq!(take(&mut shared, 0), Next::Key(Lane::LOCAL, high));
    begin(&mut shared, 0, 77);
    shared.note_follower(0, Some(0), None, 10);
    shared.end_key(0, Over::Succeeded, 10);
    shared.slots[0].end(Over::Succeeded);
    assert_eq!(take(&mut shared, 0), Next::Key(Lane::LOCAL, entry(2, 6)));
    assert_eq!(take(&mut shared, 1), Next::Key(Lane::LOCAL, entry(1, 10)));
    // One of a higher priority is announced during the run.
    announce(&mut shared, &[high]);
    begin(&mut shared, 1, 78);
    shared.end_key(1, Over::Succeeded, 20);
    shared.slots[1].end(Over::Succeeded);
    assert_eq!(take(&mut shared, 2), Next::Key(Lane::LOCAL, KeyEntry { since: 20, ..high }));
    // Its first task turns out to have another one.
    announce(&mut shared, &[KeyEntry { priority: 3, ..entry(4, 8) }]);
    assert!(!shared.correct_key(2, Lane::LOCAL, 1, 2));
    assert_eq!(take(&mut shared, 2), Next::Key(Lane::LOCAL, KeyEntry { priority: 3, ..entry(4, 8) }));
}

#[test]
fn keys_are_read_again_if_definitions_change_while_their_tasks_run() {
    let mut shared = world();
    announce(&mut shared, &[entry(1, 5)]);
    assert!(matches!(take(&mut shared, 0), Next::Key(..)));
    begin(&mut shared, 0, 77);
    shared.note_follower(0, Some(0), None, 10);
    shared.forget_queue(DATABASE, 10);
    shared.queue(DATABASE).unwrap().key_lines.iter_mut().for_each(|line| line.ends = 0);
    shared.end_key(0, Over::Succeeded, 10);
    let queue = shared.queue(DATABASE).unwrap();
    let lines = || LaneSet::ALL.iter().map(|lane| &queue.key_lines[lane.index()]);
    assert!(lines().all(|line| line.ends > 0 && line.len == 0));
}

#[test]
fn the_start_of_a_task_that_is_not_begun_is_given_back() {
    let mut shared = world();
    let interval = 1_000;
    for is_begun in [false, true] {
        announce(&mut shared, &[entry(1, 5)]);
        assert!(matches!(take(&mut shared, 0), Next::Key(..)));
        assert_eq!(shared.start_key(0, interval, 10), Admission::Admitted);
        if is_begun {
            begin(&mut shared, 0, 77);
            end(&mut shared, 0, Over::Succeeded, false);
        } else {
            shared.put_back(0);
            assert!(matches!(take(&mut shared, 0), Next::Key(..)));
            assert_eq!(take(&mut shared, 0), Next::Nothing);
        }
        assert_eq!(shared.key_refusal(DATABASE, entry(1, 0).key, 10).is_some(), is_begun);
    }
}
