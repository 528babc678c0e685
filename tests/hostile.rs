//! Handlers that misbehave cause a clear error, and the worker survives.

use serde_json::{Value, json};

use crate::harness::handlers::one;
use crate::harness::probe::{MIB, Probe};
use crate::harness::wait::wait_until_sql;

#[test]
fn statements_that_no_handler_can_run_fail_and_the_worker_lives() {
    let mut probe = Probe::start(&[]);
    let long = format!("select pg_notify('someone', repeat('x', {}))", 10_000);
    let mut wrong = Vec::new();
    for (sql, sqlstate) in [
        ("copy public.done from stdin", "0A000"),
        ("copy public.done to stdout", "0A000"),
        ("copy public.done to program 'cat'", "42501"),
        ("copy public.done from program 'echo'", "42501"),
        ("copy public.done from '/etc/passwd'", "42501"),
        ("do $do$ begin commit; end $do$", "2D000"),
        ("do $do$ begin rollback; end $do$", "2D000"),
        ("set transaction isolation level serializable", "25001"),
        ("discard all", "25001"),
        ("alter system set work_mem = '1MB'", "25001"),
        ("create database another", "25001"),
        ("create index concurrently on public.done (label)", "25001"),
        ("select pg_reload_conf()", "42501"),
        ("select pg_read_file('/etc/passwd')", "42501"),
        ("load '/tmp/none.so'", "42501"),
        ("set pg_errand.role = 'postgres'", "42501"),
        ("set session authorization postgres", "42501"),
        ("create role another", "42501"),
        ("select lo_export(1, '/tmp/none')", "42501"),
        (&long, "22023"),
        ("select repeat('x', 2000000000)", "54000"),
    ] {
        let refusal = probe.run_sql(sql).refusal();
        if refusal != sqlstate {
            wrong.push((sql, refusal));
        }
        probe.assert_well();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn copy_of_an_sql_function_reaches_no_client() {
    let mut probe = Probe::start(&[]);
    probe.create("create table public.source (a int); insert into public.source values (1); grant all on public.source to public");
    for direction in ["from stdin", "to stdout"] {
        probe.create(&format!(
            "create or replace function public.copy_it(payload jsonb) returns jsonb language sql as $$
                 copy public.source {direction}; select '{{}}'::jsonb
             $$"
        ));
        let fate = probe.run(json!({"db_function": "public.copy_it"}));
        assert_eq!(fate.refusal(), "0A000", "{direction}");
    }
    probe.assert_well();
}

#[test]
fn errors_of_every_kind_are_failures_of_their_task_and_keep_their_sqlstate() {
    let mut probe = Probe::start(&[]);
    let mut wrong = Vec::new();
    for sqlstate in [
        "57P01", "57P02", "57P03", "57014", "57P05", "XX000", "XX001", "53200", "53300", "25P02", "25P03",
        "08006", "42P01", "3F000", "42883", "55P03", "58030", "72000", "ZZZZZ", "01000", "02000", "P0004",
    ] {
        let raise =
            format!("do $do$ begin raise exception 'as asked' using errcode = '{sqlstate}'; end $do$");
        let fate = probe.run_sql(&raise);
        if fate.refusal() != sqlstate || fate.attempts != 1 || !fate.errors[0].message.contains("as asked") {
            wrong.push((sqlstate, fate));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    probe.assert_well();
    for (sql, sqlstate) in [
        ("select pg_cancel_backend(pg_backend_pid()), pg_sleep(60)", "57014"),
        ("do $do$ begin assert false, 'no'; end $do$", "P0004"),
        ("do $do$ begin raise exception ''; end $do$", "P0001"),
    ] {
        assert_eq!(probe.run_sql(sql).refusal(), sqlstate, "{sql}");
    }
    probe.assert_well();
}

#[test]
fn a_handler_that_calls_itself_for_ever_fails() {
    let mut probe = Probe::start(&[]);
    probe.create(
        "create function public.recurse(payload jsonb) returns jsonb language plpgsql as $$
         begin
             return public.recurse(payload);
         end $$;
         create function public.recurse_again(payload jsonb) returns jsonb language plpgsql as $$
         begin
             return internal.run_function('public.recurse_again', payload);
         end $$",
    );
    for name in ["public.recurse", "public.recurse_again"] {
        let fate = probe.run(json!({"db_function": name, "error_handler": "public.on_error"}));
        assert_eq!(fate.refusal(), "54001", "{name}");
        probe.assert_well();
    }
    assert_eq!(one::<i64>(&mut probe.client, "select count(*) from public.told"), 2);
}

#[test]
fn a_handler_that_says_much_costs_no_memory() {
    let mut probe = Probe::start(&[("log_min_messages", "error")]);
    let loud =
        "do $do$ begin for i in 1 .. 20000 loop raise notice '%', repeat('x', 1000); end loop; end $do$";
    assert_eq!(probe.run_sql(loud).status, "succeeded");
    let before = probe.memory();
    for _ in 0..5 {
        assert_eq!(probe.run_sql(loud).status, "succeeded");
    }
    let after = probe.memory();
    assert!(after < before + 4 * MIB, "{before} became {after}");
    probe.assert_well();
}

#[test]
fn errors_that_a_handler_catches_cost_no_memory() {
    let mut probe = Probe::start(&[]);
    let catching = "do $do$ begin for i in 1 .. 5000 loop
            begin perform 1 / (i - i); exception when division_by_zero then null; end;
        end loop; end $do$";
    assert_eq!(probe.run_sql(catching).status, "succeeded");
    let before = probe.memory();
    for _ in 0..5 {
        assert_eq!(probe.run_sql(catching).status, "succeeded");
    }
    let after = probe.memory();
    assert!(after < before + 4 * MIB, "{before} became {after}");
    assert_eq!(probe.run_sql("select 1 / 0").refusal(), "22012");
    probe.assert_well();
}

#[test]
fn what_is_nested_deeply_passes_or_is_refused() {
    let mut probe = Probe::start(&[]);
    let nested = |name: &str, fields: &str, depth: usize| {
        format!(
            "('{{\"db_function\": \"{name}\", {fields} \"deep\": ' || repeat('[', {depth}) || repeat(']', {depth}) || '}}')::jsonb"
        )
    };
    probe.create(
        "create function public.echo(payload jsonb) returns jsonb language sql as $$ select payload $$;
         create function public.build(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('payload', jsonb_build_object(
                 'message_id', 1, 'to_number', '1', 'content_sid', 'HX' || repeat('0', 32),
                 'content_variables', jsonb_build_object('deep', payload -> 'deep')))
         $$",
    );
    let with_handler = "\"success_handler\": \"public.on_success\",";
    for depth in [100, 1000, 4000] {
        let fate = probe.run_built("db_function", &nested("public.echo", with_handler, depth));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{depth}: {fate:?}");
    }
    let with_handler = "\"before_handler\": \"public.build\",";
    for depth in [100, 1000, 4000] {
        let fate = probe.run_built("sms", &nested("", with_handler, depth));
        let refused = fate.refusal() == "P0001" && fate.errors[0].message.contains("public.build");
        assert!(fate.status == "succeeded" && depth == 100 || refused, "{depth}: {fate:?}");
    }
    probe.assert_well();
}

#[test]
fn ten_thousand_names_of_handlers_cost_no_memory() {
    let mut probe = Probe::start(&[("pg_errand.log_level", "warning")]);
    probe.create("create function public.nothing(payload jsonb) returns jsonb return '{}'::jsonb");
    // Spaces are no part of an identifier: each of these names is another text for the same function.
    let tasks = |from: u32, to: u32| {
        format!(
            "insert into queues.task (task_type, payload)
             select 'db_function', jsonb_build_object(
                 'db_function', repeat(' ', n / 100) || 'public.nothing' || repeat(' ', n % 100))
             from generate_series({from}, {to}) n"
        )
    };
    let unfinished = "select count(*) from queues.task where finished_at is null";
    probe.create(&tasks(1, 2000));
    wait_until_sql(&mut probe.client, unfinished, "0");
    let before = probe.memory();
    probe.create(&tasks(2001, 9999));
    wait_until_sql(&mut probe.client, unfinished, "0");
    let after = probe.memory();
    assert!(after < before + 8 * MIB, "{before} became {after}");
    assert_eq!(one::<i64>(&mut probe.client, "select count(*) from queues.error"), 0);
    probe.assert_well();
}

#[test]
fn a_name_of_quotation_marks_holds_up_nobody() {
    let mut probe = Probe::start(&[]);
    for name in ["'\"'", "'\"a'", "'\"\".'"] {
        let payload = format!("jsonb_build_object('db_function', repeat({name}, 1000000))");
        let fate = probe.run_built("db_function", &payload);
        assert_eq!(fate.status, "failed");
        assert_eq!(fate.errors[0].sqlstate, "22023");
    }
}

#[test]
fn a_name_of_a_megabyte_is_an_error_like_any_other() {
    let mut probe = Probe::start(&[]);
    let mark = probe.cluster.log_mark();
    let mut payload: Value = json!({"error_handler": "public.on_error"});
    for name in ["x".repeat(MIB as usize), format!("public.{}", "y".repeat(MIB as usize))] {
        payload["db_function"] = json!(name);
        let fate = probe.run(payload.clone());
        assert_eq!(fate.status, "failed", "{fate:?}");
        assert_eq!(fate.errors.len(), 1, "{fate:?}");
    }
    // A known function by a name that is mostly spaces; the worker remembers names it has seen.
    probe.create("create function public.nothing(payload jsonb) returns jsonb return '{}'::jsonb");
    let padded = "jsonb_build_object('db_function', 'public.nothing' || repeat(' ', 1000000))";
    assert_eq!(probe.run_built("db_function", padded).status, "succeeded");
    let before = probe.memory();
    for n in 1..=60 {
        let padded =
            format!("jsonb_build_object('db_function', 'public.nothing' || repeat(' ', 1000000 + {n}))");
        assert_eq!(probe.run_built("db_function", &padded).status, "succeeded");
    }
    let after = probe.memory();
    assert!(after < before + 16 * MIB, "{before} became {after}");
    // The server's own parser logs what it truncates, at this log level.
    let log = probe.cluster.log_since(mark);
    let ours = log.lines().filter(|line| line.contains("pg_errand: "));
    let longest = ours.map(str::len).max().unwrap_or_default();
    assert!(longest < 20_000, "a log line of {longest} bytes");
    probe.assert_well();
}
