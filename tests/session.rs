//! A handler finds nothing in its session that an earlier task has left there.

use postgres::Client;
use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::probe::Probe;
use crate::harness::queue::{enqueue, install, workers};
use crate::harness::wait::{eventually, wait_until_sql};

/// `app.dirty` does what the payload says, and then fails, meets a serialization failure once, or returns;
/// `app.inspect` tells what it finds in its session.
const APP: &str = r#"
    create schema app;
    grant usage on schema app to errand_worker;
    create role other_role;
    grant other_role to errand_worker;
    grant usage on schema app to other_role;
    create table app.found (found_id bigint generated always as identity, fingerprint jsonb);
    create table app.rows (a int);
    create sequence app.numbers;
    create sequence app.cached cache 100;
    create sequence app.tries;
    grant insert on app.found to errand_worker;
    grant select, insert on app.rows to errand_worker, other_role;
    grant usage, select on all sequences in schema app to errand_worker, other_role;
    create function app.dirty(payload jsonb) returns jsonb language plpgsql as $$
    declare
        _try bigint;
    begin
        if payload ? 'original_payload' then
            payload := payload -> 'original_payload';
        end if;
        if payload ->> 'then' = 'repeat' then
            _try := nextval('app.tries');
        end if;
        execute payload ->> 'sql';
        if payload ->> 'then' = 'raise' then
            raise exception 'as asked';
        elsif _try % 2 = 1 then
            raise exception 'once more' using errcode = '40001';
        end if;
        return case when payload ->> 'as' = 'before_handler'
            then '{"payload": {"message_id": 1, "to_number": "1", "body": "b"}}' else '{}' end;
    end $$;
    create function app.value_of(_sql text) returns text language plpgsql as $$
    declare
        _value text;
    begin
        execute _sql into _value;
        return _value;
    exception when others then
        return sqlstate;
    end $$;
    create function app.inspect(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.found (fingerprint)
        select jsonb_build_object(
            'pid', pg_backend_pid(),
            'current_user', current_user,
            'session_user', session_user,
            'settings', (select jsonb_object_agg(name, setting) from pg_settings where name <> 'transaction_isolation'),
            'custom', coalesce(current_setting('my.own', true), ''),
            'schemas', current_schemas(false),
            'temporary', (select jsonb_agg(oid::regclass) from pg_class where relpersistence = 't'),
            'prepared', (select jsonb_agg(name) from pg_prepared_statements),
            'cursors', (select jsonb_agg(name) from pg_cursors where name like 'leak%'),
            'advisory', (select count(*) from pg_locks where locktype = 'advisory'),
            'currval', app.value_of('select currval(''app.numbers'')'),
            'lastval', app.value_of('select lastval()'),
            'channels', (select jsonb_agg(c) from pg_listening_channels() c)
        );
        return '{}';
    end $$;
"#;

/// What a handler does to its session.
const DIRT: &[&str] = &[
    "set work_mem = '7MB'",
    "set local work_mem = '7MB'",
    "set session work_mem = '7MB'",
    "select set_config('work_mem', '7MB', false)",
    "set my.own = 'leak'",
    "select set_config('my.own', 'leak', true)",
    "set search_path = app, pg_temp",
    "set role other_role",
    "set local role other_role",
    "set session characteristics as transaction read only",
    "set session characteristics as transaction isolation level serializable",
    "set transaction read only",
    "set statement_timeout = '1ms'",
    "set lock_timeout = '1ms'",
    "set idle_in_transaction_session_timeout = '1ms'",
    "set default_transaction_isolation = 'serializable'",
    "set time zone 'Asia/Tokyo'",
    "set datestyle = 'German'",
    "set client_encoding = 'SQL_ASCII'",
    "set row_security = off",
    "set synchronous_commit = off",
    "set application_name = 'leak'",
    "set constraints all deferred",
    "set plan_cache_mode = force_generic_plan; set enable_seqscan = off",
    "create temp table leak (a int); insert into leak values (1)",
    "create temp table leak (a int) on commit drop",
    "create temp view leak as select 1 as a",
    "create temp sequence leak",
    "create function pg_temp.leak() returns int return 1",
    "create type pg_temp.leak as (a int)",
    "prepare leak as select 1",
    "select pg_advisory_lock(4711)",
    "select pg_advisory_lock_shared(4711), pg_advisory_lock(4711), pg_advisory_lock(4711)",
    "select pg_advisory_xact_lock(4711)",
    "declare leak cursor with hold for select 1",
    "declare leak cursor with hold for select 1 / (g - 5) from generate_series(1, 10) g",
    "declare leak cursor for select 1",
    "select nextval('app.numbers'), nextval('app.cached')",
    "deallocate all",
    "discard plans",
    "discard sequences",
    "discard temp",
    "reset all",
    "reset role",
    "set role none",
    "set session authorization default",
];

struct App {
    sql: Client,
    _cluster: Cluster,
}

impl App {
    fn start() -> Self {
        let cluster = Cluster::start(&[
            ("pg_errand.concurrency", "1"),
            ("pg_errand.max_idle_time", "0"),
            ("pg_errand.handlers", "any"),
        ]);
        let mut sql = cluster.connect("postgres");
        install(&mut sql);
        sql.batch_execute(APP).unwrap();
        Self { sql, _cluster: cluster }
    }

    /// Runs a task to its end and returns its status.
    #[track_caller]
    fn run(&mut self, task_type: &str, payload: Value) -> (String, Option<String>) {
        let id = enqueue(&mut self.sql, task_type, payload);
        let sql =
            "select status, last_error, finished_at is not null from queues.task_status where task_id = $1";
        eventually(&format!("task {id} has ended"), || {
            let row = self.sql.query_one(sql, &[&id]).unwrap();
            let ended: bool = row.get(2);
            if ended { Ok((row.get(0), row.get(1))) } else { Err(row.get::<_, String>(0)) }
        })
    }

    /// What a task finds in its session.
    #[track_caller]
    fn fingerprint(&mut self) -> Value {
        let ended = self.run("db_function", json!({"db_function": "app.inspect"}));
        assert_eq!(ended.0, "succeeded", "{ended:?}");
        let sql = "delete from app.found returning fingerprint";
        self.sql.query_one(sql, &[]).unwrap().get(0)
    }
}

/// The entries that differ, of the settings one by one.
fn difference(before: &Value, after: &Value) -> Vec<String> {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        return vec![format!("{before} became {after}")];
    };
    let mut differences = Vec::new();
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        let (was, is) = (&before[key], &after[key]);
        if key == "settings" {
            differences.extend(difference(was, is));
        } else if was != is {
            differences.push(format!("{key}: {was} became {is}"));
        }
    }
    differences
}

#[test]
fn what_a_task_does_to_its_session_ends_with_it() {
    let mut app = App::start();
    let clean = app.fingerprint();
    let mut leaks = Vec::new();
    for sql in DIRT {
        for then in ["return", "raise", "repeat"] {
            for kind in ["db_function", "success_handler", "error_handler", "before_handler"] {
                // The combinations need not all be tried with everything.
                if kind != "db_function" && then != "return" {
                    continue;
                }
                let mut payload = json!({"sql": sql, "then": then, "as": kind});
                payload[kind] = json!("app.dirty");
                if kind == "success_handler" {
                    payload["db_function"] = json!("pg_catalog.jsonb_strip_nulls");
                }
                let task_type = if kind == "before_handler" { "sms" } else { "db_function" };
                let (status, error) = app.run(task_type, payload);
                let expected =
                    if then == "raise" || kind == "error_handler" { "failed" } else { "succeeded" };
                if status != expected {
                    leaks.push(format!("{sql} ({kind}, {then}): {status}, {error:?}"));
                }
                // What others see, before the next task cleans up, if that is what it takes.
                let locks = "select count(*) from pg_locks where locktype = 'advisory'";
                if app.sql.query_one(locks, &[]).unwrap().get::<_, i64>(0) > 0 {
                    leaks.push(format!("{sql} ({kind}, {then}): an advisory lock is still there"));
                }
                let found = difference(&clean, &app.fingerprint());
                if !found.is_empty() {
                    leaks.push(format!("{sql} ({kind}, {then}): {}", found.join("; ")));
                }
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[test]
fn what_a_cancelled_task_left_behind_is_gone() {
    let mut app = App::start();
    let clean = app.fingerprint();
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    let dirt = "select pg_advisory_lock(4711); create temp table leak (a int); set work_mem = '7MB'; \
                prepare leak as select 1; select nextval('app.numbers'); select pg_sleep(600)";
    let id = enqueue(&mut app.sql, "db_function", json!({"db_function": "app.dirty", "sql": dirt}));
    wait_until_sql(&mut app.sql, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'", "1");
    wait_until_sql(&mut app.sql, &format!("select queues.cancel({id})"), "t");
    wait_until_sql(
        &mut app.sql,
        &format!("select status from queues.task_status where task_id = {id}"),
        "cancelled",
    );
    wait_until_sql(&mut app.sql, locks, "0");
    assert_eq!(difference(&clean, &app.fingerprint()), [""; 0]);
}

#[test]
fn a_task_that_waits_for_its_repetition_locks_nothing() {
    let mut app = App::start();
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    app.sql
        .batch_execute(
            "create function app.always(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 perform pg_advisory_lock(4711);
                 raise exception 'once more' using errcode = '40001';
             end $$",
        )
        .unwrap();
    let id = enqueue(&mut app.sql, "db_function", json!({"db_function": "app.always"}));
    let waiting = format!(
        "select count(*) from queues.task_status where task_id = {id} and attempts between 5 and 8 and status <> 'running'"
    );
    wait_until_sql(&mut app.sql, &waiting, "1");
    assert_eq!(app.sql.query_one(locks, &[]).unwrap().get::<_, i64>(0), 0);
}

#[test]
fn listen_fails_cleanly() {
    let mut app = App::start();
    let clean = app.fingerprint();
    let (status, error) = app.run("db_function", json!({"db_function": "app.dirty", "sql": "listen leak"}));
    assert_eq!(status, "failed");
    assert!(error.is_some_and(|error| error.contains("LISTEN")));
    assert_eq!(difference(&clean, &app.fingerprint()), [""; 0]);
    let (status, _) =
        app.run("db_function", json!({"db_function": "app.dirty", "sql": "notify someone, 'hello'"}));
    assert_eq!(status, "succeeded");
}

#[test]
fn a_timeout_that_a_handler_sets_hits_no_later_task() {
    let mut app = App::start();
    for setting in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
        let sql = format!("set {setting} = '1ms'");
        let (status, error) = app.run("db_function", json!({"db_function": "app.dirty", "sql": sql}));
        assert_eq!(status, "succeeded", "{error:?}");
        let sleep = json!({"db_function": "app.dirty", "sql": "select pg_sleep(0.05)"});
        let (status, error) = app.run("db_function", sleep);
        assert_eq!(status, "succeeded", "{setting}: {error:?}");
    }
}

#[test]
fn all_tasks_of_this_file_run_in_one_process() {
    // Or the other tests would prove nothing.
    let mut app = App::start();
    let first = app.fingerprint();
    app.run("db_function", json!({"db_function": "app.dirty", "sql": "select 1 / 0"}));
    let second = app.fingerprint();
    assert_eq!(first["pid"], second["pid"]);
    assert_eq!(first["session_user"], "errand_worker");
    let workers = workers(&mut app.sql);
    assert_eq!(workers.iter().map(|worker| json!(worker.pid)).collect::<Vec<_>>(), [first["pid"].clone()]);
}

#[test]
fn an_ordinary_role_cannot_set_our_settings() {
    let mut app = App::start();
    let names: Vec<String> = app
        .sql
        .query("select name from pg_settings where name like 'pg\\_errand.%'", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let (status, error) = app
            .run("db_function", json!({"db_function": "app.dirty", "sql": format!("set {name} to default")}));
        let error = error.unwrap_or_default();
        assert_eq!(status, "failed", "{name}");
        assert!(
            error.contains("permission denied") || error.contains("cannot be changed"),
            "{name}: {error}"
        );
    }
}

#[test]
fn what_a_superusers_handler_sets_changes_no_worker() {
    let cluster = Cluster::start(&[
        ("pg_errand.concurrency", "1"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.role", "boss"),
        ("pg_errand.log_level", "debug"),
    ]);
    let mut sql = cluster.connect("postgres");
    sql.batch_execute("create role boss superuser login").unwrap();
    install(&mut sql);
    sql.batch_execute(&APP.replace("errand_worker", "boss")).unwrap();
    let mut app = App { sql, _cluster: cluster };
    let clean = app.fingerprint();
    assert_eq!(clean["session_user"], "boss");
    let mark = app._cluster.log_mark();
    for setting in [
        "pg_errand.log_level = 'error'",
        "pg_errand.concurrency = 0",
        "pg_errand.handler_timeout = '1ms'",
        "pg_errand.max_idle_time = '1ms'",
        "pg_errand.retention = '1s'",
        "pg_errand.role = 'nobody'",
        "pg_errand.call_timeout = '1ms'",
        "pg_errand.max_in_flight = 1",
        "session_replication_role = replica",
        "session authorization other_role",
    ] {
        let (status, error) =
            app.run("db_function", json!({"db_function": "app.dirty", "sql": format!("set {setting}")}));
        assert_eq!(status, "succeeded", "{setting}: {error:?}");
        assert_eq!(difference(&clean, &app.fingerprint()), [""; 0], "{setting}");
        let sleep = json!({"db_function": "app.dirty", "sql": "select pg_sleep(0.02)"});
        let (status, error) = app.run("db_function", sleep);
        assert_eq!(status, "succeeded", "{setting}: {error:?}");
    }
    let log = app._cluster.log_since(mark);
    let logged = log.lines().filter(|line| line.contains("task succeeded")).count();
    assert!(logged >= 29, "{logged} tasks are in the log:\n{log}");
}

#[test]
fn a_handler_cannot_have_its_errors_end_the_worker() {
    let mut probe = Probe::start(&[]);
    probe.create(
        "create function public.with_setting() returns void language plpgsql set exit_on_error = on as $$
         begin
             raise exception 'with it';
         end $$",
    );
    for sql in [
        "set exit_on_error = on",
        "set local exit_on_error = on",
        "select set_config('exit_on_error', 'on', false)",
        "select public.with_setting()",
        "do $$ begin perform set_config('exit_on_error', 'on', true); perform 1 / 0; end $$",
    ] {
        // The worker would end at the second error, which is caught.
        let caught = format!(
            "do $do$ begin execute $x${sql}$x$; perform 1 / 0; exception when division_by_zero then null; end $do$"
        );
        assert_eq!(probe.run_sql(&caught).refusal(), "55P02", "{sql}");
        assert_eq!(probe.run_sql("select 1 / 0").refusal(), "22012", "{sql}");
        probe.assert_well();
    }
    // What the configuration says does not count, nor does it keep the rest of it from being read.
    probe.cluster.set(&[("exit_on_error", "on"), ("pg_errand.handler_timeout", "100ms")]);
    eventually("the worker has read it", || probe.run_sql("select pg_sleep(0.5)").refusal() == "57014");
    assert_eq!(probe.run_sql("select 1 / 0").refusal(), "22012");
    probe.cluster.set(&[("exit_on_error", "off")]);
    probe.assert_well();
}
