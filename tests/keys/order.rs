//! Tasks of a key run in order, and keys take turns.

use std::thread;

use postgres::Client;
use serde_json::json;
use standin::{Answer, Request};

use super::{
    FOUR_WORKERS, HANDLERS, assert_all_ran, assert_in_order, enqueue, enqueue_many, enqueue_with, gated,
    payload, ran, start, wait_ended,
};
use crate::harness::calling::{Calling, ok};
use crate::harness::handlers::{Gate, one, wait_running};
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::wait_until_sql;

#[test]
fn tasks_of_a_key_run_one_after_the_other_in_order() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    enqueue_many(&mut client, "keyed", 10, 30, &json!({}));
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
    let workers: i64 = one(&mut client, "select count(distinct pid) from public.run");
    assert!(workers > 1, "several workers share the keys");
}

#[test]
fn a_few_keys_are_enough_for_all_workers() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    enqueue_many(&mut client, "keyed", 3, 20, &json!({"seconds": 0.005}));
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
}

#[test]
fn sessions_that_enqueue_at_the_same_time_lose_nothing() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    thread::scope(|scope| {
        for session in 0..6 {
            let mut client = cluster.connect("postgres");
            scope.spawn(move || {
                for n in 0..60 {
                    let key = format!("key {}", n % 3);
                    enqueue(&mut client, &key, &format!("{session}/{n}"));
                }
            });
        }
    });
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    // Which of two sessions comes first is left to their commits. Tasks of one session keep their order in each key.
    let misplaced = "select count(*) from (
            select (regexp_match(label, '/(\\d+)'))[1]::int as n,
                lag((regexp_match(label, '/(\\d+)'))[1]::int) over (partition by key, split_part(label, '/', 1) order by run.n) as before
            from public.run) r
        where before > n";
    assert_eq!(one::<i64>(&mut client, misplaced), 0);
}

#[test]
fn a_task_that_is_repeated_keeps_its_turn() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    enqueue_many(&mut client, "flaky", 8, 12, &json!({}));
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
    let repeated: i64 = one(&mut client, "select count(*) from queues.task where attempts > 1");
    assert!(repeated > 0);
}

#[test]
fn tasks_run_in_order_of_time_and_not_of_priority() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let gate = Gate::close(&cluster, "postgres", 1);
    gated(&mut client, "a", "first", 1);
    wait_running(&mut client, 1);
    let mut transaction = client.transaction().unwrap();
    for (label, arguments) in [
        ("fourth", ", _scheduled_at => now() + interval '1 ms'"),
        ("second", ""),
        ("third", ", _priority => 9"),
    ] {
        enqueue_with(&mut transaction, &payload("keyed", "a", label, &json!({})), "a", arguments);
    }
    transaction.commit().unwrap();
    gate.open();
    wait_ended(&mut client);
    assert_eq!(ran(&mut client), ["first", "second", "third", "fourth"]);
}

#[test]
fn a_priority_of_the_first_task_puts_its_key_before_others() {
    let (cluster, mut client) = start(&[
        ("pg_errand.concurrency", "1"),
        ("pg_errand.max_workers", "1"),
        ("pg_errand.poll_interval", "1h"),
    ]);
    let gate = Gate::close(&cluster, "postgres", 1);
    gated(&mut client, "gate", "gate", 1);
    wait_running(&mut client, 1);
    for (key, label, priority) in [("a", "a", 0), ("b", "b", 5), ("c", "c", 9), ("d", "d", -1)] {
        let arguments = format!(", _priority => {priority}");
        enqueue_with(&mut client, &payload("keyed", key, label, &json!({})), key, &arguments);
    }
    gate.open();
    wait_ended(&mut client);
    assert_eq!(ran(&mut client), ["gate", "c", "b", "a", "d"]);
}

#[test]
fn as_many_tasks_of_a_key_run_as_its_type_allows() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    client
        .batch_execute(
            "update queues.task_definition set max_running_per_key = 2 where task_type = 'db_function'",
        )
        .unwrap();
    enqueue_many(&mut client, "keyed", 4, 25, &json!({"places": 2, "seconds": 0.002}));
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    // Two do run at a time, and the third waits.
    let gate = Gate::close(&cluster, "postgres", 1);
    let tasks: Vec<i64> = (0..3)
        .map(|n| {
            let payload = payload("keyed", "a", &format!("gated {n}"), &json!({"places": 2, "gate": 1}));
            enqueue_with(&mut client, &payload, "a", "")
        })
        .collect();
    wait_running(&mut client, 2);
    enqueue(&mut client, "b", "another key");
    wait_until_sql(&mut client, "select count(*) from public.run where label = 'another key'", "1");
    assert_eq!(queue::status(&mut client, tasks[2]), "ready");
    gate.open();
    wait_ended(&mut client);
    assert_all_ran(&mut client);
}

#[test]
fn a_key_with_many_waiting_tasks_does_not_hold_up_another_one() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let gate = Gate::close(&cluster, "postgres", 1);
    gated(&mut client, "key 1", "blocks", 1);
    wait_running(&mut client, 1);
    enqueue_many(&mut client, "keyed", 1, 2000, &json!({}));
    // Other keys and tasks without a key run meanwhile.
    for n in 0..5 {
        let task = enqueue(&mut client, &format!("other {n}"), &format!("other {n}"));
        wait_status(&mut client, task, "succeeded");
    }
    crate::harness::handlers::run_one(&mut client, "plain");
    assert_eq!(one::<i64>(&mut client, "select count(*) from public.run where key = 'key 1'"), 0);
    gate.open();
    // Between two tasks of the long key, the first one of another key gets its turn.
    let late = enqueue(&mut client, "late", "late");
    wait_status(&mut client, late, "succeeded");
    let before: i64 = one(
        &mut client,
        "select count(*) from public.run where key = 'key 1' and n < (select n from public.run where label = 'late')",
    );
    assert!(before < 1000, "{before} tasks of the long key came first");
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
}

#[test]
fn keys_take_turns() {
    let (cluster, mut client) = start(&[
        ("pg_errand.concurrency", "1"),
        ("pg_errand.max_workers", "1"),
        ("pg_errand.poll_interval", "1h"),
    ]);
    let gate = Gate::close(&cluster, "postgres", 1);
    gated(&mut client, "gate", "gate", 1);
    wait_running(&mut client, 1);
    for label in ["a1", "a2", "a3", "a4", "b1", "c1"] {
        enqueue(&mut client, &label[..1], label);
    }
    gate.open();
    wait_ended(&mut client);
    let ran = ran(&mut client);
    let place = |label: &str| ran.iter().position(|ran| ran == label).unwrap();
    assert!(place("b1") < place("a3") && place("c1") < place("a3"), "{ran:?}");
    assert_in_order(&mut client);
}

#[test]
fn the_next_task_starts_when_the_first_one_is_cancelled_or_fails() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = gated(&mut client, "a", "running", 1);
    wait_status(&mut client, running, "running");
    let waiting = enqueue(&mut client, "a", "waiting");
    let last = enqueue(&mut client, "a", "last");
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({waiting})")));
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({running})")));
    wait_status(&mut client, last, "succeeded");
    assert_eq!(ran(&mut client), ["last"]);
    drop(gate);
    let fails = enqueue_with(&mut client, &payload("missing", "b", "fails", &json!({})), "b", "");
    let next = enqueue(&mut client, "b", "next");
    wait_status(&mut client, next, "succeeded");
    assert_eq!(queue::status(&mut client, fails), "failed");
}

#[test]
fn a_task_of_the_future_starts_in_time_and_in_order() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    let mut transaction = client.transaction().unwrap();
    for (label, delay) in [("third", 400), ("second", 300), ("fourth", 500)] {
        let arguments = format!(", _scheduled_at => clock_timestamp() + interval '{delay} ms'");
        enqueue_with(&mut transaction, &payload("keyed", "a", label, &json!({})), "a", &arguments);
    }
    enqueue(&mut transaction, "a", "first");
    transaction.commit().unwrap();
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
    let early = "select count(*) from queues.task where dequeued_at < scheduled_at";
    assert_eq!(one::<i64>(&mut client, early), 0);
}

/// A provider of which every request is answered when a file has appeared in its cluster.
fn calling(settings: &[(&str, &str)], rule: impl FnMut(&Request) -> Answer + Send + 'static) -> Calling {
    let mut calling = Calling::start(settings, rule);
    calling.client.batch_execute(HANDLERS).unwrap();
    calling.register("shop", json!({"interface": "http"}));
    calling
}

#[track_caller]
fn call(client: &mut Client, key: &str, path: &str) -> i64 {
    let payload = json!({"task_type": "shop", "request": {"method": "GET", "path": path}});
    let sql = "select queues.enqueue('shop', $1, _queue_key => $2)";
    client.query_one(sql, &[&payload, &key]).unwrap().get(0)
}

#[test]
fn a_call_in_flight_keeps_its_key_busy() {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let mut calling = calling(&FOUR_WORKERS, move |request| {
        if request.target.contains("slow") {
            let _ = opened.recv();
        }
        ok()
    });
    let slow = call(&mut calling.client, "a", "/slow");
    wait_until_sql(&mut calling.client, "select count(*) from queues.task where calling", "1");
    let next = call(&mut calling.client, "a", "/next");
    let plain = enqueue(&mut calling.client, "a", "of another type");
    calling.wait(plain, "succeeded");
    assert_eq!(queue::status(&mut calling.client, next), "ready");
    assert_eq!(
        calling.number("select attempts::bigint from queues.task order by task_id offset 1 limit 1"),
        0
    );
    open.send(()).unwrap();
    calling.wait(next, "succeeded");
    calling.wait(slow, "succeeded");
    let order = "select count(*) from queues.task a, queues.task b
        where a.task_type = 'shop' and b.task_type = 'shop' and a.task_id < b.task_id and b.dequeued_at < a.finished_at";
    assert_eq!(calling.number(order), 0);
}

#[test]
fn calls_of_many_keys_stay_in_order() {
    let mut calling = calling(&FOUR_WORKERS, |_| ok());
    for n in 0..60 {
        call(&mut calling.client, &format!("key {}", n % 6), &format!("/{n}"));
    }
    wait_ended(&mut calling.client);
    assert_eq!(calling.number("select count(*) from queues.task where final_status = 'succeeded'"), 60);
    let overlaps = "select count(*) from queues.task a join queues.task b using (queue_key)
        where a.task_id < b.task_id and b.dequeued_at < a.finished_at";
    assert_eq!(calling.number(overlaps), 0);
}
