//! `queues.pause_key` and `queues.resume_key`.

use postgres::error::SqlState;

use super::{FOUR_WORKERS, PAUSED, enqueue, gated, start};
use crate::harness::cluster::StopMode;
use crate::harness::handlers::{Gate, one};
use crate::harness::programs::output;
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::wait_until_sql;

#[test]
fn a_paused_key_starts_nothing_until_it_is_resumed() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = gated(&mut client, "a", "running", 1);
    wait_status(&mut client, running, "running");
    client
        .batch_execute("select queues.pause_key('db_function', 'a', _why => 'the customer asked')")
        .unwrap();
    let waiting = enqueue(&mut client, "a", "waiting");
    gate.open();
    wait_status(&mut client, running, "succeeded");
    let other = enqueue(&mut client, "b", "other");
    wait_status(&mut client, other, "succeeded");
    assert_eq!(queue::status(&mut client, waiting), "ready");
    let shown = "select concat_ws('|', task_type, queue_key, paused_until is null, reason, paused_by) from queues.paused_key";
    assert_eq!(one::<String>(&mut client, shown), "db_function|a|t|the customer asked|postgres");
    // A worker outside gets none of its tasks, either.
    assert_eq!(
        one::<Option<i64>>(&mut client, "select task_id from queues.dequeue_next_available_task()"),
        None
    );
    assert!(one::<bool>(&mut client, "select queues.resume_key('db_function', 'a')"));
    wait_status(&mut client, waiting, "succeeded");
    assert!(!one::<bool>(&mut client, "select queues.resume_key('db_function', 'a')"));
}

#[test]
fn a_pause_ends_at_its_time() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    client
        .batch_execute("select queues.pause_key('db_function', 'a', clock_timestamp() + interval '400 ms')")
        .unwrap();
    let until = "select (extract(epoch from paused_until) * 1000000)::bigint from queues.paused_key";
    let until: i64 = one(&mut client, until);
    let waiting = enqueue(&mut client, "a", "waiting");
    wait_status(&mut client, waiting, "succeeded");
    let started = format!(
        "select (extract(epoch from dequeued_at) * 1000000)::bigint from queues.task where task_id = {waiting}"
    );
    assert!(one::<i64>(&mut client, &started) >= until);
    // The pause is removed, and the key runs on.
    wait_until_sql(&mut client, "select count(*) from queues.paused_key", "0");
    let next = enqueue(&mut client, "a", "next");
    wait_status(&mut client, next, "succeeded");
}

#[test]
fn a_session_that_is_about_to_end_a_pause_holds_up_no_worker() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    client
        .batch_execute("select queues.pause_key('db_function', 'a', clock_timestamp() + interval '300 ms')")
        .unwrap();
    let waiting = enqueue(&mut client, "a", "waiting");
    let mut other = cluster.connect("postgres");
    let mut open = other.transaction().unwrap();
    open.batch_execute("select queues.resume_key('db_function', 'a')").unwrap();
    // The pause has ended for everybody, and its key starts.
    wait_status(&mut client, waiting, "succeeded");
    for label in ["b", "c", "d", "e"] {
        let task = enqueue(&mut client, label, label);
        wait_status(&mut client, task, "succeeded");
    }
    open.rollback().unwrap();
}

#[test]
fn a_pause_can_be_replaced_and_rolled_back() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    client.batch_execute("select queues.pause_key('db_function', 'a')").unwrap();
    let waiting = enqueue(&mut client, "a", "waiting");
    let mut transaction = client.transaction().unwrap();
    transaction.batch_execute("select queues.resume_key('db_function', 'a')").unwrap();
    transaction.rollback().unwrap();
    assert_eq!(queue::status(&mut client, waiting), "ready");
    client
        .batch_execute("select queues.pause_key('db_function', 'a', clock_timestamp() + interval '100 ms')")
        .unwrap();
    wait_status(&mut client, waiting, "succeeded");
}

#[test]
fn a_pause_survives_a_crash_of_the_server() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    client.batch_execute("select queues.pause_key('db_function', 'a')").unwrap();
    let waiting = enqueue(&mut client, "a", "waiting");
    cluster.restart(StopMode::Kill);
    let mut client = cluster.connect("postgres");
    let other = enqueue(&mut client, "b", "other");
    wait_status(&mut client, other, "succeeded");
    assert_eq!(queue::status(&mut client, waiting), "ready");
    client.batch_execute("select queues.resume_key('db_function', 'a')").unwrap();
    wait_status(&mut client, waiting, "succeeded");
}

#[test]
fn a_dump_holds_pauses_and_keys() {
    let (cluster, mut client) = start(&PAUSED);
    client.batch_execute("select queues.pause_key('sms', 'a', _why => 'x')").unwrap();
    client.batch_execute("create database copy").unwrap();
    client.batch_execute("select queues.enqueue('sms', '{}', _queue_key => 'a')").unwrap();
    let archive = cluster.socket_dir().join("archive");
    output(cluster.client_program("pg_dump").args(["--format=custom", "postgres", "--file"]).arg(&archive));
    output(cluster.client_program("pg_restore").args(["--exit-on-error", "--dbname=copy"]).arg(&archive));
    let mut copy = cluster.connect("copy");
    let found = "select concat_ws('|', p.task_type, p.queue_key, p.reason, t.queue_key)
        from queues.paused_key p, queues.task t";
    assert_eq!(one::<String>(&mut copy, found), "sms|a|x|a");
}

#[test]
fn a_pause_needs_a_key_that_can_be() {
    let (_cluster, mut client) = start(&PAUSED);
    for (arguments, message) in [
        ("'no such', 'a'", "unknown task type \"no such\""),
        ("null, 'a'", "unknown task type \"\""),
        ("'sms', null", "a queue key cannot be empty"),
        ("'sms', ''", "a queue key cannot be empty"),
        ("'sms', repeat('x', 513)", "the queue key has 513 bytes"),
    ] {
        for function in ["pause_key", "resume_key"] {
            let error = client.simple_query(&format!("select queues.{function}({arguments})")).unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::INVALID_PARAMETER_VALUE));
            let error = error.as_db_error().unwrap();
            assert_eq!(error.message(), message);
            assert!(error.hint().is_some_and(|hint| hint.ends_with('.')));
        }
    }
    let past = "select queues.pause_key('sms', 'a', now() - interval '1 s')";
    let error = client.simple_query(past).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INVALID_PARAMETER_VALUE));
    assert!(error.as_db_error().unwrap().message().contains("in the past"));
    client.batch_execute("select queues.pause_key('sms', 'a', 'infinity')").unwrap();
    assert!(one::<bool>(&mut client, "select paused_until is null from queues.paused_key"));
}

#[test]
fn only_a_role_that_may_execute_the_functions_pauses_keys() {
    let (cluster, mut client) = start(&PAUSED);
    client
        .batch_execute(
            "create role ann login; create role operator login;
             grant usage on schema queues to ann, operator;
             grant execute on function queues.enqueue to ann;
             grant execute on function queues.pause_key, queues.resume_key to operator",
        )
        .unwrap();
    let mut ann = cluster.connect_as("ann", "postgres");
    for sql in [
        "select queues.pause_key('sms', 'a')",
        "select queues.resume_key('sms', 'a')",
        "select * from queues.paused_key",
        "delete from queues.paused_key",
        "select errand.announce_key('sms', 'a')",
    ] {
        let error = ann.simple_query(sql).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}");
    }
    let mut operator = cluster.connect_as("operator", "postgres");
    operator.batch_execute("select queues.pause_key('sms', 'a')").unwrap();
    assert_eq!(one::<String>(&mut client, "select paused_by from queues.paused_key"), "operator");
    assert!(one::<bool>(&mut operator, "select queues.resume_key('sms', 'a')"));
}

#[test]
fn a_pause_that_a_trigger_suppresses_is_an_error() {
    let (_cluster, mut client) = start(&PAUSED);
    let suppress = "create function public.suppress() returns trigger language plpgsql as 'begin return null; end';
        create trigger suppress before insert or delete on queues.paused_key for each row execute function public.suppress()";
    client.batch_execute(suppress).unwrap();
    let error = client.simple_query("select queues.pause_key('sms', 'a')").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::TRIGGERED_DATA_CHANGE_VIOLATION), "{error:?}");
    client.batch_execute("alter table queues.paused_key disable trigger suppress; select queues.pause_key('sms', 'a'); alter table queues.paused_key enable trigger suppress").unwrap();
    let error = client.simple_query("select queues.resume_key('sms', 'a')").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::TRIGGERED_DATA_CHANGE_VIOLATION), "{error:?}");
}
