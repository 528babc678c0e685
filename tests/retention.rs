//! Finished tasks and old errors are removed, also when something is in the way.

use std::time::Duration;

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, run_one, task, wait_asleep};
use crate::harness::wait::{eventually, wait_until_sql, within};

/// Workers that don't poll, and none before the test wants them: the first pass is made by the first.
const SETTINGS: [(&str, &str); 3] =
    [("pg_errand.poll_interval", "1h"), ("pg_errand.max_idle_time", "0"), ("pg_errand.concurrency", "0")];

const OLD_TASKS: &str = "
    insert into queues.task (task_type, payload, enqueued_at, scheduled_at, dequeued_at, attempts, finished_at, final_status)
    select 'db_function', '{}', old, old, old, 1, old, 'failed'
    from generate_series(1, 2500), (select now() - interval '30 days' as old) o;
    insert into queues.error (task_id, error_message, created_at)
    select task_id, 'old', finished_at from queues.task order by task_id";

/// Tables of the user's own that point at one old task and one old error each, in the middle.
const REFERENCES: &str = "
    create table public.mail (task_id bigint references queues.task);
    insert into public.mail select task_id from queues.task order by task_id offset 1200 limit 1;
    create table public.incident (error_id bigint references queues.error);
    insert into public.incident select error_id from queues.error order by error_id offset 700 limit 1";

/// Lines about what cannot be removed, and all that went wrong.
fn complaints(cluster: &Cluster, mark: u64) -> Vec<String> {
    let log = cluster.log_since(mark);
    let about = |line: &&str| line.contains("pg_errand.retention)") || line.contains("violates foreign key");
    log.lines().filter(about).map(str::to_owned).collect()
}

#[track_caller]
fn wait_left(client: &mut Client, tasks: i64, errors: i64) {
    let old = "finished_at < now() - interval '7 days'";
    wait_until_sql(client, &format!("select count(*) from queues.task where {old}"), &tasks.to_string());
    wait_until_sql(client, "select count(*) from queues.error", &errors.to_string());
}

#[test]
fn a_row_that_a_foreign_key_keeps_is_left_and_all_others_are_removed() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(OLD_TASKS).unwrap();
    client.batch_execute(REFERENCES).unwrap();
    let mark = cluster.log_mark();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_left(&mut client, 1, 1);
    let kept = "select exists (select from public.mail join queues.task using (task_id))
        and exists (select from public.incident join queues.error using (error_id))";
    assert!(one::<bool>(&mut client, kept));

    // The worker waits for work and takes it up at once, again and again.
    let resting = "select count(*) from queues.worker where state = 'idle'";
    for round in 0..5 {
        wait_until_sql(&mut client, resting, "1");
        run_one(&mut client, &round.to_string());
    }
    let log = complaints(&cluster, mark);
    assert!((1..=4).contains(&log.len()), "{log:#?}");
    for what in ["task", "error"] {
        let about = log.iter().filter(|line| line.contains(&format!("{what} "))).count();
        assert!(about <= 2, "{log:#?}");
    }
    // And leaves when it has been idle for long.
    cluster.set(&[("pg_errand.max_idle_time", "100ms")]);
    wait_asleep(&mut client);
    run_one(&mut client, "last");
    wait_asleep(&mut client);
    assert_eq!(complaints(&cluster, mark).len(), log.len());
}

#[test]
fn retention_goes_on_under_a_standing_backlog() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(OLD_TASKS).unwrap();
    let backlog = "insert into queues.task (task_type, payload)
        select 'db_function', '{\"db_function\": \"public.nap\", \"seconds\": 0.01}' from generate_series(1, 20000)";
    client.batch_execute(backlog).unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_left(&mut client, 0, 0);
    let waiting: i64 = one(&mut client, "select count(*) from queues.task_status where status = 'ready'");
    assert!(waiting > 0);
    // Tasks were run meanwhile.
    assert!(one::<i64>(&mut client, "select count(*) from public.done") > 10);
}

#[test]
fn old_errors_go_although_their_tasks_wait() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "note", json!({"label": "later"}));
    client
        .batch_execute(&format!(
            "update queues.task set scheduled_at = now() + '1 day', enqueued_at = now() - interval '30 days' where task_id = {id};
             insert into queues.error (task_id, error_message, created_at)
             values ({id}, 'old', now() - interval '30 days'), ({id}, 'new', now())"
        ))
        .unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_until_sql(&mut client, "select string_agg(error_message, ',') from queues.error", "new");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.task"), 1);
}

/// Finished tasks of two types, an hour old.
const HOUR_OLD: &str = "
    insert into queues.task (task_type, payload, enqueued_at, scheduled_at, finished_at, final_status)
    select task_type, '{}', old, old, old, status
    from unnest(array['sms', 'email']) task_type, unnest(array['succeeded', 'failed', 'cancelled']) status,
        (select now() - interval '1 hour' as old) o, generate_series(1, 700);
    insert into queues.error (task_id, task_type, error_message, created_at)
    select task_id, task_type, 'old', finished_at from queues.task where final_status = 'failed' order by task_id";

const LEFT: &str =
    "select string_agg(concat_ws(' ', task_type, final_status, n), ', ' order by task_type, final_status)
    from (select task_type, final_status, count(*) as n from queues.task group by 1, 2) c";

#[test]
fn each_type_says_how_long_its_tasks_are_kept_by_their_outcome() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(HOUR_OLD).unwrap();
    client
        .batch_execute(
            "update queues.task_definition set keep_succeeded_for = '10 min' where task_type = 'sms';
             update queues.task_definition set keep_succeeded_for = '0', keep_failed_for = '30 min' where task_type = 'email'",
        )
        .unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    let left = "email succeeded 700, sms cancelled 700, sms failed 700";
    wait_until_sql(&mut client, LEFT, left);
    wait_until_sql(&mut client, "select string_agg(distinct task_type, ',') from queues.error", "sms");
    wait_until_sql(&mut client, "select count(*) from queues.error", "700");

    for interval in ["-1 s", "10001 years"] {
        for column in ["keep_succeeded_for", "keep_failed_for"] {
            let sql =
                format!("update queues.task_definition set {column} = '{interval}' where task_type = 'sms'");
            let error = client.batch_execute(&sql).unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), "22023", "{sql}");
            assert!(error.message().contains(column) && error.hint().is_some(), "{error:?}");
        }
    }
}

/// With nothing else to do: a worker is started for them, and leaves.
#[test]
fn rows_that_become_old_go_although_no_worker_runs() {
    let settings = [("pg_errand.max_idle_time", "100ms"), ("pg_errand.poll_interval", "1h")];
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    client
        .batch_execute(
            "update queues.task_definition set keep_succeeded_for = '2 s' where task_type = 'db_function';
             update queues.task_definition set keep_failed_for = '1 year' where task_type = 'sms';
             insert into queues.task (task_type, payload, enqueued_at, finished_at, final_status)
             select 'sms', '{}', now() - interval '1 h', now(), 'failed' from generate_series(1, 5)",
        )
        .unwrap();
    run_one(&mut client, "second");
    wait_until_sql(&mut client, LEFT, "sms failed 5");
    wait_asleep(&mut client);
    // Nothing becomes old soon, so no worker is started again and again.
    let mark = cluster.log_mark();
    cluster.set(&[("pg_errand.log_level", "debug")]);
    run_one(&mut client, "third");
    wait_until_sql(&mut client, LEFT, "sms failed 5");
    wait_asleep(&mut client);
    let count = || cluster.log_since(mark).matches("started").count();
    eventually("no worker is started", || {
        let earlier = count();
        !within(Duration::from_millis(3500), || count() != earlier)
    });
}

/// A worker that goes on waiting for tasks removes them at their time, too.
#[test]
fn rows_that_become_old_go_while_a_worker_waits() {
    let settings =
        [("pg_errand.max_idle_time", "0"), ("pg_errand.poll_interval", "1h"), ("pg_errand.concurrency", "2")];
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "update queues.task_definition set keep_succeeded_for = '1 s' where task_type = 'db_function'",
        )
        .unwrap();
    run_one(&mut client, "first");
    let pids = crate::harness::handlers::worker_pids(&mut client);
    client.batch_execute("select pg_stat_clear_snapshot()").unwrap();
    run_one(&mut client, "second");
    wait_until_sql(&mut client, "select count(*) from queues.task", "0");
    assert_eq!(crate::harness::handlers::worker_pids(&mut client)[0], pids[0]);
}

/// A worker that ends in the middle of a search leaves it to the next one, although there are no tasks.
#[test]
fn a_search_whose_worker_has_ended_is_begun_again() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(OLD_TASKS).unwrap();
    let mut other = cluster.connect("postgres");
    let mut lock = other.transaction().unwrap();
    lock.batch_execute("lock table queues.task in share row exclusive mode").unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    let waiting =
        "from pg_stat_activity where backend_type = 'pg_errand worker' and wait_event_type = 'Lock'";
    wait_until_sql(&mut client, &format!("select count(*) {waiting}"), "1");
    client.batch_execute(&format!("select pg_terminate_backend(pid) {waiting}")).unwrap();
    wait_until_sql(&mut client, &format!("select count(*) {waiting}"), "0");
    lock.rollback().unwrap();
    wait_left(&mut client, 0, 0);
}

/// Many rows that are kept are not read again by each search, and what follows them is removed.
#[test]
fn many_rows_that_are_kept_are_passed_over() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "update queues.task_definition set keep_succeeded_for = '10 min', keep_failed_for = '90 d' where task_type = 'sms';
             insert into queues.task (task_type, payload, enqueued_at, finished_at, final_status)
             select 'sms', '{}', old, old, 'failed' from generate_series(1, 20000), (select now() - interval '1 h' as old) o;
             insert into queues.task (task_type, payload, enqueued_at, finished_at, final_status)
             select 'sms', '{}', old, old, 'succeeded' from generate_series(1, 100), (select now() - interval '1 h' as old) o",
        )
        .unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_until_sql(&mut client, LEFT, "sms failed 20000");
    let read = "select coalesce(idx_tup_read, 0) from pg_stat_user_indexes where indexrelname = 'task_pkey'";
    run_one(&mut client, "to report");
    let mut before = 0;
    eventually("the first search has been counted", || {
        before = one::<i64>(&mut client, read);
        before >= 20000
    });
    // Each of these has another search remove it, after a second.
    client
        .batch_execute(
            "update queues.task_definition set keep_succeeded_for = '1 s' where task_type = 'db_function'",
        )
        .unwrap();
    for _ in 0..6 {
        run_one(&mut client, "removed soon");
        wait_until_sql(&mut client, LEFT, "sms failed 20000");
    }
    // The limits have changed once, and the first row that is not passed over is read by each search.
    let after: i64 = one(&mut client, read);
    assert!(after - before < 60_000, "{before} {after}");
}

#[test]
fn a_payload_is_redacted_when_its_task_succeeds() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute("update queues.task_definition set redact_payload = true where task_type in ('db_function', 'sms')")
        .unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    for _ in 0..3 {
        run_one(&mut client, "secret");
    }
    let refused = task(&mut client, "refuse", json!({"label": "kept"}));
    crate::harness::queue::wait_status(&mut client, refused, "failed");
    cluster.set(&[("pg_errand.concurrency", "0")]);
    for outcome in ["complete_task(task_id)", "fail_task(task_id, 'no')"] {
        crate::harness::queue::enqueue(&mut client, "sms", json!({"to": "+49", "success_handler": "f"}));
        let dequeued = "select payload ->> 'to' from queues.dequeue_next_available_task()";
        assert_eq!(one::<String>(&mut client, dequeued), "+49");
        let end = format!("select queues.{outcome} from queues.task where finished_at is null");
        client.batch_execute(&end).unwrap();
    }
    let payloads = "select string_agg(distinct payload::text, ' ' order by payload::text) from queues.task where final_status = ";
    assert_eq!(
        one::<String>(&mut client, &format!("{payloads} 'succeeded'")),
        r#"{"db_function": "public.note"} {"success_handler": "f"}"#
    );
    let failed = one::<String>(&mut client, &format!("{payloads} 'failed'"));
    assert!(failed.contains("kept") && failed.contains("+49"), "{failed}");
    // What is seen as dead rows or in the log is not changed, but no task runs with it.
    assert_eq!(crate::harness::handlers::done(&mut client), ["secret"; 3]);
}

#[test]
fn a_response_is_redacted_when_its_task_succeeds() {
    let mut mailing = crate::harness::mailing::Mailing::start(&[("pg_errand.concurrency", "1")]);
    mailing
        .client
        .batch_execute("update queues.task_definition set redact_payload = true where task_type = 'email'")
        .unwrap();
    let sent = mailing.deliver("someone@mail.test");
    let payload = format!("select payload::text from queues.task where task_id = {sent}");
    let payload = one::<String>(&mut mailing.client, &payload);
    assert!(!payload.contains("mail.test") && payload.contains("app.on_success"), "{payload}");
    let call =
        "select count(*) from queues.call where request is null and response is null and failure is null
        and responded_at is not null";
    assert_eq!(mailing.number(call), 1);
    // The handler had it.
    let seen = mailing.seen("success");
    assert_eq!(seen[0]["original_payload"]["mail"]["to_address"], "someone@mail.test");
    assert_eq!(
        mailing.number(&format!("select count(*) from queues.result({sent}) r where r is not null")),
        0
    );
}
