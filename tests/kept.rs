//! Workers cache handlers, and always invoke the function that the name means now.

use serde_json::{Value, json};

use crate::harness::handlers::{one, worker_pids};
use crate::harness::probe::{Fate, Probe};

/// The same worker throughout.
const STAY: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")];

fn define(probe: &mut Probe, language: &str, text: &str, options: &str) {
    let body = match language {
        "sql" => format!("select jsonb_build_object('validation_failure_message', {text})"),
        _ => format!("begin return jsonb_build_object('validation_failure_message', {text}); end"),
    };
    probe.create(&format!(
        "create or replace function public.change(payload jsonb) returns jsonb language {language} {options} as $${body}$$"
    ));
}

fn run(probe: &mut Probe) -> Fate {
    probe.run(json!({"db_function": "public.change"}))
}

/// What the function said.
fn said(probe: &mut Probe) -> Value {
    let fate = run(probe);
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{fate:?}");
    json!(one::<String>(&mut probe.client, "select outcome from queues.task order by task_id desc limit 1"))
}

#[test]
fn a_function_that_is_replaced_is_the_new_one_with_the_next_task() {
    let mut probe = Probe::start(&STAY);
    for (n, language) in ["plpgsql", "plpgsql", "sql", "sql", "plpgsql"].into_iter().enumerate() {
        define(&mut probe, language, &format!("'{n}'"), "");
        for _ in 0..3 {
            assert_eq!(said(&mut probe), json!(n.to_string()), "{language}");
        }
    }
    let setting = "current_setting('search_path')";
    define(&mut probe, "plpgsql", setting, "set search_path = pg_catalog, nowhere");
    assert_eq!(said(&mut probe), json!("pg_catalog, nowhere"));
    define(&mut probe, "plpgsql", "current_user", "security definer");
    assert_eq!(said(&mut probe), json!("postgres"));
    define(&mut probe, "plpgsql", "current_user", "");
    assert_eq!(said(&mut probe), json!("errand_worker"));
    assert_eq!(worker_pids(&mut probe.client).len(), 1);
}

#[test]
fn rights_that_are_taken_and_functions_that_are_dropped_count_with_the_next_task() {
    let mut probe = Probe::start(&STAY);
    define(&mut probe, "plpgsql", "'here'", "");
    assert_eq!(said(&mut probe), json!("here"));
    probe.create("revoke execute on function public.change from public");
    assert_eq!(run(&mut probe).refusal(), "42501");
    // Also by way of a role.
    probe.create("create role handlers; grant execute on function public.change to handlers; grant handlers to errand_worker");
    assert_eq!(said(&mut probe), json!("here"));
    probe.create("revoke handlers from errand_worker");
    assert_eq!(run(&mut probe).refusal(), "42501");
    probe.create("drop function public.change");
    assert_eq!(run(&mut probe).refusal(), "42883");
    define(&mut probe, "sql", "'again'", "");
    assert_eq!(said(&mut probe), json!("again"));
}

#[test]
fn functions_of_other_shapes_are_called_too() {
    let mut probe = Probe::start(&STAY);
    define(&mut probe, "plpgsql", "'jsonb'", "");
    assert_eq!(said(&mut probe), json!("jsonb"));
    for (arguments, result, value) in [
        ("jsonb", "json", "json_build_object('validation_failure_message', 'json')"),
        ("jsonb, extra int default 7", "jsonb", "jsonb_build_object('validation_failure_message', extra)"),
        ("jsonb", "setof jsonb", "jsonb_build_object('validation_failure_message', 'set')"),
        ("variadic jsonb[]", "jsonb", "jsonb_build_object('validation_failure_message', 'variadic')"),
        ("jsonb", "jsonb", "null::jsonb"),
    ] {
        probe.create("drop function public.change");
        probe.create(&format!(
            "create function public.change({arguments}) returns {result} language sql as $$select {value}$$"
        ));
        for _ in 0..2 {
            let fate = run(&mut probe);
            assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{arguments}: {fate:?}");
        }
    }
}

#[test]
fn a_function_that_failed_or_was_cut_off_is_called_again_as_if_nothing_was() {
    let mut probe = Probe::start(&STAY);
    probe.create("set check_function_bodies = off");
    for language in ["plpgsql", "sql"] {
        define(&mut probe, language, "(100 / (select count(*)::int from public.divisors))::text", "");
        probe.create("create table if not exists public.divisors (n int); truncate public.divisors; grant select on public.divisors to errand_worker");
        for _ in 0..2 {
            assert_eq!(run(&mut probe).refusal(), "22012", "{language}");
            probe.create("insert into public.divisors values (1)");
            assert_eq!(said(&mut probe), json!("100"), "{language}");
            probe.create("truncate public.divisors");
        }
    }
    probe.assert_well();
}
