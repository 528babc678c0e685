//! `queues.enqueue_many`: many tasks at once.

use postgres::Client;
use postgres::error::SqlState;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{done, install, one};
use crate::harness::wait::wait_until_sql;

const PAUSED: [(&str, &str); 1] = [("pg_errand.concurrency", "0")];

/// The ids that a call returns, in order.
#[track_caller]
fn many(client: &mut Client, arguments: &str) -> Vec<i64> {
    let sql = format!("select queues.enqueue_many({arguments})");
    client.query(&sql, &[]).unwrap_or_else(|error| panic!("{error:?}")).iter().map(|row| row.get(0)).collect()
}

#[test]
fn tasks_are_enqueued_in_order_with_the_names_of_the_arguments() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let ids = many(
        &mut client,
        r#"'[{"task_type": "sms", "payload": {"n": 1}},
             {"_task_type": "email", "_payload": {"n": 2}, "_scheduled_at": "infinity", "_priority": 3},
             {"task_type": "sms", "scheduled_at": "1999-01-01", "priority": 0},
             {"task_type": "sms", "payload": null}]'"#,
    );
    assert!(ids.is_sorted() && ids.len() == 4, "{ids:?}");
    let rows: Vec<String> = one(
        &mut client,
        "select array_agg(concat_ws(' ', task_type, payload, scheduled_at = 'infinity', scheduled_at <= now(), priority)
             order by task_id) from queues.task where scheduled_at >= enqueued_at",
    );
    assert_eq!(rows, ["sms {\"n\": 1} f t", "email {\"n\": 2} t f 3", "sms {} f t", "sms {} f t"]);
    assert_eq!(many(&mut client, "'[]'"), [0; 0]);
    assert_eq!(many(&mut client, "null::jsonb"), [0; 0]);
}

#[test]
fn unique_keys_hold_within_a_batch_and_numbers_stay_in_order() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let before: i64 = one(&mut client, "select queues.enqueue('sms', '{}', _unique_key => 'z')");
    let ids = many(
        &mut client,
        r#"'[{"task_type": "sms", "unique_key": "z"},
             {"task_type": "sms", "payload": {"n": 1}, "unique_key": "a"},
             {"task_type": "sms", "payload": {"n": 2}},
             {"task_type": "sms", "payload": {"n": 3}, "unique_key": "a", "if_exists": "replace"}]'"#,
    );
    assert_eq!((ids[0], ids[1]), (before, ids[3]));
    let payload = format!("select payload::text from queues.task where task_id = {}", ids[1]);
    assert_eq!(one::<String>(&mut client, &payload), "{\"n\": 3}");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.task"), 3);
    let ids =
        many(&mut client, "'sms', array['{}', '{}', '{}']::jsonb[], _unique_keys => array['z', null, 'b']");
    assert_eq!((ids.len(), ids[0]), (3, before));
}

#[test]
fn payloads_of_one_type_are_enqueued_from_a_query() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    let count: i64 = one(
        &mut client,
        "select count(*) from queues.enqueue_many('sms',
            (select array_agg(jsonb_build_object('n', n) order by n) from generate_series(1, 1000) n))",
    );
    assert_eq!(count, 1000);
    let ordered = "select bool_and(payload = jsonb_build_object('n', r)) and count(*) = 1000
        from (select payload, row_number() over (order by task_id) r from queues.task) t";
    assert!(one::<bool>(&mut client, ordered));
    let ids = many(
        &mut client,
        "'sms', array['{}', null]::jsonb[], array[null, 'infinity']::timestamptz[], _priority => -5",
    );
    let rows = format!(
        "select string_agg(concat_ws(' ', payload, scheduled_at = 'infinity', priority), ',' order by task_id)
         from queues.task where task_id = any ('{{{},{}}}')",
        ids[0], ids[1]
    );
    assert_eq!(one::<String>(&mut client, &rows), "{} f -5,{} t -5");
}

#[test]
fn bad_tasks_are_refused_as_a_whole() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    for (arguments, named) in [
        ("'{}'", "type object"),
        ("'[{\"task_type\": \"sms\"}, 7]'", "task 2 of the array is not an object but of type number"),
        ("'[{\"task_type\": \"sms\"}, {\"task_typ\": \"sms\"}]'", "unknown key \"task_typ\" in task 2"),
        ("'[{\"__task_type\": \"sms\"}]'", "unknown key \"__task_type\""),
        ("'[{\"task_type\": \"sms\"}, {\"task_type\": \"fax\"}]'", "\"fax\""),
        ("'[{\"payload\": {}}]'", "task type"),
        ("'[{\"task_type\": \"sms\", \"priority\": 40000}]'", "40000"),
        ("'[{\"task_type\": \"sms\", \"unique_key\": \"k\", \"if_exists\": \"x\"}]'", "\"x\""),
        ("'sms', array['{}']::jsonb[], _priority => 40000", "40000"),
        ("'fax', array['{}']::jsonb[]", "\"fax\""),
    ] {
        let error = client.query(&format!("select queues.enqueue_many({arguments})"), &[]).unwrap_err();
        let said = error.as_db_error().unwrap();
        assert!(said.message().contains(named) && said.hint().is_some(), "{arguments}: {said:?}");
    }
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.task"), 0);
}

#[test]
fn the_checks_are_those_of_the_caller() {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role app login; grant usage on schema queues to app;
             grant execute on function queues.enqueue_many(jsonb),
                 queues.enqueue_many(text, jsonb[], timestamptz[], text[], text, interval, interval, integer, text[]) to app;
             select queues.grant_enqueue('sms', 'app')",
        )
        .unwrap();
    client.batch_execute("set role app").unwrap();
    assert_eq!(many(&mut client, "'[{\"task_type\": \"sms\"}]'").len(), 1);
    for arguments in [
        "'[{\"task_type\": \"sms\"}, {\"task_type\": \"http\"}]'",
        "'[{\"task_type\": \"sms\", \"unique_key\": \"k\"}, {\"task_type\": \"http\", \"unique_key\": \"k\"}]'",
        "'http', array['{}']::jsonb[]",
    ] {
        let error = client.query(&format!("select queues.enqueue_many({arguments})"), &[]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{arguments}");
    }
}

#[test]
fn all_of_a_batch_run() {
    let cluster = Cluster::start(&[("pg_errand.poll_interval", "1h")]);
    let mut client = install(&cluster, "postgres");
    many(
        &mut client,
        "(select jsonb_agg(jsonb_build_object(
             'task_type', 'db_function',
             'payload', jsonb_build_object('db_function', 'public.note', 'label', n)
         )) from generate_series(1, 50) n)",
    );
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    assert_eq!(done(&mut client).len(), 50);
}
