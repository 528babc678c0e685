//! Handlers: their arguments, their rights, and what their failures roll back.

use postgres::Client;
use postgres::error::SqlState;
use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::queue::{enqueue, install, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// Functions that most tests need, and a table in which they leave traces.
const APP: &str = r#"
    create schema app;
    grant usage on schema app to errand_worker;
    create table app.seen (
        seen_id bigint generated always as identity,
        what text not null,
        payload jsonb,
        xid bigint not null default txid_current()
    );
    grant select, insert on app.seen to errand_worker;
    create sequence app.tries;
    grant usage on app.tries to errand_worker;
    create function app.note(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.seen (what, payload) values ('note', payload);
        return '{"payload": {"noted": true}}';
    end $$;
    create function app.on_success(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.seen (what, payload) values ('success', payload);
        return '{}';
    end $$;
    create function app.on_error(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.seen (what, payload) values ('error', payload);
        return '{}';
    end $$;
    create function app.fail(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.seen (what, payload) values ('fail', payload);
        raise exception 'it broke' using errcode = 'P7777', detail = 'in two', hint = 'glue it';
    end $$;
    create function app.build_sms(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.seen (what, payload) values ('before', payload);
        return '{"payload": {"message_id": 7, "to_number": "+4930", "body": "hi"}}';
    end $$;
    create function app.unlucky(payload jsonb) returns jsonb language plpgsql as $$
    declare
        _original jsonb := coalesce(payload -> 'original_payload', payload);
    begin
        insert into app.seen (what, payload) values ('unlucky', payload);
        if nextval('app.tries') <= (_original ->> 'failures')::int then
            raise exception 'could not serialize' using errcode = _original ->> 'errcode';
        end if;
        return '{}';
    end $$;
    create function app.run_sql(payload jsonb) returns jsonb language plpgsql as $$
    begin
        execute payload ->> 'sql';
        return '{}';
    end $$;
"#;

/// A cluster with the extension and [`APP`].
struct App {
    sql: Client,
    cluster: Cluster,
}

/// A row of `queues.error`.
#[derive(Debug)]
struct Fault {
    message: String,
    handler: Option<String>,
    sqlstate: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    context: Option<String>,
}

/// What became of a task.
#[derive(Debug)]
struct Fate {
    status: String,
    attempts: i32,
    last_error: Option<String>,
    errors: Vec<Fault>,
}

impl App {
    #[track_caller]
    fn start(settings: &[(&str, &str)]) -> Self {
        let cluster = Cluster::start(settings);
        let mut sql = cluster.connect("postgres");
        install(&mut sql);
        sql.batch_execute(APP).unwrap();
        Self { sql, cluster }
    }

    #[track_caller]
    fn create(&mut self, sql: &str) {
        self.sql.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Runs a `db_function` task to its end.
    #[track_caller]
    fn run(&mut self, payload: Value) -> Fate {
        let id = enqueue(&mut self.sql, "db_function", payload);
        self.fate(id)
    }

    /// Waits until a task has ended.
    #[track_caller]
    fn fate(&mut self, task_id: i64) -> Fate {
        let sql = "select status, attempts, last_error, finished_at is not null from queues.task_status where task_id = $1";
        let row = eventually(&format!("task {task_id} has ended"), || {
            let row = self.sql.query_one(sql, &[&task_id]).unwrap();
            let ended: bool = row.get(3);
            if ended { Ok(row) } else { Err(row.get::<_, String>(0)) }
        });
        let errors = "select error_message, handler, sqlstate, detail, hint, context \
                      from queues.error where task_id = $1 order by error_id";
        let errors = self.sql.query(errors, &[&task_id]).unwrap();
        let errors = errors.iter().map(|row| Fault {
            message: row.get(0),
            handler: row.get(1),
            sqlstate: row.get(2),
            detail: row.get(3),
            hint: row.get(4),
            context: row.get(5),
        });
        Fate { status: row.get(0), attempts: row.get(1), last_error: row.get(2), errors: errors.collect() }
    }

    /// The traces left so far, in order, which are forgotten by this.
    #[track_caller]
    fn traces(&mut self) -> Vec<String> {
        let seen = self.sql.query("select what from app.seen order by seen_id", &[]).unwrap();
        self.create("truncate app.seen");
        seen.iter().map(|row| row.get(0)).collect()
    }

    /// The first value of a query, as text.
    #[track_caller]
    fn value(&mut self, sql: &str) -> String {
        let row = self.sql.query_one(&format!("select ({sql})::text"), &[]);
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get::<_, Option<String>>(0).unwrap_or_default()
    }
}

/// The statements that an error says are to be run.
#[track_caller]
fn grants(fault: &Fault) -> String {
    let start = fault.message.find("GRANT").unwrap_or_else(|| panic!("no GRANT in {fault:?}"));
    fault.message[start..].to_owned()
}

#[test]
fn handlers_receive_the_whole_original_payload_exactly() {
    let mut app = App::start(&[]);
    // Numbers that no float holds, every plane of Unicode, nesting, and names that mean something elsewhere.
    let domain = r#"
        "order": 12345678901234567890123456789.10, "tiny": 1e-30, "text": "ä€𝄞 \"quoted\" \\ \u2028",
        "nested": [[], {}, [null, true, {"a": {"b": []}}]], "payload": {"x": 1}, "error": "mine", "request": 5,
        "task_type": "whatever", "": "empty key""#;
    for (task_type, handlers, expected) in [
        ("db_function", r#""db_function": "app.note""#, ["note", "success"]),
        ("db_function", r#""db_function": "app.fail""#, ["error", ""]),
        ("sms", r#""before_handler": "app.build_sms""#, ["before", "success"]),
        ("sms", r#""before_handler": "app.fail""#, ["error", ""]),
    ] {
        let payload = format!(
            r#"{{{handlers}, "success_handler": "app.on_success", "error_handler": "app.on_error", {domain}}}"#
        );
        let id: i64 = app
            .sql
            .query_one("select queues.enqueue($1, $2::text::jsonb)", &[&task_type, &payload])
            .unwrap()
            .get(0);
        app.fate(id);
        let whole = app.sql.query(
            "select s.what,
                 (case when s.what in ('success', 'error') then s.payload -> 'original_payload' else s.payload end)::text
                     = t.payload::text
             from app.seen s, queues.task t where t.task_id = $1 order by s.seen_id",
            &[&id],
        );
        let whole: Vec<(String, bool)> = whole.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
        let expected: Vec<_> =
            expected.iter().filter(|what| !what.is_empty()).map(|what| ((*what).to_owned(), true)).collect();
        assert_eq!(whole, expected, "{task_type} {handlers}");
        app.traces();
    }
}

#[test]
fn success_and_error_handlers_receive_exactly_two_fields() {
    let mut app = App::start(&[]);
    let handlers = json!({"success_handler": "app.on_success", "error_handler": "app.on_error"});
    let with = |name: &str, value: &str| {
        let mut payload = handlers.clone();
        payload[name] = json!(value);
        payload
    };
    let latest = "select payload - 'original_payload' from app.seen order by seen_id desc limit 1";

    app.run(with("db_function", "app.note"));
    assert_eq!(app.value(latest), r#"{"worker_payload": {"payload": {"noted": true}}}"#);

    let id = enqueue(&mut app.sql, "sms", with("before_handler", "app.build_sms"));
    app.fate(id);
    let answer = r#"{"worker_payload": {"status": "sent", "message_id": "sms_7"}}"#;
    assert_eq!(app.value(latest), answer);

    let fate = app.run(with("db_function", "app.fail"));
    let told = app.value("select payload ->> 'error' from app.seen order by seen_id desc limit 1");
    assert_eq!(Some(told), fate.last_error);
    let keys = "select string_agg(key, ',' order by key) from (select payload from app.seen order by seen_id desc limit 1) s,
                jsonb_object_keys(s.payload) key";
    assert_eq!(app.value(keys), "error,original_payload");
}

#[test]
fn a_success_handler_shares_the_transaction_of_its_function() {
    let mut app = App::start(&[]);
    let fate = app.run(json!({"db_function": "app.note", "success_handler": "app.on_success"}));
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0));
    assert_eq!(app.value("select count(distinct xid) || ' of ' || count(*) from app.seen"), "1 of 2");
}

#[test]
fn a_success_handler_that_fails_undoes_only_its_own_work() {
    let mut app = App::start(&[]);
    for (task_type, name, function, trace) in [
        ("db_function", "db_function", "app.note", "note"),
        ("sms", "before_handler", "app.build_sms", "before"),
    ] {
        let mut payload = json!({"success_handler": "app.fail", "error_handler": "app.on_error"});
        payload[name] = json!(function);
        let id = enqueue(&mut app.sql, task_type, payload);
        let fate = app.fate(id);
        assert_eq!((fate.status.as_str(), fate.errors.len(), fate.attempts), ("succeeded", 1, 1), "{fate:?}");
        assert_eq!(fate.errors[0].handler.as_deref(), Some("app.fail"));
        assert_eq!(fate.last_error.as_deref(), Some(fate.errors[0].message.as_str()));
        for part in [task_type, "success_handler", "app.fail", "it broke"] {
            assert!(fate.errors[0].message.contains(part), "{part} in {fate:?}");
        }
        assert_eq!(app.traces(), [trace]);
    }
    // So does one that says so instead of raising.
    app.create(
        "create function app.complain(payload jsonb) returns jsonb return '{\"error\": \"no luck\"}'::jsonb",
    );
    let fate = app.run(json!({"db_function": "app.note", "success_handler": "app.complain", "error_handler": "app.on_error"}));
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 1), "{fate:?}");
    assert_eq!(app.traces(), ["note"]);
}

#[test]
fn a_failed_function_leaves_nothing_and_its_error_handler_runs() {
    let mut app = App::start(&[]);
    let fate = app.run(json!({"db_function": "app.fail", "success_handler": "app.on_success", "error_handler": "app.on_error"}));
    assert_eq!((fate.status.as_str(), fate.errors.len(), fate.attempts), ("failed", 1, 1), "{fate:?}");
    assert_eq!(app.traces(), ["error"]);
    // Without an error handler the same.
    let fate = app.run(json!({"db_function": "app.fail"}));
    assert_eq!((fate.status.as_str(), fate.errors.len(), fate.attempts), ("failed", 1, 1), "{fate:?}");
    assert!(app.traces().is_empty());
}

#[test]
fn an_error_handler_that_fails_adds_a_second_error() {
    let mut app = App::start(&[]);
    for missing in [false, true] {
        let handler = if missing { "app.no_such_handler" } else { "app.fail" };
        let fate = app.run(json!({"db_function": "app.fail", "error_handler": handler}));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 2), "{fate:?}");
        assert!(fate.errors[1].message.contains("error_handler"), "{fate:?}");
        assert_eq!(fate.errors[1].handler.as_deref(), Some(handler));
        assert_eq!(fate.last_error.as_deref(), Some(fate.errors[1].message.as_str()));
        assert!(app.traces().is_empty());
    }
}

#[test]
fn errors_keep_sqlstate_detail_hint_and_call_stack() {
    let mut app = App::start(&[]);
    app.create(
        "create function app.outer_one(payload jsonb) returns jsonb language plpgsql as $$
         begin
             return app.fail(payload);
         end $$",
    );
    let fate = app.run(json!({"db_function": "app.outer_one"}));
    let fault = &fate.errors[0];
    assert_eq!(fault.sqlstate.as_deref(), Some("P7777"));
    assert_eq!(fault.detail.as_deref(), Some("in two"));
    assert_eq!(fault.hint.as_deref(), Some("glue it"));
    let context = fault.context.as_deref().unwrap_or_default();
    assert!(
        context.contains("app.fail(jsonb) line 4") && context.contains("app.outer_one(jsonb) line 3"),
        "{fault:?}"
    );
    assert_eq!(fault.handler.as_deref(), Some("app.outer_one"));
    for part in ["db_function", "app.outer_one", "it broke"] {
        assert!(fault.message.contains(part), "{fault:?}");
    }

    // An error that has none of them has none here, and of one of any size the beginning is kept.
    app.create(
        "create function app.loud(payload jsonb) returns jsonb language plpgsql as $$
         begin
             raise exception '%', repeat('ä', 500000);
         end $$",
    );
    let fate = app.run(json!({"db_function": "app.loud"}));
    let fault = &fate.errors[0];
    assert_eq!((fault.detail.as_deref(), fault.hint.as_deref()), (None, None));
    assert_eq!(fault.message.matches('ä').count(), 32_768);
    assert!(fault.message.ends_with("(truncated, 1000000 bytes in all)"), "{}", fault.message.len());

    // What the server itself says about a table keeps its detail.
    app.create(
        "create table app.once (id int primary key); insert into app.once values (1);
         grant select, insert on app.once to errand_worker",
    );
    let fate = app.run(json!({"db_function": "app.run_sql", "sql": "insert into app.once values (1)"}));
    let fault = &fate.errors[0];
    assert_eq!(fault.sqlstate.as_deref(), Some("23505"));
    assert_eq!(fault.detail.as_deref(), Some("Key (id)=(1) already exists."));

    // So do errors of commands, which pass the extension's own hook.
    app.create(
        "create table app.parent (id int primary key); create table app.child (id int references app.parent)",
    );
    app.create("alter table app.parent owner to errand_worker");
    let fate = app.run(json!({"db_function": "app.run_sql", "sql": "drop table app.parent"}));
    let fault = &fate.errors[0];
    assert_eq!(fault.sqlstate.as_deref(), Some("2BP01"), "{fault:?}");
    let detail = fault.detail.as_deref().unwrap_or_default();
    assert!(detail.starts_with("constraint child_id_fkey on table app.child depends"), "{fault:?}");
    assert!(fault.hint.as_deref().is_some_and(|hint| hint.contains("CASCADE")), "{fault:?}");
    let context = fault.context.as_deref().unwrap_or_default();
    assert!(context.contains("app.run_sql(jsonb) line 3"), "{fault:?}");
}

#[test]
fn functions_that_cannot_be_called_fail_with_their_name_and_the_reason() {
    let mut app = App::start(&[]);
    app.create(
        "create function app.of_text(payload text) returns jsonb return '{}'::jsonb;
         create function app.of_json(payload json) returns jsonb return '{}'::jsonb;
         create function app.of_two(payload jsonb, more int) returns jsonb return '{}'::jsonb;
         create function app.of_none() returns jsonb return '{}'::jsonb;
         create function app.to_int(payload jsonb) returns int return 1;
         create function app.to_void(payload jsonb) returns void return null;
         create type app.pair as (a int, b int);
         create function app.to_pair(payload jsonb) returns app.pair return row(1, 2)::app.pair;
         create function app.to_words(payload jsonb) returns text return 'no json'::text;
         create procedure app.act(payload jsonb) language sql as '';
         create table app.act_table (a int)",
    );
    let mut wrong = Vec::new();
    for (name, sqlstate, reason) in [
        ("app.absent", "42883", "does not exist"),
        ("no_such_schema.f", "3F000", "does not exist"),
        ("absent", "42883", "does not exist"),
        ("app.act_table", "42883", "does not exist"),
        ("app.of_text", "42883", "does not exist"),
        ("app.of_json", "42883", "does not exist"),
        ("app.of_two", "42883", "does not exist"),
        ("app.of_none", "42883", "does not exist"),
        ("app.to_int", "42846", "cannot cast type integer to jsonb"),
        ("app.to_void", "42846", "cannot cast type void to jsonb"),
        ("app.to_pair", "42846", "cannot cast type app.pair to jsonb"),
        ("app.to_words", "22P02", "json"),
        ("app.act", "42809", "procedure"),
        ("other_database.app.note", "0A000", "cross-database"),
    ] {
        let fate = app.run(json!({"db_function": name, "error_handler": "app.on_error"}));
        let ok = fate.status == "failed"
            && fate.errors.len() == 1
            && fate.errors[0].sqlstate.as_deref() == Some(sqlstate)
            && fate.errors[0].handler.as_deref() == Some(name)
            && ["db_function", name, reason].iter().all(|part| fate.errors[0].message.contains(part))
            && app.traces() == ["error"];
        if !ok {
            wrong.push((name, fate));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn whatever_casts_to_jsonb_may_be_returned() {
    let mut app = App::start(&[]);
    app.create(
        "create function app.to_text(payload jsonb) returns text return '{\"payload\": 1}'::text;
         create function app.to_json(payload jsonb) returns json return '{\"payload\": 1}'::json;
         create domain app.envelope as jsonb check (value ? 'payload');
         create function app.to_domain(payload jsonb) returns app.envelope return '{\"payload\": 1}'::jsonb::app.envelope;
         create function app.to_out(payload jsonb, out answer jsonb) return '{\"payload\": 1}'::jsonb;
         create function app.to_set(payload jsonb) returns setof jsonb begin atomic select '{\"payload\": 1}'::jsonb; end;
         create function app.to_null(payload jsonb) returns jsonb return null::jsonb;
         create function app.to_nothing(payload jsonb) returns setof jsonb begin atomic select payload where false; end;
         create function app.strict(payload jsonb) returns jsonb strict return '{\"payload\": 1}'::jsonb;
         create function app.with_defaults(payload jsonb, n int default 1, t text default 'x') returns jsonb
             return '{\"payload\": 1}'::jsonb;",
    );
    for name in ["to_text", "to_json", "to_domain", "to_out", "to_set", "strict", "with_defaults"] {
        let fate =
            app.run(json!({"db_function": format!("app.{name}"), "success_handler": "app.on_success"}));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{name}: {fate:?}");
        let given = app.value("select payload -> 'worker_payload' from app.seen");
        assert_eq!(given, r#"{"payload": 1}"#, "{name}");
        app.traces();
    }
    for name in ["to_null", "to_nothing"] {
        let fate =
            app.run(json!({"db_function": format!("app.{name}"), "success_handler": "app.on_success"}));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{name}: {fate:?}");
        assert_eq!(app.value("select payload -> 'worker_payload' from app.seen"), "{}", "{name}");
        app.traces();
    }
}

#[test]
fn a_missing_privilege_is_answered_with_the_grant_to_run() {
    let mut app = App::start(&[]);
    app.create(
        r#"revoke execute on function app.note from public;
           create schema "Locked Up";
           create function "Locked Up"."Do.It"("Pay load" jsonb, n int default 1) returns jsonb return '{}'::jsonb;
           create schema closed;
           create function closed.open_function(payload jsonb) returns jsonb return '{}'::jsonb;
           revoke execute on function "Locked Up"."Do.It" from public"#,
    );
    for (name, expected) in [
        ("app.note", "GRANT EXECUTE ON FUNCTION app.note(payload jsonb) TO errand_worker"),
        (
            r#""Locked Up"."Do.It""#,
            r#"GRANT EXECUTE ON FUNCTION "Locked Up"."Do.It"("Pay load" jsonb, n integer) TO errand_worker"#,
        ),
        ("closed.open_function", "GRANT USAGE ON SCHEMA closed TO errand_worker"),
    ] {
        let payload = json!({"db_function": name});
        let fate = app.run(payload.clone());
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{fate:?}");
        assert_eq!(fate.errors[0].sqlstate.as_deref(), Some("42501"));
        assert!(fate.errors[0].message.contains(name), "{fate:?}");
        let statements = grants(&fate.errors[0]);
        assert!(statements.contains(expected), "{statements}");
        app.create(&statements);
        assert_eq!(app.run(payload).status, "succeeded", "{name} after {statements}");
    }
    // The same for the other handlers.
    app.create("revoke execute on function app.on_success, app.build_sms from public");
    let fate = app.run(json!({"db_function": "app.note", "success_handler": "app.on_success"}));
    let expected = "GRANT EXECUTE ON FUNCTION app.on_success(payload jsonb) TO errand_worker";
    assert!(grants(&fate.errors[0]).contains(expected), "{fate:?}");
    let id = enqueue(&mut app.sql, "sms", json!({"before_handler": "app.build_sms"}));
    let fate = app.fate(id);
    let expected = "GRANT EXECUTE ON FUNCTION app.build_sms(payload jsonb) TO errand_worker";
    assert!(grants(&fate.errors[0]).contains(expected), "{fate:?}");

    // What a function itself may not do is not answered with a grant on the function.
    let fate = app.run(json!({"db_function": "app.run_sql", "sql": "select from pg_authid"}));
    assert!(!fate.errors[0].message.contains("GRANT"), "{fate:?}");
}

#[test]
fn names_are_identifiers_of_the_role_and_nothing_else() {
    let cluster = Cluster::start(&[("pg_errand.role", "Odd Role")]);
    let mut sql = cluster.connect("postgres");
    sql.batch_execute(
        r#"create role "Odd Role" login; alter role "Odd Role" set search_path = "My Path", public"#,
    )
    .unwrap();
    install(&mut sql);
    sql.batch_execute(
        r#"create schema my_schema; create schema "My Path"; create schema elsewhere;
           create table public.precious (n int);
           grant usage on schema my_schema, "My Path", elsewhere to "Odd Role";
           create function my_schema."Weird.Name"(payload jsonb) returns jsonb return '{}'::jsonb;
           create function my_schema."drop table ""x""; --"(payload jsonb) returns jsonb return '{}'::jsonb;
           create function my_schema.plain(payload jsonb) returns jsonb return '{}'::jsonb;
           create function "My Path".by_path(payload jsonb) returns jsonb
               return case when current_user = 'Odd Role' then '{}'::jsonb end;
           create function public.by_default(payload jsonb) returns jsonb return '{}'::jsonb;
           create function elsewhere.out_of_sight(payload jsonb) returns jsonb return '{}'::jsonb;
           create function my_schema.secret(payload jsonb) returns jsonb return '{}'::jsonb;
           revoke execute on function my_schema.secret from public;"#,
    )
    .unwrap();
    let mut app = App { sql, cluster };
    for name in [
        r#"my_schema."Weird.Name""#,
        r#""my_schema"."Weird.Name""#,
        r#"my_schema."drop table ""x""; --""#,
        "My_Schema.PLAIN",
        " my_schema . plain ",
        "postgres.my_schema.plain",
        "by_path",
        "by_default",
    ] {
        let fate = app.run(json!({"db_function": name}));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{name}: {fate:?}");
    }
    for name in [
        "x(); drop table y; --",
        "my_schema.plain('{}'); drop table public.precious; --",
        "my_schema.plain($1)",
        "my_schema.plain -- ",
        "",
        " ",
        ".",
        "my_schema.",
        ".plain",
        "my_schema..plain",
        "1st",
        r#"my_schema."unclosed"#,
        r#""""#,
        "a.b.c.d",
        "my_schema.plain\u{a0}x",
        "select",
        "out_of_sight",
    ] {
        let fate = app.run(json!({"db_function": name}));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{name}: {fate:?}");
        assert!(fate.errors[0].message.contains(name), "{name}: {fate:?}");
    }
    for name in [json!(42), json!({"a": 1}), json!(["my_schema.plain"]), json!(true), json!(null)] {
        let fate = app.run(json!({"db_function": name}));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{name}: {fate:?}");
    }
    assert_eq!(app.value("select count(*) from public.precious"), "0");
    let fate = app.run(json!({"db_function": "my_schema.secret"}));
    let statements = grants(&fate.errors[0]);
    assert!(statements.contains(r#"TO "Odd Role""#), "{statements}");
    app.create(&statements);
    assert_eq!(app.run(json!({"db_function": "my_schema.secret"})).status, "succeeded");
    drop(app.cluster);
}

#[test]
fn payloads_of_any_shape_end_their_task() {
    let mut app = App::start(&[]);
    for payload in ["{}", "[]", "1", "\"x\"", "null", "true", r#"["db_function"]"#, r#"{"task_type": "sms"}"#]
    {
        let id: i64 = app
            .sql
            .query_one("select queues.enqueue('db_function', $1::text::jsonb)", &[&payload])
            .unwrap()
            .get(0);
        let fate = app.fate(id);
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{payload}: {fate:?}");
        assert!(fate.errors[0].message.contains("db_function"), "{payload}: {fate:?}");
        for task_type in ["sms", "email"] {
            let id: i64 = app
                .sql
                .query_one("select queues.enqueue($1, $2::text::jsonb)", &[&task_type, &payload])
                .unwrap()
                .get(0);
            let fate = app.fate(id);
            assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{payload}: {fate:?}");
            let message = &fate.errors[0].message;
            assert!(message.contains(task_type) && message.contains("before_handler"), "{payload}: {fate:?}");
        }
    }
    // No payload is an empty one, and no time is now.
    let id: i64 = app.sql.query_one("select queues.enqueue('db_function', null, null)", &[]).unwrap().get(0);
    assert_eq!(app.fate(id).status, "failed");
    let row = app
        .sql
        .query_one("select payload, scheduled_at = enqueued_at from queues.task where task_id = $1", &[&id])
        .unwrap();
    assert_eq!((row.get::<_, Value>(0), row.get::<_, bool>(1)), (json!({}), true));
}

#[test]
fn a_payload_of_a_megabyte_passes_through_all_handlers() {
    let mut app = App::start(&[]);
    let big = "€".repeat(1024 * 1024 / 3);
    let fate = app.run(json!({"db_function": "app.note", "success_handler": "app.on_success", "big": big}));
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{fate:?}");
    let lengths = app.value(
        "select string_agg(length(coalesce(payload -> 'original_payload', payload) ->> 'big')::text, ',') from app.seen",
    );
    assert_eq!(lengths, format!("{0},{0}", big.chars().count()));
}

#[test]
fn unknown_task_types_are_refused_at_once() {
    let mut app = App::start(&[]);
    for task_type in ["'nonsense'", "'pigeon'", "''", "'DB_FUNCTION'", "null"] {
        for sql in [
            format!("select queues.enqueue({task_type}, '{{}}')"),
            format!("insert into queues.task (task_type, payload) values ({task_type}, '{{}}')"),
        ] {
            let error = app.sql.batch_execute(&sql).unwrap_err();
            let refusal = error.as_db_error().unwrap();
            assert_eq!(refusal.code(), &SqlState::INVALID_PARAMETER_VALUE, "{sql}: {refusal:?}");
            assert!(refusal.message().contains("task type"), "{sql}: {refusal:?}");
            let hint = refusal.hint().unwrap_or_default();
            for known in ["db_function", "email", "sms"] {
                assert!(hint.contains(known), "{sql}: {refusal:?}");
            }
        }
    }
    assert_eq!(app.value("select count(*) from queues.task"), "0");
}

#[test]
fn a_plain_insert_works_like_enqueue() {
    let mut app = App::start(&[("pg_errand.poll_interval", "1h")]);
    let id: i64 = app
        .sql
        .query_one(
            r#"insert into queues.task (task_type, payload) values ('db_function', '{"db_function": "app.note"}') returning task_id"#,
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(app.fate(id).status, "succeeded");
    assert_eq!(app.traces(), ["note"]);
}

#[test]
fn a_deferred_constraint_fails_the_task_once() {
    let mut app = App::start(&[]);
    app.create(
        "create table app.parent (id int primary key);
         create table app.child (id int references app.parent deferrable initially deferred);
         create table app.lazy (id int references app.parent deferrable initially immediate);
         create table app.watched (id int);
         create function app.refuse() returns trigger language plpgsql as $$
         begin
             raise exception 'too late' using errcode = 'P7778';
         end $$;
         create constraint trigger refuse after insert on app.watched deferrable initially deferred
             for each row execute function app.refuse();
         grant insert on app.child, app.watched, app.lazy to errand_worker;
         create function app.sin(payload jsonb) returns jsonb language plpgsql as $$
         begin
             insert into app.seen (what) values ('sin');
             execute coalesce(payload -> 'original_payload', payload) ->> 'sql';
             return '{}';
         end $$;",
    );
    for (sql, sqlstate) in [
        ("insert into app.child values (1)", "23503"),
        ("insert into app.watched values (1)", "P7778"),
        ("set constraints all deferred; insert into app.lazy values (1)", "23503"),
    ] {
        let sin = json!({"db_function": "app.sin", "sql": sql, "error_handler": "app.on_error"});
        let sinner = enqueue(&mut app.sql, "db_function", sin);
        let good = enqueue(&mut app.sql, "db_function", json!({"db_function": "app.note"}));
        let fate = app.fate(sinner);
        assert_eq!(
            (fate.status.as_str(), fate.errors.len(), fate.attempts),
            ("failed", 1, 1),
            "{sql}: {fate:?}"
        );
        assert_eq!(fate.errors[0].sqlstate.as_deref(), Some(sqlstate), "{sql}: {fate:?}");
        assert!(fate.errors[0].message.contains("app.sin"), "{sql}: {fate:?}");
        assert_eq!(app.fate(good).status, "succeeded");
        let mut traces = app.traces();
        traces.sort();
        assert_eq!(traces, ["error", "note"], "{sql}");

        // A success handler's own sin is its own error.
        let sin = json!({"db_function": "app.note", "success_handler": "app.sin", "sql": sql});
        let fate = app.run(sin);
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 1), "{sql}: {fate:?}");
        assert_eq!(app.traces(), ["note"], "{sql}");
    }
    // Nothing of this is tried again.
    assert_eq!(app.value("select max(attempts) from queues.task_status"), "1");
}

#[test]
fn an_error_of_the_commit_itself_fails_the_task_once() {
    let mut app = App::start(&[]);
    // A user's deferred trigger on the queue fires when everything of the task is done.
    app.create(
        "create function app.refuse() returns trigger language plpgsql as $$
         begin
             raise exception 'not this one' using errcode = 'P7779';
         end $$;
         create constraint trigger refuse after update on queues.task deferrable initially deferred
             for each row when (new.final_status = 'succeeded' and new.payload ? 'cursed')
             execute function app.refuse();",
    );
    let payload = json!({"db_function": "app.note", "error_handler": "app.on_error", "cursed": true});
    let cursed = enqueue(&mut app.sql, "db_function", payload);
    let good = enqueue(&mut app.sql, "db_function", json!({"db_function": "app.note"}));
    let fate = app.fate(cursed);
    assert_eq!((fate.status.as_str(), fate.errors.len(), fate.attempts), ("failed", 1, 1), "{fate:?}");
    assert_eq!(fate.errors[0].sqlstate.as_deref(), Some("P7779"));
    assert!(fate.errors[0].message.contains("not this one"), "{fate:?}");
    assert_eq!(app.fate(good).status, "succeeded");
    let mut traces = app.traces();
    traces.sort();
    assert_eq!(traces, ["error", "note"]);
}

#[test]
fn serialization_failures_and_deadlocks_are_repeated() {
    let mut app = App::start(&[("pg_errand.poll_interval", "1h")]);
    for errcode in ["40001", "40P01"] {
        let payload = json!({"db_function": "app.unlucky", "failures": 2, "errcode": errcode, "error_handler": "app.on_error"});
        let fate = app.run(payload);
        assert_eq!((fate.status.as_str(), fate.errors.len(), fate.attempts), ("succeeded", 0, 3), "{fate:?}");
        assert_eq!(app.traces(), ["unlucky"], "{errcode}");
        app.create("alter sequence app.tries restart");
    }
    // In a success handler they cost the function's work, too, which is done again.
    let payload = json!({"db_function": "app.note", "success_handler": "app.unlucky", "failures": 2, "errcode": "40001"});
    let fate = app.run(payload);
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{fate:?}");
    assert_eq!(app.traces(), ["note", "unlucky"]);
    app.create("alter sequence app.tries restart");
    // After a provider's call only the handler is called again.
    let payload = json!({"before_handler": "app.build_sms", "success_handler": "app.unlucky", "failures": 2, "errcode": "40001"});
    let id = enqueue(&mut app.sql, "sms", payload);
    let fate = app.fate(id);
    assert_eq!((fate.status.as_str(), fate.errors.len(), fate.attempts), ("succeeded", 0, 1), "{fate:?}");
    assert_eq!(app.traces(), ["before", "unlucky"]);
    assert_eq!(app.value("select last_value from app.tries"), "3");
}

#[test]
fn repetitions_are_bounded() {
    let mut app = App::start(&[]);
    let payload = |handler: &str| {
        let mut payload = json!({"failures": 1_000_000, "errcode": "40001", "error_handler": "app.on_error"});
        payload[handler] = json!("app.unlucky");
        payload
    };
    let function = enqueue(&mut app.sql, "db_function", payload("db_function"));
    let before = enqueue(&mut app.sql, "sms", payload("before_handler"));
    let mut success = payload("success_handler");
    success["before_handler"] = json!("app.build_sms");
    let success = enqueue(&mut app.sql, "sms", success);
    // Meanwhile the workers have time for others.
    let good = app.run(json!({"db_function": "app.note"}));
    assert_eq!(good.status, "succeeded");
    for (id, status) in [(function, "failed"), (before, "failed"), (success, "succeeded")] {
        let fate = app.fate(id);
        assert_eq!((fate.status.as_str(), fate.errors.len()), (status, 1), "{fate:?}");
        assert_eq!(fate.errors[0].sqlstate.as_deref(), Some("40001"), "{fate:?}");
        assert!(fate.attempts <= 20, "{fate:?}");
    }
    let mut traces = app.traces();
    traces.sort();
    assert_eq!(traces, ["before", "error", "error", "note"]);
}

#[test]
fn a_handler_may_enqueue() {
    let mut app = App::start(&[("pg_errand.poll_interval", "1h")]);
    app.create(
        r#"create function app.go_on(payload jsonb) returns jsonb language plpgsql as $$
           declare
               _left int := payload ->> 'left';
           begin
               insert into app.seen (what) values ('step');
               if _left > 0 then
                   perform queues.enqueue('db_function', payload || jsonb_build_object('left', _left - 1));
               end if;
               if _left = 3 then
                   raise exception 'stop here';
               end if;
               return '{}';
           end $$;"#,
    );
    app.run(json!({"db_function": "app.go_on", "left": 2}));
    wait_until_sql(&mut app.sql, "select count(*) from queues.task_status where status = 'succeeded'", "3");
    assert_eq!(app.traces(), ["step"; 3]);
    // What a failed handler enqueued was never there.
    assert_eq!(app.run(json!({"db_function": "app.go_on", "left": 3})).status, "failed");
    assert_eq!(app.value("select count(*) from queues.task"), "4");
}

#[test]
fn what_is_rolled_back_never_runs() {
    let mut app = App::start(&[("pg_errand.concurrency", "1"), ("pg_errand.poll_interval", "50ms")]);
    let note = |what: &str| {
        format!(r#"select queues.enqueue('db_function', '{{"db_function": "app.note", "what": "{what}"}}');"#)
    };
    app.create(&format!("begin; {} rollback", note("all")));
    app.create(&format!(
        "begin; {} savepoint s; {} rollback to s; {} release s; commit",
        note("first"),
        note("undone"),
        note("last")
    ));
    // An open transaction keeps its tasks to itself.
    let mut other = app.cluster.connect("postgres");
    other.batch_execute(&format!("begin; {}", note("open"))).unwrap();
    let fence = enqueue(&mut app.sql, "db_function", json!({"db_function": "app.note", "what": "fence"}));
    wait_status(&mut app.sql, fence, "succeeded");
    let seen = "select string_agg(payload ->> 'what', ',' order by seen_id) from app.seen";
    assert_eq!(app.value(seen), "first,last,fence");
    other.batch_execute("commit").unwrap();
    wait_until_sql(&mut app.sql, seen, "first,last,fence,open");
}

#[test]
fn handlers_cannot_end_transactions() {
    let mut app = App::start(&[]);
    app.create(
        "create function app.commit_it(payload jsonb) returns jsonb language plpgsql as $$
         begin
             insert into app.seen (what) values ('before the commit');
             commit;
             return '{}';
         end $$;
         create procedure app.act() language plpgsql as $$ begin commit; end $$;",
    );
    let payload = json!({"db_function": "app.commit_it", "error_handler": "app.on_error"});
    let fate = app.run(payload);
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{fate:?}");
    assert_eq!(fate.errors[0].sqlstate.as_deref(), Some("2D000"));
    for sql in
        ["commit", "rollback", "begin", "savepoint s", "call app.act()", "prepare transaction 'x'", "vacuum"]
    {
        let fate = app.run(json!({"db_function": "app.run_sql", "sql": sql}));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{sql}: {fate:?}");
    }
    assert_eq!(app.run(json!({"db_function": "app.note"})).status, "succeeded");
    assert_eq!(app.traces(), ["error", "note"]);
}

#[test]
fn handlers_cannot_touch_the_queue_but_by_enqueue() {
    let mut app = App::start(&[]);
    let victim: i64 = app
        .sql
        .query_one(r#"select queues.enqueue('db_function', '{"db_function": "app.note"}', now() + interval '1 day')"#, &[])
        .unwrap()
        .get(0);
    let before = app.value(&format!("select t from queues.task t where task_id = {victim}"));
    let mut allowed = Vec::new();
    for sql in [
        "select from queues.task".to_owned(),
        "select from queues.error".to_owned(),
        "select from queues.call".to_owned(),
        "select from queues.task_status".to_owned(),
        "select from queues.worker".to_owned(),
        "select from errand.worker_state()".to_owned(),
        format!("update queues.task set scheduled_at = now() where task_id = {victim}"),
        "insert into queues.task (task_type, payload) values ('sms', '{}')".to_owned(),
        "insert into queues.error (error_message) values ('forged')".to_owned(),
        format!("delete from queues.task where task_id = {victim}"),
        "truncate queues.task cascade".to_owned(),
        "lock table queues.task".to_owned(),
        "select nextval('queues.task_task_id_seq')".to_owned(),
        format!("select queues.complete_task({victim})"),
        format!("select queues.fail_task({victim}, 'forged')"),
        format!("select queues.append_error({victim}, 'forged')"),
        format!("select queues.cancel({victim})"),
        format!("select errand.cancel_running({victim})"),
        format!("select errand.cancel_call(1, {victim})"),
        "select queues.dequeue_next_available_task()".to_owned(),
        "select errand.announce(now())".to_owned(),
        "create table queues.mine (a int)".to_owned(),
        "create table internal.mine (a int)".to_owned(),
        "alter table queues.task disable trigger all".to_owned(),
        "drop extension pg_errand".to_owned(),
        "alter extension pg_errand drop table queues.task".to_owned(),
        "create trigger t before insert on queues.task for each row execute function suppress_redundant_updates_trigger()"
            .to_owned(),
        "set role postgres".to_owned(),
        "set session authorization postgres".to_owned(),
        "select set_config('role', 'postgres', false)".to_owned(),
        "set session_replication_role = replica".to_owned(),
    ] {
        let fate = app.run(json!({"db_function": "app.run_sql", "sql": sql}));
        let refused = fate.status == "failed" && fate.errors.len() == 1
            && fate.errors[0].sqlstate.as_deref() == Some("42501");
        if !refused {
            allowed.push((sql, fate));
        }
    }
    assert!(allowed.is_empty(), "{allowed:#?}");
    assert_eq!(app.value(&format!("select t from queues.task t where task_id = {victim}")), before);
    assert_eq!(app.run(json!({"db_function": "app.note"})).status, "succeeded");
}

#[test]
fn twenty_thousand_tasks_of_one_statement_run_once_each() {
    let mut app = App::start(&[("pg_errand.log_level", "warning")]);
    app.create(
        "select count(queues.enqueue('db_function', jsonb_build_object('db_function', 'app.note', 'n', n)))
         from generate_series(1, 20000) n",
    );
    wait_until_sql(&mut app.sql, "select exists (select from queues.task where finished_at is null)", "f");
    let counts = app.value(
        "select format('%s tasks %s runs %s once', count(*), sum(attempts), (
             select count(*) from (select payload ->> 'n' from app.seen group by 1 having count(*) = 1) once
         )) from queues.task_status where status = 'succeeded'",
    );
    assert_eq!(counts, "20000 tasks 20000 runs 20000 once");
    assert_eq!(app.value("select count(*) from app.seen"), "20000");
}

#[test]
fn tasks_start_in_the_order_of_their_time_and_number() {
    let mut app = App::start(&[("pg_errand.concurrency", "0")]);
    app.create(
        "insert into queues.task (task_type, payload, scheduled_at)
         select 'db_function', jsonb_build_object('db_function', 'app.note', 'n', n),
             case n % 3 when 0 then now() - interval '1 hour' * n when 1 then now() - interval '30 minutes' else now() end
         from generate_series(1, 60) n",
    );
    app.cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_until_sql(&mut app.sql, "select count(*) from app.seen", "60");
    let disorder = app.value(
        "select count(*) from (
             select task_id, row_number() over (order by scheduled_at, task_id) as due,
                 row_number() over (order by seen_id) as started
             from queues.task join app.seen on app.seen.payload = queues.task.payload
         ) o where due <> started",
    );
    assert_eq!(disorder, "0");
}

#[test]
fn a_slow_task_holds_up_no_other() {
    let mut app = App::start(&[("pg_errand.poll_interval", "1h")]);
    app.create(
        "create function app.wait(payload jsonb) returns jsonb language plpgsql as $$
         begin
             perform pg_advisory_xact_lock(1);
             return '{}';
         end $$;",
    );
    let mut gate = app.cluster.connect("postgres");
    gate.batch_execute("select pg_advisory_lock(1)").unwrap();
    // In one statement, so that whoever claims many at once gets the slow one among them.
    app.create(
        "select queues.enqueue('db_function', jsonb_build_object('db_function', case n when 5 then 'app.wait' else 'app.note' end))
         from generate_series(1, 300) n",
    );
    let succeeded = "select count(*) from queues.task_status where status = 'succeeded'";
    wait_until_sql(&mut app.sql, succeeded, "299");
    wait_until_sql(&mut app.sql, "select count(*) from queues.task_status where status = 'running'", "1");
    // Nor those that come now.
    assert_eq!(app.run(json!({"db_function": "app.note"})).status, "succeeded");
    gate.batch_execute("select pg_advisory_unlock(1)").unwrap();
    wait_until_sql(&mut app.sql, succeeded, "301");
}

#[test]
fn run_function_calls_with_the_rights_of_its_caller() {
    let mut app = App::start(&[]);
    app.create(
        r#"create role caller login;
           grant usage on schema internal, app to caller;
           grant execute on function internal.run_function to caller;
           create function app."Who.Am.I"(payload jsonb, more int default 1) returns jsonb
               return jsonb_build_object('me', current_user, 'payload', payload);
           create function app.to_null(payload jsonb) returns jsonb return null::jsonb;
           create function public.by_path(payload jsonb) returns text return '{"found": true}'::text;
           revoke execute on function app.note from public"#,
    );
    let mut caller = app.cluster.connect_as("caller", "postgres");
    let mut call = |name: &str, payload: Option<Value>| {
        caller
            .query_one("select internal.run_function($1, $2)", &[&name, &payload])
            .map(|row| row.get::<_, Value>(0))
            .map_err(|error| error.code().unwrap().code().to_owned())
    };
    assert_eq!(
        call(r#"app."Who.Am.I""#, Some(json!({"a": 1}))),
        Ok(json!({"me": "caller", "payload": {"a": 1}}))
    );
    assert_eq!(call(r#"app."Who.Am.I""#, None), Ok(json!({"me": "caller", "payload": {}})));
    assert_eq!(call("app.to_null", None), Ok(json!({})));
    assert_eq!(call("by_path", None), Ok(json!({"found": true})));
    assert_eq!(call("app.note", None), Err("42501".to_owned()));
    assert_eq!(call("app.absent", None), Err("42883".to_owned()));
    assert_eq!(call("x(); drop table y; --", None), Err("22023".to_owned()));
}
