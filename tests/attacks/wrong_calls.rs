//! C functions called with what they are not made for: an error, never a crash.

use serde_json::json;

use super::{Attack, NO_RIGHT, state};
use crate::harness::queue::wait_status;

#[test]
fn functions_in_c_take_any_argument() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")]);
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
    let pid = attack.text("select pid from queues.worker");
    for sql in [
        "select errand.announce('infinity')",
        "select errand.announce('-infinity')",
        "select errand.announce('4713-01-01 BC')",
        "select errand.announce('294276-12-31')",
        "select errand.announce(null)",
        "select errand.announce(now()) from generate_series(1, 10000)",
        "select errand.cancel_running(null)",
        "select errand.cancel_running(0)",
        "select errand.cancel_running(-1)",
        "select errand.cancel_running(9223372036854775807)",
        "select errand.cancel_call(null, null)",
        "select errand.cancel_call(0, 0)",
        "select errand.cancel_call(-1, 1)",
        "select errand.cancel_call(9223372036854775807, -9223372036854775808)",
        "select errand.cancel_call(0, 7) from generate_series(1, 1000)",
        "select errand.preloaded()",
        "select errand.worker_state()",
        "select count(*) from errand.worker_state() a, errand.worker_state() b",
        "select (errand.worker_state()).*, generate_series(1, 3)",
        "select errand.library_state()",
        "select errand.report_page(null)",
        "select errand.report_page('[]')",
        "select errand.report_page('{\"head\": 5, \"tasks\": {\"error\": {}}, \"stats\": {\"rows\": [null]}}')",
        "select errand.report_page(jsonb_build_object('head', repeat('x', 100000000)))",
        "select internal.run_function(null, null)",
        "select internal.run_function('', '{}')",
    ] {
        if let Err(error) = attack.client.simple_query(sql) {
            assert!(error.as_db_error().is_some(), "{sql}: {error:?}");
            assert_ne!(state(&error), "XX000", "{sql}: {error:?}");
        }
    }
    // Nobody was cancelled or ended by that.
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
    assert_eq!(attack.text("select pid from queues.worker"), pid);
}

#[test]
fn tasks_with_chosen_ids_run_and_are_cancelled_as_all_others() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")]);
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
    let ids = [-1, i64::MIN, i64::MAX];
    for id in ids {
        let insert = "insert into queues.task (task_id, task_type, payload, scheduled_at) \
            values ($1, 'db_function', '{\"db_function\": \"app.nothing\"}', now() + interval '1 day')";
        attack.client.execute(insert, &[&id]).unwrap();
        let cancelled: bool = attack.client.query_one("select queues.cancel($1)", &[&id]).unwrap().get(0);
        assert!(cancelled, "{id}");
        wait_status(&mut attack.client, id, "cancelled");
        let again = "update queues.task set finished_at = null, final_status = null, scheduled_at = now() where task_id = $1";
        attack.client.execute(again, &[&id]).unwrap();
        wait_status(&mut attack.client, id, "succeeded");
    }
    let none = "insert into queues.task (task_id, task_type, payload) values (0, 'sms', '{}')";
    let error = attack.client.batch_execute(none).unwrap_err();
    assert_eq!(state(&error), "22023", "{error:?}");
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
}

#[test]
fn the_trigger_of_the_queue_serves_no_other_table() {
    let mut attack = Attack::start(&[]);
    attack.create(
        "create role user_of_it login; grant usage on schema queues to user_of_it;
         create table public.fits (task_type text, scheduled_at timestamptz);
         create table public.wrong_types (task_type int, scheduled_at text);
         create table public.short (task_type \"char\", scheduled_at boolean);
         create table public.empty ();
         create view public.viewed as select 'sms'::text as task_type;
         insert into public.fits values ('sms', now()); insert into public.wrong_types values (7, 'x');",
    );
    for (timing, table, statement) in [
        (
            "before insert on public.wrong_types for each row",
            "wrong_types",
            "insert into public.wrong_types values (-1, 'x')",
        ),
        (
            "before insert on public.short for each row",
            "short",
            "insert into public.short values ('s', true)",
        ),
        ("before insert on public.empty for each row", "empty", "insert into public.empty default values"),
        (
            "before insert on public.fits for each row",
            "fits",
            "insert into public.fits values ('sms', now())",
        ),
        ("after insert on public.fits for each row", "fits", "insert into public.fits values ('sms', now())"),
        (
            "before insert on public.fits for each statement",
            "fits",
            "insert into public.fits values ('sms', now())",
        ),
        (
            "after insert on public.fits for each statement",
            "fits",
            "insert into public.fits values ('sms', now())",
        ),
        ("before delete on public.fits for each row", "fits", "delete from public.fits"),
        ("before truncate on public.fits for each statement", "fits", "truncate public.fits"),
        (
            "before update on public.wrong_types for each row",
            "wrong_types",
            "update public.wrong_types set task_type = 1",
        ),
        (
            "instead of insert on public.viewed for each row",
            "viewed",
            "insert into public.viewed values ('sms')",
        ),
        ("before truncate on queues.task for each statement", "queues.task", "truncate queues.task cascade"),
        (
            "after insert on queues.task for each statement",
            "queues.task",
            "insert into queues.task (task_type, payload) values ('sms', '{}')",
        ),
        (
            "before delete on queues.task for each row",
            "queues.task",
            "insert into queues.task (task_type, payload) values ('sms', '{}'); delete from queues.task",
        ),
    ] {
        let sql = format!("create trigger t {timing} execute function errand.task_before_write()");
        attack.create(&sql);
        if let Err(error) = attack.client.batch_execute(statement) {
            assert!(error.as_db_error().is_some(), "{sql}: {error:?}");
        }
        attack.create(&format!("drop trigger t on {table}"));
    }
    // Nobody else may try.
    let mut user = attack.cluster.connect_as("user_of_it", "postgres");
    for sql in [
        "create temp table mine (task_type text); create trigger t before insert on mine for each row execute function errand.task_before_write()",
        "select errand.task_before_write()",
    ] {
        let error = user.batch_execute(sql).expect_err(sql);
        assert_eq!(state(&error), NO_RIGHT, "{sql}: {error:?}");
    }
    let error = attack.client.batch_execute("select errand.task_before_write()").unwrap_err();
    assert!(error.as_db_error().is_some(), "{error:?}");
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
}
