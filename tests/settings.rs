//! Settings: their values, what is refused, and when they take effect.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use postgres::{Client, Error};
use serde_json::{Value, json};

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{
    Gate, create_database, install, one, run_one, runner, task, wait_asleep, wait_running, worker_pids,
};
use crate::harness::queue::{enqueue, errors, status, wait_status, workers};
use crate::harness::wait::{eventually, wait_until_sql, within};

/// The end of every task is logged.
const DEBUG: (&str, &str) = ("pg_errand.log_level", "debug");
const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
const LONG_STAY: (&str, &str) = ("pg_errand.max_idle_time", "0");
const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");

/// Name, default as `SHOW` prints it, type, unit, context, lowest value, words that are allowed.
type Setting =
    (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const SETTINGS: [Setting; 40] = [
    ("call_timeout", "30s", "integer", "ms", "superuser", "1", ""),
    ("concurrency", "2", "integer", "", "superuser", "0", ""),
    ("databases", "", "string", "", "sighup", "", ""),
    ("email_provider", "resend", "enum", "", "superuser", "", "resend,smtp"),
    ("flush_interval", "0", "integer", "ms", "sighup", "-1", ""),
    ("handler_timeout", "0", "integer", "ms", "superuser", "0", ""),
    ("handlers", "users", "enum", "", "superuser", "", "users,granted,any"),
    ("http_allowed_hosts", "public", "string", "", "superuser", "", ""),
    ("http_ca_file", "", "string", "", "superuser", "", ""),
    ("http_max_request_size", "40MB", "integer", "B", "superuser", "1024", ""),
    ("http_max_response_size", "1MB", "integer", "B", "superuser", "1024", ""),
    ("http_proxy", "", "string", "", "superuser", "", ""),
    ("http_proxy_password", "", "string", "", "superuser", "", ""),
    ("http_proxy_user", "", "string", "", "superuser", "", ""),
    ("lease_duration", "5min", "integer", "ms", "superuser", "0", ""),
    ("log_level", "info", "enum", "", "superuser", "", "debug,info,warning,error"),
    ("max_idle_time", "30s", "integer", "ms", "superuser", "0", ""),
    ("max_in_flight", "64", "integer", "", "superuser", "1", ""),
    ("max_payload_size", "268435455B", "integer", "B", "superuser", "1024", ""),
    ("max_workers", "4", "integer", "", "sighup", "0", ""),
    ("poll_interval", "5s", "integer", "ms", "superuser", "10", ""),
    ("resend_api_key", "", "string", "", "superuser", "", ""),
    ("resend_base_url", "https://api.resend.com", "string", "", "superuser", "", ""),
    ("retention", "7d", "integer", "s", "superuser", "0", ""),
    ("role", "errand_worker", "string", "", "superuser", "", ""),
    ("secrets", "", "string", "", "superuser", "", ""),
    ("secrets_dir", "", "string", "", "superuser", "", ""),
    ("sms_provider", "simulated", "enum", "", "superuser", "", "simulated,twilio"),
    ("smtp_ehlo_name", "", "string", "", "superuser", "", ""),
    ("smtp_host", "", "string", "", "superuser", "", ""),
    ("smtp_password", "", "string", "", "superuser", "", ""),
    ("smtp_port", "0", "integer", "", "superuser", "0", ""),
    ("smtp_tls", "tls", "enum", "", "superuser", "", "starttls,tls,none"),
    ("smtp_user", "", "string", "", "superuser", "", ""),
    ("twilio_account_sid", "", "string", "", "superuser", "", ""),
    ("twilio_api_key_sid", "", "string", "", "superuser", "", ""),
    ("twilio_auth_token", "", "string", "", "superuser", "", ""),
    ("twilio_base_url", "https://api.twilio.com", "string", "", "superuser", "", ""),
    ("twilio_from", "", "string", "", "superuser", "", ""),
    ("unsuccessful_is_failure", "off", "bool", "", "superuser", "", ""),
];

#[test]
fn every_setting_is_described_in_pg_settings() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    let rows = client
        .query(
            "select substr(name, 11), current_setting(name), vartype, coalesce(unit, ''), context, \
             coalesce(min_val, ''), coalesce(array_to_string(enumvals, ','), ''), short_desc, max_val, extra_desc \
             from pg_settings where name like 'pg_errand.%' order by name",
            &[],
        )
        .unwrap();
    let seen: Vec<Vec<String>> = rows.iter().map(|row| (0..7).map(|n| row.get(n)).collect()).collect();
    let expected: Vec<Vec<String>> = SETTINGS
        .iter()
        .map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].iter().map(|text| (**text).to_owned()).collect())
        .collect();
    assert_eq!(seen, expected);
    for row in rows {
        let (name, short): (String, String) = (row.get(0), row.get(7));
        assert!(short.ends_with('.') && short.len() > 15, "{name}: {short:?}");
        assert!(!row.get::<_, String>(9).is_empty(), "{name}");
        if let Some(max) = row.get::<_, Option<String>>(8) {
            assert!(max.parse::<i64>().unwrap() >= 100, "{name}: {max}");
        }
    }
}

/// Everything an error says: message, detail and hint.
fn text(error: &Error) -> String {
    let error = error.as_db_error().expect("an error of the server");
    [Some(error.message()), error.detail(), error.hint()].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bad_value_is_refused_with_what_is_allowed() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    let refusals = [
        ("concurrency", "-1", "(0 .. "),
        ("concurrency", "many", "invalid value"),
        ("concurrency", "1000000", "(0 .. "),
        ("max_workers", "-1", "(0 .. "),
        ("max_in_flight", "0", "(1 .. "),
        ("poll_interval", "soon", "invalid value"),
        ("poll_interval", "0", "(10 .. "),
        ("poll_interval", "5 fortnights", "Valid units"),
        ("max_idle_time", "-1", "(0 .. "),
        ("handler_timeout", "-1", "(0 .. "),
        ("call_timeout", "0", "(1 .. "),
        ("lease_duration", "-1", "(0 .. "),
        ("retention", "-1", "(0 .. "),
        ("log_level", "loud", "debug, info, warning, error"),
        ("http_allowed_hosts", "a b", "public"),
        ("http_proxy", "socks5://x", "http"),
        ("http_proxy_user", "a:b", "colon"),
        ("secrets_dir", "relative", "absolute"),
        ("twilio_account_sid", "AC12", "32 hexadecimal"),
        ("sms_provider", "pigeon", "simulated"),
        ("role", "", "role is needed"),
        ("databases", "a,,b", "comma-separated"),
        ("databases", "\"open", "comma-separated"),
        ("resend_base_url", "api.resend.com", "https://"),
        ("resend_base_url", "ftp://api.resend.com", "https://"),
        ("resend_base_url", "", "https://"),
    ];
    for (name, value, allowed) in refusals {
        let database = "alter database postgres";
        for command in ["alter system", "", database] {
            let sql = format!("{command} set pg_errand.{name} = '{value}'");
            // From 18 on, bounds have a unit.
            let said = text(&client.batch_execute(&sql).expect_err(&sql)).replace(" ms ..", " ..");
            let said = said.replace(" s ..", " ..").replace(" min ..", " ..");
            // Settings of the whole server are refused there for another reason.
            if ["databases", "max_workers"].contains(&name) && command != "alter system" {
                assert!(said.contains("cannot be changed now"), "{sql}: {said}");
            } else {
                assert!(
                    said.contains(allowed) && said.contains(&format!("pg_errand.{name}")),
                    "{sql}: {said}"
                );
            }
        }
    }
    let unknown = client.batch_execute("set pg_errand.no_such_setting = 1").unwrap_err();
    assert!(text(&unknown).contains("pg_errand.no_such_setting"), "{unknown:?}");
    let secret =
        client.batch_execute("alter database postgres set pg_errand.resend_api_key = 're_1'").unwrap_err();
    assert!(
        unknown.as_db_error().is_some() && text(&secret).contains("postgresql.conf"),
        "{}",
        text(&secret)
    );

    client.batch_execute("create role plain login").unwrap();
    let mut plain = cluster.connect_as("plain", "postgres");
    for (name, ..) in SETTINGS {
        plain.batch_execute(&format!("set pg_errand.{name} = '1'")).expect_err(name);
    }
    plain.batch_execute("show pg_errand.resend_api_key").unwrap_err();
}

#[test]
fn nonsense_in_the_configuration_file_stops_no_worker() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    let pid = worker_pids(&mut client)[0];
    let lives = |client: &mut Client| assert!(worker_pids(client).contains(&pid));
    let nonsense = "pg_errand.concurrency = banana\npg_errand.role = ''\npg_errand.poll_interval = '-5'\n\
                    pg_errand.databases = ',,'\npg_errand.log_level = 'loud'\npg_errand.handler_timeout = '1 fortnight'\n\
                    pg_errand.sms_provider = 'twilio'\npg_errand.resend_base_url = 'nowhere'\npg_errand.unknown = 1\n";
    let path = cluster.data_dir().join("postgresql.conf");
    let before = std::fs::read_to_string(&path).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(nonsense.as_bytes()).unwrap();
    let mark = cluster.log_mark();
    cluster.kill(cluster.postmaster_pid(), libc::SIGHUP);
    cluster.wait_log(mark, "contains errors");
    run_one(&mut client, "after");
    lives(&mut client);

    // Without the unknown one, the others are looked at one by one.
    std::fs::write(&path, before + &nonsense.replace("pg_errand.unknown = 1\n", "")).unwrap();
    let mark = cluster.log_mark();
    cluster.kill(cluster.postmaster_pid(), libc::SIGHUP);
    cluster.wait_log(mark, "contains errors");
    run_one(&mut client, "after the second");
    lives(&mut client);
    let mut later = create_database(&cluster, "later");
    run_one(&mut later, "of the launcher");
    wait_until_sql(&mut client, "show pg_errand.concurrency", "2");
}

/// Waits until workers have read a setting: runs a handler that tells.
fn wait_read(client: &mut Client, name: &str, expected: &str) {
    client
        .batch_execute(
            "create or replace function public.tell(payload jsonb) returns jsonb language sql as \
             $$ insert into public.done (label) values (current_setting(payload ->> 'setting')) returning '{}'::jsonb $$",
        )
        .unwrap();
    eventually(&format!("{name} is {expected} in the worker"), || {
        let id = task(client, "tell", json!({"setting": name}));
        wait_status(client, id, "succeeded");
        let seen: String = one(client, "select label from public.done order by n desc limit 1");
        if seen == expected { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn workers_take_up_a_reload_at_their_next_task() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let pids = worker_pids(&mut client);
    for (name, value) in [
        ("pg_errand.handler_timeout", "1min"),
        ("pg_errand.call_timeout", "7s"),
        ("pg_errand.lease_duration", "9min"),
        ("pg_errand.max_in_flight", "3"),
        ("pg_errand.poll_interval", "2h"),
        ("pg_errand.retention", "8d"),
        ("pg_errand.log_level", "debug"),
        ("pg_errand.resend_base_url", "http://127.0.0.1:9"),
    ] {
        cluster.set(&[(name, value)]);
        wait_read(&mut client, name, value);
    }
    assert_eq!(worker_pids(&mut client), pids);

    // An idle worker notices, too.
    cluster.set(&[("pg_errand.max_idle_time", "50ms")]);
    wait_asleep(&mut client);
    let mut session = cluster.connect("postgres");
    session.batch_execute("set pg_errand.lease_duration = '1h'").unwrap();
    wait_until_sql(&mut session, "show pg_errand.lease_duration", "1h");
}

#[test]
fn polling_finds_what_nobody_announced_as_often_as_the_setting_says() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let resting = "select state from pg_stat_activity where backend_type = 'pg_errand worker'";
    wait_until_sql(&mut client, resting, "idle");
    let unannounced = "alter table queues.task disable trigger task_before_insert; \
                       insert into queues.task (task_type, payload, origin) values \
                       ('db_function', '{\"task_type\": \"db_function\", \"db_function\": \"public.note\"}', \
                       errand.queue_origin()); \
                       alter table queues.task enable always trigger task_before_insert";
    client.batch_execute(unannounced).unwrap();
    let found = within(Duration::from_millis(500), || {
        one::<i64>(&mut client, "select count(*) from public.done") > 1
    });
    assert!(!found, "it was found without polling");
    cluster.set(&[("pg_errand.poll_interval", "100ms")]);
    wait_until_sql(&mut client, "select count(*) from public.done", "2");
    client.batch_execute(unannounced).unwrap();
    wait_until_sql(&mut client, "select count(*) from public.done", "3");
}

#[test]
fn what_is_stored_but_not_reloaded_does_not_count_for_processes_that_start() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    for stored in ["pg_errand.concurrency = 0", "pg_errand.max_workers = 0", "pg_errand.databases = 'none'"] {
        client.batch_execute(&format!("alter system set {stored}")).unwrap();
    }
    let mut victim = cluster.connect("postgres");
    cluster.crash(one(&mut victim, "select pg_backend_pid()"), libc::SIGKILL);
    let mut client = cluster.connect("postgres");
    run_one(&mut client, "second");
    cluster.reload();
    wait_asleep(&mut client);
}

#[test]
fn handler_timeout_interrupts_one_handler_and_names_the_setting() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY, ONE_WORKER, ("pg_errand.handler_timeout", "300ms")]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let pids = worker_pids(&mut client);
    let slow = task(&mut client, "nap", json!({"seconds": 60, "error_handler": "public.note"}));
    wait_status(&mut client, slow, "failed");
    let failed = errors(&mut client, slow);
    assert_eq!(failed.len(), 1);
    let message = &failed[0].error_message;
    assert!(message.contains("pg_errand.handler_timeout") && message.contains("public.nap"), "{message}");
    // The limit is one handler's, not the task's.
    let both = task(&mut client, "nap", json!({"seconds": 0.2, "success_handler": "public.slow_success"}));
    wait_status(&mut client, both, "succeeded");
    client
        .batch_execute(
            "create function public.slow_success(payload jsonb) returns jsonb language plpgsql as \
             $$ begin perform pg_sleep(0.2); return '{}'; end $$",
        )
        .unwrap();
    let both = task(&mut client, "nap", json!({"seconds": 0.2, "success_handler": "public.slow_success"}));
    wait_status(&mut client, both, "succeeded");
    assert_eq!(errors(&mut client, both), []);
    assert_eq!(worker_pids(&mut client), pids);

    cluster.set(&[("pg_errand.handler_timeout", "0")]);
    wait_read(&mut client, "pg_errand.handler_timeout", "0");
    let slow = task(&mut client, "nap", json!({"seconds": 0.6}));
    wait_status(&mut client, slow, "succeeded");
}

#[test]
fn settings_of_a_database_count_for_its_workers_and_only_for_those() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY, ("pg_errand.max_workers", "8")]);
    let mut a = create_database(&cluster, "a");
    let mut b = create_database(&cluster, "b");
    a.batch_execute("alter database a set pg_errand.concurrency = 1").unwrap();
    let (gate_a, gate_b) = (Gate::close(&cluster, "a", 1), Gate::close(&cluster, "b", 1));
    let mut tasks = Vec::new();
    for client in [&mut a, &mut b] {
        tasks.push((0..3).map(|_| task(client, "gate", json!({"gate": 1}))).collect::<Vec<_>>());
    }
    wait_running(&mut b, 2);
    wait_running(&mut a, 1);
    assert_eq!(workers(&mut a).len(), 1);
    b.batch_execute("alter database a set pg_errand.concurrency = 3").unwrap();
    wait_running(&mut a, 3);
    assert_eq!(workers(&mut b).len(), 2);
    gate_a.open();
    gate_b.open();
    for (client, tasks) in [&mut a, &mut b].into_iter().zip(tasks) {
        for id in tasks {
            wait_status(client, id, "succeeded");
        }
    }

    a.batch_execute("alter database a set pg_errand.concurrency = 0").unwrap();
    wait_until_sql(&mut a, "select count(*) from queues.worker", "0");
    let paused = task(&mut a, "note", json!({}));
    run_one(&mut b, "is not paused");
    assert_eq!(status(&mut a, paused), "ready");
    a.batch_execute("alter database a reset pg_errand.concurrency").unwrap();
    wait_status(&mut a, paused, "succeeded");

    for (name, value, usual) in [
        ("pg_errand.handler_timeout", "1min", "0"),
        ("pg_errand.poll_interval", "2h", "1h"),
        ("pg_errand.log_level", "debug", "info"),
        ("pg_errand.retention", "8d", "7d"),
        ("pg_errand.max_idle_time", "5min", "0"),
    ] {
        a.batch_execute(&format!("alter database a set {name} = '{value}'")).unwrap();
        wait_read(&mut a, name, value);
        wait_read(&mut b, name, usual);
        a.batch_execute(&format!("alter database a reset {name}")).unwrap();
        wait_read(&mut a, name, usual);
    }
    a.batch_execute("alter database a set pg_errand.max_idle_time = '50ms'").unwrap();
    wait_until_sql(&mut a, "select count(*) from queues.worker", "0");
    run_one(&mut a, "back");
    wait_until_sql(&mut a, "select count(*) from queues.worker", "0");
    run_one(&mut b, "idle");
    assert!(!workers(&mut b).is_empty());
    a.batch_execute("alter database a reset all; alter database a set pg_errand.handler_timeout = '200ms'")
        .unwrap();
    wait_read(&mut a, "pg_errand.handler_timeout", "200ms");
    let slow = task(&mut a, "nap", json!({"seconds": 60}));
    wait_status(&mut a, slow, "failed");
    let slow = task(&mut b, "nap", json!({"seconds": 0.5}));
    wait_status(&mut b, slow, "succeeded");

    // Nothing of it was for other databases, or rolled back settings for anybody.
    a.batch_execute("begin; alter database b set pg_errand.concurrency = 0; rollback").unwrap();
    run_one(&mut b, "not paused");
}

#[test]
fn the_poll_interval_of_a_database_counts_also_while_its_workers_sleep() {
    let settings = [NO_POLL, ("pg_errand.max_idle_time", "50ms"), ("max_prepared_transactions", "5")];
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("alter database postgres set pg_errand.poll_interval = '200ms'").unwrap();
    wait_read(&mut client, "pg_errand.poll_interval", "200ms");
    let prepared = "begin; select queues.enqueue('db_function', '{\"db_function\": \"public.note\", \"label\": \"p\"}'); \
                    prepare transaction 'p'";
    client.batch_execute(prepared).unwrap();
    run_one(&mut client, "meanwhile");
    wait_asleep(&mut client);
    client.batch_execute("commit prepared 'p'").unwrap();
    wait_until_sql(&mut client, "select count(*) from public.done where label = 'p'", "1");
}

#[test]
fn what_a_handler_sets_changes_nothing_for_the_worker() {
    let cluster = Cluster::start(&[DEBUG, NO_POLL, LONG_STAY, ONE_WORKER, ("pg_errand.role", "postgres")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create function public.meddle(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 set pg_errand.handler_timeout = '1ms';
                 set pg_errand.log_level = 'error';
                 set pg_errand.retention = '1s';
                 set pg_errand.poll_interval = '10ms';
                 set search_path = nowhere;
                 set statement_timeout = '1ms';
                 set default_transaction_read_only = on;
                 set application_name = 'somebody else';
                 perform set_config('pg_errand.max_idle_time', '1ms', false);
                 perform set_config('pg_errand.concurrency', '0', false);
                 return '{}';
             end $$;
             create function public.slow_success(payload jsonb) returns jsonb language plpgsql as
             $$ begin perform pg_sleep(0.1); return '{}'; end $$",
        )
        .unwrap();
    run_one(&mut client, "first");
    let pids = worker_pids(&mut client);
    let mark = cluster.log_mark();
    let id = task(&mut client, "meddle", json!({"success_handler": "public.slow_success"}));
    wait_status(&mut client, id, "succeeded");
    assert_eq!(errors(&mut client, id), []);
    cluster.wait_log(mark, &format!("task_id={id} "));
    for (name, value) in [
        ("pg_errand.handler_timeout", "0"),
        ("pg_errand.log_level", "debug"),
        ("pg_errand.retention", "7d"),
        ("pg_errand.poll_interval", "1h"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.concurrency", "1"),
        ("search_path", "\"$user\", public"),
        ("statement_timeout", "0"),
        ("default_transaction_read_only", "off"),
        ("application_name", "pg_errand worker 1"),
    ] {
        wait_read(&mut client, name, value);
    }
    let slow = task(&mut client, "nap", json!({"seconds": 0.2}));
    wait_status(&mut client, slow, "succeeded");
    assert_eq!(worker_pids(&mut client), pids);
}

#[test]
fn log_level_says_which_events_are_logged() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    for (level, succeeded, failed) in
        [("info", 0, 1), ("warning", 0, 1), ("error", 0, 0), ("debug", 1, 1), ("info", 0, 1)]
    {
        cluster.set(&[("pg_errand.log_level", level)]);
        wait_read(&mut client, "pg_errand.log_level", level);
        let mark = cluster.log_mark();
        let good = run_one(&mut client, "good");
        let bad = task(&mut client, "refuse", json!({"label": "bad"}));
        wait_status(&mut client, bad, "failed");
        // The worker logs the end of a task before it starts another one.
        run_one(&mut client, "after");
        let log = cluster.log_since(mark);
        let count = |what: &str, id: i64| {
            log.lines().filter(|line| line.contains(what) && line.contains(&format!("task_id={id} "))).count()
        };
        assert_eq!(count("task succeeded", good), succeeded, "{level}: {log}");
        assert_eq!(count("task failed", bad), failed, "{level}: {log}");
    }
    let mark = cluster.log_mark();
    cluster.set(&[("pg_errand.log_level", "debug")]);
    wait_read(&mut client, "pg_errand.log_level", "debug");
    cluster.set(&[("pg_errand.concurrency", "0")]);
    cluster.wait_log(mark, "worker 1 leaves");
}

/// A database with finished and unfinished tasks and errors, from two days ago and from now.
fn old_and_new(cluster: &Cluster) -> Client {
    let mut client = install(cluster, "postgres");
    let good = run_one(&mut client, "old");
    let bad = task(&mut client, "refuse", json!({"label": "old"}));
    wait_status(&mut client, bad, "failed");
    let late: i64 = one(&mut client, "select queues.enqueue('db_function', '{}', now() + '1 h')");
    let cancelled: i64 = one(&mut client, "select queues.enqueue('db_function', '{}', now() + '1 h')");
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({cancelled})")));
    client
        .batch_execute(&format!(
            "update queues.task set enqueued_at = now() - '3 d'::interval, \
                    finished_at = case when finished_at is not null then now() - '2 d'::interval end \
             where task_id in ({good}, {bad}, {late}, {cancelled}); \
             update queues.error set created_at = now() - '2 d'::interval; \
             insert into queues.error (task_id, error_message) values ({bad}, 'new error of the old task'); \
             insert into queues.error (error_message, created_at) \
             select 'old error of no task', now() - '2 d'::interval from generate_series(1, 2500)"
        ))
        .unwrap();
    let new = task(&mut client, "refuse", json!({"label": "new"}));
    wait_status(&mut client, new, "failed");
    run_one(&mut client, "new");
    client
}

/// Starts the server again, since it looks through a database seldom, but soon after a start; and waits until a worker has.
fn look_again(cluster: &Cluster) -> Client {
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    let resting = "select count(*) > 0 and count(*) = count(*) filter (where state = 'idle') from pg_stat_activity \
                   where backend_type = 'pg_errand worker'";
    wait_until_sql(&mut client, resting, "t");
    client
}

#[test]
fn retention_removes_what_is_finished_and_old_and_nothing_else() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY, ONE_WORKER, ("pg_errand.retention", "0")]);
    drop(old_and_new(&cluster));
    let counts =
        "select (select count(*) from queues.task)::text || ' ' || (select count(*) from queues.error)";
    let mut client = look_again(&cluster);
    assert_eq!(one::<String>(&mut client, counts), "6 2503");

    client.batch_execute("alter system set pg_errand.retention = '1d'").unwrap();
    drop(client);
    let mut client = look_again(&cluster);
    wait_until_sql(&mut client, "select count(*) from queues.task", "3");
    let left = "select string_agg(status, ' ' order by task_id) from queues.task_status";
    assert_eq!(one::<String>(&mut client, left), "scheduled failed succeeded");
    let kept = "select count(*) from queues.error where created_at > now() - '1 d'::interval";
    assert_eq!(one::<i64>(&mut client, kept), 2);
    let orphaned =
        "select count(*) from queues.error where task_id is null and error_message like 'new error%'";
    assert_eq!(one::<i64>(&mut client, orphaned), 1);
    wait_until_sql(&mut client, "select count(*) from queues.error", "2");
}

/// What builds the request of an e-mail.
const BUILD: &str = "create function public.build(payload jsonb) returns jsonb language sql as \
    $$ select jsonb_build_object('success', true, 'payload', jsonb_build_object('message_id', 1, \
       'from_address', 'a@example.com', 'to_address', 'b@example.com', 'subject', 's', 'html', '<p>h</p>')) $$";

fn mail(client: &mut Client) -> i64 {
    let payload: Value = json!({"task_type": "email", "before_handler": "public.build"});
    enqueue(client, "email", payload)
}

#[test]
fn the_limits_of_provider_calls_follow_reloads() {
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let cluster = Cluster::start(&[
        NO_POLL,
        LONG_STAY,
        ONE_WORKER,
        ("pg_errand.resend_api_key", "re_test"),
        ("pg_errand.resend_base_url", &url),
        ("pg_errand.max_in_flight", "1"),
    ]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(BUILD).unwrap();
    let mails: Vec<i64> = (0..3).map(|_| mail(&mut client)).collect();
    wait_until_sql(&mut client, "select in_flight from queues.worker", "1");
    // Tasks without a call are not held up.
    run_one(&mut client, "meanwhile");
    let sql = "select count(*) from queues.task_status where status = 'running'";
    assert_eq!(one::<i64>(&mut client, sql), 1);
    cluster.set(&[("pg_errand.max_in_flight", "2")]);
    wait_until_sql(&mut client, "select in_flight from queues.worker", "2");
    assert_eq!(status(&mut client, mails[2]), "ready");

    cluster.set(&[("pg_errand.call_timeout", "300ms"), ("pg_errand.max_in_flight", "64")]);
    wait_status(&mut client, mails[2], "failed");
    let failed = errors(&mut client, mails[2]);
    assert!(failed.len() == 1 && failed[0].error_message.contains("no response"), "{failed:?}");
    let lingering = task(&mut client, "linger", json!({}));
    let pid = runner(&mut client, lingering);
    assert_eq!(worker_pids(&mut client), [pid]);
}

/// Clients cannot write then, so whoever sets it expects that nobody does.
#[test]
fn whether_sessions_are_read_only_is_asked_of_the_role_that_is_set_now() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role reader login; grant errand_worker to reader;
             alter role reader set default_transaction_read_only = on",
        )
        .unwrap();
    run_one(&mut client, "before");
    let mark = cluster.log_mark();
    cluster.set(&[("pg_errand.role", "reader")]);
    cluster.wait_log(mark, "read-only for the role \"reader\"");
    let waiting = task(&mut client, "note", json!({"label": "waits"}));
    wait_until_sql(&mut client, "select count(*) from queues.worker", "0");
    assert_eq!(status(&mut client, waiting), "ready");
    cluster.set(&[("pg_errand.role", "errand_worker")]);
    wait_status(&mut client, waiting, "succeeded");
}

#[test]
fn no_task_is_started_while_sessions_are_read_only_by_default() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.role", "errands")]);
    cluster.psql("postgres", "create role errands login");
    let mut client = install(&cluster, "postgres");
    let mut other = create_database(&cluster, "other");
    for session in [&mut client, &mut other] {
        session.batch_execute("set default_transaction_read_only = off").unwrap();
        run_one(session, "before");
    }
    let stored = |on: &'static str, off: &'static str| (Some(on), off);
    let ways = [
        (None, ""),
        stored(
            "alter database postgres set default_transaction_read_only = on",
            "alter database postgres reset default_transaction_read_only",
        ),
        stored(
            "alter role errands set default_transaction_read_only = 'yes'",
            "alter role errands reset default_transaction_read_only",
        ),
        stored(
            "alter role errands in database postgres set default_transaction_read_only = on",
            "alter role errands in database postgres set default_transaction_read_only = off",
        ),
    ];
    for (on, off) in ways {
        let mark = cluster.log_mark();
        match on {
            Some(sql) => client.batch_execute(sql).unwrap(),
            None => cluster.set(&[("default_transaction_read_only", "on")]),
        }
        let said = "database \"postgres\" is read-only for the role \"errands\"";
        cluster.wait_log(mark, said);
        wait_until_sql(&mut client, "select count(*) from queues.worker", "0");
        let waiting = task(&mut client, "note", json!({"label": "waits"}));
        // Another database is served if only this one is read-only.
        if on.is_some_and(|sql| sql.contains("database")) {
            run_one(&mut other, "1");
            run_one(&mut other, "2");
        }
        assert_eq!(status(&mut client, waiting), "ready");
        match on {
            Some(_) => client.batch_execute(off).unwrap(),
            None => cluster.set(&[("default_transaction_read_only", "off")]),
        }
        wait_status(&mut client, waiting, "succeeded");
        let log = cluster.log_since(mark);
        assert_eq!(log.matches(said).count(), 1, "{log}");
    }
    // What is stored for the role counts before what the server says.
    cluster.set(&[("default_transaction_read_only", "on")]);
    run_one(&mut client, "after");
}
