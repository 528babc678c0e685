//! Reasons that the row of a task tells.

use postgres::error::SqlState;
use serde_json::json;

use super::{explain, wait_reason};
use crate::harness::builder::Builder;
use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{Gate, install, one, run_one, runner, task};
use crate::harness::queue::{enqueue, status, wait_status};

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
const PAUSED: [(&str, &str); 2] = [NO_POLL, ("pg_errand.concurrency", "0")];

#[test]
fn a_task_that_runs_or_has_ended_is_told_by_whom_and_when() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({"label": "x"}));
    let pid = runner(&mut client, id);
    let running = explain(&mut client, id);
    assert_eq!((running.reason.as_str(), running.status.as_str()), ("running", "running"));
    assert_eq!(running.pid, Some(pid));
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(&mut client, id, "succeeded");
    let ended = explain(&mut client, id);
    assert_eq!((ended.reason.as_str(), ended.status.as_str()), ("finished", "succeeded"));

    let refused = task(&mut client, "refuse", json!({}));
    wait_status(&mut client, refused, "failed");
    let failed = explain(&mut client, refused);
    assert!(failed.status == "failed" && failed.hint.contains("queues.error"), "{failed:?}");

    let missing = client.query("select * from queues.explain(123456)", &[]).unwrap_err();
    assert_eq!(missing.code(), Some(&SqlState::NO_DATA_FOUND));
    assert!(client.query("select * from queues.explain(null)", &[]).unwrap().is_empty());
}

#[test]
fn a_task_that_is_not_due_deferred_leased_or_locked_is_told_until_when_or_by_whom() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let later: i64 = one(&mut client, "select queues.enqueue('db_function', '{}', now() + '1 h')");
    let scheduled = wait_reason(&mut client, later, "scheduled");
    assert_eq!(scheduled.status, "scheduled");
    scheduled.lasts();

    cluster.set(&[("pg_errand.concurrency", "0")]);
    wait_reason(&mut client, later, "scheduled");
    let id = task(&mut client, "note", json!({"label": "x"}));
    wait_reason(&mut client, id, "paused");

    let sql = format!("update queues.task set not_before = now() + interval '1 h' where task_id = {id}");
    client.batch_execute(&sql).unwrap();
    let deferred = explain(&mut client, id);
    assert_eq!((deferred.reason.as_str(), deferred.status.as_str()), ("deferred", "ready"));
    deferred.lasts();
    client.batch_execute(&format!("update queues.task set not_before = null where task_id = {id}")).unwrap();

    let mut other = cluster.connect("postgres");
    let other_pid: i32 = one(&mut other, "select pg_backend_pid()");
    let lock = format!("begin; select from queues.task where task_id = {id} for no key update");
    other.batch_execute(&lock).unwrap();
    let locked = explain(&mut client, id);
    assert_eq!((locked.reason.as_str(), locked.pid), ("locked", Some(other_pid)));
    other.batch_execute("rollback").unwrap();
    assert_eq!(explain(&mut client, id).reason, "paused");

    let taken: i64 = one(&mut client, "select task_id from queues.dequeue_next_available_task()");
    assert_eq!(taken, id);
    let leased = explain(&mut client, id);
    assert_eq!((leased.reason.as_str(), leased.status.as_str()), ("leased", "running"));
    assert_eq!(status(&mut client, id), "running");
    leased.lasts();
}

#[test]
fn a_row_that_a_prepared_transaction_or_several_sessions_lock_is_locked() {
    let settings = [PAUSED[0], PAUSED[1], ("max_prepared_transactions", "2")];
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "note", json!({}));
    wait_reason(&mut client, id, "paused");
    let mut other = cluster.connect("postgres");
    let lock = format!("begin; select from queues.task where task_id = {id} for no key update");
    other.batch_execute(&format!("{lock}; prepare transaction 'holds'")).unwrap();
    let locked = explain(&mut client, id);
    assert_eq!((locked.reason.as_str(), locked.pid), ("locked", None));
    assert!(locked.hint.contains("pg_prepared_xacts"), "{locked:?}");
    other.batch_execute("rollback prepared 'holds'").unwrap();
    assert_eq!(explain(&mut client, id).reason, "paused");
}

#[test]
fn a_task_of_the_open_transaction_is_uncommitted() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("begin").unwrap();
    let id = task(&mut client, "note", json!({}));
    assert_eq!(explain(&mut client, id).reason, "uncommitted");
    client.batch_execute("savepoint s").unwrap();
    let nested = task(&mut client, "note", json!({}));
    assert_eq!(explain(&mut client, nested).reason, "uncommitted");
    let mut other = cluster.connect("postgres");
    let unseen = other.query("select * from queues.explain($1)", &[&id]).unwrap_err();
    assert_eq!(unseen.code(), Some(&SqlState::NO_DATA_FOUND));
    client.batch_execute("commit").unwrap();
    for task in [id, nested] {
        wait_reason(&mut client, task, "paused");
    }
    // In a transaction that only reads, with an older snapshot.
    client.batch_execute("begin isolation level repeatable read read only; select 1").unwrap();
    let newer = task(&mut other, "note", json!({}));
    assert_eq!(explain(&mut client, newer).reason, "paused");
}

#[test]
fn an_unadopted_task_says_what_adopts_it() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "note", json!({}));
    drop(client);
    cluster.connect("template1").batch_execute("create database copy template postgres").unwrap();
    let mut copy = cluster.connect("copy");
    let unadopted = explain(&mut copy, id);
    assert!(unadopted.reason == "unadopted" && unadopted.hint.contains("queues.adopt()"), "{unadopted:?}");
    copy.batch_execute("select queues.adopt()").unwrap();
    wait_reason(&mut copy, id, "paused");
}

#[test]
fn a_task_that_will_fail_is_told_so_in_advance() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "insert into queues.task_definition (task_type, processor) values ('short', 'db_function')",
        )
        .unwrap();
    let id = enqueue(&mut client, "short", json!({}));
    client.batch_execute("delete from queues.task_definition where task_type = 'short'").unwrap();
    let paused = wait_reason(&mut client, id, "paused");
    assert!(paused.explanation.contains("there is no task type \"short\""), "{paused:?}");
}

#[test]
fn a_server_without_workers_says_so() {
    let primary = Cluster::start(&[NO_POLL]);
    let mut client = install(&primary, "postgres");
    run_one(&mut client, "first");
    let later: i64 = one(&mut client, "select queues.enqueue('db_function', '{}', now() + '1 h')");
    let standby = Builder::standby_of(&primary).start();
    let mut reader = standby.connect("postgres");
    let explained = explain(&mut reader, later);
    assert_eq!((explained.reason.as_str(), explained.status.as_str()), ("standby", "scheduled"));
    drop((reader, standby));

    let ready = task(&mut client, "linger", json!({}));
    runner(&mut client, ready);
    client.batch_execute("alter system set shared_preload_libraries = plpgsql").unwrap();
    drop(client);
    primary.restart(StopMode::Fast);
    let mut client = primary.connect("postgres");
    let explained = explain(&mut client, ready);
    assert_eq!((explained.reason.as_str(), explained.status.as_str()), ("not_preloaded", "ready"));
    assert!(explained.hint.contains("shared_preload_libraries"), "{explained:?}");
}

#[test]
fn a_task_that_follows_another_one_of_its_key_is_told_which() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let enqueue = "select queues.enqueue('db_function', '{\"db_function\": \"public.gate\", \"gate\": 1}', \
                   _unique_key => 'k', _if_exists => 'replace')";
    let first: i64 = one(&mut client, enqueue);
    runner(&mut client, first);
    let follower: i64 = one(&mut client, enqueue);
    assert_ne!(first, follower);
    assert_eq!(wait_reason(&mut client, follower, "follows").task, Some(first));
    gate.open();
    wait_status(&mut client, follower, "succeeded");
}

#[test]
fn tasks_of_a_higher_priority_are_counted_before_others() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let held = task(&mut client, "gate", json!({"gate": 1}));
    runner(&mut client, held);
    let mut enqueue = |priority: i32| -> i64 {
        one(&mut client, &format!("select queues.enqueue('db_function', '{{}}', _priority => {priority})"))
    };
    let plain = [enqueue(0), enqueue(0)];
    let (high, low) = (enqueue(5), enqueue(-5));
    for (id, ahead) in [(plain[0], 1), (plain[1], 2), (low, 3)] {
        let explained = wait_reason(&mut client, id, "behind");
        assert!(explained.explanation.contains(&format!(" {ahead} ready ")), "{explained:?}");
    }
    assert_eq!(wait_reason(&mut client, high, "workers_busy").task, Some(held));
    gate.open();
    wait_status(&mut client, low, "failed");
}
