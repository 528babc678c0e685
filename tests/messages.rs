//! The error of a task whose handler is unusable says what is wrong and what to do.

use serde_json::{Value, json};

use crate::harness::handlers::one;
use crate::harness::probe::Probe;
use crate::harness::queue::enqueue;

/// Message and hint of the error of a task with this handler.
#[track_caller]
fn refusal(probe: &mut Probe, name: &str) -> (String, String) {
    refusal_of(probe, json!({ "db_function": name }))
}

/// Message and hint of the error of a task with this payload.
#[track_caller]
fn refusal_of(probe: &mut Probe, payload: Value) -> (String, String) {
    let fate = probe.run(payload);
    assert_eq!(fate.status, "failed", "{fate:?}");
    last_error(probe)
}

/// Message and hint of the last error.
fn last_error(probe: &mut Probe) -> (String, String) {
    let sql = "select error_message, coalesce(hint, '') from queues.error order by error_id desc limit 1";
    let row = probe.client.query_one(sql, &[]).unwrap();
    (row.get(0), row.get(1))
}

#[test]
fn only_functions_are_handlers() {
    let mut probe = Probe::start(&[("pg_errand.handlers", "any")]);
    probe.create(
        "create schema app;
         grant usage on schema app to public;
         create domain app.send_invoice as jsonb;
         create domain app.words as text;
         create type app.pair as (a int, b int);
         create aggregate app.sum(jsonb) (sfunc = jsonb_concat, stype = jsonb, initcond = '{}');
         create table app.invoice (a int)",
    );
    for name in ["app.send_invoice", "app.words", "jsonb", "json", "text", "pg_catalog.jsonb", "varchar"] {
        let (message, hint) = refusal(&mut probe, name);
        assert!(message.contains("is not a function"), "{name}: {message}");
        assert_eq!(hint, "Name a function that takes one jsonb argument.", "{name}");
        // The same holds for what calls functions by name.
        let called = probe.client.query("select internal.run_function($1, '{}')", &[&name]);
        let error = called.expect_err(name);
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42809", "{name}: {error:?}");
        assert!(error.message().contains("is not a function"), "{name}: {error:?}");
    }
    for name in ["app.send invoice", "app.", "a.b.c.d", "db.app.send_invoice", "app.send_invoice()"] {
        let (message, hint) = refusal(&mut probe, name);
        assert_eq!(hint, "Name a function that takes one jsonb argument.", "{name}: {message}");
    }
    let (message, _) = refusal(&mut probe, "app.sum");
    assert!(message.contains("is an aggregate, not a function"), "{message}");
    for name in ["app.pair", "app.invoice", "int4"] {
        refusal(&mut probe, name);
    }
    // A function counts although a type has the same name.
    probe.create(
        "create function app.send_invoice(payload jsonb) returns jsonb language sql as 'select ''{\"a\": 1}''::jsonb';
         create function app.words(payload jsonb, other int default 1) returns jsonb language sql as 'select ''{}''::jsonb'",
    );
    for name in ["app.send_invoice", "app.words"] {
        assert_eq!(probe.run(json!({ "db_function": name })).status, "succeeded", "{name}");
        probe.client.query("select internal.run_function($1, '{}')", &[&name]).unwrap();
    }
}

#[test]
fn a_handler_of_another_shape_is_told_what_a_handler_is() {
    let mut probe = Probe::start(&[]);
    probe.create(
        "create schema app;
         grant usage on schema app to public;
         create function app.void(payload jsonb) returns void language sql as 'select 1';
         create function app.number(payload jsonb) returns int language sql as 'select 1';
         create procedure app.procedure(payload jsonb) language sql as 'select 1';
         create function app.words(payload jsonb) returns text language plpgsql as $$ begin return 'hello'; end $$;
         create function app.json_words(payload jsonb) returns text language sql as $$ select '{}' $$;
         create function app.two(a jsonb, b jsonb) returns jsonb language sql as 'select a';
         create function app.calls_nothing(payload jsonb) returns jsonb language plpgsql as $$
         begin
             perform app.nothing(1);
             return '{}';
         end $$;
         create function app.casts(payload jsonb) returns text language plpgsql as $$
         begin
             return 'hello'::jsonb;
         end $$",
    );
    let returns = "A handler returns jsonb; if it has nothing to say, it returns '{}'.";
    for (name, said, hint) in [
        ("app.void", "cannot cast type void to jsonb", returns),
        ("app.number", "cannot cast type integer to jsonb", returns),
        (
            "app.procedure",
            "app.procedure(jsonb) is a procedure",
            "A handler is a function, which may call a procedure (CALL).",
        ),
        ("app.words", "it returned text that is not JSON", returns),
        (
            "app.two",
            "function app.two(jsonb) does not exist",
            "A handler takes one jsonb argument. There is: app.two(a jsonb, b jsonb).",
        ),
    ] {
        let (message, told) = refusal(&mut probe, name);
        assert!(message.starts_with(&format!("db_function {name}: ")) && message.contains(said), "{message}");
        assert_eq!(told, hint, "{name}");
    }
    assert_eq!(probe.run(json!({"db_function": "app.json_words"})).status, "succeeded");
    // An error of what a handler calls is not taken for one of the handler's own shape.
    for name in ["app.calls_nothing", "app.casts"] {
        let (message, hint) = refusal(&mut probe, name);
        assert!(!hint.contains("A handler"), "{message}: {hint}");
        assert!(!message.contains("it returned"), "{message}");
    }
}

#[test]
fn a_missing_handler_is_told_with_what_is_missing() {
    let mut probe = Probe::start(&[]);
    probe.create(
        "create schema shop;
         create schema closed;
         grant usage on schema shop to public;
         create function shop.invoice(payload jsonb) returns jsonb language sql as $$ select '{}'::jsonb $$",
    );
    for (name, said) in [
        ("shop.invoices", "function shop.invoices(jsonb) does not exist"),
        ("invoices", "function invoices(jsonb) does not exist"),
        ("shops.invoice", "schema \"shops\" does not exist"),
    ] {
        let (message, hint) = refusal(&mut probe, name);
        assert_eq!(message, format!("db_function {name}: {said}"));
        let task: i64 = one(&mut probe.client, "select max(task_id) from queues.error");
        let expected = format!(
            "There is no function {name} in this database. Create it and run: SELECT queues.retry({task}); or enqueue the \
             task again with the right name."
        );
        assert_eq!(hint, expected);
    }
    let (_, hint) = refusal(&mut probe, "invoice");
    let there_is = "A handler takes one jsonb argument. Without a schema, it is looked for in the search_path of role \
                    errand_worker. There is: shop.invoice(payload jsonb).";
    assert_eq!(hint, there_is);
    let (message, hint) = refusal(&mut probe, "closed.invoice");
    assert!(message.contains("permission denied for schema closed"), "{message}");
    let grant = "GRANT USAGE ON SCHEMA closed TO errand_worker; There is no function closed.invoice in this database.";
    assert!(hint.starts_with(grant), "{hint}");

    // The task has succeeded, so it cannot be retried.
    let succeeds = json!({"db_function": "shop.invoice", "success_handler": "shop.paid"});
    assert_eq!(probe.run(succeeds).status, "succeeded");
    let hint: String = one(&mut probe.client, "select hint from queues.error order by error_id desc limit 1");
    let expected =
        "There is no function shop.paid in this database. Create it, or enqueue tasks with the right name.";
    assert_eq!(hint, expected);
}

/// What a handler returned that cannot be used.
#[test]
fn an_unusable_result_is_told_with_what_to_return() {
    let mut probe = Probe::start(&[]);
    probe.create(
        "create schema app;
         grant usage on schema app to public;
         create function app.echo(payload jsonb) returns jsonb language sql as $$ select payload -> 'result' $$",
    );
    let without = "it returned an object without \"payload\" (its keys: ";
    let request = "A before_handler returns {\"status\": \"succeeded\", \"payload\": {…}}, where payload is the request.";
    let long = format!("{}é", "k".repeat(39));
    for (result, said, hint) in [
        (
            json!({"method": "GET", "path": "secret", "body": {}}),
            format!("{without}body, method, path)"),
            request,
        ),
        (
            json!({"a": 1, "bb": 1, "ccc": 1, "dddd": 1, "eeeee": 1, "ffffff": 1, "ggggggg": 1}),
            format!("{without}a, bb, ccc, dddd, eeeee, and 2 more)"),
            request,
        ),
        (
            json!({format!("{long}{long}"): 1, "new\nline": 1}),
            format!("{without}{long}…, new?line)"),
            request,
        ),
        (json!({}), "it returned null or an empty object, without \"payload\"".into(), request),
        (json!({"payload": null}), "it returned null as \"payload\"".into(), request),
        (json!({"status": "not_found"}), "status not_found".into(), "The before_handler has returned it"),
        (json!({"error": "no such order"}), "no such order".into(), ""),
        (json!([1]), "it returned an array, not an object".into(), request),
        (
            json!({"payload": {"to_number": "+49", "bdy": "x"}}),
            "the payload has no field bdy".into(),
            "The request is the",
        ),
    ] {
        let task = json!({"before_handler": "app.echo", "result": result});
        let task_id = enqueue(&mut probe.client, "sms", task);
        assert_eq!(probe.fate(task_id).status, "failed", "{result}");
        let (message, told) = last_error(&mut probe);
        assert!(message.starts_with(&format!("sms before_handler app.echo: {said}")), "{message}");
        assert!(told.starts_with(hint) && told.is_empty() == hint.is_empty(), "{result}: {told}");
    }
    let (message, hint) = refusal_of(&mut probe, json!({"db_function": "app.echo", "result": 5}));
    assert_eq!(message, "db_function app.echo: it returned a number, not an object");
    assert!(
        hint.starts_with("A handler returns a JSON object such as {\"status\": \"succeeded\"}"),
        "{hint}"
    );
    let (_, hint) = refusal_of(&mut probe, json!({"success_handler": "app.echo"}));
    assert!(hint.contains("{\"db_function\": \"my_schema.my_function\"}"), "{hint}");
}

#[test]
fn a_denial_inside_a_handler_names_the_role_that_was_denied() {
    let mut probe = Probe::start(&[]);
    probe.create(
        "create schema app;
         grant usage on schema app to public;
         create table app.secret (a int);
         create role clerk;
         grant usage on schema app to clerk;
         create function app.reads(payload jsonb) returns jsonb language plpgsql as $$
         begin
             perform a from app.secret;
             return '{}';
         end $$;
         create function app.reads_as_clerk(payload jsonb) returns jsonb language plpgsql security definer as $$
         begin
             perform a from app.secret;
             return '{}';
         end $$;
         alter function app.reads_as_clerk owner to clerk",
    );
    for (name, role, runs_as) in [
        ("app.reads", "errand_worker", "Handlers run as role errand_worker (pg_errand.role)."),
        ("app.reads_as_clerk", "clerk", "A function that is SECURITY DEFINER runs as its owner, here clerk."),
    ] {
        // By statement the first time, then directly.
        for _ in 0..2 {
            let (message, hint) = refusal(&mut probe, name);
            let expected =
                format!("db_function {name}: permission denied for table secret (as role \"{role}\")");
            assert_eq!(message, expected);
            let grant = "the privilege on what the message names, for example: GRANT SELECT, INSERT ON TABLE";
            assert!(hint.starts_with(runs_as) && hint.contains(&format!("Grant {role} {grant}")), "{hint}");
        }
    }
}
