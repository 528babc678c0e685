//! What can be a queue key, and where it is kept.

use postgres::Client;
use postgres::error::SqlState;

use super::{PAUSED, start};
use crate::harness::handlers::one;
use crate::harness::queue;

/// The error of a statement: SQLSTATE, message and hint.
#[track_caller]
fn error(client: &mut Client, sql: &str) -> (SqlState, String, String) {
    let error = client.simple_query(sql).unwrap_err();
    let error = error.as_db_error().expect("an error of the server");
    (error.code().clone(), error.message().to_owned(), error.hint().unwrap_or_default().to_owned())
}

/// The keys of all tasks, by number.
#[track_caller]
fn keys(client: &mut Client) -> Vec<Option<String>> {
    one(client, "select coalesce(array_agg(queue_key order by task_id), '{}') from queues.task")
}

#[test]
fn an_empty_key_is_no_key_however_a_task_is_enqueued() {
    let (cluster, mut client) = start(&PAUSED);
    for sql in [
        "select queues.enqueue('sms', '{}', _queue_key => '')",
        "select queues.enqueue('sms', '{}', _queue_key => null)",
        "select queues.enqueue('sms', '{}', _unique_key => 'u', _queue_key => '')",
        "select queues.enqueue_many('[{\"task_type\": \"sms\", \"queue_key\": \"\"}, {\"task_type\": \"sms\", \"_queue_key\": null}]')",
        "select queues.enqueue_many('sms', array['{}']::jsonb[], _queue_keys => array[''])",
        "insert into queues.task (task_type, payload, queue_key) values ('sms', '{}', '')",
        "insert into queues.task (task_type, payload, queue_key, priority) values ('sms', '{}', '', 0)",
    ] {
        client.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    cluster.psql("postgres", "copy (select 'sms' t, '{}' p, '' k) to program 'cat > /dev/null' csv");
    let copied = "copy queues.task (task_type, payload, queue_key) from program 'printf \"sms\\t{}\\t\\n\"'";
    client.batch_execute(copied).unwrap();
    assert_eq!(keys(&mut client), [const { None }; 9]);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.task where priority is not null"), 0);
    client.batch_execute("update queues.task set queue_key = 'k' where task_id = 1").unwrap();
    client.batch_execute("update queues.task set queue_key = '' where task_id = 1").unwrap();
    assert_eq!(keys(&mut client)[0], None);
}

#[test]
fn every_way_to_enqueue_takes_a_key() {
    let (_cluster, mut client) = start(&PAUSED);
    for sql in [
        "select queues.enqueue('sms', '{}', _queue_key => 'a')",
        "select queues.enqueue('sms', '{}', _queue_key => 'b', _priority => 3)",
        "select queues.enqueue('sms', '{}', _queue_key => 'c', _unique_key => 'u')",
        "select queues.enqueue_many('[{\"task_type\": \"sms\", \"queue_key\": \"d\"}, {\"task_type\": \"sms\", \"_queue_key\": \"e\"}]')",
        "select queues.enqueue_many('[{\"task_type\": \"sms\", \"queue_key\": \"f\", \"unique_key\": \"v\"}]')",
        "select queues.enqueue_many('sms', array['{}', '{}']::jsonb[], _queue_keys => array['g', null])",
        "select queues.enqueue_many('sms', array['{}']::jsonb[], _queue_keys => array['h'], _unique_keys => array['w'])",
        "insert into queues.task (task_type, payload, queue_key) select 'sms', '{}', 'i'",
        "copy queues.task (task_type, payload, queue_key) from program 'printf \"sms\\t{}\\tj\\n\"'",
    ] {
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let found: Vec<String> = keys(&mut client).into_iter().map(Option::unwrap_or_default).collect();
    assert_eq!(found, ["a", "b", "c", "d", "e", "f", "g", "", "h", "i", "j"]);
    let shown = "select queue_key || priority from queues.task_status order by task_id offset 1 limit 1";
    assert_eq!(one::<String>(&mut client, shown), "b3");
    // The task of a unique key takes the queue key with which it is replaced.
    let replace =
        "select queues.enqueue('sms', '{}', _queue_key => 'z', _unique_key => 'u', _if_exists => 'replace')";
    assert_eq!(one::<i64>(&mut client, replace), 3);
    assert_eq!(keys(&mut client)[2].as_deref(), Some("z"));
}

#[test]
fn a_key_above_512_bytes_is_refused_and_one_of_512_bytes_is_not() {
    let (_cluster, mut client) = start(&PAUSED);
    for (sql, length) in [
        ("select queues.enqueue('sms', '{}', _queue_key => repeat('x', 513))", 513),
        ("select queues.enqueue('sms', '{}', _queue_key => repeat('ä', 300))", 600),
        (
            "select queues.enqueue_many(jsonb_build_array(jsonb_build_object('task_type', 'sms', 'queue_key', repeat('x', 1000))))",
            1000,
        ),
        (
            "insert into queues.task (task_type, payload, queue_key) values ('sms', '{}', repeat('x', 513))",
            513,
        ),
    ] {
        let (code, message, hint) = error(&mut client, sql);
        assert_eq!(code, SqlState::INVALID_PARAMETER_VALUE, "{sql}");
        assert_eq!(message, format!("the queue key has {length} bytes"), "{sql}");
        assert!(hint.contains("512") && hint.contains("md5"), "{hint}");
    }
    let longest = "select queues.enqueue('sms', '{}', _queue_key => repeat('ä', 256))";
    assert_eq!(
        one::<i64>(&mut client, longest),
        1 + one::<i64>(&mut client, "select 0::bigint + last_value - 1 from queues.task_task_id_seq")
    );
    let (code, message, _) = error(&mut client, "update queues.task set queue_key = repeat('x', 513)");
    assert_eq!((code, message.as_str()), (SqlState::INVALID_PARAMETER_VALUE, "the queue key has 513 bytes"));
}

#[test]
fn the_number_of_tasks_of_a_key_is_at_least_one() {
    let (_cluster, mut client) = start(&PAUSED);
    for number in ["0", "-3"] {
        let sql = format!(
            "update queues.task_definition set max_running_per_key = {number} where task_type = 'sms'"
        );
        let (code, message, hint) = error(&mut client, &sql);
        assert_eq!(code, SqlState::INVALID_PARAMETER_VALUE);
        assert_eq!(message, "task type \"sms\": max_running_per_key has to be 1 or more");
        assert!(hint.contains("one after the other"), "{hint}");
    }
    let null = "update queues.task_definition set max_running_per_key = null where task_type = 'sms'";
    assert_eq!(error(&mut client, null).0, SqlState::NOT_NULL_VIOLATION);
    let default = "select max_running_per_key from queues.task_definition where task_type = 'sms'";
    assert_eq!(one::<i32>(&mut client, default), 1);
}

#[test]
fn a_task_without_a_key_is_in_no_index_of_keys() {
    let (_cluster, mut client) = start(&PAUSED);
    for _ in 0..3 {
        queue::enqueue(&mut client, "sms", serde_json::json!({}));
    }
    client
        .batch_execute("select queues.enqueue('sms', '{}', _queue_key => 'a'); analyze queues.task")
        .unwrap();
    let entries = "select greatest(reltuples, 0)::bigint from pg_class where oid = 'queues.INDEX'::regclass";
    for (index, expected) in [
        ("task_ready", 3),
        ("task_keyed", 1),
        ("task_keyed_due", 1),
        ("task_keyed_busy", 0),
        ("task_prioritized", 0),
    ] {
        client.batch_execute(&format!("reindex index queues.{index}")).unwrap();
        assert_eq!(one::<i64>(&mut client, &entries.replace("INDEX", index)), expected, "{index}");
    }
}
