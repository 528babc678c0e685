//! An unusable row of `queues.task_definition` or `queues.provider` stops no other task type or provider.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::queue::{enqueue, errors, install, wait_status};
use crate::harness::wait::eventually;

/// Functions for tasks, and a type and a provider that are going to be spoilt.
const SETUP: &str = r#"
    create schema app;
    grant usage on schema app to public;
    create function app.nothing(payload jsonb) returns jsonb language sql as $$ select '{}'::jsonb $$;
    create function app.builds(payload jsonb) returns jsonb language sql as
        $$ select '{"payload": {"message_id": "m", "to_number": "+1", "body": "b"}}'::jsonb $$;
    insert into queues.provider (name, interface) values ('bad', 'simulated');
    insert into queues.task_definition (task_type, provider, granted_to) values ('bad', 'bad', '{public}');
    insert into queues.task_definition (task_type, processor) values ('more', 'db_function');
    create role app login;
    grant usage on schema queues to app;
    grant execute on function queues.enqueue to app;
    create table app.good_provider as select * from queues.provider where name = 'bad';
    create table app.good_kind as select * from queues.task_definition where task_type = 'bad';
"#;

/// Rows get in without the triggers that would refuse them.
const UNCHECKED: &str = "
    alter table queues.provider disable trigger provider_before_write_checked;
    alter table queues.task_definition disable trigger task_definition_before_write_checked;
    set session_replication_role = replica;
";

fn start() -> (Cluster, Client) {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    client.batch_execute(SETUP).unwrap();
    (cluster, client)
}

/// Tasks of other types are enqueued by sessions, old and new, and run.
#[track_caller]
fn others_go_on(cluster: &Cluster, session: &mut Client) {
    let mut fresh = cluster.connect_as("app", "postgres");
    let local = enqueue(&mut fresh, "db_function", json!({"db_function": "app.nothing"}));
    let called = enqueue(session, "sms", json!({"before_handler": "app.builds"}));
    wait_status(session, local, "succeeded");
    wait_status(session, called, "succeeded");
}

/// Types of columns and what may be wrong with a value.
fn garbage(column_type: &str) -> &'static [&'static str] {
    match column_type {
        "text" => {
            &["''", "'no such thing'", "E'a\\r\\nb'", "'Ü'", "repeat('x', 100000)", "'http'", "'header'"]
        }
        "jsonb" => &[
            "'null'",
            "'0'",
            "'\"x\"'",
            "'[]'",
            "'[[{}]]'",
            "'{\"a\": {\"b\": [null]}}'",
            "'{\"X: y\": \"\\r\\n\"}'",
        ],
        "interval" => &["'-1 year'", "'0'", "'178000000 years'", "'-178000000 years'"],
        "double precision" => &["'NaN'", "'infinity'", "'-infinity'", "0", "-1", "-1e-320", "1e308"],
        "integer" => &["-2147483648", "-1", "0", "2147483647"],
        "smallint" => &["-32768", "-1", "16", "32767"],
        "boolean" => &["true", "false"],
        "queues.grantee[]" => &["'{NULL}'", "'{none,NULL}'", "'{{public},{NULL}}'", "'[-5:-4]={app,NULL}'"],
        other => panic!("a column has the type {other}"),
    }
}

#[test]
fn garbage_in_any_column_of_a_row_stops_no_other_type() {
    let (cluster, mut client) = start();
    client.batch_execute(UNCHECKED).unwrap();
    let mut session = cluster.connect_as("postgres", "postgres");
    let columns = client
        .query(
            "select a.attrelid::regclass::text, a.attname::text, a.atttypid::regtype::text
             from pg_attribute a
             where a.attrelid in ('queues.provider'::regclass, 'queues.task_definition'::regclass)
                 and a.attnum > 0 and not a.attisdropped and a.attname not in ('name', 'task_type')",
            &[],
        )
        .unwrap();
    assert!(columns.len() > 25, "{}", columns.len());
    for column in columns {
        let (table, name, column_type): (String, String, String) =
            (column.get(0), column.get(1), column.get(2));
        let (copy, key) = match table.ends_with("provider") {
            true => ("app.good_provider", "name"),
            false => ("app.good_kind", "task_type"),
        };
        for value in garbage(&column_type) {
            let spoil = format!("update {table} set {name} = {value} where {key} = 'bad'");
            client.batch_execute(&spoil).unwrap_or_else(|error| panic!("{spoil}: {error:?}"));
            others_go_on(&cluster, &mut session);
            // Refused, or it comes to an end.
            if let Ok(row) = session.query_one("select queues.enqueue('bad', '{\"request\": {}}')", &[]) {
                let task_id: i64 = row.get(0);
                let ended = "select finished_at is not null from queues.task where task_id = $1";
                eventually(&format!("{spoil}: its task ends"), || {
                    session.query_one(ended, &[&task_id]).unwrap().get::<_, bool>(0)
                });
            }
            let mend = format!("update {table} set {name} = (select {name} from {copy}) where {key} = 'bad'");
            client.batch_execute(&mend).unwrap();
        }
    }
    assert!(!cluster.log().contains("panicked"), "{}", cluster.log());
    let task_id = enqueue(&mut session, "bad", json!({"before_handler": "app.builds"}));
    wait_status(&mut session, task_id, "succeeded");
}

#[test]
fn a_row_that_cannot_be_used_is_told_once_with_the_reason_and_its_tasks_fail_with_it() {
    let (cluster, mut client) = start();
    client.batch_execute("alter database postgres set pg_errand.concurrency = 0").unwrap();
    eventually("the workers have gone", || {
        client.query_one("select count(*) = 0 from queues.worker", &[]).unwrap().get::<_, bool>(0)
    });
    let waiting = enqueue(&mut client, "bad", json!({"before_handler": "app.builds"}));
    let other = enqueue(&mut client, "more", json!({"db_function": "app.nothing"}));
    let mark = cluster.log_mark();
    client.batch_execute(UNCHECKED).unwrap();
    client
        .batch_execute(
            "update queues.provider set interface = 'pigeon' where name = 'bad';
             update queues.task_definition set processor = 'magic' where task_type = 'more';
             alter database postgres reset pg_errand.concurrency",
        )
        .unwrap();
    wait_status(&mut client, waiting, "failed");
    wait_status(&mut client, other, "failed");
    for (task_id, reason) in
        [(waiting, "there is no interface \"pigeon\""), (other, "there is no processor \"magic\"")]
    {
        let error = errors(&mut client, task_id).pop().unwrap().error_message;
        assert!(error.contains(reason), "{error}");
    }
    let refused = client.batch_execute("select queues.enqueue('bad', '{}')").unwrap_err();
    let message = refused.as_db_error().unwrap().message().to_owned();
    assert!(message.contains("pigeon"), "{message}");
    // Other changes are no reason to say it again.
    client.batch_execute("update queues.provider set burst = 7 where name = 'simulated'").unwrap();
    others_go_on(&cluster, &mut client);
    let log = cluster.log_since(mark);
    for line in [
        "provider \"bad\" cannot be used: there is no interface \"pigeon\"; its tasks fail",
        "task type \"more\" cannot be used: there is no processor \"magic\"; its tasks fail",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

#[test]
fn a_row_that_is_too_large_to_be_read_is_left_out() {
    let (cluster, mut client) = start();
    client.batch_execute(UNCHECKED).unwrap();
    // No jsonb holds all of them.
    client
        .batch_execute(
            "update queues.provider set base_url = repeat('x', 150000000), auth_name = repeat('y', 150000000)
             where name = 'bad'",
        )
        .unwrap();
    let mut session = cluster.connect("postgres");
    let refused = session.batch_execute("select queues.enqueue('bad', '{}')").unwrap_err();
    let message = refused.as_db_error().unwrap().message().to_owned();
    assert!(message.contains("provider \"bad\" cannot be used"), "{message}");
    others_go_on(&cluster, &mut session);
}
