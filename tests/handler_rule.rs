//! The setting `pg_errand.handlers`: which functions can be handlers.

use postgres::Client;
use serde_json::{Value, json};

use crate::harness::mailing::Mailing;
use crate::harness::probe::Probe;
use crate::harness::queue;

/// Asserts that a task was refused for its handler; returns the hint.
#[track_caller]
fn assert_refused(client: &mut Client, task_id: i64, reason: &str) -> String {
    let sql = "select sqlstate, error_message, coalesce(hint, '') from queues.error where task_id = $1";
    let rows = client.query(sql, &[&task_id]).unwrap();
    let [row] = &rows[..] else { panic!("{} errors", rows.len()) };
    let (state, message): (String, String) = (row.get(0), row.get(1));
    assert!(state == "42501" && message.contains(reason), "{state} {message}");
    row.get(2)
}

/// Whoever may enqueue would send any mail with the configured key.
#[test]
fn no_enqueuer_makes_a_mail_with_a_function_of_the_system() {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1")]);
    mailing
        .client
        .batch_execute(
            "create role enqueuer login;
             grant usage on schema queues to enqueuer;
             grant execute on function queues.enqueue to enqueuer",
        )
        .unwrap();
    let mut enqueuer = mailing.cluster.connect_as("enqueuer", "postgres");
    let mail = json!({"message_id": 1, "from_address": "boss@victim.test", "to_address": "x@mail.test",
        "subject": "s", "html": "h"});
    let relayed = |name: &str| {
        let mut payload = json!({"before_handler": name, "success": true, "payload": mail});
        payload.as_object_mut().unwrap().extend(mail.as_object().unwrap().clone());
        payload
    };
    for name in ["pg_catalog.jsonb_strip_nulls", "jsonb_strip_nulls", "jsonb_concat", "jsonb_agg"] {
        let task_id = queue::enqueue(&mut enqueuer, "email", relayed(name));
        mailing.wait(task_id, "failed");
        if name == "jsonb_concat" {
            continue;
        }
        let hint = assert_refused(&mut mailing.client, task_id, "it is in the schema \"pg_catalog\"");
        assert!(hint.contains("ALTER DATABASE postgres SET pg_errand.handlers = 'any';"), "{hint}");
    }
    assert_eq!(mailing.standin.requests().len(), 0);

    // The setting's word counts for the next task, in both directions.
    for (rule, status) in [("any", "succeeded"), ("users", "failed"), ("granted", "failed")] {
        mailing.cluster.set(&[("pg_errand.handlers", rule)]);
        let task_id = queue::enqueue(&mut enqueuer, "email", relayed("jsonb_strip_nulls"));
        mailing.wait(task_id, status);
    }
    assert_eq!(mailing.standin.requests().len(), 1);
}

#[test]
fn each_of_the_four_handlers_is_a_users_function() {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1")]);
    let mail = json!({"message_id": 1, "from_address": "a@b.test", "to_address": "x@mail.test",
        "subject": "s", "html": "h"});
    let system = "pg_catalog.jsonb_strip_nulls";
    let tasks: [(&str, Value, &str); 4] = [
        ("db_function", json!({"db_function": system}), "failed"),
        ("email", json!({"before_handler": system, "mail": mail}), "failed"),
        (
            "email",
            json!({"before_handler": "app.build", "success_handler": system, "mail": mail}),
            "succeeded",
        ),
        ("db_function", json!({"db_function": "app.raises", "error_handler": system}), "failed"),
    ];
    for (task_type, payload, status) in tasks {
        let task_id = queue::enqueue(&mut mailing.client, task_type, payload);
        mailing.wait(task_id, status);
        let sql = "select count(*) from queues.error where task_id = $1 and sqlstate = '42501'
            and error_message like '%jsonb_strip_nulls(jsonb) cannot be a handler%'";
        let refusals: i64 = mailing.client.query_one(sql, &[&task_id]).unwrap().get(0);
        assert_eq!(refusals, 1, "{task_type}");
    }
    // Nor one that takes more arguments than a handler is given, a type, or a schema of the system's.
    for (name, state) in [("information_schema._pg_truetypid", "42883"), ("app.shape", "42809")] {
        mailing.client.batch_execute("create domain app.shape as jsonb").ok();
        let task_id = queue::enqueue(&mut mailing.client, "db_function", json!({"db_function": name}));
        mailing.wait(task_id, "failed");
        let sql = "select sqlstate from queues.error where task_id = $1";
        let found: String = mailing.client.query_one(sql, &[&task_id]).unwrap().get(0);
        assert_eq!(found, state, "{name}");
    }
}

/// Whether a function is one is remembered, and looked at again when it may have changed.
#[test]
fn a_function_that_joins_an_extension_is_no_handler_from_then_on() {
    let mut probe = Probe::start(&[]);
    probe.create(
        "create extension hstore;
         create function public.f(payload jsonb) returns jsonb language sql as $$ select '{}'::jsonb $$;
         create function public.g(payload jsonb, more int default 1) returns jsonb language sql as $$ select '{}'::jsonb $$",
    );
    for (name, signature) in [("public.f", "public.f(jsonb)"), ("public.g", "public.g(jsonb, int)")] {
        let run = |probe: &mut Probe| probe.run(json!({"db_function": name}));
        for _ in 0..2 {
            // Twice: the second call takes the short way.
            assert_eq!(run(&mut probe).status, "succeeded");
            assert_eq!(run(&mut probe).status, "succeeded");
            probe.create(&format!("alter extension hstore add function {signature}"));
            let fate = run(&mut probe);
            assert_eq!(fate.refusal(), "42501");
            assert!(fate.errors[0].message.contains("it belongs to the extension \"hstore\""), "{fate:?}");
            probe.create(&format!("alter extension hstore drop function {signature}"));
        }
        assert_eq!(run(&mut probe).status, "succeeded");
    }
}

#[test]
fn with_granted_a_function_needs_a_grant_by_name() {
    let mut probe = Probe::start(&[]);
    probe.cluster.set(&[("pg_errand.handlers", "granted")]);
    // Probe's own handlers are open to PUBLIC only.
    let run = |probe: &mut Probe, name: &str| probe.run(json!({"db_function": name}));
    probe.create(
        "create role crew;
         create function public.mine(payload jsonb) returns jsonb language sql as $$ select '{}'::jsonb $$;",
    );
    let fate = run(&mut probe, "public.mine");
    assert_eq!(fate.refusal(), "42501");
    assert!(
        fate.errors[0].message.contains("it is not granted to the role \"errand_worker\" by name"),
        "{fate:?}"
    );
    let hint: String = probe
        .client
        .query_one("select hint from queues.error order by error_id desc limit 1", &[])
        .unwrap()
        .get(0);
    let grant = "GRANT EXECUTE ON FUNCTION public.mine(payload jsonb) TO errand_worker;";
    assert_eq!(hint, format!("Run: {grant}"));
    // Granted and taken back, to the role and to one that it is a member of; owned.
    for (give, take) in [
        (grant, "revoke execute on function public.mine from errand_worker"),
        (
            "grant execute on function public.mine to crew; grant crew to errand_worker",
            "revoke crew from errand_worker",
        ),
        ("alter function public.mine owner to errand_worker", "alter function public.mine owner to postgres"),
        (
            "grant execute on function pg_catalog.jsonb_strip_nulls to errand_worker",
            "revoke execute on function pg_catalog.jsonb_strip_nulls from errand_worker",
        ),
    ] {
        let name = if give.contains("pg_catalog") { "pg_catalog.jsonb_strip_nulls" } else { "public.mine" };
        probe.create(give);
        assert_eq!(run(&mut probe, name).status, "succeeded", "{give}");
        assert_eq!(run(&mut probe, name).status, "succeeded", "{give}");
        probe.create(take);
        assert_eq!(run(&mut probe, name).refusal(), "42501", "{take}");
    }
}
