//! One of a kind: `queues.enqueue` with a unique key.

use std::thread;

use postgres::error::SqlState;
use postgres::{Client, Error, GenericClient};
use serde_json::json;

use crate::harness::calling::Calling;
use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{Gate, done, install, one, payload, run_one, runner};
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::wait_until_sql;

/// Nothing runs: tasks wait.
const PAUSED: [(&str, &str); 1] = [("pg_errand.concurrency", "0")];
/// A task that is not announced would be found after the end of the test.
const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");

/// Enqueues a task that notes a label; `arguments` are further arguments, such as `_if_exists => 'replace'`.
fn try_enqueue(
    client: &mut impl GenericClient,
    handler: &str,
    label: &str,
    key: &str,
    arguments: &str,
) -> Result<i64, Error> {
    let sql = format!("select queues.enqueue('db_function', $1, _unique_key => $2 {arguments})");
    Ok(client.query_one(&sql, &[&payload(handler, json!({"label": label, "gate": 1})), &key])?.get(0))
}

#[track_caller]
fn note(client: &mut impl GenericClient, label: &str, key: &str, arguments: &str) -> i64 {
    try_enqueue(client, "note", label, key, arguments).unwrap()
}

/// A task that waits until the gate 1 is open.
#[track_caller]
fn gated(client: &mut Client, label: &str, key: &str, arguments: &str) -> i64 {
    try_enqueue(client, "gate", label, key, arguments).unwrap()
}

const REPLACE: &str = ", _if_exists => 'replace'";

/// The unfinished tasks: number and label, by number.
#[track_caller]
fn waiting(client: &mut Client) -> Vec<(i64, String)> {
    let sql =
        "select task_id, payload ->> 'label' from queues.task where finished_at is null order by task_id";
    client.query(sql, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[track_caller]
fn code(result: Result<i64, Error>) -> SqlState {
    result.unwrap_err().code().expect("an error of the server").clone()
}

#[test]
fn while_a_task_waits_no_other_one_of_its_key_is_enqueued() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let first = note(&mut client, "a", "k", "");
    assert_eq!(note(&mut client, "b", "k", ""), first);
    assert_eq!(waiting(&mut client), [(first, "a".into())]);
    let other = note(&mut client, "c", "other", "");
    assert_ne!(other, first);
    // The same key of another type, and no key at all.
    let mail: i64 =
        one(&mut client, "select queues.enqueue('email', '{\"label\": \"d\"}', _unique_key => 'k')");
    let empty = [note(&mut client, "e", "", ""), note(&mut client, "f", "", "")];
    assert!(mail > other && empty[0] > mail && empty[1] > empty[0], "{mail} {empty:?}");
    let keys: Vec<Option<String>> =
        one(&mut client, "select array_agg(unique_key order by task_id) from queues.task_status");
    assert_eq!(keys, [Some("k".into()), Some("other".into()), Some("k".into()), None, None]);
}

#[test]
fn replace_changes_what_waits_and_error_refuses() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let first = note(&mut client, "a", "k", "");
    let later = ", _scheduled_at => 'infinity', _if_exists => 'replace', _priority => 9";
    assert_eq!(note(&mut client, "b", "k", later), first);
    assert_eq!(waiting(&mut client), [(first, "b".into())]);
    let row = "select concat_ws(' ', scheduled_at, priority) from queues.task";
    assert_eq!(one::<String>(&mut client, row), "infinity 9");
    assert_eq!(note(&mut client, "c", "k", REPLACE), first);
    let row = "select concat_ws(' ', scheduled_at <= now(), priority) from queues.task";
    assert_eq!(one::<String>(&mut client, row), "t");
    let error = try_enqueue(&mut client, "note", "d", "k", ", _if_exists => 'error'").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    let said = error.as_db_error().unwrap();
    assert!(said.message().contains(&format!("task {first} ")) && said.hint().is_some(), "{said:?}");
    assert_eq!(waiting(&mut client), [(first, "c".into())]);
}

#[test]
fn debounce_moves_the_time_up_to_the_limit() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let enqueue = |client: &mut Client, label: &str, seconds: u32| {
        let arguments = format!(
            ", _scheduled_at => now() + interval '{seconds} s', _if_exists => 'debounce', _debounce_limit => '30 s'"
        );
        note(client, label, "k", &arguments)
    };
    let due = "select extract(epoch from scheduled_at - enqueued_at)::float8 from queues.task";
    let first = enqueue(&mut client, "a", 10);
    assert!((one::<f64>(&mut client, due) - 10.0).abs() < 0.001);
    assert_eq!(enqueue(&mut client, "b", 20), first);
    assert!(one::<f64>(&mut client, due) >= 20.0);
    assert_eq!(enqueue(&mut client, "c", 3600), first);
    assert!((one::<f64>(&mut client, due) - 30.0).abs() < 0.001);
    assert_eq!(waiting(&mut client), [(first, "c".into())]);
}

#[test]
fn a_running_task_is_followed_by_one_that_starts_after_it() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "2")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let first = gated(&mut client, "a", "k", "");
    runner(&mut client, first);
    assert_eq!(note(&mut client, "-", "k", ""), first);
    let second = note(&mut client, "b", "k", REPLACE);
    assert!(second > first);
    // There is one follower, which waits and is replaced itself.
    assert_eq!(note(&mut client, "c", "k", REPLACE), second);
    assert_eq!(note(&mut client, "d", "k", ", _if_exists => 'debounce'"), second);
    assert_eq!(note(&mut client, "-", "k", ""), second);
    run_one(&mut client, "another");
    assert_eq!(status(&mut client, second), "ready");
    gate.open();
    wait_status(&mut client, second, "succeeded");
    assert_eq!(done(&mut client), ["another", "a", "d"]);
    assert_ne!(note(&mut client, "e", "k", ""), second);
}

#[test]
fn a_follower_waits_for_the_repetition_of_a_task_whose_worker_was_killed() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "2")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let first = gated(&mut client, "a", "k", "");
    let pid = runner(&mut client, first);
    let second = note(&mut client, "b", "k", REPLACE);
    client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    wait_until_sql(
        &mut client,
        &format!("select count(*) from queues.worker where task_id = {first} and pid <> {pid}"),
        "1",
    );
    assert_eq!(status(&mut client, second), "ready");
    gate.open();
    wait_status(&mut client, second, "succeeded");
    assert_eq!(done(&mut client), ["a", "b"]);
}

#[test]
fn a_follower_starts_after_a_cancelled_task() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let _gate = Gate::close(&cluster, "postgres", 1);
    let first = gated(&mut client, "a", "k", "");
    runner(&mut client, first);
    let second = note(&mut client, "b", "k", REPLACE);
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({first})")));
    wait_status(&mut client, second, "succeeded");
}

#[test]
fn a_task_between_the_steps_of_its_call_is_running() {
    let mut calling = Calling::friendly(&PAUSED);
    calling.register("api", json!({}));
    let client = &mut calling.client;
    let enqueue = |client: &mut Client| {
        let sql = "select queues.enqueue('api', '{\"request\": {\"path\": \"/\"}}', _unique_key => 'k', _if_exists => 'replace')";
        one::<i64>(client, sql)
    };
    let first = enqueue(client);
    assert_eq!(enqueue(client), first);
    client.execute("update queues.task set calling = true", &[]).unwrap();
    let second = enqueue(client);
    assert_ne!(second, first);
    client.execute("update queues.task set calling = false", &[]).unwrap();
    calling.cluster.set(&[("pg_errand.concurrency", "2")]);
    calling.wait(second, "succeeded");
    calling.wait(first, "succeeded");
    let order = "select array_agg(task_id order by finished_at) from queues.task";
    assert_eq!(one::<Vec<i64>>(&mut calling.client, order), [first, second]);
}

#[test]
fn a_task_that_is_leased_outside_is_running() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let dequeue = "select task_id from queues.dequeue_next_available_task()";
    let first = note(&mut client, "a", "k", "");
    assert_eq!(one::<Option<i64>>(&mut client, dequeue), Some(first));
    let second = note(&mut client, "b", "k", REPLACE);
    assert_ne!(second, first);
    assert_eq!(one::<Option<i64>>(&mut client, dequeue), None, "the second one follows");
    client.execute("select queues.complete_task($1)", &[&first]).unwrap();
    assert_eq!(one::<Option<i64>>(&mut client, dequeue), Some(second));
    // An ended lease no longer counts as running.
    client.execute("update queues.task set not_before = now() - interval '1 s' where leased", &[]).unwrap();
    assert_eq!(note(&mut client, "c", "k", REPLACE), second);
}

#[test]
fn finished_tasks_count_within_the_window() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let first = note(&mut client, "a", "k", "");
    wait_status(&mut client, first, "succeeded");
    let window = ", _unique_for => '1 hour'";
    assert_eq!(note(&mut client, "b", "k", window), first);
    assert_eq!(note(&mut client, "b", "k", &format!("{window}{REPLACE}")), first);
    let refused = try_enqueue(&mut client, "note", "b", "k", &format!("{window}, _if_exists => 'error'"));
    assert_eq!(code(refused), SqlState::UNIQUE_VIOLATION);
    client.execute("update queues.task set enqueued_at = enqueued_at - interval '2 hours'", &[]).unwrap();
    let second = note(&mut client, "b", "k", window);
    assert_ne!(second, first);
    wait_status(&mut client, second, "succeeded");
    // A cancelled task has not been done.
    let far = note(&mut client, "c", "l", ", _scheduled_at => 'infinity'");
    client.execute("select queues.cancel($1)", &[&far]).unwrap();
    assert_ne!(note(&mut client, "c", "l", window), far);
}

#[test]
fn bad_arguments_are_refused_with_a_hint() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let long = "ü".repeat(257);
    for (key, arguments, named) in [
        (long.as_str(), "", "514 bytes"),
        ("k", ", _if_exists => 'upsert'", "\"upsert\""),
        ("k", ", _unique_for => '-1 s'", "_unique_for is negative"),
        ("k", ", _if_exists => 'debounce', _debounce_limit => '-1 month'", "_debounce_limit is negative"),
        ("k", ", _debounce_limit => '1 s'", "_if_exists"),
        ("", ", _unique_for => '1 s'", "requires a unique key"),
        ("", ", _if_exists => 'debounce', _debounce_limit => '1 s'", "requires a unique key"),
        ("", ", _priority => 32768", "32768"),
        ("k", ", _priority => -32769", "-32769"),
    ] {
        let error = try_enqueue(&mut client, "note", "a", key, arguments).unwrap_err();
        let said = error.as_db_error().unwrap();
        assert_eq!(said.code(), &SqlState::INVALID_PARAMETER_VALUE, "{said:?}");
        assert!(said.message().contains(named) && said.hint().is_some(), "{named}: {said:?}");
    }
    note(&mut client, "a", &"ü".repeat(256), "");
    let insert = |client: &mut Client, key: &str| {
        let sql = "insert into queues.task (task_type, payload, unique_key) values ('sms', '{}', $1) returning task_id";
        client.query_one(sql, &[&key]).map(|row| row.get(0))
    };
    assert_eq!(code(insert(&mut client, &long)), SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(code(insert(&mut client, "")), SqlState::INVALID_PARAMETER_VALUE);
    insert(&mut client, "mine").unwrap();
    assert_eq!(code(insert(&mut client, "mine")), SqlState::UNIQUE_VIOLATION);
}

/// Runs `body` in this many sessions at once.
fn at_once(cluster: &Cluster, sessions: usize, body: impl Fn(&mut Client, usize) + Sync) {
    thread::scope(|scope| {
        for n in 0..sessions {
            let body = &body;
            scope.spawn(move || body(&mut cluster.connect("postgres"), n));
        }
    });
}

#[test]
fn fifty_sessions_enqueue_one_task() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    for policy in ["keep", "replace", "debounce"] {
        let arguments = format!(", _if_exists => '{policy}'");
        at_once(&cluster, 50, |client, _| {
            for n in 0..100 {
                note(client, &n.to_string(), policy, &arguments);
            }
        });
        let rows = format!("select count(*) from queues.task where unique_key = '{policy}'");
        assert_eq!(one::<i64>(&mut client, &rows), 1, "{policy}");
    }
}

#[test]
fn tasks_of_a_key_run_one_after_the_other_however_many_sessions_enqueue() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "4")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create table public.alone (n int); insert into public.alone values (0);
             create table public.runs (n int); grant all on public.alone, public.runs to public;
             create function public.alone(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 -- Fails while another task has not committed.
                 perform from public.alone for update nowait;
                 insert into public.runs values ((payload ->> 'label')::int);
                 return '{}';
             end $$",
        )
        .unwrap();
    at_once(&cluster, 20, |client, session| {
        for n in 0..100 {
            let policy = ["keep", "replace", "debounce"][(session + n) % 3];
            let arguments = format!(", _if_exists => '{policy}'");
            try_enqueue(client, "alone", &n.to_string(), "k", &arguments).unwrap();
        }
    });
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    assert_eq!(
        one::<i64>(&mut client, "select count(*) from queues.task where final_status <> 'succeeded'"),
        0
    );
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}

#[test]
fn a_rolled_back_task_leaves_the_key_free() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let mut transaction = client.transaction().unwrap();
    let mut savepoint = transaction.savepoint("s").unwrap();
    let lost = note(&mut savepoint, "a", "k", "");
    savepoint.rollback().unwrap();
    let kept = note(&mut transaction, "b", "k", "");
    assert_ne!(lost, kept);
    assert_eq!(note(&mut transaction, "c", "k", REPLACE), kept);
    transaction.commit().unwrap();
    assert_eq!(waiting(&mut client), [(kept, "c".into())]);
}

#[test]
fn transactions_with_one_snapshot_fail_only_with_a_serialization_failure() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let mut other = cluster.connect("postgres");
    for (level, key) in [("repeatable read", "r"), ("serializable", "s")] {
        let mut transaction = client.transaction().unwrap();
        transaction.batch_execute(&format!("set transaction isolation level {level}; select 1")).unwrap();
        transaction.query("select from queues.task", &[]).unwrap();
        let first = note(&mut other, "a", key, "");
        assert_eq!(note(&mut transaction, "b", key, ""), first);
        let refused = try_enqueue(&mut transaction, "note", "c", key, REPLACE);
        assert_eq!(code(refused), SqlState::T_R_SERIALIZATION_FAILURE);
        transaction.rollback().unwrap();
    }
    assert_eq!(waiting(&mut client).len(), 2);
}

#[test]
fn a_waiting_enqueue_sees_what_the_other_transaction_did() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let mut transaction = client.transaction().unwrap();
    let first = note(&mut transaction, "a", "k", "");
    let mut watcher = cluster.connect("postgres");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| note(&mut cluster.connect("postgres"), "b", "k", ""));
        let blocked = "select count(*) from pg_locks where locktype = 'transactionid' and not granted";
        wait_until_sql(&mut watcher, blocked, "1");
        transaction.commit().unwrap();
        assert_eq!(waiter.join().unwrap(), first);
    });
}

#[test]
fn a_handler_that_replaces_its_own_task_enqueues_the_next_one() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create function public.again(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 perform queues.enqueue(
                     'db_function', '{\"db_function\": \"public.note\", \"label\": \"next\"}',
                     _unique_key => 'k', _if_exists => 'replace'
                 );
                 return '{}';
             end $$;
             select queues.grant_enqueue('db_function', 'errand_worker')",
        )
        .unwrap();
    let first = try_enqueue(&mut client, "again", "a", "k", "").unwrap();
    wait_status(&mut client, first, "succeeded");
    wait_until_sql(&mut client, "select string_agg(label, ',') from public.done", "next");
}

#[test]
fn adopted_tasks_do_not_collide_with_those_that_are_here() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let here = note(&mut client, "here", "k", "");
    client
        .batch_execute(
            "insert into queues.task (task_type, payload, unique_key, origin)
             select 'sms', '{}'::jsonb, key, origin
             from unnest('{k,l}'::text[]) key, unnest('{1,2}'::bigint[]) origin
             union all
             select 'db_function', '{\"label\": \"copy\"}'::jsonb, 'k', 1",
        )
        .unwrap();
    assert_eq!(note(&mut client, "here", "k", ""), here, "tasks of another database do not count");
    assert_eq!(one::<i64>(&mut client, "select queues.adopt()"), 5);
    let keys = "select string_agg(task_type || ' ' || unique_key, ',' order by task_type, unique_key) from queues.task";
    assert_eq!(one::<String>(&mut client, keys), "db_function k,sms k,sms l");
}

#[test]
fn keys_survive_a_crash_of_the_server() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let first = note(&mut client, "a", "k", "");
    drop(client);
    cluster.restart(StopMode::Immediate);
    let mut client = cluster.connect("postgres");
    assert_eq!(note(&mut client, "b", "k", ""), first);
}
