//! What handlers wait for that other sessions have locked.

use postgres::Client;
use serde_json::json;

use super::explain;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, runner, task};
use crate::harness::queue::wait_status;
use crate::harness::wait::wait_until_sql;

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");

/// A session that has locked the table into which handlers write.
fn locker(cluster: &Cluster) -> (Client, i32) {
    let mut locker = cluster.connect("postgres");
    let pid = one(&mut locker, "select pg_backend_pid()");
    locker.batch_execute("begin; lock table public.done in access exclusive mode").unwrap();
    (locker, pid)
}

#[test]
fn a_handler_that_waits_for_a_lock_shows_whose() {
    let cluster = Cluster::start(&[NO_POLL, ("max_prepared_transactions", "1")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role watcher login in role pg_monitor; create role operator login;
             select queues.grant_role('operator', 'operator')",
        )
        .unwrap();
    let (mut locker, pid) = locker(&cluster);
    let id = task(&mut client, "note", json!({"label": "x"}));
    let worker = runner(&mut client, id);
    let shown = "select concat_ws(' ', runs_in, pid, waits_for, blocked_by) from queues.running";
    for role in ["postgres", "watcher", "operator"] {
        let mut reader = cluster.connect_as(role, "postgres");
        wait_until_sql(&mut reader, shown, &format!("worker {worker} Lock: relation {{{pid}}}"));
    }
    let told = explain(&mut client, id);
    assert_eq!((told.reason.as_str(), told.status.as_str(), told.pid), ("running", "running", Some(pid)));
    assert!(
        told.explanation.contains(&format!("and waits for a lock that process {pid} holds.")),
        "{told:?}"
    );
    assert!(told.hint.contains(&format!("pg_terminate_backend({pid})")), "{told:?}");
    locker.batch_execute("prepare transaction 'locker'").unwrap();
    wait_until_sql(&mut client, "select blocked_by from queues.running", "{0}");
    let told = explain(&mut client, id);
    assert!(told.pid.is_none() && told.hint.contains("ROLLBACK PREPARED"), "{told:?}");
    locker.batch_execute("rollback prepared 'locker'").unwrap();
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn a_handler_that_waits_for_another_task_shows_that_task() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "2")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create function public.lock_and_wait(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 perform pg_advisory_xact_lock(2);
                 return public.gate(payload);
             end $$",
        )
        .unwrap();
    let gate = Gate::close(&cluster, "postgres", 1);
    let first = task(&mut client, "lock_and_wait", json!({"gate": 1}));
    let worker = runner(&mut client, first);
    wait_until_sql(&mut client, "select waits_for from queues.running", "Lock: advisory");
    let second = task(&mut client, "lock_and_wait", json!({"gate": 1}));
    wait_until_sql(
        &mut client,
        &format!("select blocked_by from queues.running where task_id = {second}"),
        &format!("{{{worker}}}"),
    );
    let told = explain(&mut client, second);
    assert_eq!((told.task, told.pid), (Some(first), Some(worker)), "{told:?}");
    assert!(told.hint.contains(&format!("queues.explain({first})")), "{told:?}");
    gate.open();
    wait_status(&mut client, second, "succeeded");
}

#[test]
fn workers_that_all_wait_for_locks_are_a_problem() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let (locker, pid) = locker(&cluster);
    let id = task(&mut client, "note", json!({"label": "x"}));
    let worker = runner(&mut client, id);
    // It has waited for long enough, but nothing waits for it.
    let blocked = "select coalesce(max(clock_timestamp() - blocked_since) > interval '6 s', false) from errand.worker_waits()";
    wait_until_sql(&mut client, blocked, "t");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.health"), 0);
    let next = task(&mut client, "note", json!({"label": "y"}));
    let row = client.query_one("select * from queues.health", &[]).unwrap();
    let get = |column| row.get::<_, String>(column);
    assert_eq!((get("problem").as_str(), get("severity").as_str()), ("handlers_blocked", "error"));
    assert!(get("subject") == format!("task {id}") && get("hint").contains(&format!("queues.explain({id})")));
    let explanation = get("explanation");
    assert!(explanation.contains(&format!("in worker {worker} for process {pid} since")), "{explanation}");
    drop(locker);
    wait_status(&mut client, next, "succeeded");
    wait_until_sql(&mut client, "select count(*) from queues.health", "0");
}
