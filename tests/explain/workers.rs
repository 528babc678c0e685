//! Reasons that concern the workers of a database.

use serde_json::json;

use super::{explain, wait_reason};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{
    Gate, create_database, install, one, run_one, runner, task, wait_asleep, wait_running,
};
use crate::harness::points::Point;
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::wait_until_sql;

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
const SHORT_STAY: (&str, &str) = ("pg_errand.max_idle_time", "100ms");
const ONE: (&str, &str) = ("pg_errand.concurrency", "1");

#[test]
fn a_ready_task_waits_for_busy_workers_or_behind_others() {
    let cluster = Cluster::start(&[NO_POLL, ONE]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let first = task(&mut client, "gate", json!({"gate": 1}));
    let pid = runner(&mut client, first);
    let second = task(&mut client, "note", json!({"label": "second"}));
    let third = task(&mut client, "note", json!({"label": "third"}));
    let busy = explain(&mut client, second);
    assert_eq!((busy.reason.as_str(), busy.status.as_str()), ("workers_busy", "ready"));
    assert_eq!((busy.task, busy.pid), (Some(first), Some(pid)));
    let behind = explain(&mut client, third);
    assert_eq!(behind.reason, "behind");
    assert!(behind.explanation.contains(" 1 ready task comes first"), "{behind:?}");
    client.batch_execute("select queues.enqueue('db_function', '{}') from generate_series(1, 1200)").unwrap();
    let last: i64 = one(&mut client, "select max(task_id) from queues.task");
    let behind = explain(&mut client, last);
    assert!(behind.explanation.contains("at least 1000 ready tasks come first"), "{behind:?}");
    // A whole queue.
    let counts = "select string_agg(reason || ' ' || n, ', ' order by reason) from (
            select e.reason, count(*) as n
            from (select task_id from queues.task_status where finished_at is null order by task_id limit 10) t
            cross join lateral queues.explain(t.task_id) e
            group by e.reason
        ) reasons";
    assert_eq!(one::<String>(&mut client, counts), "behind 8, running 1, workers_busy 1");
    gate.open();
    wait_status(&mut client, third, "succeeded");
}

#[test]
fn a_task_that_an_idle_worker_has_not_taken_yet_is_next() {
    let cluster = Cluster::start(&[NO_POLL, ONE, ("pg_errand.max_idle_time", "0")]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    wait_until_sql(&mut client, "select state from queues.worker", "idle");
    let pid: i32 = one(&mut client, "select pid from queues.worker");
    cluster.kill(pid, libc::SIGSTOP);
    let id = task(&mut client, "note", json!({"label": "next"}));
    let next = explain(&mut client, id);
    cluster.kill(pid, libc::SIGCONT);
    assert_eq!(next.reason, "next", "{next:?}");
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn what_keeps_workers_away_is_told_with_what_to_do() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    wait_asleep(&mut client);

    cluster.set(&[("pg_errand.role", "not_yet")]);
    let id = task(&mut client, "note", json!({"label": "x"}));
    let told = wait_reason(&mut client, id, "role_missing");
    assert!(told.hint.contains("CREATE ROLE not_yet LOGIN"), "{told:?}");
    client.batch_execute("create role not_yet nologin").unwrap();
    if one::<i32>(&mut client, "select current_setting('server_version_num')::int") < 170_000 {
        let told = wait_reason(&mut client, id, "role_lacks_login");
        assert!(told.hint.contains("ALTER ROLE not_yet LOGIN"), "{told:?}");
    }
    client
        .batch_execute("revoke connect on database postgres from public; alter role not_yet login")
        .unwrap();
    let told = wait_reason(&mut client, id, "role_lacks_connect");
    assert!(told.hint.contains("GRANT CONNECT ON DATABASE postgres TO not_yet"), "{told:?}");
    client.batch_execute("alter role not_yet set default_transaction_read_only = on").unwrap();
    client.batch_execute("grant connect on database postgres to public").unwrap();
    let told = wait_reason(&mut client, id, "read_only");
    assert!(told.hint.contains("default_transaction_read_only"), "{told:?}");
    cluster.set(&[("pg_errand.databases", "elsewhere"), ("pg_errand.role", "errand_worker")]);
    let told = wait_reason(&mut client, id, "not_served");
    assert!(told.hint.contains("pg_errand.databases"), "{told:?}");
    cluster.set(&[("pg_errand.databases", ""), ("pg_errand.concurrency", "0")]);
    let told = wait_reason(&mut client, id, "paused");
    assert!(told.hint.contains("pg_errand.concurrency"), "{told:?}");
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn a_database_that_accepts_no_connections_says_so() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.databases", "other")]);
    let mut other = create_database(&cluster, "other");
    let mut client = cluster.connect("postgres");
    run_one(&mut other, "first");
    client.batch_execute("alter database other with allow_connections false").unwrap();
    wait_asleep(&mut client);
    let id = task(&mut other, "note", json!({"label": "x"}));
    let told = wait_reason(&mut other, id, "no_connections");
    assert!(told.hint.contains("ALLOW_CONNECTIONS true"), "{told:?}");
}

#[test]
fn a_command_that_quiesces_the_database_is_named() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let mut other = cluster.connect("postgres");
    let pid: i32 = one(&mut other, "select pg_backend_pid()");
    other.batch_execute("begin; alter extension pg_errand update").unwrap();
    let id = task(&mut client, "note", json!({"label": "x"}));
    let quiesced = wait_reason(&mut client, id, "quiesced");
    assert_eq!(quiesced.pid, Some(pid));
    other.batch_execute("rollback").unwrap();
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn a_limit_of_processes_or_of_workers_is_told() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.max_workers", "1")]);
    let mut client = install(&cluster, "postgres");
    let mut other = create_database(&cluster, "other");
    let gate = Gate::close(&cluster, "other", 1);
    let busy = task(&mut other, "gate", json!({"gate": 1}));
    runner(&mut other, busy);
    let id = task(&mut client, "note", json!({"label": "x"}));
    let told = wait_reason(&mut client, id, "max_workers");
    assert!(told.hint.contains("pg_errand.max_workers"), "{told:?}");
    gate.open();
    wait_status(&mut client, id, "succeeded");

    // The launcher and one more process.
    let settings =
        [NO_POLL, SHORT_STAY, ("max_worker_processes", "2"), ("max_logical_replication_workers", "0")];
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    let mut other = create_database(&cluster, "other");
    let gate = Gate::close(&cluster, "other", 1);
    let busy = task(&mut other, "gate", json!({"gate": 1}));
    runner(&mut other, busy);
    let id = task(&mut client, "note", json!({"label": "x"}));
    let told = wait_reason(&mut client, id, "no_process");
    assert!(told.hint.contains("max_worker_processes"), "{told:?}");
    gate.open();
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn workers_that_fail_to_start_are_told_and_when_the_next_one_starts() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    wait_asleep(&mut client);
    cluster.set(&[("pg_errand.concurrency", "0")]);
    let id = task(&mut client, "note", json!({"label": "x"}));
    wait_reason(&mut client, id, "paused");
    client.batch_execute("alter schema errand rename to errand_elsewhere").unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    let told = wait_reason(&mut client, id, "workers_failing");
    told.lasts();
    assert!(told.hint.contains("server log"), "{told:?}");
    client.batch_execute("alter schema errand_elsewhere rename to errand").unwrap();
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn a_task_whose_end_cannot_be_written_is_deferred_by_its_worker() {
    let cluster = Cluster::start(&[NO_POLL, ONE]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create function public.keep() returns trigger language plpgsql as $$ begin return null; end $$;
             create trigger keep before update on queues.task for each row execute function public.keep();
             alter table queues.task enable always trigger keep",
        )
        .unwrap();
    let id = task(&mut client, "note", json!({"label": "x"}));
    let deferred = wait_reason(&mut client, id, "deferred");
    assert!(deferred.pid.is_some() && deferred.until.is_some(), "{deferred:?}");
    client.batch_execute("drop trigger keep on queues.task").unwrap();
    wait_reason(&mut client, id, "finished");
}

#[test]
fn a_worker_that_is_being_started_is_told() {
    let cluster = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).start();
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let point = Point::set(&cluster, "allocated");
    let mut other = create_database(&cluster, "other");
    let id = task(&mut other, "note", json!({"label": "x"}));
    point.reached();
    wait_reason(&mut other, id, "worker_starting");
    point.open();
    wait_status(&mut other, id, "succeeded");
}

#[test]
fn another_version_of_the_extension_is_told() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "note", json!({"label": "x"}));
    client.batch_execute("update pg_extension set extversion = '0.0.9' where extname = 'pg_errand'").unwrap();
    let told = explain(&mut client, id);
    assert_eq!(told.reason, "version_mismatch");
    assert!(told.hint.contains("ALTER EXTENSION pg_errand UPDATE"), "{told:?}");
}

#[test]
fn who_may_not_read_the_queue_may_not_explain_it_unless_granted() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    let id = enqueue(&mut client, "db_function", json!({"secret": "in the payload"}));
    client.batch_execute("create role support login; grant usage on schema queues to support").unwrap();
    let mut support = cluster.connect_as("support", "postgres");
    support.query("select * from queues.explain($1)", &[&id]).unwrap_err();
    client.batch_execute("grant execute on function queues.explain(bigint) to support").unwrap();
    let told = wait_reason(&mut support, id, "paused");
    assert!(!format!("{told:?}").contains("secret"), "{told:?}");
    wait_running(&mut client, 0);
}
