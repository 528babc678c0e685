//! The names of the contract: objects, columns, signatures, rights, and the effects of CREATE and DROP EXTENSION.

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::queue::{enqueue, install, status, wait_status, workers};
use crate::harness::wait::wait_until_sql;

/// A column as the catalogs describe it: name, type, whether it is `not null`, default.
type Column = (String, String, bool, Option<String>);

/// The first column of all rows.
#[track_caller]
fn texts(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// The first column of the only row.
#[track_caller]
fn text(client: &mut Client, sql: &str) -> String {
    let mut all = texts(client, sql);
    assert_eq!(all.len(), 1, "{sql}: {all:?}");
    all.remove(0)
}

#[track_caller]
fn columns(client: &mut Client, relation: &str) -> Vec<Column> {
    let sql = "select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                   pg_get_expr(d.adbin, d.adrelid) \
               from pg_attribute a \
               left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
               where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped \
               order by a.attnum";
    let rows = client.query(sql, &[&relation]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// Names and types of a relation's columns.
fn named_types(client: &mut Client, relation: &str) -> Vec<(String, String)> {
    columns(client, relation).into_iter().map(|(name, kind, _, _)| (name, kind)).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}

#[test]
fn tables_and_views_have_the_columns_of_the_contract() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    install(&mut client);

    let task = columns(&mut client, "queues.task");
    let shown: Vec<_> = task[..6]
        .iter()
        .map(|(name, kind, required, default)| (name.as_str(), kind.as_str(), *required, default.as_deref()))
        .collect();
    let timestamp = "timestamp with time zone";
    assert_eq!(shown[0].0, "task_id");
    assert_eq!((shown[0].1, shown[0].2), ("bigint", true));
    assert_eq!((shown[1].0, shown[1].1), ("task_type", "text"));
    assert_eq!(shown[2], ("payload", "jsonb", true, None));
    for (column, name) in [(shown[3], "enqueued_at"), (shown[4], "scheduled_at")] {
        assert_eq!((column.0, column.1, column.3), (name, timestamp, Some("now()")));
    }
    assert_eq!((shown[5].0, shown[5].1, shown[5].3), ("dequeued_at", timestamp, None));

    let error = named_types(&mut client, "queues.error");
    assert_eq!(
        error[..4],
        pairs(&[
            ("error_id", "bigint"),
            ("task_id", "bigint"),
            ("error_message", "text"),
            ("created_at", timestamp),
        ])
    );
    assert!(columns(&mut client, "queues.error")[2].2, "error_message");
    for further in ["sqlstate", "detail", "hint", "context", "attempt"] {
        assert!(error.iter().any(|(name, _)| name == further), "{further}");
    }

    assert_eq!(
        named_types(&mut client, "queues.task_status")[..9],
        pairs(&[
            ("task_id", "bigint"),
            ("task_type", "text"),
            ("status", "text"),
            ("attempts", "integer"),
            ("enqueued_at", timestamp),
            ("scheduled_at", timestamp),
            ("started_at", timestamp),
            ("finished_at", timestamp),
            ("last_error", "text"),
        ])
    );
    let worker: Vec<_> =
        named_types(&mut client, "queues.worker").into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        worker[..11],
        [
            "pid",
            "worker_number",
            "state",
            "task_id",
            "task_type",
            "handler",
            "busy_since",
            "in_flight",
            "succeeded",
            "failed",
            "started_at"
        ]
    );
}

#[test]
fn keys_are_generated_and_errors_outlive_their_task() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    let primary = "select string_agg(a.attname, ',') from pg_constraint c \
                   join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any (c.conkey) \
                   where c.contype = 'p' and c.conrelid = ";
    assert_eq!(text(&mut client, &format!("{primary} 'queues.task'::regclass")), "task_id");
    assert_eq!(text(&mut client, &format!("{primary} 'queues.error'::regclass")), "error_id");
    let first = enqueue(&mut client, "db_function", json!({}));
    let second: i64 = client
        .query_one(
            "insert into queues.task (task_type, payload) values ('db_function', '{}') returning task_id",
            &[],
        )
        .unwrap()
        .get(0);
    assert!(second > first);
    client.execute("select queues.append_error($1, 'lost')", &[&first]).unwrap();
    client.execute("delete from queues.task where task_id = $1", &[&first]).unwrap();
    assert_eq!(text(&mut client, "select error_message from queues.error where task_id is null"), "lost");
    let refused = client
        .execute("insert into queues.task (task_type, payload) values ('db_function', null)", &[])
        .unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::NOT_NULL_VIOLATION));
}

#[test]
fn functions_have_the_signatures_of_the_contract() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    let signature = "select pg_get_function_arguments(p.oid) || ' returns ' || \
                     pg_get_function_result(p.oid) || ' ' || p.prosecdef \
                     from pg_proc p where p.pronamespace = ";
    for (schema, name, expected) in [
        (
            "queues",
            "enqueue",
            "_task_type text, _payload jsonb, _scheduled_at timestamp with time zone DEFAULT now(), \
             _unique_key text DEFAULT NULL::text, _if_exists text DEFAULT 'keep'::text, \
             _unique_for interval DEFAULT NULL::interval, _debounce_limit interval DEFAULT NULL::interval, \
             _priority integer DEFAULT 0, _queue_key text DEFAULT NULL::text returns bigint false",
        ),
        ("queues", "append_error", "task_id bigint, error_message text returns jsonb true"),
        ("queues", "complete_task", "_task_id bigint returns void true"),
        ("queues", "fail_task", "_task_id bigint, _error_message text returns void true"),
        ("queues", "cancel", "_task_id bigint returns boolean true"),
        ("internal", "run_function", "function_name text, payload jsonb returns jsonb false"),
    ] {
        let sql = format!("{signature} '{schema}'::regnamespace and p.proname = '{name}'");
        assert_eq!(text(&mut client, &sql), expected, "{schema}.{name}");
    }
    // The names work in calls, too.
    client
        .batch_execute(
            "select queues.enqueue(_task_type => 'db_function', _payload => '{}', _scheduled_at => now());
             select queues.append_error(task_id => null, error_message => 'x');
             select queues.complete_task(_task_id => 0);
             select queues.fail_task(_task_id => 0, _error_message => 'x');
             select queues.cancel(_task_id => 0);",
        )
        .unwrap();
    let row = client.prepare("select * from queues.dequeue_next_available_task()").unwrap();
    let shown: Vec<_> = row.columns().iter().map(|column| (column.name(), column.type_().name())).collect();
    assert_eq!(
        shown,
        [
            ("task_id", "int8"),
            ("task_type", "text"),
            ("payload", "jsonb"),
            ("enqueued_at", "timestamptz"),
            ("scheduled_at", "timestamptz"),
            ("dequeued_at", "timestamptz"),
        ]
    );
}

#[test]
fn public_has_nothing_in_queues() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    client.batch_execute("create role nobody login").unwrap();
    let open = texts(
        &mut client,
        "select 'schema ' || n.nspname || ' ' || right_
         from pg_namespace n, unnest(array['usage', 'create']) right_
         where n.nspname in ('queues', 'errand') and has_schema_privilege('nobody', n.oid, right_)
         union all
         select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace in ('queues'::regnamespace, 'errand'::regnamespace)
             and has_function_privilege('nobody', p.oid, 'execute')
             and p.oid not in (
                 'errand.queue_origin()'::regprocedure,
                 'errand.worker_state()'::regprocedure,
                 'errand.worker_waits()'::regprocedure,
                 'errand.provider_state()'::regprocedure,
                 'errand.stats()'::regprocedure,
                 'errand.stats_buckets()'::regprocedure,
                 'errand.stats_info()'::regprocedure,
                 'errand.moment()'::regprocedure,
                 'errand.narrows(timestamp with time zone,text,boolean,boolean,boolean)'::regprocedure,
                 'errand.change_role(regrole,text,boolean)'::regprocedure,
                 'errand.health()'::regprocedure,
                 'errand.report_facts(timestamp with time zone,timestamp with time zone)'::regprocedure,
                 'errand.report_failures(timestamp with time zone,timestamp with time zone)'::regprocedure,
                 'errand.report_locks()'::regprocedure,
                 'errand.report_page(jsonb)'::regprocedure,
                 'errand.samples()'::regprocedure,
                 'errand.message_shape(text)'::regprocedure,
                 'errand.unadopted()'::regprocedure,
                 'errand.waiting_groups()'::regprocedure,
                 'errand.waiting()'::regprocedure
             )
         union all
         select c.oid::regclass || ' ' || right_ from pg_class c,
             unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) right_
         where c.relnamespace in ('queues'::regnamespace, 'errand'::regnamespace)
             and c.relkind in ('r', 'p', 'v', 'm', 'f')
             and has_table_privilege('nobody', c.oid, right_)
         union all
         select c.oid::regclass || ' column ' || right_ from pg_class c,
             unnest(array['select', 'insert', 'update', 'references']) right_
         where c.relnamespace in ('queues'::regnamespace, 'errand'::regnamespace)
             and c.relkind in ('r', 'p', 'v', 'm', 'f')
             and has_any_column_privilege('nobody', c.oid, right_)
         union all
         select c.oid::regclass || ' ' || right_ from pg_class c, unnest(array['select', 'usage', 'update']) right_
         where c.relnamespace = 'queues'::regnamespace and c.relkind = 'S'
             and has_sequence_privilege('nobody', c.oid, right_)",
    );
    assert!(open.is_empty(), "{open:?}");
    let mut nobody = cluster.connect_as("nobody", "postgres");
    for sql in [
        "select queues.enqueue('db_function', '{}')",
        "select * from queues.task",
        "select * from queues.worker",
        "select internal.run_function('now', '{}')",
        "select * from errand.worker_state()",
        "select * from errand.waiting()",
        "select * from errand.samples()",
        "select * from queues.metrics",
        "select queues.metrics_text()",
        "select * from queues.waiting",
        "select * from queues.failures()",
    ] {
        let error = nobody.simple_query(sql).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
    }
    // An application needs usage on the schema and the function to enqueue, and nothing else.
    client
        .batch_execute(
            "grant usage on schema queues to nobody;
             grant execute on function queues.enqueue to nobody",
        )
        .unwrap();
    let enqueued = enqueue(&mut nobody, "db_function", json!({"db_function": "nothing"}));
    wait_status(&mut client, enqueued, "failed");
}

#[test]
fn the_worker_role_has_the_listed_rights_and_no_others() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    let rights = texts(
        &mut client,
        "select 'schema ' || n.nspname || ' ' || right_ from pg_namespace n, unnest(array['usage', 'create']) right_
         where n.nspname in ('queues', 'errand', 'internal')
             and has_schema_privilege('errand_worker', n.oid, right_)
         union all
         select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace = 'queues'::regnamespace
             and has_function_privilege('errand_worker', p.oid, 'execute')
         union all
         select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace = 'internal'::regnamespace and p.proname = 'run_function'
             and has_function_privilege('errand_worker', p.oid, 'execute')
         union all
         select c.oid::regclass || ' ' || right_ from pg_class c,
             unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) right_
         where c.relnamespace in ('queues'::regnamespace, 'internal'::regnamespace)
             and c.relkind in ('r', 'p', 'v', 'm', 'f')
             and has_table_privilege('errand_worker', c.oid, right_)
         union all
         select c.oid::regclass || ' ' || right_ from pg_class c, unnest(array['select', 'usage', 'update']) right_
         where c.relnamespace = 'queues'::regnamespace and c.relkind = 'S'
             and has_sequence_privilege('errand_worker', c.oid, right_)
         order by 1",
    );
    assert_eq!(
        rights,
        [
            "internal.run_function(text,jsonb)",
            "queues.enqueue(text,jsonb,timestamp with time zone,text,text,interval,interval,integer,text)",
            "queues.enqueue_many(jsonb)",
            "queues.enqueue_many(text,jsonb[],timestamp with time zone[],text[],text,interval,interval,integer,text[])",
            "schema internal usage",
            "schema queues usage",
        ]
    );
    let powers = text(
        &mut client,
        "select (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls
             or exists (select 1 from pg_auth_members where member = r.oid)
             or exists (select 1 from pg_shdepend where refobjid = r.oid and deptype = 'o'))::text
         from pg_roles r where rolname = 'errand_worker'",
    );
    assert_eq!(powers, "false");
    client.batch_execute("set role errand_worker").unwrap();
    let error = client.simple_query("select * from errand.worker_state()").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[test]
fn the_role_of_the_workers_is_created_where_missing() {
    let cluster = Cluster::start(&[("pg_errand.role", "Errand Boy"), ("pg_errand.handlers", "any")]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    wait_until_sql(
        &mut client,
        "select has_function_privilege('Errand Boy', 'queues.enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer, text)', 'execute')",
        "t",
    );
    let id = enqueue(&mut client, "db_function", json!({"db_function": "pg_catalog.jsonb_strip_nulls"}));
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn functions_with_the_owners_rights_pin_their_search_path() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    let pinned = texts(
        &mut client,
        "select p.proname || ': ' || coalesce((
             select setting from unnest(p.proconfig) setting where setting like 'search_path=%'
         ), 'nothing')
         from pg_proc p
         join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
         where d.refobjid = (select oid from pg_extension where extname = 'pg_errand') and p.prosecdef",
    );
    assert!(pinned.len() >= 6, "{pinned:?}");
    for function in pinned {
        assert!(
            function.ends_with(", pg_temp") && !function.contains("public") && !function.contains('$'),
            "{function}"
        );
    }
}

#[test]
fn a_database_with_a_schema_or_a_function_of_ours_is_refused_with_a_hint() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    for (theirs, undo) in [
        ("create schema queues", "drop schema queues"),
        ("create schema errand", "drop schema errand"),
        (
            "create schema internal; create function internal.run_function() returns int return 1",
            "drop schema internal cascade",
        ),
        (
            "create schema internal;
             create function internal.run_function(function_name text, payload jsonb) returns jsonb return payload",
            "drop schema internal cascade",
        ),
    ] {
        client.batch_execute(theirs).unwrap();
        let error = client
            .batch_execute("create extension pg_errand")
            .unwrap_err();
        let refusal = error.as_db_error().unwrap();
        assert!(refusal.message().contains("already exists"), "{refusal:?}");
        assert!(refusal.hint().is_some_and(|hint| !hint.is_empty()), "{refusal:?}");
        client.batch_execute(undo).unwrap();
        wait_until_sql(
            &mut client,
            "select count(*) from pg_namespace where nspname in ('queues', 'errand', 'internal')",
            "0",
        );
    }
    install(&mut client);
}

#[test]
fn what_users_keep_in_internal_outlives_the_extension() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    client
        .batch_execute(
            "create schema internal;
             create table internal.precious as select 7 as n;
             create function internal.mine(payload jsonb) returns jsonb return payload",
        )
        .unwrap();
    for _ in 0..2 {
        install(&mut client);
        let member = "select count(*) from pg_depend d
                      where d.classid = 'pg_namespace'::regclass and d.deptype = 'e'
                          and d.objid = 'internal'::regnamespace";
        wait_until_sql(&mut client, member, "0");
        client.batch_execute("drop extension pg_errand").unwrap();
        wait_until_sql(&mut client, "select n from internal.precious", "7");
        let left = "select to_regnamespace('queues') is null
                        and to_regnamespace('errand') is null
                        and to_regprocedure('internal.run_function(text, jsonb)') is null
                        and to_regprocedure('internal.mine(jsonb)') is not null";
        wait_until_sql(&mut client, left, "t");
    }
}

#[test]
fn the_extension_can_be_dropped_and_created_again_while_it_works() {
    let cluster = Cluster::start(&[("pg_errand.handlers", "any")]);
    let mut client = cluster.connect("postgres");
    for _ in 0..3 {
        install(&mut client);
        let id = enqueue(&mut client, "db_function", json!({"db_function": "pg_catalog.jsonb_strip_nulls"}));
        wait_status(&mut client, id, "succeeded");
        client.batch_execute("drop extension pg_errand").unwrap();
    }
    // A schema that the extension made for itself stays, too, and is no obstacle.
    wait_until_sql(&mut client, "select to_regnamespace('internal')", "internal");
}

#[test]
fn only_a_superuser_installs_it_and_it_stays_where_it_is() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    wait_until_sql(
        &mut client,
        "select string_agg(distinct concat_ws(' ', superuser, trusted, relocatable), ';')
         from pg_available_extension_versions where name = 'pg_errand'",
        "t f f",
    );
    client.batch_execute("create role owner_of_a_database login").unwrap();
    client.batch_execute("create database theirs owner owner_of_a_database").unwrap();
    let error = cluster
        .connect_as("owner_of_a_database", "theirs")
        .batch_execute("create extension pg_errand")
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[test]
fn without_the_preloaded_library_it_warns_and_queues() {
    let cluster = Cluster::start(&[("shared_preload_libraries", "")]);
    let said = cluster.notices("postgres", "create extension pg_errand");
    assert!(said.contains("WARNING"), "{said}");
    assert!(said.contains("HINT") && said.contains("shared_preload_libraries"), "{said}");
    let mut client = cluster.connect("postgres");
    let id = enqueue(&mut client, "db_function", json!({}));
    assert_eq!(status(&mut client, id), "ready");
    assert!(workers(&mut client).is_empty());
    wait_until_sql(&mut client, &format!("select queues.cancel({id})"), "t");
    wait_until_sql(&mut client, "select task_id is null from queues.dequeue_next_available_task()", "t");
}

#[test]
fn with_the_preloaded_library_it_says_nothing() {
    let cluster = Cluster::start(&[]);
    assert_eq!(cluster.notices("postgres", "create extension pg_errand"), "");
}

/// Everything a client is told about a statement's error.
fn told(cluster: &Cluster, prepare: &str, sql: &str) -> String {
    let mut client = cluster.connect("postgres");
    client.batch_execute("begin").unwrap();
    client.batch_execute(prepare).unwrap();
    let error = client.batch_execute(sql).unwrap_err();
    let refusal = error.as_db_error().unwrap();
    format!(
        "{} {} detail {:?} hint {:?} at {:?} where {:?} of {:?} {:?} {:?} {:?} {:?}",
        refusal.code().code(),
        refusal.message(),
        refusal.detail(),
        refusal.hint(),
        refusal.position(),
        refusal.where_(),
        refusal.schema(),
        refusal.table(),
        refusal.column(),
        refusal.datatype(),
        refusal.constraint()
    )
}

#[test]
fn other_peoples_commands_fail_as_they_do_without_the_library() {
    let with = Cluster::builder().env("RUST_BACKTRACE", "1").start();
    let without = Cluster::start(&[("shared_preload_libraries", "")]);
    for (prepare, sql) in [
        ("", "create table t (a no_such_type)"),
        ("", "create view v as select no_such_column from pg_class"),
        (
            "create table t as select 1 as a union all select 1",
            "alter table t add constraint once unique (a)",
        ),
        ("create table t as select 1 as a", "alter table t add constraint small check (a < 0)"),
        ("create table t as select null::int as a", "alter table t alter column a set not null"),
        ("create schema s create table t (a int)", "drop schema s"),
        ("create domain d as int check (value > 0)", "do $$ declare x d; begin x := -1; end $$"),
        (
            "create function deep() returns void language plpgsql as $$ begin raise 'deep' using hint = 'h'; end $$",
            "do $$ begin perform deep(); end $$",
        ),
        ("", "create database inside_a_transaction"),
        ("", "vacuum"),
        ("", "alter system set work_mem = 'much'"),
        ("", "set work_mem = 'much'"),
        ("", "drop table no_such_table"),
        ("", "do $$ begin raise 'mine' using errcode = 'P7777', table = 't'; end $$"),
    ] {
        assert_eq!(told(&with, prepare, sql), told(&without, prepare, sql), "{sql}");
    }
}

/// One role's tasks don't come before those of others that were there first.
#[test]
fn a_time_in_the_past_counts_as_now_for_callers_of_enqueue() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    client
        .batch_execute(
            "create role app login;
             grant usage on schema queues to app;
             grant execute on function queues.enqueue, queues.http_post, queues.http_get to app;
             select queues.grant_enqueue('http', 'app')",
        )
        .unwrap();
    let mut app = cluster.connect_as("app", "postgres");
    let first = enqueue(&mut app, "db_function", json!({"db_function": "app.f"}));
    for past in ["-infinity", "4713-01-01 BC", "2000-01-01", "now() - interval '1 us'", "now()"] {
        let past = if past.starts_with("now") { past.to_owned() } else { format!("timestamptz '{past}'") };
        for call in [
            format!("queues.enqueue('db_function', '{{}}', {past})"),
            format!("queues.http_post('https://a.test', _scheduled_at => {past})"),
            format!("queues.http_get('https://a.test', _scheduled_at => {past})"),
        ] {
            app.query_one(&format!("select {call}"), &[]).unwrap();
        }
    }
    app.query_one("select queues.enqueue('db_function', '{}', 'infinity')", &[]).unwrap();
    app.query_one("select queues.enqueue('db_function', '{}', now() + interval '1 h')", &[]).unwrap();
    let mut value = |sql: &str| client.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    assert_eq!(value("select count(*) from queues.task where scheduled_at = enqueued_at"), 16);
    assert_eq!(value("select count(*) from queues.task where scheduled_at > enqueued_at"), 2);
    assert_eq!(value("select task_id from queues.task order by scheduled_at, task_id limit 1"), first);
    // Whoever may write the table may choose.
    let insert =
        "insert into queues.task (task_type, payload, scheduled_at) values ('db_function', '{}', '-infinity')
        returning task_id";
    let ahead = value(insert);
    assert_eq!(value("select task_id from queues.task order by scheduled_at, task_id limit 1"), ahead);
}

/// What the documentation says of the public role holds for `drop schema public`, too: nothing of the extension is in it.
#[test]
fn the_extension_outlives_the_schema_public() {
    let cluster = Cluster::start(&[("pg_errand.handlers", "any")]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    let before = enqueue(&mut client, "sms", json!({}));
    client.batch_execute("drop schema public cascade").unwrap();
    assert_eq!(
        text(
            &mut client,
            "select extnamespace::regnamespace::text from pg_extension where extname = 'pg_errand'"
        ),
        "pg_catalog"
    );
    wait_status(&mut client, before, "failed");
    let after = enqueue(&mut client, "db_function", json!({"db_function": "pg_catalog.jsonb_strip_nulls"}));
    wait_status(&mut client, after, "succeeded");
    let error =
        client.batch_execute("create schema mine; alter extension pg_errand set schema mine").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    client.batch_execute("create schema mine; drop extension pg_errand").unwrap();
    let error = client.batch_execute("create extension pg_errand schema mine").unwrap_err();
    assert_eq!(
        error.as_db_error().unwrap().message(),
        "extension \"pg_errand\" must be installed in schema \"pg_catalog\""
    );
    install(&mut client);
}

#[test]
fn the_schema_queues_holds_the_api_and_nothing_else() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    let functions = cluster.psql("postgres", "\\df queues.*");
    let mut functions: Vec<_> = functions.lines().map(|line| line.split('|').nth(1).unwrap()).collect();
    functions.sort_unstable();
    assert_eq!(
        functions,
        [
            "adopt",
            "append_error",
            "cancel",
            "cancel_where",
            "complete_task",
            "dequeue_next_available_task",
            "drain",
            "end_lease",
            "enqueue",
            "enqueue_many",
            "enqueue_many",
            "explain",
            "fail_task",
            "failures",
            "grant_enqueue",
            "grant_role",
            "http_get",
            "http_post",
            "last_ended",
            "metrics_text",
            "pause",
            "pause_key",
            "pause_provider",
            "purge",
            "report",
            "reschedule",
            "restore_built_in",
            "result",
            "resume",
            "resume_key",
            "resume_provider",
            "retry",
            "retry_failed",
            "revoke_enqueue",
            "revoke_role",
            "run_next",
            "stats_reset",
            "throughput",
            "top",
        ]
    );
    let relations = "select relname::text from pg_class
        where relnamespace = 'queues'::regnamespace and relkind in ('r', 'v') order by 1";
    assert_eq!(
        texts(&mut client, relations),
        [
            "call",
            "error",
            "failure",
            "health",
            "metrics",
            "oldest_ready",
            "paused",
            "paused_key",
            "provider",
            "provider_status",
            "role_privilege",
            "running",
            "stats",
            "stats_buckets",
            "stats_history",
            "stats_info",
            "task",
            "task_definition",
            "task_status",
            "unadopted",
            "waiting",
            "worker"
        ]
    );
    let internal =
        "select oid::regprocedure::text from pg_proc where pronamespace = 'internal'::regnamespace";
    assert_eq!(texts(&mut client, internal), ["internal.run_function(text,jsonb)"]);
    let elsewhere = "select pg_describe_object(d.classid, d.objid, 0)
        from pg_depend d
        cross join lateral pg_identify_object(d.classid, d.objid, 0) o
        where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
            and d.refobjid = (select oid from pg_extension where extname = 'pg_errand')
            and coalesce(o.schema, 'queues') not in ('queues', 'errand')
            and o.identity <> 'internal.run_function(pg_catalog.text,pg_catalog.jsonb)'";
    assert_eq!(texts(&mut client, elsewhere), [""; 0]);
}

#[test]
fn each_function_table_view_type_and_schema_of_the_extension_has_a_comment() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    let without = "select pg_describe_object(d.classid, d.objid, 0)
        from pg_depend d
        left join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
        left join pg_type t on d.classid = 'pg_type'::regclass and t.oid = d.objid
        where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
            and d.refobjid = (select oid from pg_extension where extname = 'pg_errand')
            and (
                d.classid in ('pg_proc'::regclass, 'pg_namespace'::regclass)
                or c.relkind in ('r', 'v')
                or t.typtype = 'b' and t.typelem = 0
            )
            and obj_description(d.objid, d.classid::regclass::name) is null";
    assert_eq!(texts(&mut client, without), [""; 0]);
}

#[test]
fn a_key_that_nearly_names_a_handler_is_warned_of_at_enqueue() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    let warnings = |sql: &str| -> Vec<String> {
        let psql = cluster.client_program("psql").args(["-X", "-d", "postgres", "-c", sql]).output().unwrap();
        let said = String::from_utf8_lossy(&psql.stderr).into_owned();
        assert!(psql.status.success(), "{said}");
        said.lines().map(str::to_owned).collect()
    };
    let said = [
        "WARNING:  key \"sucess_handler\" of the payload names no handler",
        "HINT:  Perhaps you meant \"success_handler\".",
    ];
    let payload = r#"{"db_function": "f", "sucess_handler": "g", "amount": 1}"#;
    assert_eq!(warnings(&format!("select queues.enqueue('db_function', '{payload}')")), said);
    let insert = "insert into queues.task (task_type, payload)";
    assert_eq!(warnings(&format!("{insert} values ('db_function', '{payload}')")), said);
    // One that is large, compressed and among many other keys.
    let large = r#"select jsonb_object_agg('key_' || n, repeat('x', 100)) || '{"errorHandler": "f"}' as p
        from generate_series(1, 500) n"#;
    let of_table =
        warnings(&format!("create temp table p as {large}; {insert} select 'db_function', p from p"));
    assert_eq!(of_table[1..], ["HINT:  Perhaps you meant \"error_handler\"."]);
    // Only the keys of the payload itself count, and only near misses.
    let fine = r#"{"db_function": "f", "success_handler": "f", "error_handler": "f", "before_handler": "f",
        "my_function": 1, "handler": 1, "x": {"sucess_handler": 1}, "description": "d", "error_message": "e"}"#;
    assert_eq!(warnings(&format!("select queues.enqueue('db_function', '{fine}')")), [""; 0]);
    // An update that leaves the payload alone says nothing again.
    assert_eq!(warnings("update queues.task set scheduled_at = now()"), [""; 0]);
}
