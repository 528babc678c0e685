//! The error of a task whose handler is unusable says what is wrong and what to do.

use serde_json::json;

use crate::harness::probe::Probe;

/// Message and hint of the error of a task with this handler.
#[track_caller]
fn refusal(probe: &mut Probe, name: &str) -> (String, String) {
    let fate = probe.run(json!({ "db_function": name }));
    assert_eq!(fate.status, "failed", "{name}: {fate:?}");
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
        ("app.nothing", "function app.nothing(jsonb) does not exist", "A handler takes one jsonb argument."),
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
    for (name, role) in [("app.reads", "errand_worker"), ("app.reads_as_clerk", "clerk")] {
        // By statement the first time, then directly.
        for _ in 0..2 {
            let (message, hint) = refusal(&mut probe, name);
            let expected =
                format!("db_function {name}: permission denied for table secret (as role \"{role}\")");
            assert_eq!(message, expected);
            assert!(hint.starts_with(&format!("Grant it to the role {role}.")), "{hint}");
        }
    }
}
