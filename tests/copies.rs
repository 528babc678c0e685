//! A copy of a database does not run the tasks of the original until `queues.adopt()`, however it was made.

use std::io::Write;
use std::process::Stdio;

use postgres::Client;
use serde_json::json;

use crate::harness::builder::Builder;
use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{create_database, done, install, one, run_one, task};
use crate::harness::mailing::Mailing;
use crate::harness::programs::output;
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");

/// Two waiting tasks, of which one is not due yet; nothing runs in their database so far.
fn waiting(client: &mut Client) -> [i64; 2] {
    let ready = task(client, "note", json!({"label": "ready"}));
    let later = task(client, "note", json!({"label": "later"}));
    client
        .execute("update queues.task set scheduled_at = now() + '1 hour' where task_id = $1", &[&later])
        .unwrap();
    [ready, later]
}

/// What came along is held, and seen to be; what is new runs; after `adopt` all of it does.
#[track_caller]
fn holds_until_adopted(cluster: &Cluster, mark: u64, client: &mut Client, [ready, later]: [i64; 2]) {
    run_one(client, "new");
    cluster.wait_log(mark, "2 unfinished tasks came from another database");
    assert_eq!((status(client, ready), status(client, later)), ("ready".into(), "scheduled".into()));
    assert_eq!(done(client), ["new"]);
    assert_eq!(one::<i64>(client, "select tasks from queues.unadopted"), 2);
    assert_eq!(one::<i64>(client, "select count(*) from queues.task_status where unadopted"), 2);
    let outside: Option<i64> = one(client, "select task_id from queues.dequeue_next_available_task()");
    assert_eq!(outside, None);

    assert_eq!(one::<i64>(client, "select queues.adopt()"), 2);
    wait_status(client, ready, "succeeded");
    client.execute("update queues.task set scheduled_at = now() where task_id = $1", &[&later]).unwrap();
    wait_status(client, later, "succeeded");
    assert_eq!(done(client), ["new", "ready", "later"]);
    assert_eq!(one::<i64>(client, "select count(*) from queues.unadopted"), 0);
    assert_eq!(cluster.log_since(mark).matches("came from another database").count(), 1);
}

/// A database with the extension and waiting tasks, in a cluster in which only databases with another
/// setting of their own are served.
fn original(cluster: &Cluster) -> (Client, [i64; 2]) {
    let mut client = create_database(cluster, "original");
    let tasks = waiting(&mut client);
    (client, tasks)
}

fn paused() -> Cluster {
    Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "0")])
}

/// The original's tasks are run there, and only once.
#[track_caller]
fn original_goes_on(cluster: &Cluster) {
    cluster.set(&[("pg_errand.concurrency", "2")]);
    let mut client = cluster.connect("original");
    let count = "select count(*) from public.done where label = 'ready'";
    wait_until_sql(&mut client, count, "1");
    run_one(&mut client, "the original goes on");
}

#[test]
fn a_database_made_from_a_template_holds_its_tasks() {
    let cluster = paused();
    let (client, tasks) = original(&cluster);
    drop(client);
    let mut admin = cluster.connect("postgres");
    eventually("the copy is made", || admin.batch_execute("create database copy template original"));
    let mark = cluster.log_mark();
    admin.batch_execute("alter database copy set pg_errand.concurrency = 1").unwrap();
    holds_until_adopted(&cluster, mark, &mut cluster.connect("copy"), tasks);
    original_goes_on(&cluster);
}

/// Restores an archive of `original` as `copy` with these options of `pg_restore`.
fn restore(cluster: &Cluster, options: &[&str]) {
    let archive = cluster.socket_dir().join("archive");
    output(cluster.client_program("pg_dump").args(["--format=custom", "original", "--file"]).arg(&archive));
    cluster.psql("postgres", "create database copy");
    output(cluster.client_program("pg_restore").args(["--dbname=copy"]).args(options).arg(&archive));
}

#[test]
fn a_dump_that_is_restored_by_many_sessions_beside_workers_holds_its_tasks() {
    let cluster = paused();
    let (_client, tasks) = original(&cluster);
    cluster.psql("postgres", "create database busy");
    cluster.set(&[("pg_errand.concurrency", "2"), ("pg_errand.databases", "copy")]);
    let mark = cluster.log_mark();
    restore(&cluster, &["--jobs=4", "--exit-on-error"]);
    holds_until_adopted(&cluster, mark, &mut cluster.connect("copy"), tasks);
    cluster.set(&[("pg_errand.databases", "")]);
    original_goes_on(&cluster);
}

#[test]
fn rows_restored_into_an_extension_that_is_at_work_are_held() {
    let cluster = paused();
    let (_client, tasks) = original(&cluster);
    let mut copy = create_database(&cluster, "copy");
    copy.batch_execute("alter database copy set pg_errand.concurrency = 1").unwrap();
    drop(copy);
    let mut copy = cluster.connect("copy");
    let first = run_one(&mut copy, "first");
    copy.batch_execute("truncate public.done; alter sequence queues.task_task_id_seq restart 1000").unwrap();
    copy.execute("delete from queues.task where task_id = $1", &[&first]).unwrap();
    let mark = cluster.log_mark();
    let mut dump = cluster.client_program("psql");
    let rows = output(dump.args(["-X", "-d", "original", "-c", "copy queues.task to stdout"]));
    let mut psql = cluster.client_program("psql");
    let load = psql.args(["-X", "-q", "-d", "copy", "-c", "copy queues.task from stdin"]);
    let mut load = load.stdin(Stdio::piped()).spawn().unwrap();
    load.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
    assert!(load.wait().unwrap().success());
    // Without a task of its own that wakes a worker.
    cluster.wait_log(mark, "2 unfinished tasks came from another database");
    holds_until_adopted(&cluster, mark, &mut copy, tasks);
    original_goes_on(&cluster);
}

#[test]
fn an_extension_created_anew_in_the_same_database_holds_what_is_restored() {
    let cluster = paused();
    let (mut client, tasks) = original(&cluster);
    let archive = cluster.socket_dir().join("archive");
    output(cluster.client_program("pg_dump").args(["--format=custom", "original", "--file"]).arg(&archive));
    client.batch_execute("alter database original set pg_errand.concurrency = 1").unwrap();
    client
        .batch_execute("drop extension pg_errand; drop schema public, internal cascade; create schema public; grant usage on schema public to public")
        .unwrap();
    let mark = cluster.log_mark();
    output(cluster.client_program("pg_restore").args(["--dbname=original"]).arg(&archive));
    holds_until_adopted(&cluster, mark, &mut cluster.connect("original"), tasks);
}

#[test]
fn a_server_started_from_a_base_backup_holds_its_tasks_and_its_standby_does_as_it_does() {
    let cluster = paused();
    let (_client, tasks) = original(&cluster);
    let copy = Builder::backup_of(&cluster).set("pg_errand.databases", "original").start();
    // ALTER SYSTEM has come along, too.
    copy.set(&[("pg_errand.concurrency", "2")]);
    let mut client = copy.connect("original");
    run_one(&mut client, "before a restart");
    let mark = copy.log_mark();
    copy.restart(StopMode::Fast);
    let mut client = copy.connect("original");
    client.batch_execute("delete from public.done").unwrap();
    holds_until_adopted(&copy, mark, &mut client, tasks);

    let own = task(&mut client, "linger", json!({"label": "own"}));
    wait_status(&mut client, own, "running");
    let mut standby = Builder::standby_of(&copy).start();
    copy.stop(StopMode::Immediate);
    promote(&mut standby);
    let mut client = standby.connect("original");
    wait_status(&mut client, own, "running");
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(&mut client, own, "succeeded");
    original_goes_on(&cluster);
}

#[track_caller]
fn promote(standby: &mut Cluster) {
    let mut client = standby.connect("postgres");
    assert!(one::<bool>(&mut client, "select pg_promote()"));
}

#[test]
fn nothing_runs_on_a_standby_and_all_of_it_once_after_its_promotion() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    let running = task(&mut client, "linger", json!({"label": "running"}));
    wait_status(&mut client, running, "running");
    let mut standby = Builder::standby_of(&cluster).start();
    let waiting = task(&mut client, "gate", json!({"label": "waiting", "gate": 1}));
    let mut reader = standby.connect("postgres");
    let arrived = format!("select count(*) from queues.task where task_id = {waiting}");
    wait_until_sql(&mut reader, &arrived, "1");
    let ours = "select count(*) from pg_stat_activity where backend_type like 'pg_errand%'";
    assert_eq!(one::<i64>(&mut reader, ours), 0);
    assert_eq!(status(&mut reader, running), "ready");

    cluster.stop(StopMode::Immediate);
    promote(&mut standby);
    let mut client = standby.connect("postgres");
    wait_status(&mut client, running, "running");
    client.batch_execute("update public.door set open = true").unwrap();
    for id in [running, waiting] {
        wait_status(&mut client, id, "succeeded");
    }
    let mut labels = done(&mut client);
    labels.sort();
    assert_eq!(labels, ["before", "running", "waiting"]);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.unadopted"), 0);
    run_one(&mut client, "after");
}

#[test]
fn a_logical_replica_holds_the_tasks_of_its_origin() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "0"), ("wal_level", "logical")]);
    let (mut client, tasks) = original(&cluster);
    client.batch_execute("create publication p for table queues.task").unwrap();
    client.batch_execute("select pg_create_logical_replication_slot('s', 'pgoutput')").unwrap();
    let mut copy = create_database(&cluster, "copy");
    copy.batch_execute("alter sequence queues.task_task_id_seq restart 1000").unwrap();
    copy.batch_execute("alter database copy set pg_errand.concurrency = 1").unwrap();
    let mark = cluster.log_mark();
    let from = format!("host={} dbname=original user=postgres", cluster.socket_dir().display());
    let options = "slot_name = s, create_slot = false";
    copy.batch_execute(&format!("create subscription s connection '{from}' publication p with ({options})"))
        .unwrap();
    wait_until_sql(&mut copy, "select count(*) from queues.task", "2");
    let late = task(&mut client, "note", json!({"label": "late"}));
    wait_until_sql(&mut copy, "select count(*) from queues.task", "3");
    copy.execute("delete from queues.task where task_id = $1", &[&late]).unwrap();
    client.execute("delete from queues.task where task_id = $1", &[&late]).unwrap();
    cluster.wait_log(mark, "unfinished tasks came from another database");
    run_one(&mut copy, "new");
    assert_eq!(one::<i64>(&mut copy, "select tasks from queues.unadopted"), 2);
    assert_eq!(done(&mut copy), ["new"]);
    // They end there as they end at their origin.
    original_goes_on(&cluster);
    wait_until_sql(
        &mut copy,
        &format!("select final_status from queues.task where task_id = {}", tasks[0]),
        "succeeded",
    );
    copy.batch_execute(
        "alter subscription s disable; alter subscription s set (slot_name = none); drop subscription s",
    )
    .unwrap();
}

#[test]
fn new_tasks_of_a_logical_replica_have_numbers_that_its_origin_does_not_reach() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "0"), ("wal_level", "logical")]);
    let (mut client, tasks) = original(&cluster);
    client
        .batch_execute(
            "select queues.append_error(task_id, 'of the original') from queues.task;
             create publication p for table queues.task, queues.error, queues.call",
        )
        .unwrap();
    client.batch_execute("select pg_create_logical_replication_slot('s', 'pgoutput')").unwrap();
    let mut copy = create_database(&cluster, "copy");
    copy.batch_execute("alter database copy set pg_errand.concurrency = 1").unwrap();
    let from = format!("host={} dbname=original user=postgres", cluster.socket_dir().display());
    let options = "slot_name = s, create_slot = false";
    copy.batch_execute(&format!("create subscription s connection '{from}' publication p with ({options})"))
        .unwrap();
    wait_until_sql(&mut copy, "select count(*) from queues.task", "2");
    wait_until_sql(&mut copy, "select count(*) from queues.error", "2");
    let new = run_one(&mut copy, "new");
    let refused = task(&mut copy, "refuse", json!({}));
    wait_status(&mut copy, refused, "failed");
    assert!(new > 1_000_000_000_000 && refused > new, "{new}, {refused}");
    // What comes from the origin from now on meets none of them.
    let later = task(&mut client, "note", json!({"label": "later"}));
    client.execute("select queues.append_error($1, 'later')", &[&later]).unwrap();
    assert_eq!(later, tasks[1] + 1);
    wait_until_sql(&mut copy, "select count(*) from queues.task", "5");
    wait_until_sql(&mut copy, "select count(*) from queues.error", "4");
    let last = run_one(&mut copy, "last");
    assert!(last > refused && last < refused + 1000, "{last}");
    copy.batch_execute(
        "alter subscription s disable; alter subscription s set (slot_name = none); drop subscription s",
    )
    .unwrap();
}

#[test]
fn a_call_in_flight_is_not_repeated_by_a_copy_unless_it_is_adopted() {
    let mut mailing = Mailing::start(&[NO_POLL, ("pg_errand.call_timeout", "10min")]);
    mailing.standin.hold();
    let task_id = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    let mark = mailing.cluster.log_mark();
    mailing.client = mailing.cluster.connect("template1");
    mailing.client.batch_execute("create database copy template postgres").unwrap();
    mailing.client = mailing.cluster.connect("postgres");
    let mut copy = mailing.cluster.connect("copy");
    crate::harness::queue::enqueue(&mut copy, "db_function", json!({"db_function": "app.note"}));
    mailing.cluster.wait_log(mark, "1 unfinished tasks came from another database");
    wait_until_sql(&mut copy, "select count(*) from app.seen", "1");
    // The original's own, and its repetition after the workers were ended for the copy.
    mailing.wait_requests(2);
    assert_eq!(one::<i64>(&mut copy, "select queues.adopt()"), 1);
    mailing.wait_requests(3);
    mailing.standin.release();
    mailing.wait(task_id, "succeeded");
    wait_status(&mut copy, task_id, "succeeded");
    assert_eq!(mailing.standin.mail_count(), 1, "one key");
}

#[test]
fn a_dump_with_errors_and_calls_is_restored_by_many_sessions() {
    let cluster = paused();
    let (mut client, _) = original(&cluster);
    client
        .batch_execute(
            "insert into queues.error (task_id, error_message)
             select task_id, repeat('x', 1000) from queues.task, generate_series(1, 2000);
             insert into queues.call (task_id, owner, provider, idempotency_key)
             select task_id, 1, 'resend', gen_random_uuid() from queues.task;",
        )
        .unwrap();
    restore(&cluster, &["--jobs=4", "--exit-on-error"]);
    let mut copy = cluster.connect("copy");
    let counts = "select format('%s %s', (select count(task_id) from queues.error), (select count(*) from queues.call))";
    assert_eq!(one::<String>(&mut copy, counts), "4000 2");
    copy.batch_execute("delete from queues.task where task_id = (select min(task_id) from queues.task)")
        .unwrap();
    assert_eq!(one::<String>(&mut copy, counts), "2000 1");
    copy.batch_execute("truncate queues.task").unwrap();
    assert_eq!(one::<String>(&mut copy, counts), "0 0");
    assert_eq!(one::<i64>(&mut copy, "select count(*) from queues.error"), 4000);
}

#[test]
fn a_copy_of_a_database_that_publishes_all_its_tables_works() {
    let cluster = paused();
    let (mut client, tasks) = original(&cluster);
    client.batch_execute("create publication everything for all tables").unwrap();
    drop(client);
    let mut admin = cluster.connect("postgres");
    eventually("the copy is made", || admin.batch_execute("create database copy template original"));
    let mark = cluster.log_mark();
    admin.batch_execute("alter database copy set pg_errand.concurrency = 1").unwrap();
    holds_until_adopted(&cluster, mark, &mut cluster.connect("copy"), tasks);
}

#[test]
fn a_call_adopted_from_a_dump_is_taken_over_although_the_original_s_worker_lives() {
    let mut mailing = Mailing::start(&[
        NO_POLL,
        ("pg_errand.call_timeout", "10min"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.concurrency", "1"),
    ]);
    mailing.standin.hold();
    let task_id = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    let archive = mailing.cluster.socket_dir().join("archive");
    let mut dump = mailing.cluster.client_program("pg_dump");
    output(dump.args(["--format=custom", "postgres", "--file"]).arg(&archive));
    mailing.cluster.psql("postgres", "create database copy");
    output(mailing.cluster.client_program("pg_restore").args(["--dbname=copy"]).arg(&archive));
    let mut copy = mailing.cluster.connect("copy");
    crate::harness::queue::enqueue(&mut copy, "db_function", json!({"db_function": "app.note"}));
    wait_until_sql(&mut copy, "select count(*) from app.seen", "1");
    mailing.wait_requests(1);
    assert_eq!(one::<i64>(&mut copy, "select queues.adopt()"), 1);
    mailing.wait_requests(2);
    mailing.standin.release();
    mailing.wait(task_id, "succeeded");
    wait_status(&mut copy, task_id, "succeeded");
    assert_eq!(mailing.standin.mail_count(), 1, "one key");
}

#[test]
fn a_standby_that_was_tried_as_a_server_before_is_promoted_with_its_tasks() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "note", json!({"label": "waits"}));
    let mut standby = Builder::standby_of(&cluster).tried_before().set("pg_errand.concurrency", "1").start();
    promote(&mut standby);
    wait_status(&mut standby.connect("postgres"), id, "succeeded");
}

/// pg_upgrade drops that dependency, and changes the system identifier.
#[test]
fn a_copy_records_again_that_the_extension_depends_on_internal() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.max_idle_time", "50ms")]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    let dependencies = "select count(*) from pg_depend
        where classid = 'pg_extension'::regclass and refclassid = 'pg_namespace'::regclass
            and refobjid = 'internal'::regnamespace";
    wait_until_sql(&mut client, dependencies, "1");
    client
        .batch_execute(
            "delete from pg_depend
             where classid = 'pg_extension'::regclass and refclassid = 'pg_namespace'::regclass
                 and refobjid = 'internal'::regnamespace;
             update errand.home set system = 1",
        )
        .unwrap();
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    run_one(&mut client, "after");
    wait_until_sql(&mut client, dependencies, "1");
}
