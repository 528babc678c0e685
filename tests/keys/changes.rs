//! What users change by hand: the key and the time of a task, its row, its type.

use serde_json::json;

use super::{
    FOUR_WORKERS, PAUSED, assert_all_ran, assert_in_order, enqueue, enqueue_many, enqueue_with, gated,
    payload, ran, start, wait_ended,
};
use crate::harness::handlers::{Gate, one, wait_running};
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::wait_until_sql;

#[test]
fn a_task_gets_another_key_and_a_place_in_its_order() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let (one_gate, two_gate) = (Gate::close(&cluster, "postgres", 1), Gate::close(&cluster, "postgres", 2));
    gated(&mut client, "a", "a runs", 1);
    gated(&mut client, "b", "b runs", 2);
    wait_running(&mut client, 2);
    let moves = enqueue(&mut client, "a", "moves");
    let last = enqueue(&mut client, "b", "last");
    client.execute("update queues.task set queue_key = 'b' where task_id = $1", &[&moves]).unwrap();
    one_gate.open();
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is not null", "1");
    assert_eq!(queue::status(&mut client, moves), "ready");
    two_gate.open();
    wait_status(&mut client, last, "succeeded");
    assert_eq!(ran(&mut client)[2..], ["moves", "last"]);
    // A task that leaves its key is free.
    let gate = Gate::close(&cluster, "postgres", 3);
    gated(&mut client, "c", "c runs", 3);
    wait_running(&mut client, 1);
    let freed = enqueue_with(&mut client, &payload("keyed", "freed", "freed", &json!({})), "c", "");
    client.execute("update queues.task set queue_key = null where task_id = $1", &[&freed]).unwrap();
    wait_status(&mut client, freed, "succeeded");
    gate.open();
}

#[test]
fn the_next_task_becomes_first_when_the_first_one_is_moved() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    let later = ", _scheduled_at => now() + interval '1 day'";
    let first = enqueue_with(&mut client, &payload("keyed", "a", "first", &json!({})), "a", later);
    let second = enqueue_with(&mut client, &payload("keyed", "a", "second", &json!({})), "a", later);
    // Brought forward, the second one overtakes the first one.
    client.execute("update queues.task set scheduled_at = now() where task_id = $1", &[&second]).unwrap();
    wait_status(&mut client, second, "succeeded");
    assert_eq!(queue::status(&mut client, first), "scheduled");
    client.execute("update queues.task set scheduled_at = now() where task_id = $1", &[&first]).unwrap();
    wait_status(&mut client, first, "succeeded");
}

#[test]
fn a_task_put_off_or_given_another_key_lets_the_next_one_start() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    for (n, change) in [
        "scheduled_at = now() + interval '1 day'",
        "queue_key = 'elsewhere'",
        "queue_key = null",
        "task_type = 'sms'",
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key {n}");
        // The first one is deferred, as after a serialization failure, and so keeps the second one waiting.
        let (first, second) = {
            let mut transaction = client.transaction().unwrap();
            let first = enqueue(&mut transaction, &key, &format!("first {n}"));
            let second = enqueue(&mut transaction, &key, &format!("second {n}"));
            let defer = "update queues.task set not_before = now() + interval '1 day' where task_id = $1";
            transaction.execute(defer, &[&first]).unwrap();
            transaction.commit().unwrap();
            (first, second)
        };
        let other = enqueue(&mut client, &format!("other {n}"), &format!("other {n}"));
        wait_status(&mut client, other, "succeeded");
        assert_eq!(queue::status(&mut client, second), "ready");
        client.execute(&format!("update queues.task set {change} where task_id = $1"), &[&first]).unwrap();
        wait_status(&mut client, second, "succeeded");
    }
}

#[test]
fn the_next_task_starts_when_the_first_one_is_deleted() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    let mut transaction = client.transaction().unwrap();
    let first = enqueue(&mut transaction, "a", "first");
    let second = enqueue(&mut transaction, "a", "second");
    transaction
        .execute("update queues.task set not_before = now() + interval '1 day' where task_id = $1", &[&first])
        .unwrap();
    transaction.commit().unwrap();
    let other = enqueue(&mut client, "b", "other");
    wait_status(&mut client, other, "succeeded");
    assert_eq!(queue::status(&mut client, second), "ready");
    client.execute("delete from queues.task where task_id = $1", &[&first]).unwrap();
    wait_status(&mut client, second, "succeeded");
}

#[test]
fn keys_work_again_after_all_tasks_were_removed() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let gate = Gate::close(&cluster, "postgres", 1);
    gated(&mut client, "a", "blocks", 1);
    wait_running(&mut client, 1);
    enqueue_many(&mut client, "keyed", 20, 5, &json!({"gate": 1}));
    gate.open();
    client.batch_execute("truncate queues.task, queues.error cascade; truncate public.run").unwrap();
    enqueue_many(&mut client, "keyed", 20, 5, &json!({}));
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
}

#[test]
fn the_limit_of_a_type_can_be_changed_while_tasks_run() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let places = json!({"places": 3, "gate": 1});
    let gate = Gate::close(&cluster, "postgres", 1);
    for n in 0..6 {
        let payload = payload("keyed", "a", &format!("{n}"), &places);
        enqueue_with(&mut client, &payload, "a", "");
    }
    wait_running(&mut client, 1);
    let limit = |n| {
        format!("update queues.task_definition set max_running_per_key = {n} where task_type = 'db_function'")
    };
    client.batch_execute(&limit(3)).unwrap();
    wait_running(&mut client, 3);
    client.batch_execute(&limit(1)).unwrap();
    gate.open();
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    // From now on one at a time.
    enqueue_many(&mut client, "keyed", 3, 15, &json!({}));
    wait_ended(&mut client);
    assert_all_ran(&mut client);
}

#[test]
fn a_unique_key_and_a_queue_key_go_together() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let gate = Gate::close(&cluster, "postgres", 1);
    let unique = ", _unique_key => 'u', _if_exists => 'replace'";
    let first = payload("keyed", "a", "first", &json!({"gate": 1}));
    let first = enqueue_with(&mut client, &first, "a", unique);
    wait_status(&mut client, first, "running");
    let second = enqueue_with(&mut client, &payload("keyed", "a", "second", &json!({})), "a", unique);
    assert_ne!(second, first);
    let replaced = enqueue_with(&mut client, &payload("keyed", "a", "replaced", &json!({})), "a", unique);
    assert_eq!(replaced, second);
    let third = enqueue(&mut client, "a", "third");
    gate.open();
    wait_status(&mut client, third, "succeeded");
    let mut labels = ran(&mut client);
    labels.sort_unstable();
    assert_eq!(labels, ["first", "replaced", "third"]);
    assert_eq!(one::<Option<String>>(&mut client, "select max(error_message) from queues.error"), None);
    // It follows a task of another queue key.
    let gate = Gate::close(&cluster, "postgres", 2);
    let first = payload("keyed", "b", "of b", &json!({"gate": 2}));
    let first = enqueue_with(&mut client, &first, "b", unique);
    wait_status(&mut client, first, "running");
    let follower = enqueue_with(&mut client, &payload("keyed", "c", "of c", &json!({})), "c", unique);
    gate.open();
    wait_status(&mut client, follower, "succeeded");
}

#[test]
fn tasks_of_another_database_keep_their_keys_and_wait_to_be_adopted() {
    let (cluster, mut client) = start(&PAUSED);
    enqueue_many(&mut client, "keyed", 3, 5, &json!({}));
    client.batch_execute("update queues.task set origin = 4711").unwrap();
    cluster.set(&[("pg_errand.concurrency", "4")]);
    let other = enqueue(&mut client, "key 1", "other");
    wait_status(&mut client, other, "succeeded");
    assert_eq!(one::<i64>(&mut client, "select queues.adopt()"), 15);
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    let by_key = "select count(*) from (
        select n, lag(substring(label from '/(.*)')::int) over (partition by key order by n) as before,
            substring(label from '/(.*)')::int as number from public.run where label <> 'other') r
        where before > number";
    assert_eq!(one::<i64>(&mut client, by_key), 0);
}
