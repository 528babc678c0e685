//! Workers outside the database obey keys, among each other and with the workers inside.

use std::thread;

use postgres::{Client, GenericClient};
use serde_json::{Value, json};

use super::{
    FOUR_WORKERS, PAUSED, assert_all_ran, assert_in_order, enqueue, enqueue_many, enqueue_with, gated,
    payload, start, wait_ended,
};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, one, wait_running};
use crate::harness::queue::{self, wait_status};

/// The label of the task that is dequeued, and its number.
fn dequeue(client: &mut impl GenericClient) -> Option<(i64, String)> {
    let sql = "select task_id, payload ->> 'label' from queues.dequeue_next_available_task()";
    let row = client.query_one(sql, &[]).unwrap();
    Some((row.get::<_, Option<i64>>(0)?, row.get(1)))
}

#[track_caller]
fn next(client: &mut impl GenericClient) -> String {
    dequeue(client).map_or_else(String::new, |(_, label)| label)
}

#[track_caller]
fn complete(client: &mut impl GenericClient, task_id: i64) {
    client.execute("select queues.complete_task($1)", &[&task_id]).unwrap();
}

/// Runs one task as a worker outside; false if none is ready.
fn run_one(client: &mut Client) -> bool {
    let sql = "select task_id, payload from queues.dequeue_next_available_task()";
    let row = client.query_one(sql, &[]).unwrap();
    let Some(task_id) = row.get::<_, Option<i64>>(0) else { return false };
    let mut transaction = client.transaction().unwrap();
    transaction.execute("select public.keyed($1)", &[&row.get::<_, Value>(1)]).unwrap();
    complete(&mut transaction, task_id);
    transaction.commit().unwrap();
    true
}

/// Lets several workers outside run tasks until there are none left.
fn run_outside(cluster: &Cluster, workers: usize) {
    thread::scope(|scope| {
        for _ in 0..workers {
            let mut client = cluster.connect("postgres");
            scope.spawn(move || {
                let left = "select exists (select 1 from queues.task where finished_at is null)";
                while run_one(&mut client) || one::<bool>(&mut client, left) {}
            });
        }
    });
}

#[test]
fn the_first_task_of_a_free_key_is_dequeued_in_the_order_of_all_tasks() {
    let (_cluster, mut client) = start(&PAUSED);
    for (key, label) in
        [("a", "a1"), ("a", "a2"), ("b", "b1"), ("", "plain 1"), ("a", "a3"), ("", "plain 2"), ("b", "b2")]
    {
        enqueue(&mut client, key, label);
    }
    let (a1, label) = dequeue(&mut client).unwrap();
    assert_eq!(label, "a1");
    let (b1, label) = dequeue(&mut client).unwrap();
    assert_eq!(label, "b1");
    assert_eq!(next(&mut client), "plain 1");
    complete(&mut client, a1);
    let (a2, label) = dequeue(&mut client).unwrap();
    assert_eq!(label, "a2");
    assert_eq!(next(&mut client), "plain 2");
    assert_eq!(next(&mut client), "", "both keys are busy");
    client.execute("select queues.fail_task($1, 'x')", &[&b1]).unwrap();
    assert_eq!(next(&mut client), "b2");
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({a2})")));
    assert_eq!(next(&mut client), "a3");
    assert_eq!(next(&mut client), "");
}

#[test]
fn priority_decides_among_keys_and_not_within_one() {
    let (_cluster, mut client) = start(&PAUSED);
    for (key, label, priority) in [
        ("a", "a1", 0),
        ("a", "a2", 9),
        ("b", "b1", 5),
        ("", "seven", 7),
        ("", "plain", 0),
        ("c", "c1", -1),
        ("", "minus two", -2),
    ] {
        let payload = payload("keyed", key, label, &json!({}));
        enqueue_with(&mut client, &payload, key, &format!(", _priority => {priority}"));
    }
    let labels: Vec<String> = (0..7).map(|_| next(&mut client)).collect();
    assert_eq!(labels, ["seven", "b1", "a1", "plain", "c1", "minus two", ""]);
}

#[test]
fn a_key_is_free_for_one_of_two_sessions() {
    let (cluster, mut client) = start(&PAUSED);
    enqueue(&mut client, "a", "a1");
    enqueue(&mut client, "a", "a2");
    let mut other = cluster.connect("postgres");
    let mut transaction = client.transaction().unwrap();
    assert_eq!(next(&mut transaction), "a1");
    assert_eq!(next(&mut transaction), "");
    assert_eq!(next(&mut other), "", "the lease is not committed yet");
    transaction.rollback().unwrap();
    assert_eq!(next(&mut other), "a1");
    assert_eq!(next(&mut client), "");
}

#[test]
fn a_transaction_with_one_snapshot_dequeues_no_task_of_a_key() {
    let (_cluster, mut client) = start(&PAUSED);
    enqueue(&mut client, "a", "a1");
    enqueue(&mut client, "", "plain");
    let mut transaction =
        client.build_transaction().isolation_level(postgres::IsolationLevel::RepeatableRead).start().unwrap();
    assert_eq!(next(&mut transaction), "plain");
    assert_eq!(next(&mut transaction), "");
    transaction.commit().unwrap();
    assert_eq!(next(&mut client), "a1");
}

#[test]
fn a_lease_that_ends_lets_the_same_task_start_again() {
    let settings = [
        ("pg_errand.lease_duration", "200ms"),
        FOUR_WORKERS[1],
        FOUR_WORKERS[2],
        ("pg_errand.concurrency", "0"),
    ];
    let (cluster, mut client) = start(&settings);
    let first = enqueue(&mut client, "a", "a1");
    let second = enqueue(&mut client, "a", "a2");
    assert_eq!(next(&mut client), "a1");
    cluster.set(&[("pg_errand.concurrency", "4")]);
    wait_status(&mut client, second, "succeeded");
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
    assert_eq!(
        one::<i32>(&mut client, &format!("select attempts from queues.task where task_id = {first}")),
        2
    );
}

#[test]
fn a_task_that_ends_when_it_is_dequeued_lets_the_next_one_start() {
    let (_cluster, mut client) = start(&PAUSED);
    client.batch_execute("set pg_errand.lease_duration = 0").unwrap();
    for label in ["a1", "a2", "a3"] {
        enqueue(&mut client, "a", label);
    }
    let labels: Vec<String> = (0..4).map(|_| next(&mut client)).collect();
    assert_eq!(labels, ["a1", "a2", "a3", ""]);
}

#[test]
fn a_worker_outside_waits_for_one_inside_and_the_other_way_round() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let gate = Gate::close(&cluster, "postgres", 1);
    gated(&mut client, "a", "inside", 1);
    wait_running(&mut client, 1);
    client.batch_execute("update queues.task_definition set granted_to = granted_to").unwrap();
    // Plain tasks would be run by the workers inside.
    let waiting = enqueue(&mut client, "a", "waiting");
    assert_eq!(dequeue(&mut client), None);
    gate.open();
    wait_status(&mut client, waiting, "succeeded");
    // A task of a type that no worker inside may start is dequeued by one outside only.
    let mut outside = cluster.connect("postgres");
    let mut transaction = outside.transaction().unwrap();
    transaction.execute("select errand.try_key_lock('db_function', 'b')", &[]).unwrap();
    let locked = enqueue(&mut client, "b", "locked");
    super::enqueue(&mut client, "c", "another key");
    crate::harness::wait::wait_until_sql(&mut client, "select count(*) from public.run where key = 'c'", "1");
    assert_eq!(queue::status(&mut client, locked), "ready");
    // The end of the transaction is announced, also if it is rolled back.
    transaction.rollback().unwrap();
    wait_status(&mut client, locked, "succeeded");
}

#[test]
fn a_leased_task_keeps_its_key_busy_for_the_workers_inside() {
    let (cluster, mut client) = start(&PAUSED);
    let first = enqueue(&mut client, "a", "first");
    assert_eq!(next(&mut client), "first");
    cluster.set(&[("pg_errand.concurrency", "4")]);
    let second = enqueue(&mut client, "a", "second");
    let other = enqueue(&mut client, "b", "other");
    wait_status(&mut client, other, "succeeded");
    assert_eq!(queue::status(&mut client, second), "ready");
    complete(&mut client, first);
    wait_status(&mut client, second, "succeeded");
}

#[test]
fn workers_inside_and_outside_share_keys_in_order_and_one_at_a_time() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    enqueue_many(&mut client, "keyed", 6, 40, &json!({"seconds": 0.001}));
    run_outside(&cluster, 3);
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
    let outside: i64 = one(
        &mut client,
        "select count(*) from public.run where pid in (select pid from public.run where pid not in
            (select pid from queues.worker))",
    );
    assert!(outside > 0, "workers outside ran some of the tasks");
}

#[test]
fn several_tasks_of_a_key_are_dequeued_if_its_type_allows() {
    // The only worker inside is busy.
    let (cluster, mut client) = start(&[("pg_errand.concurrency", "1"), ("pg_errand.poll_interval", "1h")]);
    client
        .batch_execute(
            "update queues.task_definition set max_running_per_key = 3 where task_type = 'db_function'",
        )
        .unwrap();
    let gate = Gate::close(&cluster, "postgres", 1);
    let inside = payload("keyed", "a", "inside", &json!({"places": 3, "gate": 1}));
    enqueue_with(&mut client, &inside, "a", "");
    wait_running(&mut client, 1);
    for label in ["second", "third", "fourth"] {
        enqueue_with(&mut client, &payload("keyed", "a", label, &json!({"places": 3})), "a", "");
    }
    assert_eq!(next(&mut client), "second");
    let (third, label) = dequeue(&mut client).unwrap();
    assert_eq!(label, "third");
    assert_eq!(next(&mut client), "", "three run");
    complete(&mut client, third);
    assert_eq!(next(&mut client), "fourth");
    gate.open();
}

#[test]
fn the_rate_of_a_key_holds_for_workers_outside() {
    let (_cluster, mut client) = start(&PAUSED);
    let rate =
        "update queues.task_definition set starts_per_second_per_key = 0.001 where task_type = 'db_function'";
    client.batch_execute(rate).unwrap();
    for (key, label) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
        enqueue(&mut client, key, label);
    }
    let (a1, label) = dequeue(&mut client).unwrap();
    assert_eq!(label, "a1");
    complete(&mut client, a1);
    assert_eq!(
        next(&mut client),
        "b1",
        "the next start of the other key is admitted in a quarter of an hour"
    );
    assert_eq!(next(&mut client), "");
    let second = "select task_id from queues.task where payload ->> 'label' = 'a2'";
    let second: i64 = one(&mut client, second);
    assert_eq!(queue::status(&mut client, second), "ready");
    client.batch_execute("update queues.task_definition set starts_per_second_per_key = null").unwrap();
    assert_eq!(next(&mut client), "a2");
}
