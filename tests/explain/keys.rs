//! Reasons that concern queue keys.

use postgres::Client;
use serde_json::json;

use super::{explain, wait_reason};
use crate::harness::calling::Calling;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, payload, run_one, runner};
use crate::harness::queue::wait_status;
use crate::harness::wait::wait_until_sql;

const SETTINGS: [(&str, &str); 2] = [("pg_errand.concurrency", "2"), ("pg_errand.poll_interval", "1h")];
const PAUSED: [(&str, &str); 2] = [("pg_errand.concurrency", "0"), SETTINGS[1]];

/// Enqueues a task of the key `k` that waits for the gate 1.
#[track_caller]
fn gated(client: &mut Client, arguments: &str) -> i64 {
    let sql = format!("select queues.enqueue('db_function', $1, _queue_key => 'k' {arguments})");
    client.query_one(&sql, &[&payload("gate", json!({"gate": 1}))]).unwrap().get(0)
}

#[test]
fn the_task_before_is_told() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let first = gated(&mut client, "");
    runner(&mut client, first);
    let (second, third) = (gated(&mut client, ""), gated(&mut client, ""));
    run_one(&mut client, "other");
    for task in [second, third] {
        let told = explain(&mut client, task);
        assert_eq!(
            (told.reason.as_str(), told.status.as_str(), told.task),
            ("key_busy", "ready", Some(first))
        );
        assert!(told.explanation.contains("\"k\"") && told.hint.contains("queues.explain"), "{told:?}");
    }
    gate.open();
    wait_status(&mut client, third, "succeeded");
}

#[test]
fn a_task_that_waits_itself_keeps_its_key() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let mut transaction = client.transaction().unwrap();
    let first: i64 = transaction
        .query_one("select queues.enqueue('db_function', '{}', _queue_key => 'k')", &[])
        .unwrap()
        .get(0);
    transaction
        .execute("update queues.task set not_before = now() + interval '1 day' where task_id = $1", &[&first])
        .unwrap();
    transaction.commit().unwrap();
    let second = gated(&mut client, "");
    run_one(&mut client, "other");
    assert_eq!(explain(&mut client, first).reason, "deferred");
    let told = explain(&mut client, second);
    assert_eq!((told.reason.as_str(), told.task), ("key_busy", Some(first)));
}

#[test]
fn as_many_as_may_run_are_told_with_one_of_them() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "4"), SETTINGS[1]]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "update queues.task_definition set max_running_per_key = 2 where task_type = 'db_function'",
        )
        .unwrap();
    let gate = Gate::close(&cluster, "postgres", 1);
    let first = gated(&mut client, "");
    let pid = runner(&mut client, first);
    let second = gated(&mut client, "");
    runner(&mut client, second);
    let third = gated(&mut client, "");
    run_one(&mut client, "other");
    let told = wait_reason(&mut client, third, "key_busy");
    assert_eq!((told.task, told.pid), (Some(first), Some(pid)), "{told:?}");
    assert!(told.hint.contains("max_running_per_key"), "{told:?}");
    gate.open();
    wait_status(&mut client, third, "succeeded");
}

#[test]
fn a_lease_and_a_call_are_told() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let (first, second) = (gated(&mut client, ""), gated(&mut client, ""));
    let dequeue = "select task_id from queues.dequeue_next_available_task()";
    assert_eq!(one::<Option<i64>>(&mut client, dequeue), Some(first));
    let told = explain(&mut client, second);
    assert_eq!((told.reason.as_str(), told.task), ("key_busy", Some(first)));

    let (_open, opened) = std::sync::mpsc::channel::<()>();
    let mut calling = Calling::start(&SETTINGS, move |_| {
        let _ = opened.recv();
        crate::harness::calling::ok()
    });
    calling.register("shop", json!({"interface": "http"}));
    let enqueue = "select queues.enqueue('shop', '{\"request\": {\"path\": \"/\"}}', _queue_key => 'k')";
    let (call, next): (i64, i64) = (one(&mut calling.client, enqueue), one(&mut calling.client, enqueue));
    wait_until_sql(&mut calling.client, "select count(*) from queues.task where calling", "1");
    let told = explain(&mut calling.client, next);
    assert_eq!((told.reason.as_str(), told.task), ("key_busy", Some(call)));
    drop(_open);
    wait_status(&mut calling.client, next, "succeeded");
}

#[test]
fn a_pause_is_told_with_its_end() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("select queues.pause_key('db_function', 'k')").unwrap();
    let task = gated(&mut client, "");
    let told = explain(&mut client, task);
    assert_eq!((told.reason.as_str(), told.status.as_str(), told.until), ("key_paused", "ready", None));
    assert!(told.hint.contains("queues.resume_key"), "{told:?}");
    client.batch_execute("select queues.pause_key('db_function', 'k', now() + interval '1 day')").unwrap();
    explain(&mut client, task).lasts();
    client.batch_execute("select queues.resume_key('db_function', 'k')").unwrap();
    wait_status(&mut client, task, "succeeded");
}

#[test]
fn the_next_task_of_a_key_does_not_claim_to_be_the_next_one_of_all() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1"), SETTINGS[1]]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = gated(&mut client, "");
    let pid = runner(&mut client, running);
    let enqueue = "select queues.enqueue('db_function', '{}', _queue_key => 'other')";
    let keyed: i64 = one(&mut client, enqueue);
    let told = wait_reason(&mut client, keyed, "workers_busy");
    assert_eq!((told.task, told.pid), (Some(running), Some(pid)));
    assert!(told.explanation.starts_with("It is ready, and"), "{told:?}");
    gate.open();
}
