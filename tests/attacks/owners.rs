//! Owners of databases, roles with CREATEROLE, and an owner of the extension who is not the first superuser.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{APP, Attack, refused, text};
use crate::harness::cluster::Cluster;
use crate::harness::queue::{enqueue, install, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

#[test]
fn the_owner_of_a_database_cannot_set_our_settings() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = cluster.connect("postgres");
    client.batch_execute("create role landlord login createrole").unwrap();
    client.batch_execute("create database land owner landlord").unwrap();
    let mut client = cluster.connect("land");
    install(&mut client);
    client.batch_execute(APP).unwrap();
    let names = client.query("select name from pg_settings where name like 'pg\\_errand.%'", &[]).unwrap();
    let mut landlord = cluster.connect_as("landlord", "land");
    for name in names.iter().map(|row| row.get::<_, String>(0)) {
        for sql in [
            format!("alter database land set {name} to default"),
            format!("alter role landlord set {name} to default"),
            format!("alter role landlord in database land set {name} to default"),
            format!("set {name} to default"),
            format!("alter system set {name} to default"),
        ] {
            let error = landlord.batch_execute(&sql).err();
            let harmless = error
                .as_ref()
                .is_none_or(|error| ["42501", "55P02", "25001"].contains(&&*super::state(error)));
            assert!(harmless, "{sql}: {error:?}");
        }
        for sql in [
            format!("alter database land set {name} = '1'"),
            format!("alter role landlord set {name} = '1'"),
            format!("set {name} = '1'"),
        ] {
            let error = landlord.batch_execute(&sql).expect_err(&sql);
            assert!(["42501", "55P02"].contains(&&*super::state(&error)), "{sql}: {error:?}");
        }
    }
    assert_eq!(text(&mut client, "select count(*) from pg_db_role_setting"), "0");
    refused(&mut landlord, "table queues.task");
    refused(&mut landlord, "select queues.enqueue('sms', '{}')");
    refused(&mut landlord, "drop extension pg_errand");
    refused(&mut landlord, "drop schema queues cascade");
    refused(&mut landlord, "grant postgres to landlord");
}

#[test]
fn what_the_owner_of_a_database_sets_there_stops_no_worker_and_lends_no_rights() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "50ms")]);
    let mut client = cluster.connect("postgres");
    client.batch_execute("create role landlord login; create role powerful superuser").unwrap();
    client.batch_execute("create database land owner landlord").unwrap();
    let mut client = cluster.connect("land");
    install(&mut client);
    client.batch_execute(APP).unwrap();
    client
        .batch_execute(
            "create function app.who(payload jsonb) returns jsonb language sql as \
             $$ select app.catch('handler'); select '{}'::pg_catalog.jsonb $$",
        )
        .unwrap();
    let mut attack = Attack { client, cluster };
    let mut landlord = attack.cluster.connect_as("landlord", "land");
    for setting in [
        "role = 'powerful'",
        "role = 'landlord'",
        "session_authorization = 'powerful'",
        "search_path = 'nowhere'",
        "default_transaction_isolation = 'serializable'",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_session_timeout = '1ms'",
        "exit_on_error = on",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "array_nulls = off",
        "row_security = off",
        "client_encoding = 'LATIN1'",
        "temp_tablespaces = 'nowhere'",
        "default_tablespace = 'nowhere'",
        "local_preload_libraries = 'nowhere'",
        "work_mem = '64kB'",
        "intervalstyle = 'sql_standard'",
        "datestyle = 'German'",
        "quote_all_identifiers = on",
        "vacuum_cost_delay = 100",
        "application_name = 'pg_errand worker 1'",
    ] {
        // Some may not be set there at all.
        if landlord.batch_execute(&format!("alter database land set {setting}")).is_err() {
            continue;
        }
        attack.create("truncate app.trap");
        wait_until_sql(&mut attack.client, "select count(*) from queues.worker", "0");
        // A failure ends its task, not the worker.
        let failure = attack.handler("select 1 / 0").unwrap_err();
        assert_eq!(failure.0, "22012", "{setting}: {failure:?}");
        attack.task(json!({"db_function": "app.who"})).unwrap_or_else(|error| panic!("{setting}: {error:?}"));
        let caught = attack
            .text("select string_agg(caught || ' ' || session_of || ' ' || superuser, ', ') from app.trap");
        assert_eq!(caught, "errand_worker errand_worker off", "{setting}");
        landlord.batch_execute("alter database land reset all").unwrap();
    }
    let log = attack.cluster.log();
    assert!(!log.contains("FATAL:"), "{log}");
}

#[test]
fn a_limit_of_connections_is_told_without_a_flood_and_ends_by_itself() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "50ms")]);
    let mut client = cluster.connect("postgres");
    client.batch_execute("create database land").unwrap();
    client = cluster.connect("land");
    install(&mut client);
    client.batch_execute(APP).unwrap();
    let mut attack = Attack { client, cluster };
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
    wait_until_sql(&mut attack.client, "select count(*) from queues.worker", "0");
    attack.create(
        "create role limited login connection limit 0; alter database land connection limit 0;
         grant errand_worker to limited; alter database land set pg_errand.role = 'limited'",
    );
    let mark = attack.cluster.log_mark();
    let id = enqueue(&mut attack.client, "db_function", json!({"db_function": "app.nothing"}));
    // Newer releases of PostgreSQL count no background workers.
    let end = Instant::now() + Duration::from_secs(4);
    eventually("some time has gone by", || {
        enqueue(&mut attack.client, "db_function", json!({"db_function": "app.nothing"}));
        Instant::now() > end
    });
    let log = attack.cluster.log_since(mark);
    let lines = log.lines().filter(|line| line.contains("FATAL:")).count();
    assert!(lines <= 6, "{lines}: {log}");
    attack.create("alter database land connection limit -1; alter role limited connection limit -1");
    wait_status(&mut attack.client, id, "succeeded");
}

#[test]
fn who_changes_own_settings_without_end_holds_up_nobody() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "1")]);
    attack.create("create role noisy login; create schema mine authorization noisy");
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
    let mut noisy = attack.cluster.connect_as("noisy", "postgres");
    noisy.batch_execute("create table mine.t (a int)").unwrap();
    let mut rounds = 0;
    let mut longest = Duration::ZERO;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        for n in 0..10 {
            noisy
                .batch_execute(&format!(
                    "alter role noisy set work_mem = '{}kB'; grant select on mine.t to public",
                    100 + n
                ))
                .unwrap();
        }
        let since = Instant::now();
        attack.task(json!({"db_function": "app.nothing"})).unwrap();
        longest = longest.max(since.elapsed());
        rounds += 1;
    }
    assert!(longest < Duration::from_secs(10), "{longest:?} in {rounds} rounds");
    let log = attack.cluster.log();
    assert!(!log.contains("ERROR:") && !log.contains("FATAL:") && !log.contains("WARNING:"), "{log}");
}

#[test]
fn an_owner_of_the_extension_needs_to_be_superuser_only_to_create_it() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")]);
    let mut client = cluster.connect("postgres");
    client.batch_execute("create role boss superuser login").unwrap();
    let mut boss = cluster.connect_as("boss", "postgres");
    install(&mut boss);
    client.batch_execute(APP).unwrap();
    let mut attack = Attack { client, cluster };
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
    attack.create("alter role boss nosuperuser");
    attack.handler("select 1").unwrap();
    attack.handler("select 1 / 0").unwrap_err();
    let lacking = attack.create_secret();
    assert!(lacking.contains("GRANT EXECUTE ON FUNCTION app.secret("), "{lacking}");
    let id = enqueue(&mut attack.client, "db_function", json!({"db_function": "app.missing"}));
    wait_status(&mut attack.client, id, "failed");
    // They may drop it, too; workers leave it in peace.
    attack.create("create function app.nap(payload jsonb) returns jsonb language sql as $$ select pg_sleep(60); select '{}'::jsonb $$");
    let id = enqueue(&mut attack.client, "db_function", json!({"db_function": "app.nap"}));
    wait_status(&mut attack.client, id, "running");
    let mark = attack.cluster.log_mark();
    boss.batch_execute("set statement_timeout = '15s'; drop extension pg_errand").unwrap();
    eventually("the workers are gone", || {
        attack.text("select count(*) from pg_stat_activity where backend_type = 'pg_errand worker'") == "0"
    });
    let log = attack.cluster.log_since(mark);
    assert!(!log.contains("ERROR:"), "{log}");
}

impl Attack {
    /// What is said of a function that nobody may call.
    fn create_secret(&mut self) -> String {
        self.create(
            "create function app.secret(payload jsonb) returns jsonb return '{}'::jsonb;
             revoke execute on function app.secret from public",
        );
        self.task(json!({"db_function": "app.secret"})).unwrap_err().1
    }
}

#[test]
fn a_cancel_reaches_no_call_of_another_database() {
    // A restored dump holds calls under the identity of a worker that lives in the original.
    let mut mailing = crate::mailing::Mailing::start(&[("pg_errand.concurrency", "1")]);
    mailing.standin.hold();
    let id = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    mailing.client.batch_execute("create database other").unwrap();
    let mut other = mailing.cluster.connect("other");
    other.batch_execute("alter system set pg_errand.databases = 'postgres'").unwrap();
    mailing.cluster.reload();
    install(&mut other);
    let owner: i64 =
        mailing.client.query_one("select owner from queues.call where task_id = $1", &[&id]).unwrap().get(0);
    other
        .execute(
            "insert into queues.task (task_id, task_type, payload, calling) values ($1, 'email', '{}', true)",
            &[&id],
        )
        .unwrap();
    other
        .execute(
            "insert into queues.call (task_id, owner, provider, idempotency_key, request)
             values ($1, $2, 'resend', gen_random_uuid(), '{}')",
            &[&id, &owner],
        )
        .unwrap();
    let cancelled: bool = other.query_one("select queues.cancel($1)", &[&id]).unwrap().get(0);
    assert!(cancelled);
    mailing.standin.release();
    mailing.wait(id, "succeeded");
}
