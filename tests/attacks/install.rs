//! What a user has prepared before the extension comes, and the schema that may be a user's own.

use serde_json::json;

use super::{APP, Attack, refused, state};
use crate::harness::cluster::Cluster;
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// `internal` is `alice`'s, with things of hers, before the extension comes.
fn start(settings: &[(&str, &str)]) -> Attack {
    let cluster = Cluster::start(settings);
    let mut client = cluster.connect("postgres");
    client
        .batch_execute(
            "create role alice login; create schema internal authorization alice;
             grant create on database postgres to alice; set role alice;
             create table internal.task (a int); create table internal.worker_state (a int);
             create function internal.announce(timestamptz) returns void language sql as '';
             create type internal.jsonb as (a int);
             reset role; set search_path = internal, public; create extension pg_errand; reset search_path",
        )
        .unwrap();
    client.batch_execute(APP).unwrap();
    Attack { client, cluster }
}

#[test]
fn who_owns_internal_gets_at_no_function_of_ours() {
    let mut attack = start(&[("pg_errand.concurrency", "1")]);
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
    let mut alice = attack.cluster.connect_as("alice", "postgres");
    for sql in [
        "create or replace function internal.run_function(function_name text, payload jsonb) returns jsonb return payload",
        "alter function internal.run_function(text, jsonb) rename to mine",
        "alter function internal.run_function(text, jsonb) owner to alice",
        "alter function internal.run_function(text, jsonb) security definer",
        "alter function errand.worker_state() set search_path = internal",
        "select errand.worker_state()",
        "table queues.task",
        "select queues.enqueue('sms', '{}')",
        "select internal.run_function('app.nothing', '{}')",
    ] {
        refused(&mut alice, sql);
    }
    for sql in [
        "drop function internal.run_function(text, jsonb)",
        "drop function internal.run_function(text, jsonb) cascade",
        "drop function errand.worker_state() cascade",
        "drop schema internal",
        "drop schema internal cascade",
    ] {
        let error = alice.batch_execute(sql).expect_err(sql);
        assert!(["2BP01", "42501"].contains(&&*state(&error)), "{sql}: {error:?}");
        assert_eq!(
            attack.text("select count(*) from pg_extension where extname = 'pg_errand'"),
            "1",
            "{sql}"
        );
    }
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
}

#[test]
fn who_owns_internal_can_stop_no_worker() {
    let mut attack = start(&[("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "50ms")]);
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
    let mut alice = attack.cluster.connect_as("alice", "postgres");
    for sql in [
        "revoke all on schema internal from errand_worker; revoke usage on schema internal from public",
        "create function internal.run_function(text, text) returns jsonb language sql as $$ select '{}'::jsonb $$",
        "create function internal.run_function(text, json) returns jsonb language sql as $$ select '{}'::jsonb $$",
        "alter schema internal rename to hidden",
    ] {
        alice.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        wait_until_sql(&mut attack.client, "select count(*) from queues.worker", "0");
        attack.task(json!({"db_function": "app.nothing"})).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let mark = attack.cluster.log_mark();
    for _ in 0..3 {
        wait_until_sql(&mut attack.client, "select count(*) from queues.worker", "0");
        attack.task(json!({"db_function": "app.nothing"})).unwrap();
    }
    let log = attack.cluster.log_since(mark);
    assert!(!log.contains("ERROR:") && !log.contains("FATAL:"), "{log}");
}

#[test]
fn an_extension_that_goes_with_its_schema_leaves_workers_in_peace() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "2"), ("pg_errand.max_idle_time", "0")]);
    for _ in 0..3 {
        attack.create("create or replace function app.nap(payload jsonb) returns jsonb language sql as $$ select pg_sleep(20); select '{}'::jsonb $$");
        attack.task(json!({"db_function": "app.nothing"})).unwrap();
        enqueue(&mut attack.client, "db_function", json!({"db_function": "app.nap"}));
        eventually("it runs", || {
            attack.text("select count(*) from queues.worker where state = 'busy'") == "1"
        });
        let mark = attack.cluster.log_mark();
        attack.create("set statement_timeout = '15s'; drop schema internal cascade; reset statement_timeout");
        eventually("the workers are gone", || {
            attack.text("select count(*) from pg_stat_activity where backend_type = 'pg_errand worker'")
                == "0"
        });
        let log = attack.cluster.log_since(mark);
        assert!(!log.contains("ERROR:"), "{log}");
        attack.create("create extension pg_errand");
    }
    let id = enqueue(&mut attack.client, "db_function", json!({"db_function": "app.nothing"}));
    wait_status(&mut attack.client, id, "succeeded");
}

#[test]
fn who_owns_internal_puts_nothing_in_the_place_of_our_functions() {
    let mut attack = start(&[("pg_errand.concurrency", "0")]);
    attack.create(
        "grant usage on schema queues to alice; grant execute on function queues.dequeue_next_available_task(text[]) to alice;
         grant execute on function queues.adopt() to alice",
    );
    enqueue(&mut attack.client, "db_function", json!({"db_function": "app.nothing"}));
    let mut alice = attack.cluster.connect_as("alice", "postgres");
    alice
        .batch_execute(
            "alter schema internal rename to old; create schema internal; grant usage on schema internal to public;
             create function internal.queue_origin() returns bigint language sql as
             $$ select app.catch('queue_origin'); select 1::bigint $$",
        )
        .unwrap();
    for sql in
        ["select task_id is null from queues.dequeue_next_available_task()", "select queues.adopt() > 0"]
    {
        let row = alice.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert!(!row.get::<_, bool>(0), "{sql}");
    }
    enqueue(&mut attack.client, "db_function", json!({"db_function": "app.nothing"}));
    assert_eq!(attack.text("select count(*) from app.trap"), "0");
}

#[test]
fn the_extension_is_dropped_with_nothing_by_who_does_not_own_it() {
    let mut attack = start(&[("pg_errand.concurrency", "1")]);
    let mut alice = attack.cluster.connect_as("alice", "postgres");
    alice.batch_execute("alter schema internal rename to other").unwrap();
    for sql in ["drop schema other cascade", "drop owned by alice cascade"] {
        refused(&mut alice, sql);
    }
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
}

#[test]
fn plain_inserts_work_where_functions_are_not_open_to_all_by_default() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    client
        .batch_execute(
            "alter default privileges revoke execute on functions from public; create extension pg_errand;
             create role app login; grant usage on schema queues to app; grant insert on queues.task to app;
             grant select on queues.task_status, queues.unadopted to app",
        )
        .unwrap();
    let mut app = cluster.connect_as("app", "postgres");
    app.batch_execute("insert into queues.task (task_type, payload) values ('sms', '{}')").unwrap();
    app.batch_execute("select from queues.task_status; select from queues.unadopted").unwrap();
}
