//! `pg_stat_activity`, the views and the log show what workers are doing.

use std::net::TcpListener;

use postgres::error::SqlState;
use postgres::{Client, Row};
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, run_one, runner, task};
use crate::harness::queue::{enqueue, status, wait_status, workers};
use crate::harness::wait::{eventually, wait_until_sql};

/// One worker that stays, and finds nothing by polling.
const ONE_WORKER: [(&str, &str); 3] =
    [("pg_errand.poll_interval", "1h"), ("pg_errand.max_idle_time", "0"), ("pg_errand.concurrency", "1")];

/// The row of pg_stat_activity of a process; times as seconds ago.
fn activity(client: &mut Client, pid: i32) -> Row {
    client
        .query_one(
            "select backend_type, application_name, usename::text, datname::text, state, query, \
             extract(epoch from clock_timestamp() - query_start)::float8 as query_age, \
             extract(epoch from clock_timestamp() - xact_start)::float8 as xact_age, \
             wait_event_type, wait_event, backend_xmin::text, backend_xid::text \
             from pg_stat_activity where pid = $1",
            &[&pid],
        )
        .unwrap()
}

#[test]
fn pg_stat_activity_tells_what_a_worker_does() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let id = task(&mut client, "gate", json!({"gate": 1}));
    let pid = runner(&mut client, id);
    wait_until_sql(
        &mut client,
        &format!("select wait_event from pg_stat_activity where pid = {pid}"),
        "advisory",
    );
    let row = activity(&mut client, pid);
    let text = |name: &str| row.get::<_, Option<String>>(name).unwrap_or_default();
    assert_eq!(text("backend_type"), "pg_errand worker");
    assert_eq!(text("application_name"), "pg_errand worker 1");
    assert_eq!(text("usename"), "errand_worker");
    assert_eq!(text("datname"), "postgres");
    assert_eq!(text("state"), "active");
    assert_eq!(text("wait_event_type"), "Lock");
    let query = text("query");
    for part in ["db_function", "public.gate", &id.to_string()] {
        assert!(query.contains(part), "{query}");
    }
    let (query_age, xact_age): (f64, f64) = (row.get("query_age"), row.get("xact_age"));
    assert!((0.0..20.0).contains(&query_age) && (0.0..20.0).contains(&xact_age), "{query_age} {xact_age}");
    assert!(xact_age >= query_age, "the handler runs in the transaction: {query_age} {xact_age}");
    gate.open();

    wait_status(&mut client, id, "succeeded");
    wait_until_sql(&mut client, &format!("select state from pg_stat_activity where pid = {pid}"), "idle");
    let row = activity(&mut client, pid);
    assert_eq!(row.get::<_, Option<f64>>("xact_age"), None);
    assert_eq!(row.get::<_, Option<String>>("backend_xmin"), None);
    assert_eq!(row.get::<_, Option<String>>("wait_event_type").as_deref(), Some("Extension"));
    // Earlier versions have one name for all extensions.
    let has_names: bool = one(&mut client, "select current_setting('server_version_num')::int >= 170000");
    let named = |name: &str| Some(if has_names { name.to_owned() } else { "Extension".to_owned() });
    assert_eq!(row.get::<_, Option<String>>("wait_event"), named("PgErrandIdle"));

    let launcher = client
        .query_one(
            "select application_name, datname::text, xact_start is null, wait_event_type, wait_event from pg_stat_activity \
             where backend_type = 'pg_errand launcher'",
            &[],
        )
        .unwrap();
    assert_eq!(launcher.get::<_, String>(0), "pg_errand launcher");
    assert_eq!(launcher.get::<_, Option<String>>(1), None);
    assert!(launcher.get::<_, bool>(2));
    assert_eq!(launcher.get::<_, Option<String>>(3).as_deref(), Some("Extension"));
    assert_eq!(launcher.get::<_, Option<String>>(4), named("PgErrandLauncher"));
}

#[test]
fn the_views_follow_a_task_through_its_handlers() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let scheduled: i64 = one(&mut client, "select queues.enqueue('db_function', '{}', now() + '1 h')");
    assert_eq!(status(&mut client, scheduled), "scheduled");
    let second = Gate::close(&cluster, "postgres", 2);
    client
        .batch_execute(
            "create function public.then_second(payload jsonb) returns jsonb language sql as \
             $$ select public.gate('{\"gate\": 2}') $$",
        )
        .unwrap();
    let id = task(&mut client, "gate", json!({"gate": 1, "success_handler": "public.then_second"}));
    let waiting = task(&mut client, "refuse", json!({"label": "bad"}));
    let pid = runner(&mut client, id);
    let view = "select state, task_type, handler, busy_since between now() - interval '20 s' and clock_timestamp(), \
                in_flight::int, succeeded::int, failed::int, started_at <= busy_since, pid from queues.worker";
    let row = client.query_one(view, &[]).unwrap();
    assert_eq!(row.get::<_, String>(0), "busy");
    assert_eq!(row.get::<_, String>(1), "db_function");
    assert_eq!(row.get::<_, String>(2), "public.gate");
    assert!(row.get::<_, bool>(3) && row.get::<_, bool>(7) && row.get::<_, i32>(8) == pid);
    let of_task = |client: &mut Client, id: i64| {
        let sql = "select status, attempts, started_at is not null, finished_at is not null, last_error, \
                   started_at >= enqueued_at, coalesce(finished_at, now()) >= started_at \
                   from queues.task_status where task_id = $1";
        let row = client.query_one(sql, &[&id]).unwrap();
        let error: Option<String> = row.get(4);
        let ordered =
            row.get::<_, Option<bool>>(5).unwrap_or(true) && row.get::<_, Option<bool>>(6).unwrap_or(true);
        assert!(ordered);
        (
            row.get::<_, String>(0),
            row.get::<_, i32>(1),
            row.get::<_, bool>(2),
            row.get::<_, bool>(3),
            error.is_some(),
        )
    };
    assert_eq!(of_task(&mut client, id), ("running".into(), 1, true, false, false));
    assert_eq!(of_task(&mut client, waiting), ("ready".into(), 0, false, false, false));

    gate.open();
    wait_until_sql(&mut client, "select handler from queues.worker", "public.then_second");
    let query = format!("select query from pg_stat_activity where pid = {pid}");
    let query: String = one(&mut client, &query);
    assert!(query.contains("success_handler") && query.contains("public.then_second"), "{query}");
    assert_eq!(of_task(&mut client, id), ("running".into(), 1, true, false, false));
    second.open();

    wait_status(&mut client, waiting, "failed");
    assert_eq!(of_task(&mut client, id), ("succeeded".into(), 1, true, true, false));
    assert_eq!(of_task(&mut client, waiting), ("failed".into(), 1, true, true, true));
    assert!(one::<bool>(
        &mut client,
        &format!(
            "select dequeued_at = started_at from queues.task join queues.task_status using (task_id) where task_id = {id}"
        )
    ));
    let counted = "select state = 'idle' and task_id is null and task_type is null and handler is null and busy_since is null \
                   and succeeded = 1 and failed = 1 and in_flight = 0 from queues.worker";
    wait_until_sql(&mut client, counted, "t");
    assert_eq!(workers(&mut client).len(), 1);
}

#[test]
fn a_provider_call_in_flight_holds_no_transaction_and_shows() {
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let own = [("pg_errand.resend_api_key", "re_test"), ("pg_errand.resend_base_url", url.as_str())];
    let cluster = Cluster::start(&[ONE_WORKER[0], ONE_WORKER[1], ONE_WORKER[2], own[0], own[1]]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create function public.build(payload jsonb) returns jsonb language sql as \
             $$ select jsonb_build_object('success', true, 'payload', jsonb_build_object('message_id', 1, \
                'from_address', 'a@example.com', 'to_address', 'b@example.com', 'subject', 's', 'html', '<p>h</p>')) $$",
        )
        .unwrap();
    let id = enqueue(&mut client, "email", json!({"task_type": "email", "before_handler": "public.build"}));
    wait_until_sql(&mut client, "select in_flight from queues.worker", "1");
    wait_until_sql(
        &mut client,
        "select state from pg_stat_activity where backend_type = 'pg_errand worker' and query like 'waiting%'",
        "active",
    );
    let worker = workers(&mut client).remove(0);
    assert_eq!((worker.state.as_str(), worker.task_id), ("busy", None));
    let row = activity(&mut client, worker.pid);
    assert_eq!(row.get::<_, Option<f64>>("xact_age"), None);
    assert_eq!(row.get::<_, Option<String>>("backend_xmin"), None);
    assert!(row.get::<_, String>("query").contains('1'), "{}", row.get::<_, String>("query"));
    let locks =
        format!("select count(*) from pg_locks where pid = {} and locktype <> 'virtualxid'", worker.pid);
    assert_eq!(one::<i64>(&mut client, &locks), 0);
    let shown = client
        .query_one(
            "select status, attempts, started_at is not null, finished_at from queues.task_status where task_id = $1",
            &[&id],
        )
        .unwrap();
    assert_eq!(
        (shown.get::<_, String>(0), shown.get::<_, i32>(1), shown.get::<_, bool>(2)),
        ("running".into(), 1, true)
    );
    // Free for other work.
    run_one(&mut client, "meanwhile");
    assert_eq!(status(&mut client, id), "running");
}

#[test]
fn every_end_of_a_task_is_one_log_line() {
    let cluster = Cluster::start(&[ONE_WORKER[0], ("pg_errand.log_level", "debug")]);
    let mut client = install(&cluster, "postgres");
    let good = run_one(&mut client, "good");
    let bad = task(&mut client, "refuse", json!({"label": "bad"}));
    wait_status(&mut client, bad, "failed");
    run_one(&mut client, "after");
    let log = cluster.log();
    for (what, id, handler) in
        [("task succeeded", good, "public.note"), ("task failed", bad, "public.refuse")]
    {
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(what) && line.contains(&format!("task_id={id} ")))
            .collect();
        assert_eq!(lines.len(), 1, "{what}: {log}");
        assert!(lines[0].contains("db_function") && lines[0].contains(handler), "{}", lines[0]);
        assert!(lines[0].contains("pg_errand worker"), "{}", lines[0]);
    }
    let reason = log.lines().filter(|line| line.contains("refused: bad")).count();
    assert_eq!(reason, 1, "{log}");
}

#[test]
fn the_views_are_open_to_whom_they_are_granted_and_to_nobody_else() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create role reader login; create role stranger login").unwrap();
    let id = task(&mut client, "linger", json!({}));
    runner(&mut client, id);
    let refused = |client: &mut Client, sql: &str| {
        let error = client.query(sql, &[]).expect_err(sql);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
    };
    let reads = ["select task_id from queues.worker", "select task_id from queues.task_status"];
    let others =
        ["select 1 from errand.worker_state()", "select 1 from queues.task", "select 1 from queues.error"];
    let mut reader = cluster.connect_as("reader", "postgres");
    let mut stranger = cluster.connect_as("stranger", "postgres");
    for sql in reads.iter().chain(&others) {
        refused(&mut reader, sql);
        refused(&mut stranger, sql);
    }
    client
        .batch_execute(
            "grant usage on schema queues to reader, stranger; grant select on queues.worker to reader",
        )
        .unwrap();
    assert_eq!(one::<i64>(&mut reader, reads[0]), id);
    refused(&mut reader, reads[1]);
    client
        .batch_execute(
            "revoke select on queues.worker from reader; grant select on queues.task_status to reader",
        )
        .unwrap();
    refused(&mut reader, reads[0]);
    assert_eq!(one::<i64>(&mut reader, reads[1]), id);
    assert_eq!(one::<String>(&mut reader, "select status from queues.task_status"), "running");
    for sql in others {
        refused(&mut reader, sql);
    }
    for sql in reads.iter().chain(&others) {
        refused(&mut stranger, sql);
    }
    eventually("the task still runs", || status(&mut client, id) == "running");
}

/// An audit trigger records the query, in a column that must not be null.
#[test]
fn current_query_says_in_a_task_what_the_activity_says() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create table public.audit (relation regclass not null, query text not null);
             create function public.record_query() returns trigger language plpgsql security definer as $$
             begin
                 insert into public.audit values (tg_relid, current_query());
                 return null;
             end $$;
             create trigger record after insert on public.done for each row execute function public.record_query();
             create trigger record after update on queues.task for each row execute function public.record_query();
             create trigger record after insert on queues.error for each row execute function public.record_query()",
        )
        .unwrap();
    let noted = run_one(&mut client, "x");
    let sql = "select distinct query from public.audit where relation in ('public.done'::regclass, 'queues.task'::regclass)";
    assert_eq!(one::<String>(&mut client, sql), format!("db_function public.note (task {noted})"));
    let mark = cluster.log_mark();
    let refused = task(&mut client, "refuse", json!({"label": "y"}));
    wait_status(&mut client, refused, "failed");
    let sql = "select query from public.audit where relation = 'queues.error'::regclass";
    assert_eq!(one::<String>(&mut client, sql), format!("db_function public.refuse (task {refused})"));
    // The lines about the task's end are not about a statement.
    let log = cluster.wait_log(mark, "task failed");
    assert!(!log.contains("STATEMENT:"), "{log}");
}
