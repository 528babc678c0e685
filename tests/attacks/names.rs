//! Hostile objects under the names that pg_errand uses.

use serde_json::json;

use super::{APP, Attack, text};
use crate::harness::cluster::Cluster;
use crate::harness::queue::{enqueue, install, wait_status};
use crate::harness::wait::wait_until_sql;

const ONE_WORKER: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")];

/// Objects in a schema that would be taken for PostgreSQL's, or for pg_errand's, by whoever doesn't look closely.
fn hostile(schema: &str) -> String {
    let functions = [
        "jsonb_build_object(text, jsonb, text, jsonb) returns jsonb",
        "jsonb_build_object(text, jsonb, text, text) returns jsonb",
        "now() returns timestamptz",
        "clock_timestamp() returns timestamptz",
        "current_setting(text, boolean) returns text",
        "has_schema_privilege(text, text) returns boolean",
        "has_function_privilege(text, text) returns boolean",
        "has_function_privilege(text, oid, text) returns boolean",
        "pg_get_function_identity_arguments(oid) returns text",
        "parse_ident(text) returns text[]",
        "quote_ident(text) returns text",
        "format(text, name, name, text, text) returns text",
        "pg_sleep(numeric) returns void",
        "run_function(text, jsonb) returns jsonb",
        "coalesce_(jsonb) returns jsonb",
        "enqueue(text, jsonb, timestamptz) returns bigint",
        "announce(timestamptz) returns void",
        "equal(text, text) returns boolean",
        "equal(bigint, bigint) returns boolean",
        "equal(name, name) returns boolean",
        "equal(oid, oid) returns boolean",
        "equal(name, unknown_) returns boolean",
        "ordered(timestamptz, timestamptz) returns boolean",
        "field(jsonb, text) returns text",
    ];
    let mut sql = format!("create domain {schema}.unknown_ as text;");
    for function in functions {
        let (signature, returns) = function.split_once(" returns ").unwrap();
        let signature = signature.replace("unknown_", &format!("{schema}.unknown_"));
        let value = if returns == "void" { String::new() } else { " return null;".to_owned() };
        sql += &format!(
            "create function {schema}.{signature} returns {returns} language plpgsql as $$
             begin perform app.catch('{schema}.{name}');{value} end $$;",
            name = signature.replace('\'', "")
        );
    }
    for (operator, left, function, right) in [
        ("=", "text", "equal", "text"),
        ("=", "bigint", "equal", "bigint"),
        ("=", "name", "equal", "name"),
        ("=", "oid", "equal", "oid"),
        ("<>", "text", "equal", "text"),
        ("<=", "timestamptz", "ordered", "timestamptz"),
        ("<", "timestamptz", "ordered", "timestamptz"),
        (">", "timestamptz", "ordered", "timestamptz"),
        ("->>", "jsonb", "field", "text"),
    ] {
        sql += &format!(
            "create operator {schema}.{operator} (leftarg = {left}, rightarg = {right}, function = {schema}.{function});"
        );
    }
    for relation in
        ["task", "error", "call", "pg_extension", "pg_class", "pg_proc", "pg_namespace", "pg_database"]
    {
        sql += &format!("create table {schema}.{relation} (task_id bigint, extname text, oid oid);");
    }
    for name in ["uuid", "jsonb", "timestamptz", "interval"] {
        sql += &format!("create domain {schema}.{name} as int check (app.catch('type {name}') is null);");
    }
    // Whatever is called without a schema.
    sql + &format!(
        "grant usage on schema {schema} to public; grant all on all tables in schema {schema} to public;"
    )
}

/// A handler that depends on nobody's path.
const HANDLERS: &str = r#"
    create function app.build(payload jsonb) returns jsonb language plpgsql set search_path = pg_catalog as $$
    begin
        return '{"payload": {"message_id": 7, "to_number": "+4930", "body": "hi"}}';
    end $$;
    create function app.raise(payload jsonb) returns jsonb language plpgsql set search_path = pg_catalog as $$
    begin
        raise exception 'as asked';
    end $$;
    create function app.secret(payload jsonb) returns jsonb language sql set search_path = pg_catalog as
        $$ select '{}'::jsonb $$;
    revoke execute on function app.secret from public;
"#;

#[test]
fn nothing_of_the_same_name_in_public_or_in_the_roles_schema_is_used() {
    // No worker before there is something to remove: each start is followed by one pass.
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0"), ("pg_errand.retention", "1h")]);
    let mut client = cluster.connect("postgres");
    client.batch_execute(&format!("{APP} {HANDLERS} {}", hostile("public"))).unwrap();
    // Before the extension is there, by whom creates it, and then for everybody.
    client.batch_execute("set search_path = public, pg_catalog").unwrap();
    client.batch_execute("create extension pg_errand").unwrap();
    client.batch_execute("alter database postgres set search_path = \"$user\", public, pg_catalog").unwrap();
    client
        .batch_execute(
            "set allow_system_table_mods = on; create schema \"errand_worker\"; reset allow_system_table_mods",
        )
        .unwrap();
    client.batch_execute(&hostile("errand_worker")).unwrap();
    client.batch_execute("set search_path = pg_catalog").unwrap();
    let mut attack = Attack { client, cluster };
    attack.create(
        "insert into queues.task (task_type, payload, enqueued_at, finished_at, final_status)
         values ('db_function', '{}', now() - interval '1 day', now() - interval '1 day', 'succeeded')",
    );
    attack.cluster.set(&[("pg_errand.concurrency", "1")]);
    let id = enqueue(
        &mut attack.client,
        "sms",
        json!({"before_handler": "app.build", "success_handler": "app.nothing", "error_handler": "app.raise"}),
    );
    wait_status(&mut attack.client, id, "succeeded");
    assert_eq!(attack.task(json!({"db_function": "app.nothing"})), Ok(()));
    let failed = attack.task(json!({"db_function": "app.raise", "error_handler": "app.nothing"}));
    assert!(failed.unwrap_err().1.contains("as asked"));
    let lacking = attack.task(json!({"db_function": "app.secret"})).unwrap_err().1;
    assert!(lacking.contains("GRANT EXECUTE ON FUNCTION app.secret("), "{lacking}");
    attack.task(json!({"db_function": "app.missing"})).unwrap_err();
    wait_until_sql(
        &mut attack.client,
        "select count(*) from queues.task where finished_at < now() - interval '1 hour'",
        "0",
    );

    // Everybody's functions, in a session with that path and with temporary objects, too.
    let mut session = attack.cluster.connect("postgres");
    session
        .batch_execute(
            "create temp table task (task_id bigint); create temp table error (error_id bigint);
             create temp table pg_class (oid oid);
             set search_path = pg_temp, \"$user\", public, pg_catalog",
        )
        .unwrap();
    for (sql, expected) in [
        (
            "queues.enqueue('db_function', '{\"db_function\": \"app.nothing\"}', 'infinity') is not null",
            "true",
        ),
        ("(queues.dequeue_next_available_task()).task_id is null", "true"),
        ("queues.complete_task(1)::pg_catalog.text", ""),
        ("queues.append_error(1, 'x')", "{\"success\": true}"),
        ("queues.fail_task(1, 'x')::pg_catalog.text", ""),
        ("queues.cancel((select pg_catalog.max(t.task_id) from queues.task t))", "true"),
        ("internal.run_function('app.nothing', '{}')", "{}"),
        ("select pg_catalog.count(*) operator(pg_catalog.>) 3 from queues.task_status", "true"),
        ("select pg_catalog.count(*) operator(pg_catalog.>) 0 from queues.worker", "true"),
    ] {
        assert_eq!(text(&mut session, sql), expected, "{sql}");
    }
    attack.assert_nothing_caught();
    attack.create("drop extension pg_errand");
    attack.assert_nothing_caught();
}

#[test]
fn temporary_objects_of_a_handler_are_taken_for_nothing_of_ours() {
    let mut attack = Attack::start(&ONE_WORKER);
    attack.create(HANDLERS);
    let sql = "create temp table task (task_id bigint, task_type text, payload jsonb);
        create temp table error (error_id bigint); create temp table call (task_id bigint);
        create temp table pg_class (oid oid, relname name); create temp table pg_proc (oid oid);
        create temp table pg_namespace (oid oid); create temp table pg_extension (oid oid);
        create function pg_temp.jsonb_build_object(text, jsonb, text, jsonb) returns jsonb language plpgsql as
            $f$ begin perform app.catch('temporary'); return '{}'; end $f$;
        create function pg_temp.now() returns timestamptz language plpgsql as
            $f$ begin perform app.catch('temporary'); return null; end $f$;
        create type pg_temp.jsonb as (a int); create domain pg_temp.uuid as text;
        set search_path = pg_temp, pg_catalog";
    for (after, ended) in [("app.nothing", true), ("app.secret", false), ("app.missing", false)] {
        let task = json!({"db_function": "app.run_sql", "sql": sql, "success_handler": after});
        assert_eq!(attack.task(task).is_ok(), ended, "{after}");
    }
    let id = enqueue(
        &mut attack.client,
        "sms",
        json!({"before_handler": "app.build", "success_handler": "app.run_sql", "sql": sql}),
    );
    wait_status(&mut attack.client, id, "succeeded");
    attack.assert_nothing_caught();
    assert_eq!(attack.text("select count(*) from pg_class where relpersistence = 't'"), "0");
}

#[test]
fn a_name_that_is_not_qualified_follows_the_roles_path_like_any_call() {
    // Why docs/security.md says to qualify the names of handlers.
    let cluster = Cluster::start(&[ONE_WORKER[0], ONE_WORKER[1], ("pg_errand.role", "app_worker")]);
    let mut client = cluster.connect("postgres");
    client.batch_execute("create role app_worker login").unwrap();
    install(&mut client);
    client.batch_execute(APP).unwrap();
    client
        .batch_execute(
            "create schema app_worker; grant usage on schema app_worker to public;
             create function public.work(payload jsonb) returns jsonb language sql as $$ select '{}'::jsonb $$;
             create function app_worker.work(payload jsonb) returns jsonb language sql as
                 $$ select app.catch('the role''s own schema'); select '{}'::jsonb $$;",
        )
        .unwrap();
    let mut attack = Attack { client, cluster };
    attack.task(json!({"db_function": "public.work"})).unwrap();
    attack.assert_nothing_caught();
    attack.task(json!({"db_function": "work"})).unwrap();
    // With no more than the role's own rights.
    assert_eq!(attack.text("select string_agg(caught || superuser, ' ') from app.trap"), "app_workeroff");
}
