//! Tests of the table and of what is made of it.

use crate::entry::{CallCount, Entry, Status, TaskCount};
use crate::key::{Key, Role};
use crate::saved::{self, Saved};
use crate::snapshot::{Counter, Snapshot, Time};
use crate::summary::{OTHER, Summary};
use crate::table::{Handle, Table};
use std::sync::Arc;

/// A table for tests.
fn empty<const N: usize>() -> Box<Table<N>> {
    Table::empty()
}

const DATABASE: u32 = 5;

fn entry<'a, const N: usize>(table: &'a Table<N>, key: &Key) -> &'a Entry {
    table.get(table.find_or_add(key, 1).unwrap()).unwrap()
}

fn end(status: Status, task_id: i64) -> TaskCount {
    TaskCount { task_id, attempts: 1, ended: Some(status), ..TaskCount::default() }
}

#[test]
fn what_was_counted_is_read() {
    let table = empty::<8>();
    let tasks = entry(&table, &Key::of_tasks(DATABASE, "mail"));
    let first = TaskCount { waiting: Some(100), running: Some(5000), ..end(Status::Succeeded, 7) };
    tasks.count_task(&first, 50);
    tasks.count_task(&TaskCount { errors: 2, ..end(Status::Failed, 8) }, 60);
    tasks.count_task(&TaskCount { others: 4, attempts: 0, ..end(Status::Cancelled, 9) }, 60);
    tasks.count_task(&TaskCount { is_repeated: true, attempts: 1, ..TaskCount::default() }, 70);
    let counts = tasks.counts();
    let of = |counter| counts.count(counter);
    assert_eq!([of(Counter::Succeeded), of(Counter::Failed), of(Counter::Cancelled)], [1, 1, 5]);
    assert_eq!([of(Counter::Attempts), of(Counter::Repeated), of(Counter::Errors)], [3, 1, 2]);
    assert_eq!((counts.time(Time::Waiting).sum, counts.time(Time::Running).max), (100, 5000));
    assert_eq!((tasks.last_ended(false), tasks.last_ended(true)), (vec![9, 8, 7], vec![8]));
    assert_eq!(tasks.lately(Status::Cancelled, 80, 15), 5);
    // A task that was only thought to have succeeded.
    tasks.count_task(&TaskCount { had_succeeded: true, attempts: 0, ..end(Status::Failed, 7) }, 80);
    let counts = tasks.counts();
    assert_eq!((counts.count(Counter::Succeeded), counts.count(Counter::Failed)), (0, 2));
    assert_eq!((tasks.used_at(), tasks.since()), (80, 1));

    let handler = entry(&table, &Key::of_handler(DATABASE, "mail", Role::BeforeHandler, "app.f"));
    handler.count_invocation(10, false, 90);
    handler.count_invocation(20, true, 90);
    let counts = handler.counts();
    assert_eq!((counts.count(Counter::Invocations), counts.count(Counter::Errors)), (2, 1));
    assert_eq!((counts.time(Time::Running).count(), handler.name().as_str()), (2, "app.f"));

    let calls = entry(&table, &Key::of_calls(DATABASE, "mail", "resend"));
    for status in [None, Some(200), Some(202), Some(301), Some(429), Some(503)] {
        calls.count_call(CallCount { status, took: 1000 }, 100);
    }
    calls.count_call_as(Counter::Deferred);
    let counts = calls.counts();
    let classes = [Counter::NoResponse, Counter::Status2xx, Counter::Status3xx, Counter::Status4xx];
    assert_eq!(classes.map(|counter| counts.count(counter)), [1, 2, 1, 1]);
    assert_eq!((counts.count(Counter::Calls), counts.count(Counter::Deferred)), (6, 1));
}

#[test]
fn counts_of_many_threads_add_up() {
    let table: Arc<Table<8>> = Arc::from(empty::<8>());
    let handle = table.find_or_add(&Key::of_tasks(DATABASE, "t"), 1).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let table = table.clone();
            std::thread::spawn(move || {
                for task in 0..10_000 {
                    let count = TaskCount { running: Some(task), ..end(Status::Succeeded, thread + 1) };
                    table.get(handle).unwrap().count_task(&count, task * 1000);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let counts = table.get(handle).unwrap().counts();
    assert_eq!(counts.count(Counter::Succeeded), 40_000);
    assert_eq!(counts.time(Time::Running).count(), 40_000);
}

#[test]
fn the_least_recently_used_entry_of_the_largest_database_is_replaced() {
    let table = empty::<6>();
    let add = |key: Key, now: i64| table.find_or_add(&key, now);
    let database = add(Key::of_database(1), 0).unwrap();
    let small = add(Key::of_tasks(2, "small"), 0).unwrap();
    let mut large: Vec<Handle> =
        (0..4).map(|n| add(Key::of_tasks(1, &format!("t{n}")), 1).unwrap()).collect();
    table.get(large[0]).unwrap().count_task(&end(Status::Succeeded, 1), 10);
    assert_eq!(add(Key::of_tasks(1, "t0"), 20), Some(large[0]));
    assert_eq!(table.replaced(), 0);
    let later = 5_000_000;
    let new = add(Key::of_tasks(2, "new"), later).unwrap();
    assert_eq!(table.replaced(), 1);
    // Not again at once.
    assert_eq!(add(Key::of_tasks(2, "newer"), later + 10), None);
    assert_eq!(add(Key::of_tasks(1, "t0"), later + 10), Some(large[0]));
    large.retain(|handle| table.get(*handle).is_some());
    assert_eq!(large.len(), 3);
    assert!([database, small, new, large[0]].into_iter().all(|handle| table.get(handle).is_some()));
    assert!(table.get(new).unwrap().counts().is_empty());
}

#[test]
fn a_reset_concerns_a_database_or_one_type_of_it() {
    let table = empty::<8>();
    let keys =
        [Key::of_tasks(1, "a"), Key::of_tasks(1, "b"), Key::of_calls(1, "b", "p"), Key::of_tasks(2, "a")];
    let handles = keys.map(|key| table.find_or_add(&key, 1).unwrap());
    let count = || handles.iter().for_each(|h| table.get(*h).unwrap().count_task(&end(Status::Failed, 3), 5));
    let failed = || handles.map(|handle| table.get(handle).unwrap().counts().count(Counter::Failed));
    count();
    table.reset(1, Some("b"), 9);
    assert_eq!(failed(), [1, 0, 0, 1]);
    assert_eq!(handles.map(|handle| table.get(handle).unwrap().since()), [1, 9, 9, 1]);
    count();
    table.reset(1, None, 10);
    assert_eq!(failed(), [0, 0, 0, 2]);
    // What ended is no count.
    assert_eq!(table.get(handles[0]).unwrap().last_ended(true), [3, 3]);
}

#[test]
fn a_table_is_saved_and_read_again() {
    let table = empty::<8>();
    assert!(Saved::of(&table).is_none());
    let long = "é".repeat(500);
    let keys = [Key::of_tasks(1, &long), Key::of_handler(2, "t", Role::ErrorHandler, "f")];
    for key in &keys {
        let count = TaskCount { running: Some(77), errors: 1, ..end(Status::Failed, 4) };
        entry(&table, key).count_task(&count, 30);
        entry(&table, key).count_task(&end(Status::Succeeded, 5), 40);
    }
    let noted = entry(&table, &keys[0]).counts();
    entry(&table, &keys[0]).note(&noted);
    entry(&table, &keys[0]).count_task(&end(Status::Succeeded, 6), 50);
    table.find_or_add(&Key::of_database(1), 1);
    let file = saved::write(&Saved::of(&table).unwrap()).unwrap();

    let again = empty::<8>();
    saved::read(&file).unwrap().restore(&again);
    assert_eq!(again.of_database(1).count() + again.of_database(2).count(), 2);
    for key in &keys {
        let (old, new) = (entry(&table, key), entry(&again, key));
        assert_eq!((old.counts(), old.noted()), (new.counts(), new.noted()));
        assert_eq!((old.since(), old.used_at()), (new.since(), new.used_at()));
        assert_eq!(
            (old.last_ended(false), old.last_ended(true)),
            (new.last_ended(false), new.last_ended(true))
        );
        assert_eq!((old.task_type(), old.name(), old.role()), (new.task_type(), new.name(), new.role()));
    }
    let new = entry(&again, &keys[0]);
    assert_eq!(new.counts().since(&new.noted()).count(Counter::Succeeded), 1);

    let problem = |file: &[u8]| saved::read(file).err().unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    assert_eq!(
        problem(text.replace("statistics 1", "statistics 0").as_bytes()),
        "the file is of another version"
    );
    assert_eq!(problem(&file[..file.len() - 1]), "the file is damaged");
    assert_eq!(problem(text.replace("77", "78").as_bytes()), "the file is damaged");
    assert_eq!(problem(b""), "the file is damaged");
}

#[test]
fn a_minute_of_the_history_begins_once() {
    let table = empty::<2>();
    let database = entry(&table, &Key::of_database(1));
    assert_eq!([5, 5, 6, 6].map(|minute| database.begin_minute(minute)), [true, false, true, false]);
}

#[test]
fn summaries_add_up_and_are_limited() {
    let table = empty::<16>();
    let mut summary = Summary::default();
    for n in 0..6 {
        let tasks = entry(&table, &Key::of_tasks(1, &format!("t{n}")));
        (0..=n).for_each(|task| {
            tasks.count_task(&TaskCount { running: Some(10), ..end(Status::Succeeded, task) }, 1)
        });
        summary.add_entry(tasks, &tasks.counts());
    }
    let calls = entry(&table, &Key::of_calls(1, "t5", "p"));
    calls.count_call(CallCount { status: Some(200), took: 9 }, 1);
    summary.add_entry(calls, &calls.counts());
    let total = summary.total();
    assert_eq!((total.succeeded, total.calls, total.running.count()), (21, 1, 21));
    assert_eq!((summary.providers["p"].calls, summary.types["t5"].calls), (1, 1));
    summary.limit(2);
    assert_eq!(summary.types.keys().collect::<Vec<_>>(), [OTHER, "t4", "t5"]);
    assert_eq!((summary.types[OTHER].succeeded, summary.total()), (10, total));
    let text = serde_json::to_string(&summary).unwrap();
    let mut twice: Summary = serde_json::from_str(&text).unwrap();
    assert_eq!(twice, summary);
    twice.add(&summary);
    assert_eq!((twice.total().succeeded, twice.total().running.count()), (42, 42));
}

#[test]
fn nothing_counted_is_empty() {
    assert!(Snapshot::EMPTY.is_empty());
}
