//! `queues.drain`.

use std::thread;

use super::{enqueue, enqueue_many, reason, start};
use crate::harness::handlers::{Gate, one, task};
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};
use serde_json::json;

#[test]
fn a_drain_under_load_returns_when_nothing_runs() {
    let (cluster, mut client) = start();
    enqueue_many(&mut client, "one", 20_000);
    eventually("some run", || super::ended(&mut client, "one") > 100);
    assert!(one::<bool>(&mut client, "select queues.drain('1 minute')"));
    let ended = super::ended(&mut client, "one");
    assert!(ended < 20_000, "the drain came too late");
    wait_until_sql(&mut client, "select count(*) from queues.worker where task_id is not null", "0");
    let more = enqueue(&mut cluster.connect("postgres"), "two", "more");
    assert_eq!(reason(&mut client, more), "database_paused");
    assert_eq!(super::ended(&mut client, "one"), ended);
    assert!(one::<bool>(&mut client, "select queues.resume()"));
    wait_status(&mut client, more, "succeeded");
}

#[test]
fn at_the_timeout_it_says_what_runs_and_the_pause_stays() {
    let (cluster, mut client) = start();
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"gate": 1}));
    wait_status(&mut client, running, "running");
    let pid: i32 = one(&mut client, "select pid from queues.worker where task_id is not null");
    let said = cluster.psql("postgres", "select queues.drain('100 ms')");
    assert!(said.contains('f'), "{said}");
    let error = client.batch_execute("do $$ begin if queues.drain('0') then raise 'drained'; end if; end $$");
    error.unwrap();
    let left = "select concat_ws('|', what, task_id, pid) from errand.left_to_drain()";
    assert_eq!(one::<String>(&mut client, left), format!("task|{running}|{pid}"));
    let waiting = enqueue(&mut client, "one", "waiting");
    gate.open();
    assert!(one::<bool>(&mut client, "select queues.drain()"));
    assert_eq!(queue::status(&mut client, waiting), "ready");
    client.batch_execute("select queues.resume()").unwrap();
    wait_status(&mut client, waiting, "succeeded");
}

#[test]
fn a_drain_counts_before_its_commit_and_ends_with_a_rollback() {
    let (cluster, mut client) = start();
    let mut other = cluster.connect("postgres");
    let mut transaction = other.transaction().unwrap();
    assert!(transaction.query_one("select queues.drain()", &[]).unwrap().get::<_, bool>(0));
    let waiting = enqueue(&mut client, "one", "waiting");
    assert_eq!(reason(&mut client, waiting), "draining");
    assert_eq!(
        one::<Option<i64>>(&mut client, "select task_id from queues.dequeue_next_available_task('{one}')"),
        None
    );
    transaction.rollback().unwrap();
    wait_status(&mut client, waiting, "succeeded");
}

#[test]
fn a_drain_ends_with_its_session() {
    let (cluster, mut client) = start();
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"gate": 1}));
    wait_status(&mut client, running, "running");
    let mut other = cluster.connect("postgres");
    let pid: i32 = one(&mut other, "select pg_backend_pid()");
    let drain = thread::spawn(move || other.batch_execute("select queues.drain(null)"));
    // Tasks that are enqueued before it drains are run.
    let waiting = eventually("it drains", || {
        let waiting = enqueue(&mut client, "one", "waiting");
        (reason(&mut client, waiting) == "draining").then_some(waiting)
    });
    assert!(one::<bool>(&mut client, &format!("select pg_terminate_backend({pid})")));
    assert!(drain.join().unwrap().is_err());
    wait_status(&mut client, waiting, "succeeded");
    gate.open();
    wait_status(&mut client, running, "succeeded");
}

#[test]
fn a_task_cannot_drain_its_own_database() {
    let (_cluster, mut client) = start();
    client
        .batch_execute(
            "create function public.drains(jsonb) returns jsonb language plpgsql security definer as
                'begin perform queues.drain(); return null; end'",
        )
        .unwrap();
    let id = task(&mut client, "drains", json!({}));
    wait_status(&mut client, id, "failed");
    let said = queue::errors(&mut client, id).remove(0).error_message;
    assert!(said.contains("a task cannot drain its own database"), "{said}");
    let next = enqueue(&mut client, "one", "next");
    wait_status(&mut client, next, "succeeded");
}

#[test]
fn leases_of_workers_outside_count() {
    let (_cluster, mut client) = start();
    client.batch_execute("select queues.pause('sms')").unwrap();
    client.batch_execute("select queues.enqueue('sms', '{}'); select queues.resume('sms')").unwrap();
    let leased: Option<i64> =
        one(&mut client, "select task_id from queues.dequeue_next_available_task('{sms}')");
    // A worker inside may have been faster, and the task fails then.
    if let Some(leased) = leased {
        assert!(!one::<bool>(&mut client, "select queues.drain('50 ms')"));
        client.batch_execute(&format!("select queues.complete_task({leased})")).unwrap();
    }
    assert!(one::<bool>(&mut client, "select queues.drain('1 minute')"));
}
