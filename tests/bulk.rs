//! Operations on many tasks, and on the order of tasks: `queues.cancel_where`, `queues.purge`, `queues.run_next`,
//! `queues.reschedule`.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, done, install, one, run_one, runner, task};
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::wait_until_sql;

const NO_WORKER: [(&str, &str); 1] = [("pg_errand.concurrency", "0")];

/// SQLSTATE, message and hint of a refusal.
#[track_caller]
fn refusal(client: &mut Client, sql: &str) -> (String, String, String) {
    let error = client.batch_execute(sql).expect_err(sql);
    let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}"));
    (error.code().code().into(), error.message().into(), error.hint().unwrap_or_default().into())
}

#[track_caller]
fn refused(client: &mut Client, sql: &str, state: &str, message: &str) {
    let refusal = refusal(client, sql);
    assert!(refusal.0 == state && refusal.1.contains(message) && !refusal.2.is_empty(), "{sql}: {refusal:?}");
}

fn statuses(client: &mut Client) -> String {
    let sql = "select coalesce(string_agg(concat_ws(' ', payload ->> 'label', final_status), ', ' order by task_id), '')
        from queues.task";
    one(client, sql)
}

/// One task of each way to wait, and some that do not.
const WAITING: &str = "
    insert into queues.task (task_type, payload, enqueued_at, scheduled_at, priority, queue_key, unique_key, not_before) values
        ('db_function', '{\"label\": \"ready\"}', now() - interval '2 h', now() - interval '2 h', null, null, null, null),
        ('db_function', '{\"label\": \"urgent\"}', now() - interval '2 h', now() - interval '2 h', 7, null, null, null),
        ('db_function', '{\"label\": \"scheduled\"}', now(), now() + interval '1 d', null, null, null, null),
        ('db_function', '{\"label\": \"keyed\"}', now(), now(), null, 'a', null, null),
        ('db_function', '{\"label\": \"other key\"}', now(), now(), 3, 'b', null, null),
        ('db_function', '{\"label\": \"unique\"}', now(), now(), null, null, 'u', null),
        ('db_function', '{\"label\": \"deferred\"}', now(), now(), null, null, null, now() + interval '1 h'),
        ('sms', '{\"label\": \"sms\"}', now(), now(), null, null, null, null);
    insert into queues.task (task_type, payload, calling, leased, not_before, finished_at, final_status) values
        ('db_function', '{\"label\": \"calling\"}', true, false, null, null, null),
        ('db_function', '{\"label\": \"leased\"}', false, true, now() + interval '1 h', null, null),
        ('db_function', '{\"label\": \"ended\"}', false, false, null, now(), 'failed')";

#[test]
fn waiting_tasks_are_cancelled_by_type_age_and_key_and_no_others() {
    let cluster = Cluster::start(&NO_WORKER);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(WAITING).unwrap();
    let mark = cluster.log_mark();
    let mut cancel = |arguments: &str, expected: i64| {
        let sql = format!("select queues.cancel_where({arguments})");
        assert_eq!(one::<i64>(&mut client, &sql), expected, "{arguments}");
    };
    cancel("_queue_key => 'a', _task_type => 'sms'", 0);
    cancel("_queue_key => 'a', _task_type => 'db_function'", 1);
    cancel("_queue_key => 'b'", 1);
    cancel("_older_than => '1 h', _task_type => 'sms'", 0);
    cancel("_older_than => '1 h'", 2);
    cancel("_task_type => 'sms'", 1);
    cancel("_task_type => 'db_function', _limit => 2", 2);
    cancel("_older_than => '0'", 1);
    cancel("_older_than => '0'", 0);
    assert_eq!(
        statuses(&mut client),
        "ready cancelled, urgent cancelled, scheduled cancelled, keyed cancelled, other key cancelled, \
         unique cancelled, deferred cancelled, sms cancelled, calling, leased, ended failed"
    );
    // Each call is told, in one line and with the role.
    let log = cluster.log_since(mark);
    let told: Vec<_> = log.lines().filter(|line| line.contains("queues.cancel_where(")).collect();
    assert_eq!(told.len(), 9, "{log}");
    let line =
        "pg_errand: queues.cancel_where(_task_type => 'db_function', _limit => 2) by role postgres: 2 tasks";
    assert!(told[6].ends_with(line), "{}", told[6]);
    assert!(!log.contains("CONTEXT") && !log.contains("STATEMENT"), "{log}");

    for (arguments, message) in [
        ("", "needs a condition"),
        ("_task_type => 'smss'", "unknown task type \"smss\""),
        ("_older_than => '-1 s'", "_older_than is negative"),
        ("_task_type => 'sms', _limit => 0", "_limit has to be 1 or more"),
        ("_task_type => 'sms', _limit => null", "_limit has to be 1 or more"),
    ] {
        refused(&mut client, &format!("select queues.cancel_where({arguments})"), "22023", message);
    }
}

#[test]
fn locked_and_running_tasks_are_left_and_nobody_waits_for_them() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"label": "running", "gate": 1}));
    runner(&mut client, running);
    let waiting: Vec<i64> =
        (0..3).map(|n| task(&mut client, "note", json!({"label": n.to_string()}))).collect();
    let mut other = cluster.connect("postgres");
    let mut lock = other.transaction().unwrap();
    lock.execute("select from queues.task where task_id = $1 for update", &[&waiting[1]]).unwrap();
    assert_eq!(one::<i64>(&mut client, "select queues.cancel_where('db_function')"), 2);
    lock.rollback().unwrap();
    gate.open();
    wait_status(&mut client, running, "succeeded");
    wait_status(&mut client, waiting[1], "succeeded");
    assert_eq!(status(&mut client, waiting[0]), "cancelled");
    assert_eq!(done(&mut client), ["running", "1"]);
}

/// What waited behind a cancelled task starts although nothing else happens.
#[test]
fn what_follows_cancelled_tasks_starts() {
    let settings = [("pg_errand.concurrency", "1"), ("pg_errand.poll_interval", "1h")];
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let enqueue = "select queues.enqueue('db_function', jsonb_build_object('db_function', 'public.note', 'label', $1::text),
        now() + $2::text::interval, _queue_key => 'k')";
    client.execute(enqueue, &[&"in front", &"1 hour"]).unwrap();
    client.execute("select queues.pause_key('db_function', 'k')", &[]).unwrap();
    client
        .execute(
            "update queues.task set scheduled_at = now() - interval '1 h' where finished_at is null",
            &[],
        )
        .unwrap();
    let behind: i64 = client.query_one(enqueue, &[&"behind", &"0"]).unwrap().get(0);
    client.execute("select queues.resume_key('db_function', 'k')", &[]).unwrap();
    wait_status(&mut client, behind, "succeeded");
    assert_eq!(done(&mut client), ["first", "in front", "behind"]);

    // The first one of a key waits for an hour (backoff); the next one starts when that is cancelled.
    client.execute("select queues.pause_key('db_function', 'k')", &[]).unwrap();
    client.execute(enqueue, &[&"deferred", &"0"]).unwrap();
    client
        .execute("update queues.task set not_before = now() + interval '1 h' where finished_at is null", &[])
        .unwrap();
    client.execute("select queues.resume_key('db_function', 'k')", &[]).unwrap();
    client
        .execute("update queues.task set enqueued_at = now() - interval '2 h' where finished_at is null", &[])
        .unwrap();
    let next: i64 = client.query_one(enqueue, &[&"next", &"0"]).unwrap().get(0);
    assert_eq!(
        one::<i64>(&mut client, "select queues.cancel_where(_queue_key => 'k', _older_than => '1 h')"),
        1
    );
    wait_status(&mut client, next, "succeeded");
}

#[test]
fn a_trigger_that_suppresses_a_cancellation_is_named() {
    let cluster = Cluster::start(&NO_WORKER);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(WAITING).unwrap();
    client
        .batch_execute(
            "create function public.swallow() returns trigger language plpgsql as 'begin return null; end';
             create trigger swallow before update on queues.task for each row execute function public.swallow()",
        )
        .unwrap();
    for sql in
        ["queues.cancel_where('sms')", "queues.run_next(1)", "queues.reschedule(1, now() + interval '1 d')"]
    {
        refused(&mut client, &format!("select {sql}"), "27000", "swallow");
    }
}

#[test]
fn purge_removes_what_ended_long_ago_with_its_errors_and_keeps_the_rest() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0"), ("pg_errand.retention", "0")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "insert into queues.task (task_type, payload, enqueued_at, finished_at, final_status)
             select 'sms', '{}', now() - age, now() - age, (array['succeeded', 'failed', 'cancelled'])[1 + n % 3]
             from (select n, case when n <= 3000 then interval '10 d' else '1 h' end as age from generate_series(1, 3300) n) a;
             insert into queues.task (task_type, payload, enqueued_at) values ('sms', '{}', now() - interval '20 d');
             insert into queues.error (task_id, error_message) select task_id, 'x' from queues.task where final_status = 'failed';
             insert into queues.error (task_id, error_message) values (null, 'of no task');
             create table public.mail (task_id bigint references queues.task);
             insert into public.mail select task_id from queues.task where final_status = 'failed' order by task_id offset 5 limit 1",
        )
        .unwrap();
    let mark = cluster.log_mark();
    let mut purge = |arguments: &str| one::<i64>(&mut client, &format!("select queues.purge({arguments})"));
    assert_eq!(purge("'1 year'"), 0);
    assert_eq!(purge("'5 d', 'cancelled', 600"), 600);
    // Calls of one session go on where the last one stopped, and miss nothing.
    assert_eq!(purge("'5 d', 'cancelled'"), 400);
    assert_eq!(purge("'5 d', 'cancelled'"), 0);
    assert_eq!(purge("'5 d', 'failed'"), 999);
    assert_eq!(purge("'5 d'"), 1000);
    assert_eq!(purge("'5 d'"), 0);
    let left = "select string_agg(concat_ws(' ', final_status, n), ', ' order by final_status)
        from (select final_status, count(*) as n from queues.task group by 1) s";
    assert_eq!(one::<String>(&mut client, left), "cancelled 100, failed 101, succeeded 100, 1");
    let errors = "select count(*) filter (where task_id is null), count(*) from queues.error";
    let errors = client.query_one(errors, &[]).unwrap();
    assert_eq!((errors.get::<_, i64>(0), errors.get::<_, i64>(1)), (1, 102));
    let log = cluster.log_since(mark);
    assert!(log.contains("cannot be removed (queues.purge): "), "{log}");
    assert!(log.contains("queues.purge(_older_than => '5 days', _status => 'failed', _limit => 10000) by role postgres: 999 tasks"), "{log}");

    for (arguments, message) in [
        ("null", "_older_than is null"),
        ("'-1 d'", "_older_than is negative"),
        ("'1 d', 'ready'", "tasks do not end as \"ready\""),
        ("'1 d', _limit => 0", "_limit has to be 1 or more"),
    ] {
        refused(&mut client, &format!("select queues.purge({arguments})"), "22023", message);
    }
}

#[test]
fn a_task_is_moved_to_the_head_and_to_another_time() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"label": "running", "gate": 1}));
    runner(&mut client, running);
    let mut note = |label: &str| task(&mut client, "note", json!({ "label": label }));
    let [_, later, head, tomorrow] = ["plain", "later", "head", "tomorrow"].map(&mut note);
    client.execute("update queues.task set priority = 32767 where task_id = $1", &[&later]).unwrap();
    let mut call = |sql: &str, id: i64| {
        client.execute(&format!("select {sql}"), &[&id]).unwrap();
    };
    call("queues.reschedule($1, now() + interval '1 day')", tomorrow);
    call("queues.run_next($1)", tomorrow);
    call("queues.run_next($1)", head);
    call("queues.reschedule($1, now() + interval '1 hour')", later);
    for sql in ["queues.run_next", "queues.reschedule"] {
        let more = if sql.ends_with('e') { ", now()" } else { "" };
        refused(&mut client, &format!("select {sql}({running}{more})"), "55000", "is running");
        refused(&mut client, &format!("select {sql}(-1{more})"), "P0002", "task -1 does not exist");
    }
    refused(&mut client, &format!("select queues.reschedule({head}, null)"), "22004", "a task needs a time");
    gate.open();
    wait_until_sql(&mut client, "select count(*) from public.done", "4");
    assert_eq!(done(&mut client), ["running", "head", "tomorrow", "plain"]);
    assert_eq!(status(&mut client, later), "scheduled");
    refused(&mut client, &format!("select queues.run_next({head})"), "55000", "has ended: succeeded");
    client.execute("select queues.reschedule($1, now())", &[&later]).unwrap();
    wait_status(&mut client, later, "succeeded");
}

#[test]
fn the_tasks_of_a_key_keep_their_order() {
    let cluster = Cluster::start(&NO_WORKER);
    let mut client = install(&cluster, "postgres");
    let enqueue = "select queues.enqueue('db_function', '{}', _queue_key => 'k')";
    let (first, second): (i64, i64) = (one(&mut client, enqueue), one(&mut client, enqueue));
    refused(
        &mut client,
        &format!("select queues.run_next({second})"),
        "55000",
        &format!("task {second} is not the first one"),
    );
    client.execute("select queues.run_next($1)", &[&first]).unwrap();
    let order = "select string_agg(task_id::text, ' ' order by scheduled_at, task_id) from queues.task";
    assert_eq!(one::<String>(&mut client, order), format!("{first} {second}"));
    client.execute("select queues.reschedule($1, now() + interval '1 h')", &[&first]).unwrap();
    client.execute("select queues.run_next($1)", &[&second]).unwrap();
    assert_eq!(one::<String>(&mut client, order), format!("{second} {first}"));
}
