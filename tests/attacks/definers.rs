//! The functions with their owner's rights, one by one.

use serde_json::json;

use super::{Attack, refused, state, text};
use crate::harness::queue::wait_status;

/// Each with harmless arguments.
const FUNCTIONS: [(&str, &str); 21] = [
    (
        "enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer, text)",
        "queues.enqueue('sms', '{}', 'infinity')",
    ),
    ("enqueue_many(jsonb)", "queues.enqueue_many('[]')"),
    (
        "enqueue_many(text, jsonb[], timestamptz[], text[], text, interval, interval, integer, text[])",
        "queues.enqueue_many('sms', '{}'::jsonb[])",
    ),
    ("dequeue_next_available_task(text[])", "queues.dequeue_next_available_task()"),
    ("complete_task(bigint)", "queues.complete_task(-1)"),
    ("append_error(bigint, text)", "queues.append_error(-1, 'x')"),
    ("fail_task(bigint, text)", "queues.fail_task(-1, 'x')"),
    ("cancel(bigint)", "queues.cancel(-1)"),
    ("cancel_where(text, interval, text, integer)", "queues.cancel_where('db_function')"),
    ("retry_failed(text, timestamptz, text, integer, boolean)", "queues.retry_failed()"),
    ("purge(interval, text, integer)", "queues.purge('1 year')"),
    ("explain(bigint)", "queues.explain(null)"),
    ("failures(interval)", "queues.failures()"),
    ("last_ended(text, integer)", "queues.last_ended('sms')"),
    ("pause_key(text, text, timestamptz, text)", "queues.pause_key('sms', 'a')"),
    ("resume_key(text, text)", "queues.resume_key('sms', 'a')"),
    ("throughput(interval)", "queues.throughput()"),
    ("top(integer)", "queues.top()"),
    ("report(timestamptz, timestamptz)", "queues.report()"),
    ("metrics_text()", "queues.metrics_text()"),
    ("stats_reset(text)", "queues.stats_reset('sms')"),
];

/// What nobody may who has been granted one of them.
const CLOSED: [&str; 20] = [
    "select from queues.task",
    "select from queues.error",
    "select from queues.call",
    "select from queues.paused_key",
    "delete from queues.paused_key",
    "select from queues.task_status",
    "select from queues.worker",
    "insert into queues.task (task_type, payload) values ('sms', '{}')",
    "update queues.task set payload = '{}'",
    "delete from queues.error",
    "truncate queues.call",
    "select nextval('queues.task_task_id_seq')",
    "select errand.announce(now())",
    "select errand.announce_key('sms', 'a')",
    "select errand.cancel_running(1)",
    "select errand.cancel_call(1, 1)",
    "select errand.task_before_write()",
    "select errand.count_task(1, 'sms', 'failed')",
    "select from queues.stats",
    "select errand.report_facts(now(), now())",
];

#[test]
fn each_function_opens_itself_and_nothing_else() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0")]);
    attack.create(
        "create role bystander login; create role looker login; grant usage on schema queues to looker",
    );
    for (index, (signature, _)) in FUNCTIONS.iter().enumerate() {
        attack.create(&format!(
            "create role caller_{index} login; grant usage on schema queues to caller_{index};
             grant execute on function queues.{signature} to caller_{index}"
        ));
    }
    for index in 0..FUNCTIONS.len() {
        let mut caller = attack.cluster.connect_as(&format!("caller_{index}"), "postgres");
        for (other, (_, call)) in FUNCTIONS.iter().enumerate() {
            if other == index {
                caller
                    .simple_query(&format!("select {call}"))
                    .unwrap_or_else(|error| panic!("{call}: {error:?}"));
            } else {
                refused(&mut caller, &format!("select {call}"));
            }
        }
        CLOSED.iter().for_each(|sql| refused(&mut caller, sql));
    }
    for role in ["bystander", "looker"] {
        let mut client = attack.cluster.connect_as(role, "postgres");
        for (_, call) in FUNCTIONS {
            refused(&mut client, &format!("select {call}"));
        }
        CLOSED.iter().for_each(|sql| refused(&mut client, sql));
    }
}

/// A role that may call all of them, and its session.
fn caller(attack: &mut Attack) -> postgres::Client {
    attack.create(
        "create role caller login; grant usage on schema queues to caller; create schema mine authorization caller",
    );
    for (signature, _) in FUNCTIONS {
        attack.create(&format!("grant execute on function queues.{signature} to caller"));
    }
    attack.cluster.connect_as("caller", "postgres")
}

#[test]
fn their_arguments_are_values_and_nothing_else() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0")]);
    let mut caller = caller(&mut attack);
    let evil = "x'); drop table queues.task; --\n$$ \u{1f4a3} %s %1$s";
    for task_type in [evil, "", " sms", "SMS", &"x".repeat(1_000_000)] {
        let error = caller.execute("select queues.enqueue($1, '{}')", &[&task_type]).unwrap_err();
        assert_eq!(state(&error), "22023", "{error:?}");
    }
    let error = caller.simple_query("select queues.enqueue(null, '{}')").unwrap_err();
    assert_eq!(state(&error), "22023", "{error:?}");
    for payload in [json!(null), json!(evil), json!([evil]), json!({ evil: evil }), json!(1)] {
        caller.execute("select queues.enqueue('sms', $1, 'infinity')", &[&payload]).unwrap();
    }
    for time in ["null", "'infinity'", "'4713-01-01 BC'", "'294276-12-31'"] {
        caller.batch_execute(&format!("select queues.enqueue('sms', null, {time})")).unwrap();
    }
    for id in [None, Some(0), Some(-1), Some(i64::MIN), Some(i64::MAX)] {
        for message in [None, Some(evil), Some(""), Some(&*"x".repeat(100_000))] {
            caller.execute("select queues.append_error($1, $2)", &[&id, &message]).unwrap();
            caller.execute("select queues.fail_task($1, $2)", &[&id, &message]).unwrap();
        }
        caller.execute("select queues.complete_task($1)", &[&id]).unwrap();
        let cancelled: Option<bool> = caller.query_one("select queues.cancel($1)", &[&id]).unwrap().get(0);
        assert_ne!(cancelled, Some(true));
    }
    assert_eq!(attack.text("select count(*) from queues.task"), "9");
    assert_eq!(attack.text("select count(*) from queues.task where finished_at is not null"), "0");
    assert_eq!(attack.text("select count(*) from queues.error where task_id is not null"), "0");
}

#[test]
fn they_do_in_any_session_what_they_do_in_a_clean_one() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0")]);
    let mut caller = caller(&mut attack);
    attack.create("grant caller to errand_worker");
    caller
        .batch_execute(
            "create table mine.task (task_id bigint); create function mine.now() returns timestamptz language plpgsql as
                 $$ begin perform app.catch('now'); return now(); end $$;
             create function mine.clock_timestamp() returns timestamptz language plpgsql as
                 $$ begin perform app.catch('clock'); return now(); end $$;
             create temp table task (task_id bigint); create temp table error (a int);
             create temp table trace (id bigint)",
        )
        .unwrap();
    for setting in [
        "search_path = pg_temp, mine, pg_catalog",
        "search_path = ''",
        "role = 'none'",
        "role = 'caller'",
        "datestyle = 'German'",
        "intervalstyle = 'sql_standard'",
        "time zone 'Asia/Tokyo'",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "array_nulls = off",
        "row_security = off",
        "enable_indexscan = off",
        "default_transaction_isolation = 'serializable'",
        "check_function_bodies = off",
        "plan_cache_mode = force_generic_plan",
        "constraint_exclusion = on",
        "bytea_output = 'escape'",
        "extra_float_digits = -10",
    ] {
        caller.batch_execute(&format!("reset all; set {setting}")).unwrap();
        let id = text(&mut caller, "queues.enqueue('sms', '{}')");
        let taken = text(&mut caller, "(queues.dequeue_next_available_task()).task_id");
        assert_eq!(taken, id, "{setting}");
        caller.batch_execute(&format!("select queues.complete_task({id})")).unwrap();
        let id = text(&mut caller, "queues.enqueue('sms', '{}', 'infinity')");
        caller.batch_execute(&format!("select queues.fail_task({id}, 'x')")).unwrap();
        let id = text(&mut caller, "queues.enqueue('sms', '{}', 'infinity')");
        assert_eq!(text(&mut caller, &format!("queues.cancel({id})")), "true", "{setting}");
        assert_eq!(text(&mut caller, "current_user"), "caller", "{setting}");
    }
    let ends = "select string_agg(final_status || n, ' ' order by final_status) from \
        (select final_status, count(*) as n from queues.task group by 1) e";
    assert_eq!(attack.text(ends), "cancelled18 failed18 succeeded18");
    let leases = "select count(*) from queues.task where not_before is not null";
    assert_eq!(attack.text(leases), "0");
    attack.assert_nothing_caught();
}

#[test]
fn they_fail_cleanly_in_a_transaction_that_only_reads() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0")]);
    let mut caller = caller(&mut attack);
    let id = text(&mut caller, "queues.enqueue('sms', '{}')");
    for sql in [
        "queues.enqueue('sms', '{}')".to_owned(),
        "queues.dequeue_next_available_task()".to_owned(),
        format!("queues.complete_task({id})"),
        format!("queues.append_error({id}, 'x')"),
        format!("queues.fail_task({id}, 'x')"),
        format!("queues.cancel({id})"),
    ] {
        let error = caller.batch_execute(&format!("begin read only; select {sql}")).expect_err(&sql);
        assert_eq!(state(&error), "25006", "{sql}: {error:?}");
        caller.batch_execute("rollback").unwrap();
    }
    assert_eq!(attack.text("select string_agg(status, ' ') from queues.task_status"), "ready");
    assert_eq!(attack.text("select count(*) from queues.error"), "0");
}

#[test]
fn called_by_a_trigger_or_a_handler_they_do_the_same() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "1")]);
    let mut session = caller(&mut attack);
    session
        .batch_execute(
            "create table mine.orders (a int);
             create function mine.ordered() returns trigger language plpgsql as $$
             begin
                 perform queues.enqueue('db_function', '{\"db_function\": \"app.nothing\"}');
                 perform queues.append_error(null, 'by a trigger');
                 perform queues.complete_task(-1);
                 perform queues.cancel(-1);
                 return null;
             end $$;
             create trigger t after insert on mine.orders for each row execute function mine.ordered();
             create constraint trigger d after insert on mine.orders initially deferred
                 for each row execute function mine.ordered();
             grant usage on schema mine to public; grant insert on mine.orders to public;
             insert into mine.orders values (1)",
        )
        .unwrap();
    for id in [1, 2] {
        wait_status(&mut attack.client, id, "succeeded");
    }
    // A role without those rights gains none by the trigger.
    attack.create("create role bystander login");
    refused(&mut attack.cluster.connect_as("bystander", "postgres"), "insert into mine.orders values (2)");
    // A handler that was granted them, too; the task that it is stays its own.
    for (signature, _) in FUNCTIONS {
        attack.create(&format!("grant execute on function queues.{signature} to errand_worker"));
    }
    attack.handler("insert into mine.orders values (3)").unwrap();
    attack.create("grant select on queues.worker to errand_worker");
    for call in ["complete_task(task_id)", "fail_task(task_id, 'mine')"] {
        let sql = format!(
            "do $do$ declare _id bigint; begin
                 select w.task_id into _id from queues.worker w where w.pid = pg_backend_pid();
                 perform queues.{};
             end $do$",
            call.replace("task_id", "_id")
        );
        // Whatever the handler says of its own task: it has one end, and the worker goes on.
        let _ = attack.handler(&sql);
        let ends = "select count(*) from queues.task where final_status is null and scheduled_at <= now()";
        assert_eq!(attack.text(ends), "0", "{call}");
    }
    attack.handler("select 1").unwrap();
}

#[test]
fn the_docs_name_all_of_them() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0")]);
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, section) = docs.split_once("## SECURITY DEFINER functions").unwrap();
    let (table, _) = section.split_once("\n## ").unwrap();
    let names = attack.text(
        "select string_agg(p.proname, ' ' order by p.proname) from pg_proc p
         join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
         join pg_extension e on e.oid = d.refobjid and e.extname = 'pg_errand'
         where p.prosecdef or p.proname in ('enqueue', 'task_after_delete', 'task_after_truncate')",
    );
    assert!(names.contains("provider_before_write_checked"), "{names}");
    for name in names.split(' ') {
        let names = [format!("`queues.{name}`"), format!("`errand.{name}`"), format!("`{name}`")];
        let named = names.iter().any(|name| table.contains(name));
        assert!(named, "{name} is not in docs/security.md");
    }
}
