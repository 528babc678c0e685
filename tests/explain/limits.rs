//! Reasons that concern the limits of task types.

use postgres::Client;
use serde_json::json;

use super::{explain, wait_reason};
use crate::harness::calling::{Calling, ok};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, payload, run_one, runner};
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::wait_until_sql;

const SETTINGS: [(&str, &str); 2] = [("pg_errand.concurrency", "2"), ("pg_errand.poll_interval", "1h")];

/// Defines a type whose tasks run functions, with these limits.
#[track_caller]
fn define(client: &mut Client, task_type: &str, limits: &str) {
    let sql = format!(
        "insert into queues.task_definition (task_type, processor, granted_to, max_running, starts_per_second, burst)
         values ('{task_type}', 'db_function', '{{public}}', {limits})"
    );
    client.batch_execute(&sql).unwrap();
}

#[track_caller]
fn note(client: &mut Client, task_type: &str) -> i64 {
    enqueue(client, task_type, payload("note", json!({"label": task_type})))
}

#[test]
fn a_type_that_runs_as_many_tasks_as_it_may_is_told_with_one_of_them() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "single", "1, null, null");
    let gate = Gate::close(&cluster, "postgres", 1);
    let first = enqueue(&mut client, "single", payload("gate", json!({"gate": 1})));
    let pid = runner(&mut client, first);
    let second = note(&mut client, "single");
    // The other worker has found that it may not start it.
    run_one(&mut client, "other");
    let told = explain(&mut client, second);
    assert_eq!((told.reason.as_str(), told.status.as_str()), ("type_full", "ready"));
    assert_eq!((told.task, told.pid, told.until), (Some(first), Some(pid), None));
    assert!(told.hint.contains("max_running") && told.explanation.contains("\"single\""), "{told:?}");
    gate.open();
    wait_status(&mut client, second, "succeeded");
}

#[test]
fn leases_count_and_are_told() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0"), SETTINGS[1]]);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "single", "1, null, null");
    let (first, second) = (note(&mut client, "single"), note(&mut client, "single"));
    let dequeue = "select task_id from queues.dequeue_next_available_task('{single}')";
    assert_eq!(one::<Option<i64>>(&mut client, dequeue), Some(first));
    assert_eq!(one::<Option<i64>>(&mut client, dequeue), None);
    cluster.set(&[("pg_errand.concurrency", "1")]);
    let told = wait_reason(&mut client, second, "type_full");
    assert_eq!((told.task, told.pid), (Some(first), None), "{told:?}");
    client.execute("select queues.complete_task($1)", &[&first]).unwrap();
    wait_status(&mut client, second, "succeeded");
}

#[test]
fn a_rate_of_starts_is_told_with_the_time_of_the_next_one() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "slow", "null, 0.001, 1");
    let (first, second) = (note(&mut client, "slow"), note(&mut client, "slow"));
    wait_status(&mut client, first, "succeeded");
    let told = wait_reason(&mut client, second, "type_rate");
    told.lasts();
    assert!(told.hint.contains("starts_per_second"), "{told:?}");
    client.batch_execute("update queues.task_definition set starts_per_second = null").unwrap();
    wait_status(&mut client, second, "succeeded");
}

#[test]
fn calls_in_flight_fill_a_type_and_orphaned_ones_leave_it_uncounted() {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let mut calling = Calling::start(&SETTINGS, move |_| {
        let _ = opened.recv();
        ok()
    });
    calling.register("api", json!({}));
    let sql = "update queues.task_definition set max_running = 1 where task_type = 'api'";
    calling.client.execute(sql, &[]).unwrap();
    let first = calling.call("api", json!({"path": "/", "body": 1}));
    wait_reason(&mut calling.client, first, "call_in_flight");
    let second = calling.call("api", json!({"path": "/", "body": 2}));
    let told = wait_reason(&mut calling.client, second, "type_full");
    assert_eq!((told.task, told.pid), (None, None), "{told:?}");
    // While another session has locked the call, no worker can take it over.
    let mut other = calling.cluster.connect("postgres");
    let mut locking = other.transaction().unwrap();
    locking.execute("select from queues.call where task_id = $1 for update", &[&first]).unwrap();
    calling.client.execute("select pg_terminate_backend(pid) from queues.worker", &[]).unwrap();
    let told = wait_reason(&mut calling.client, second, "type_uncounted");
    assert!(told.explanation.contains("\"api\""), "{told:?}");
    locking.rollback().unwrap();
    drop(open);
    calling.wait(first, "succeeded");
    calling.wait(second, "succeeded");
    wait_until_sql(&mut calling.client, "select count(*) from queues.task where finished_at is null", "0");
}
