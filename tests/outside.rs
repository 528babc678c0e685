//! Workers outside the database, and `queues.cancel`.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use postgres::{Client, GenericClient};
use serde_json::{Value, json};
use standin::{Options, Standin};

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::queue::{enqueue, errors, install, status, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

const APP: &str = r#"
    create schema app;
    grant usage on schema app to errand_worker;
    create table app.ran (task_number int, by_whom text not null default current_user);
    create table app.traces (what text);
    grant insert on app.ran, app.traces to errand_worker;
    create function app.count_me(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.ran (task_number) values ((payload ->> 'n')::int);
        perform pg_sleep(0.0005);
        return '{}';
    end $$;
    create function app.note(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.traces values (coalesce(payload, payload -> 'original_payload') ->> 'what');
        return '{}';
    end $$;
    create function app.on_end(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.traces values ('a handler after the end');
        return '{}';
    end $$;
    create function app.sleep(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.traces values ('slept');
        perform pg_sleep(600);
        return '{}';
    end $$;
    create function app.build_mail(payload jsonb) returns jsonb return
        '{"payload": {"message_id": 7, "from_address": "a@mail.dev", "to_address": "b@mail.dev", "subject": "s", "html": "h"}}'::jsonb;
"#;

const NOTHING_RUNS_INSIDE: (&str, &str) = ("pg_errand.concurrency", "0");

#[track_caller]
fn start(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(settings);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    client.batch_execute(APP).unwrap();
    (cluster, client)
}

fn note(client: &mut Client, what: &str) -> i64 {
    enqueue(client, "db_function", json!({"db_function": "app.note", "what": what}))
}

/// The id of the task that is handed out; none: nothing is ready.
#[track_caller]
fn dequeue(client: &mut impl GenericClient) -> Option<i64> {
    let rows = client.query("select task_id from queues.dequeue_next_available_task()", &[]).unwrap();
    assert_eq!(rows.len(), 1);
    rows[0].get(0)
}

/// Columns of `queues.task_status` as text, comma-separated; empty for null.
#[track_caller]
fn shown(client: &mut Client, task_id: i64, columns: &str) -> String {
    let sql = format!("select concat_ws(',', {columns}) from queues.task_status where task_id = $1");
    client.query_one(&sql, &[&task_id]).unwrap().get(0)
}

#[track_caller]
fn call(client: &mut Client, function: &str, task_id: i64) {
    client.execute(&format!("select queues.{function}($1)"), &[&task_id]).unwrap();
}

#[track_caller]
fn fail(client: &mut Client, task_id: Option<i64>, message: &str) {
    client.execute("select queues.fail_task($1, $2)", &[&task_id, &message]).unwrap();
}

#[track_caller]
fn append_error(client: &mut Client, task_id: Option<i64>, message: &str) -> Value {
    client.query_one("select queues.append_error($1, $2)", &[&task_id, &message]).unwrap().get(0)
}

#[track_caller]
fn cancel(client: &mut impl GenericClient, task_id: i64) -> bool {
    client.query_one("select queues.cancel($1)", &[&task_id]).unwrap().get(0)
}

#[track_caller]
fn traces(client: &mut Client) -> Vec<String> {
    let rows = client.query("select what from app.traces order by ctid", &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until a handler of this task is on the stack.
#[track_caller]
fn wait_until_asleep(client: &mut Client, task_id: i64) {
    wait_status(client, task_id, "running");
    let asleep = "select count(*) > 0 from pg_stat_activity \
                  where backend_type = 'pg_errand worker' and wait_event = 'PgSleep'";
    wait_until_sql(client, asleep, "t");
}

#[test]
fn a_task_is_handed_out_as_one_row_of_its_first_six_columns() {
    let (_cluster, mut client) = start(&[NOTHING_RUNS_INSIDE]);
    let whole = "select concat_ws('|', task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at), count(*) over ()
                 from queues.dequeue_next_available_task()";
    let row = client.query_one(whole, &[]).unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), ("", 1), "all null when nothing is ready");
    let id = note(&mut client, "a");
    let handed: String = client.query_one(whole, &[]).unwrap().get(0);
    let stored = "select concat_ws('|', task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at)
                  from queues.task where task_id = $1";
    assert_eq!(handed, client.query_one(stored, &[&id]).unwrap().get::<_, String>(0));
    assert_eq!(handed.split('|').count(), 6);
    // As the original outside worker calls it.
    note(&mut client, "b");
    let row = client.query_one("select queues.dequeue_next_available_task() is null", &[]).unwrap();
    assert!(!row.get::<_, bool>(0));
}

#[test]
fn tasks_are_handed_out_in_order_and_each_to_one_worker() {
    let (cluster, mut client) = start(&[NOTHING_RUNS_INSIDE]);
    let rows = client
        .query(
            "insert into queues.task (task_type, payload, scheduled_at)
             select 'sms', '{}', now() + t
             from unnest(array['-1 s', '-3 s', '1 day', '-2 s', '-3 s']::interval[]) t
             returning task_id",
            &[],
        )
        .unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let mut other = cluster.connect("postgres");
    let mut open = client.transaction().unwrap();
    assert_eq!(dequeue(&mut open), Some(ids[1]));
    // Nobody waits for a worker that has not committed.
    assert_eq!(dequeue(&mut other), Some(ids[4]));
    assert_eq!(dequeue(&mut other), Some(ids[3]));
    open.rollback().unwrap();
    assert_eq!(dequeue(&mut other), Some(ids[1]));
    assert_eq!(dequeue(&mut other), Some(ids[0]));
    assert_eq!(dequeue(&mut other), None);
    assert_eq!(status(&mut client, ids[2]), "scheduled");
}

#[test]
fn a_worker_outside_gets_tasks_of_the_types_that_it_names() {
    let (_cluster, mut client) = start(&[NOTHING_RUNS_INSIDE]);
    client
        .batch_execute(
            "insert into queues.task_definition (task_type, processor) values ('ours', 'db_function'), ('theirs', 'db_function')",
        )
        .unwrap();
    let of = |client: &mut Client, types: &str| -> Option<i64> {
        let sql = format!("select task_id from queues.dequeue_next_available_task({types})");
        client.query_one(&sql, &[]).unwrap().get(0)
    };
    let ids: Vec<i64> = ["ours", "theirs", "http", "sms", "ours", "email", "db_function"]
        .map(|task_type| {
            let insert = "insert into queues.task (task_type, payload) values ($1, '{}') returning task_id";
            client.query_one(insert, &[&task_type]).unwrap().get(0)
        })
        .into();
    assert_eq!(of(&mut client, "'{}'"), None);
    assert_eq!(of(&mut client, "array[null]::text[]"), None);
    assert_eq!(of(&mut client, ""), Some(ids[3]));
    assert_eq!(of(&mut client, "null"), Some(ids[5]));
    assert_eq!(of(&mut client, "'{ours,db_function}'"), Some(ids[0]));
    assert_eq!(of(&mut client, "_task_types => '{db_function,ours}'"), Some(ids[4]));
    assert_eq!(of(&mut client, ""), Some(ids[6]));
    assert_eq!(of(&mut client, ""), None);
    assert_eq!(shown(&mut client, ids[1], "status, attempts"), "ready,0");
    assert_eq!(of(&mut client, "'{http,theirs}'"), Some(ids[1]));
    let error = client.batch_execute("select queues.dequeue_next_available_task('{sms,our}')").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.message()), ("22023", "unknown task type \"our\""));
    assert!(error.hint().is_some());
}

#[test]
fn a_task_with_the_highest_count_of_attempts_is_run_as_any_other() {
    let (cluster, mut client) = start(&[NOTHING_RUNS_INSIDE]);
    let ids = [note(&mut client, "a"), note(&mut client, "b"), note(&mut client, "c")];
    let mail = json!({"before_handler": "app.build_sms"});
    client
        .batch_execute(
            r#"create function app.build_sms(payload jsonb) returns jsonb return
                   '{"payload": {"message_id": 7, "to_number": "+1", "body": "b"}}'::jsonb;
               create function app.fails_once(payload jsonb) returns jsonb language plpgsql as $$
               begin
                   if not exists (select 1 from pg_sequences where sequencename = 'runs' and last_value is not null) then
                       perform nextval('app.runs');
                       raise exception 'again' using errcode = 'serialization_failure';
                   end if;
                   return '{}';
               end $$;
               create sequence app.runs;
               grant usage on sequence app.runs to errand_worker"#,
        )
        .unwrap();
    let call = enqueue(&mut client, "sms", mail);
    let repeated = enqueue(&mut client, "db_function", json!({"db_function": "app.fails_once"}));
    client.batch_execute("update queues.task set attempts = 2147483647").unwrap();
    assert_eq!(dequeue(&mut client), Some(ids[0]));
    assert_eq!(shown(&mut client, ids[0], "status, attempts"), "running,2147483647");
    assert_eq!(dequeue(&mut client), Some(ids[1]));
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_status(&mut client, ids[2], "succeeded");
    wait_status(&mut client, call, "succeeded");
    // Ten runs are counted already, so it is not repeated.
    wait_status(&mut client, repeated, "failed");
    // Also where statements are used.
    client.batch_execute("create index mine on queues.task (dequeued_at)").unwrap();
    let more =
        [note(&mut client, "d"), enqueue(&mut client, "sms", json!({"before_handler": "app.build_sms"}))];
    client
        .batch_execute(
            "update queues.task set attempts = 2147483647, finished_at = null, final_status = null, scheduled_at = now()
             where task_id >= (select max(task_id) - 1 from queues.task)",
        )
        .unwrap();
    for id in more {
        wait_status(&mut client, id, "succeeded");
    }
    assert_eq!(errors(&mut client, ids[2]).len(), 0);
}

#[test]
fn a_worker_that_lets_leases_end_is_told_once_what_to_do() {
    let (cluster, mut client) = start(&[NOTHING_RUNS_INSIDE, ("pg_errand.lease_duration", "100ms")]);
    let mark = cluster.log_mark();
    let done = note(&mut client, "done");
    client.batch_execute("set pg_errand.lease_duration = '1h'").unwrap();
    assert_eq!(dequeue(&mut client), Some(done));
    call(&mut client, "complete_task", done);
    client.batch_execute("reset pg_errand.lease_duration").unwrap();
    let ids = [note(&mut client, "a"), note(&mut client, "b")];
    for _ in 0..3 {
        for id in ids {
            wait_status(&mut client, id, "ready");
            eventually("it is handed out", || dequeue(&mut client).is_some());
        }
    }
    let told = "ended, and its worker outside had not ended the task";
    let line = cluster.wait_log(mark, told);
    assert!(line.contains(&format!("task {} ", ids[0])), "{line}");
    let log = cluster.log_since(mark);
    assert_eq!(log.matches(told).count(), 1, "{log}");
    assert!(log.contains("queues.complete_task()") && log.contains("lease_duration = 0"), "{log}");
    // After a restart, by a worker inside.
    let mark = cluster.log_mark();
    wait_status(&mut client, ids[0], "ready");
    cluster.set(&[("pg_errand.concurrency", "1")]);
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    for id in ids {
        wait_status(&mut client, id, "succeeded");
    }
    let log = cluster.log_since(mark);
    assert_eq!(log.matches(told).count(), 1, "{log}");
}

#[test]
fn a_lease_keeps_a_task_until_it_ends() {
    let (_cluster, mut client) = start(&[NOTHING_RUNS_INSIDE, ("pg_errand.lease_duration", "1s")]);
    let id = note(&mut client, "a");
    assert_eq!(shown(&mut client, id, "status, attempts, started_at"), "ready,0");
    assert_eq!(dequeue(&mut client), Some(id));
    assert_eq!(shown(&mut client, id, "status, attempts, started_at is null"), "running,1,f");
    assert_eq!(dequeue(&mut client), None);
    wait_status(&mut client, id, "ready");
    let row =
        client.query_one("select clock_timestamp() - dequeued_at >= '1 s' from queues.task", &[]).unwrap();
    assert!(row.get::<_, bool>(0), "the lease ended early");
    assert_eq!(dequeue(&mut client), Some(id));
    assert_eq!(shown(&mut client, id, "status, attempts"), "running,2");
    call(&mut client, "complete_task", id);
    assert_eq!(shown(&mut client, id, "status, attempts, finished_at is null"), "succeeded,2,f");
    assert_eq!(dequeue(&mut client), None);
}

#[test]
fn complete_and_fail_end_a_task_once() {
    let (_cluster, mut client) = start(&[NOTHING_RUNS_INSIDE]);
    let (first, second, third) = (note(&mut client, "a"), note(&mut client, "b"), note(&mut client, "c"));
    for id in [first, second, third] {
        assert_eq!(dequeue(&mut client), Some(id));
    }
    call(&mut client, "complete_task", first);
    fail(&mut client, Some(second), "no luck");
    assert!(cancel(&mut client, third));
    let all = "status, finished_at, attempts, last_error";
    let before: Vec<_> = [first, second, third].iter().map(|id| shown(&mut client, *id, all)).collect();
    assert!(before[0].starts_with("succeeded,") && before[0].ends_with(",1"), "{before:?}");
    assert!(before[1].starts_with("failed,") && before[1].ends_with(",1,no luck"), "{before:?}");
    assert!(before[2].starts_with("cancelled,"), "{before:?}");
    for id in [first, second, third] {
        call(&mut client, "complete_task", id);
    }
    call(&mut client, "complete_task", 123_456_789);
    let after: Vec<_> = [first, second, third].iter().map(|id| shown(&mut client, *id, all)).collect();
    assert_eq!(before, after);
    for id in [first, third] {
        fail(&mut client, Some(id), "too late");
    }
    assert_eq!(
        (status(&mut client, first), status(&mut client, third)),
        ("succeeded".into(), "cancelled".into())
    );
    assert_eq!(errors(&mut client, second).len(), 1);
    fail(&mut client, Some(123_456_789), "unknown");
    fail(&mut client, None, "of nobody");
}

#[test]
fn errors_can_be_appended_to_any_task_or_none() {
    let (_cluster, mut client) = start(&[NOTHING_RUNS_INSIDE]);
    let id = note(&mut client, "a");
    assert_eq!(append_error(&mut client, Some(id), "first"), json!({"success": true}));
    assert_eq!(shown(&mut client, id, "status, last_error"), "ready,first");
    assert_eq!(dequeue(&mut client), Some(id));
    assert_eq!(append_error(&mut client, Some(id), "second"), json!({"success": true}));
    assert_eq!(shown(&mut client, id, "status, last_error"), "running,second");
    call(&mut client, "complete_task", id);
    append_error(&mut client, Some(id), "third");
    assert_eq!(shown(&mut client, id, "status, last_error"), "succeeded,third");
    let messages: Vec<_> = errors(&mut client, id).into_iter().map(|error| error.error_message).collect();
    assert_eq!(messages, ["first", "second", "third"]);
    assert_eq!(append_error(&mut client, None, "of nobody"), json!({"success": true}));
    assert_eq!(append_error(&mut client, Some(123_456_789), "of an unknown"), json!({"success": true}));
    let loose =
        "select string_agg(error_message, ';' order by error_id) from queues.error where task_id is null";
    let loose: String = client.query_one(loose, &[]).unwrap().get(0);
    assert_eq!(loose, "of nobody;of an unknown");
}

#[test]
fn without_leases_a_task_is_finished_when_it_is_handed_out() {
    let (cluster, mut client) = start(&[NOTHING_RUNS_INSIDE, ("pg_errand.lease_duration", "0")]);
    let (good, bad) = (note(&mut client, "a"), note(&mut client, "b"));
    assert_eq!(dequeue(&mut client), Some(good));
    assert_eq!(dequeue(&mut client), Some(bad));
    for id in [good, bad] {
        assert_eq!(shown(&mut client, id, "status, attempts, finished_at is null"), "succeeded,1,f");
    }
    append_error(&mut client, Some(bad), "no luck");
    assert_eq!(shown(&mut client, bad, "status, last_error"), "failed,no luck");
    assert_eq!(status(&mut client, good), "succeeded");
    assert!(!cancel(&mut client, good) && !cancel(&mut client, bad));
    assert_eq!(dequeue(&mut client), None);
    // Not even by workers inside, once there are some.
    cluster.set(&[("pg_errand.concurrency", "2")]);
    let fence = note(&mut client, "fence");
    wait_status(&mut client, fence, "succeeded");
    assert_eq!(traces(&mut client), ["fence"]);
    // One that was run inside has truly succeeded.
    append_error(&mut client, Some(fence), "later");
    assert_eq!(status(&mut client, fence), "succeeded");
}

#[test]
fn the_lease_duration_of_a_database_counts_there() {
    let (cluster, mut client) = start(&[NOTHING_RUNS_INSIDE]);
    client.batch_execute("alter database postgres set pg_errand.lease_duration = 0").unwrap();
    let id = note(&mut client, "a");
    assert_eq!(dequeue(&mut cluster.connect("postgres")), Some(id));
    assert_eq!(status(&mut client, id), "succeeded");
}

#[test]
fn a_leased_task_is_run_inside_only_when_its_lease_has_ended() {
    let (cluster, mut client) =
        start(&[NOTHING_RUNS_INSIDE, ("pg_errand.lease_duration", "2s"), ("pg_errand.poll_interval", "1h")]);
    let id = note(&mut client, "leased");
    assert_eq!(dequeue(&mut client), Some(id));
    client.batch_execute("create table app.lease as select not_before from queues.task").unwrap();
    cluster.set(&[("pg_errand.concurrency", "2")]);
    let fence = note(&mut client, "fence");
    wait_status(&mut client, fence, "succeeded");
    assert_eq!(shown(&mut client, id, "status, attempts"), "running,1");
    wait_status(&mut client, id, "succeeded");
    assert_eq!(traces(&mut client), ["fence", "leased"]);
    let sql = "select t.dequeued_at >= l.not_before, t.dequeued_at < l.not_before + '2 s' \
               from queues.task t, app.lease l where task_id = $1";
    let row = client.query_one(sql, &[&id]).unwrap();
    assert!(row.get::<_, bool>(0), "it was taken before its lease ended");
    assert!(row.get::<_, bool>(1), "it was not taken as its lease ended");
    assert_eq!(shown(&mut client, id, "attempts"), "2");
}

/// Works off tasks from outside until all of them have ended; returns their numbers.
fn work_outside(cluster: &Cluster, completes: bool) -> Vec<i64> {
    let mut client = cluster.connect("postgres");
    let take = "select task_id, (payload ->> 'n')::bigint from queues.dequeue_next_available_task()";
    let mut taken = Vec::new();
    eventually("all tasks have ended", || {
        loop {
            let row = client.query_one(take, &[]).unwrap();
            let Some(id) = row.get::<_, Option<i64>>(0) else { break };
            taken.push(row.get(1));
            if completes {
                call(&mut client, "complete_task", id);
            }
        }
        let open = "select count(*) from queues.task where finished_at is null";
        match client.query_one(open, &[]).unwrap().get::<_, i64>(0) {
            0 => Ok(()),
            open => Err(open),
        }
    });
    taken
}

#[test]
fn workers_outside_and_inside_run_every_task_once() {
    for (lease, completes) in [("5min", true), ("0", false)] {
        let (cluster, mut client) =
            start(&[("pg_errand.lease_duration", lease), ("pg_errand.log_level", "warning")]);
        let tasks = "select count(queues.enqueue('db_function',
                         jsonb_build_object('db_function', 'app.count_me', 'n', n))) from generate_series(1, 2000) n";
        client.batch_execute(tasks).unwrap();
        let outside: Vec<i64> = thread::scope(|scope| {
            let workers: Vec<_> = (0..2).map(|_| scope.spawn(|| work_outside(&cluster, completes))).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        let inside: Vec<i64> = client
            .query("select task_number::bigint from app.ran", &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert!(!outside.is_empty() && !inside.is_empty(), "{} and {}", outside.len(), inside.len());
        assert_eq!(outside.len() + inside.len(), 2000);
        let different: HashSet<_> = outside.iter().chain(&inside).collect();
        assert_eq!(different.len(), 2000, "{} outside, {} inside", outside.len(), inside.len());
        let sql =
            "select concat_ws(' ', status, count(*), sum(attempts)) from queues.task_status group by status";
        wait_until_sql(&mut client, sql, "succeeded 2000 2000");
    }
}

/// A cluster whose mails go to a stand-in.
fn start_with_mail() -> (Cluster, Client, Standin) {
    let standin = Standin::start(Options::default()).unwrap();
    let (cluster, client) =
        start(&[("pg_errand.resend_base_url", &standin.url()), ("pg_errand.resend_api_key", "re_test_key")]);
    (cluster, client, standin)
}

fn mail() -> Value {
    json!({"before_handler": "app.build_mail", "success_handler": "app.on_end", "error_handler": "app.on_end"})
}

#[test]
fn a_task_in_a_provider_call_is_never_handed_out() {
    let (_cluster, mut client, standin) = start_with_mail();
    standin.hold();
    let id = enqueue(&mut client, "email", mail());
    eventually("the call is made", || standin.held() == 1);
    assert_eq!(status(&mut client, id), "running");
    for _ in 0..10 {
        assert_eq!(dequeue(&mut client), None);
    }
    // Nor can it be ended from outside.
    call(&mut client, "complete_task", id);
    fail(&mut client, Some(id), "from outside");
    assert_eq!(status(&mut client, id), "running");
    standin.release();
    wait_status(&mut client, id, "succeeded");
    assert_eq!(standin.mail_count(), 1);
    assert_eq!(shown(&mut client, id, "attempts"), "1");
    assert_eq!(traces(&mut client), ["a handler after the end"]);
}

#[test]
fn a_task_that_runs_inside_is_not_handed_out() {
    let (_cluster, mut client) = start(&[]);
    let id = enqueue(&mut client, "db_function", json!({"db_function": "app.sleep"}));
    wait_until_asleep(&mut client, id);
    assert_eq!(dequeue(&mut client), None);
    assert!(cancel(&mut client, id));
}

#[test]
fn a_cancelled_waiting_task_never_runs() {
    let (cluster, mut client) = start(&[NOTHING_RUNS_INSIDE]);
    let (ready, undone, leased) =
        (note(&mut client, "ready"), note(&mut client, "undone"), note(&mut client, "leased"));
    let scheduled: i64 = client
        .query_one(
            r#"select queues.enqueue('db_function', '{"db_function": "app.note", "what": "scheduled"}', now() + interval '300 ms')"#,
            &[],
        )
        .unwrap()
        .get(0);
    assert!(cancel(&mut client, ready));
    assert!(cancel(&mut client, scheduled));
    assert!(!cancel(&mut client, ready), "it has ended");
    for id in [ready, scheduled] {
        assert_eq!(shown(&mut client, id, "status, attempts, finished_at is null"), "cancelled,0,f");
    }
    // The caller's rollback keeps a waiting task.
    let mut open = client.transaction().unwrap();
    assert!(cancel(&mut open, undone));
    open.rollback().unwrap();
    assert_eq!(status(&mut client, undone), "ready");
    // One that a worker outside has is not handed out again, and cannot be completed.
    client
        .execute(
            "update queues.task set scheduled_at = now() - interval '1 h' where task_id = $1",
            &[&leased],
        )
        .unwrap();
    assert_eq!(dequeue(&mut client), Some(leased));
    assert!(cancel(&mut client, leased));
    call(&mut client, "complete_task", leased);
    assert_eq!(status(&mut client, leased), "cancelled");
    // One that was enqueued in the same transaction.
    let mut open = client.transaction().unwrap();
    let own: i64 = open.query_one("select queues.enqueue('db_function', '{}')", &[]).unwrap().get(0);
    assert!(cancel(&mut open, own));
    open.commit().unwrap();
    assert_eq!(status(&mut client, own), "cancelled");

    wait_until_sql(
        &mut client,
        &format!("select now() > scheduled_at from queues.task where task_id = {scheduled}"),
        "t",
    );
    cluster.set(&[("pg_errand.concurrency", "1")]);
    let fence = note(&mut client, "fence");
    wait_status(&mut client, fence, "succeeded");
    assert_eq!(traces(&mut client), ["undone", "fence"]);
}

#[test]
fn what_has_ended_or_never_was_is_not_cancelled() {
    let (_cluster, mut client) = start(&[]);
    let id = note(&mut client, "a");
    wait_status(&mut client, id, "succeeded");
    assert!(!cancel(&mut client, id));
    assert_eq!(status(&mut client, id), "succeeded");
    let failed = enqueue(&mut client, "db_function", json!({}));
    wait_status(&mut client, failed, "failed");
    assert!(!cancel(&mut client, failed));
    assert!(!cancel(&mut client, 123_456_789));
}

#[test]
fn a_running_task_is_cancelled_whatever_its_handler_catches() {
    let (_cluster, mut client) = start(&[("pg_errand.concurrency", "1")]);
    client
        .batch_execute(
            "create function app.catch_once(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 insert into app.traces values ('caught');
                 begin
                     perform pg_sleep(600);
                 exception when query_canceled then
                     insert into app.traces values ('swallowed');
                 end;
                 return '{}';
             end $$;
             create function app.catch_others(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 begin
                     perform pg_sleep(600);
                 exception when query_canceled or others then
                     raise exception 'something else';
                 end;
                 return '{}';
             end $$;
             create function app.catch_and_sleep(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 begin
                     perform pg_sleep(600);
                 exception when query_canceled then
                     null;
                 end;
                 perform pg_sleep(600);
                 return '{}';
             end $$;
             create function app.catch_again_and_again(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 for i in 1 .. 50 loop
                     begin
                         perform pg_sleep(600);
                     exception when query_canceled then
                         null;
                     end;
                 end loop;
                 return '{}';
             end $$;",
        )
        .unwrap();
    let mut wrong = Vec::new();
    for (kind, name) in [
        ("db_function", "app.sleep"),
        ("db_function", "app.catch_once"),
        ("db_function", "app.catch_others"),
        ("db_function", "app.catch_and_sleep"),
        ("db_function", "app.catch_again_and_again"),
        ("success_handler", "app.sleep"),
        ("error_handler", "app.sleep"),
    ] {
        client.batch_execute("truncate app.traces").unwrap();
        let mut payload = json!({"success_handler": "app.on_end", "error_handler": "app.on_end"});
        match kind {
            "success_handler" => payload["db_function"] = json!("app.note"),
            "error_handler" => payload["db_function"] = json!("app.absent"),
            _ => {}
        }
        payload[kind] = json!(name);
        let id = enqueue(&mut client, "db_function", payload);
        wait_until_asleep(&mut client, id);
        // What the caller does afterwards is no matter.
        let mut open = client.transaction().unwrap();
        assert!(cancel(&mut open, id));
        open.rollback().unwrap();
        let ended = "select finished_at is not null from queues.task_status where task_id = $1";
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the task has ended", || client.query_one(ended, &[&id]).unwrap().get::<_, bool>(0));
        }));
        let traces = traces(&mut client);
        let shown = shown(&mut client, id, "status, attempts");
        if ended.is_err() || shown != "cancelled,1" || !traces.is_empty() {
            wrong.push((kind, name, shown, traces));
        }
        if ended.is_err() {
            // So that the next ones have a worker.
            let end = "select pg_terminate_backend(pid) from queues.worker";
            client.batch_execute(end).unwrap();
            client
                .execute(
                    "update queues.task set finished_at = now(), final_status = 'failed' where task_id = $1",
                    &[&id],
                )
                .unwrap();
        }
        assert!(!cancel(&mut client, id));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_before_handler_that_is_cancelled_leads_to_no_call() {
    let (_cluster, mut client, standin) = start_with_mail();
    let payload = json!({"before_handler": "app.sleep", "success_handler": "app.on_end", "error_handler": "app.on_end"});
    let id = enqueue(&mut client, "email", payload);
    wait_until_asleep(&mut client, id);
    assert!(cancel(&mut client, id));
    wait_status(&mut client, id, "cancelled");
    let fence = enqueue(&mut client, "email", mail());
    wait_status(&mut client, fence, "succeeded");
    assert_eq!(standin.requests().len(), 1);
    assert_eq!(traces(&mut client), ["a handler after the end"], "the other's");
}

#[test]
fn a_task_that_is_cancelled_during_its_call_runs_no_further_handler() {
    let (_cluster, mut client, standin) = start_with_mail();
    standin.hold();
    let id = enqueue(&mut client, "email", mail());
    eventually("the call is made", || standin.held() == 1);
    let mut open = client.transaction().unwrap();
    assert!(cancel(&mut open, id));
    open.rollback().unwrap();
    wait_status(&mut client, id, "cancelled");
    standin.release();
    let fence = enqueue(&mut client, "email", mail());
    wait_status(&mut client, fence, "succeeded");
    assert_eq!(status(&mut client, id), "cancelled");
    assert_eq!(traces(&mut client), ["a handler after the end"], "the other's");
}

#[test]
fn a_cancel_hits_no_other_task() {
    let (cluster, mut client) = start(&[("pg_errand.log_level", "warning")]);
    client
        .batch_execute(
            "create function app.nap(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 perform pg_sleep(0.002);
                 return '{}';
             end $$",
        )
        .unwrap();
    let rows = client
        .query(
            r#"select queues.enqueue('db_function', '{"db_function": "app.nap"}') from generate_series(1, 600)"#,
            &[],
        )
        .unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    // In step with the workers, so that starts, ends and cancels meet.
    let victims: Vec<i64> = ids.iter().copied().filter(|id| id % 3 == 0).collect();
    let cancelled: Vec<i64> = thread::scope(|scope| {
        let halves: Vec<_> = victims
            .chunks(victims.len() / 2)
            .map(|half| {
                let cluster = &cluster;
                scope.spawn(move || {
                    let mut client = cluster.connect("postgres");
                    let gone = "select finished_at is not null from queues.task where task_id = $1";
                    let mut cancelled = Vec::new();
                    for id in half {
                        // Its predecessor has ended, so it is about to start.
                        let before = id - 1;
                        eventually("the queue moves on", || {
                            client.query_one(gone, &[&before]).unwrap().get::<_, bool>(0)
                        });
                        if cancel(&mut client, *id) {
                            cancelled.push(*id);
                        }
                    }
                    cancelled
                })
            })
            .collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    let mut wrong = Vec::new();
    for id in ids {
        let expected = if cancelled.contains(&id) { "cancelled" } else { "succeeded" };
        let seen = status(&mut client, id);
        if seen != expected {
            wrong.push((id, seen, expected));
        }
    }
    // How many are in time is the machine's affair.
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_cancelled_task_is_not_started_again_by_another_worker() {
    let (_cluster, mut client) = start(&[("pg_errand.log_level", "warning")]);
    client
        .batch_execute(
            "create function app.nap(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 insert into app.traces values ('napped');
                 perform pg_sleep(0.2);
                 return '{}';
             end $$;
             create function app.pass(payload jsonb) returns jsonb return '{}'::jsonb;
             -- The other worker looks for the next task all the time.
             select count(queues.enqueue('db_function', '{\"db_function\": \"app.pass\"}'))
             from generate_series(1, 20000)",
        )
        .unwrap();
    let enqueue = "insert into queues.task (task_type, payload, scheduled_at)
         values ('db_function', '{\"db_function\": \"app.nap\"}', now() - interval '1 hour')
         returning task_id";
    for _ in 0..20 {
        let id: i64 = client.query_one(enqueue, &[]).unwrap().get(0);
        wait_until_asleep(&mut client, id);
        if cancel(&mut client, id) {
            let ended = "select finished_at is not null from queues.task_status where task_id = $1";
            eventually("the task has ended", || client.query_one(ended, &[&id]).unwrap().get::<_, bool>(0));
            assert_eq!(shown(&mut client, id, "status, attempts"), "cancelled,1");
            assert!(traces(&mut client).is_empty(), "it ran to its end");
        }
        client.batch_execute("truncate app.traces").unwrap();
    }
}

#[test]
fn a_cancel_is_in_time_at_every_moment_of_a_start() {
    let (_cluster, mut client) = start(&[("pg_errand.concurrency", "1"), ("pg_errand.log_level", "warning")]);
    let first = note(&mut client, "the worker is there");
    wait_status(&mut client, first, "succeeded");
    let payload = json!({
        "db_function": "app.note", "what": "undone",
        "success_handler": "app.sleep", "error_handler": "app.on_end",
    });
    for round in 0..150 {
        let id = enqueue(&mut client, "db_function", payload.clone());
        // A sweep over the first milliseconds of a task: waiting, claimed, between its two handlers, asleep.
        thread::sleep(Duration::from_micros(round * 10));
        assert!(cancel(&mut client, id));
        wait_status(&mut client, id, "cancelled");
    }
    assert_eq!(traces(&mut client), ["the worker is there"]);
}
