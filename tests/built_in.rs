//! Built-in rows and triggers cannot be removed by mistake, and can be restored.

use postgres::{Client, Error};
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{create_database, done, install, one, run_one, task};
use crate::harness::programs::output;
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// A handler that builds a message, and one that refuses to.
const BUILDERS: &str = r#"
    create function public.builds(payload jsonb) returns jsonb language sql as
        $$ select '{"payload": {"message_id": "m", "to_number": "+1", "body": "b"}}'::jsonb $$;
"#;

fn start(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(settings);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(BUILDERS).unwrap();
    (cluster, client)
}

/// Enqueues a message that is not sent anywhere, but takes a call.
fn message(client: &mut Client) -> i64 {
    enqueue(client, "sms", json!({"task_type": "sms", "before_handler": "public.builds"}))
}

#[track_caller]
fn assert_refused(refused: Result<(), Error>, code: &str, parts: &[&str]) {
    let error = refused.expect_err(parts[0]);
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), code, "{error:?}");
    let text = format!("{} {}", error.message(), error.hint().unwrap_or_default());
    for part in parts {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

/// Text of all rows of the two tables.
fn rows(client: &mut Client) -> Vec<String> {
    one(
        client,
        "select array_agg(r order by r)
         from (select p::text from queues.provider p union all select k::text from queues.task_definition k) as rows (r)",
    )
}

fn restore(client: &mut Client) -> Vec<String> {
    one(client, "select coalesce(array_agg(r), '{}') from queues.restore_built_in() r")
}

#[test]
fn tables_that_tasks_cannot_do_without_are_not_emptied() {
    let (_cluster, mut client) = start(&[]);
    let before = rows(&mut client);
    for (sql, table) in [
        ("truncate errand.home", "errand.home"),
        ("delete from errand.home", "errand.home"),
        ("truncate queues.task_definition", "queues.task_definition"),
        ("truncate queues.provider", "queues.provider"),
        ("set session_replication_role = replica; truncate queues.provider", "queues.provider"),
        ("truncate queues.task, queues.error, queues.call, queues.task_definition", "queues.task_definition"),
    ] {
        assert_refused(client.batch_execute(sql), "2BP01", &[table, "Leave the table out"]);
        client.batch_execute("reset session_replication_role").unwrap();
    }
    assert_eq!(rows(&mut client), before);
    client.batch_execute("truncate queues.task, queues.error, queues.call").unwrap();
    run_one(&mut client, "goes on");
}

#[test]
fn a_database_goes_on_although_its_home_was_emptied() {
    let settings = [("pg_errand.poll_interval", "1h"), ("pg_errand.max_idle_time", "0")];
    let (cluster, mut client) = start(&settings);
    run_one(&mut client, "first");
    let empty = "alter table errand.home disable trigger home_before_emptying; truncate errand.home";
    client.batch_execute(empty).unwrap();
    client.batch_execute("select pg_terminate_backend(pid) from queues.worker").unwrap();
    run_one(&mut client, "by a new worker");
    wait_until_sql(&mut client, "select count(*) from errand.home", "1");

    // Nobody remembers what it was. A worker that has not left yet would.
    client.batch_execute("alter database postgres set pg_errand.concurrency = 0").unwrap();
    wait_until_sql(&mut client, "select count(*) from queues.worker", "0");
    client.batch_execute("truncate errand.home").unwrap();
    let waiting = task(&mut client, "note", json!({"label": "waiting"}));
    let mark = cluster.log_mark();
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    client.batch_execute("alter database postgres reset pg_errand.concurrency").unwrap();
    run_one(&mut client, "after a restart");
    cluster.wait_log(mark, "1 unfinished tasks came from another database");
    assert_eq!(one::<i64>(&mut client, "select queues.adopt()"), 1);
    wait_status(&mut client, waiting, "succeeded");
    assert_eq!(done(&mut client), ["first", "by a new worker", "after a restart", "waiting"]);
}

#[test]
fn what_is_missing_is_told_and_can_be_restored() {
    let (cluster, mut client) = start(&[]);
    client
        .batch_execute(
            "insert into queues.provider (name, base_url) values ('ours', 'https://ours.test');
             insert into queues.task_definition (task_type, provider, granted_to) values ('ours', 'ours', '{public}');
             update queues.provider set batch_size = 100 where name = 'resend'",
        )
        .unwrap();
    let before = rows(&mut client);
    assert_eq!(restore(&mut client), Vec::<String>::new());
    assert_eq!(rows(&mut client), before);
    run_one(&mut client, "a worker is there");
    let mark = cluster.log_mark();
    client
        .batch_execute(
            "alter table queues.provider disable trigger provider_before_delete;
             alter table queues.task_definition disable trigger task_definition_before_delete;
             delete from queues.provider where name = 'smtp';
             delete from queues.task_definition where task_type in ('sms', 'http')",
        )
        .unwrap();
    let line = cluster.wait_log(mark, "task type \"sms\" is missing");
    assert!(line.contains("pg_errand"), "{line}");
    cluster.wait_log(mark, "SELECT queues.restore_built_in();");
    let refused = client.batch_execute("select queues.enqueue('sms', '{}')");
    assert_refused(refused, "22023", &["unknown task type \"sms\"", "queues.restore_built_in()"]);
    let restored = restore(&mut client);
    let expected = [
        "trigger provider_before_delete of queues.provider",
        "trigger task_definition_before_delete of queues.task_definition",
        "provider smtp",
        "task type sms",
        "task type http",
    ];
    assert_eq!(restored, expected);
    assert_eq!(restore(&mut client), Vec::<String>::new());
    let without_lanes =
        |rows: Vec<String>| rows.into_iter().filter(|row| !row.contains("smtp")).collect::<Vec<_>>();
    assert_eq!(without_lanes(rows(&mut client)), without_lanes(before));
    let task_id = message(&mut client);
    wait_status(&mut client, task_id, "succeeded");
    let mut other = cluster.connect("postgres");
    other.batch_execute("create role app login; grant usage on schema queues to app; grant execute on function queues.restore_built_in to app").unwrap();
    let refused = cluster.connect_as("app", "postgres").batch_execute("select queues.restore_built_in()");
    assert_refused(refused, "42501", &["permission denied", "superuser"]);
}

#[test]
fn what_others_depend_on_is_not_deleted_or_renamed() {
    let (_cluster, mut client) = start(&[]);
    client
        .batch_execute(
            "insert into queues.provider (name, base_url) values ('ours', 'https://ours.test');
             insert into queues.task_definition (task_type, provider) values ('ours', 'ours')",
        )
        .unwrap();
    let before = rows(&mut client);
    for (sql, parts) in [
        (
            "delete from queues.task_definition where task_type = 'email'",
            &["task type \"email\"", "built in", "granted_to"][..],
        ),
        ("delete from queues.task_definition", &["built in"]),
        ("delete from queues.provider where name = 'resend'", &["provider \"resend\"", "built in"]),
        (
            "delete from queues.provider where name = 'ours'",
            &["provider \"ours\"", "task type \"ours\"", "first"],
        ),
        ("update queues.provider set name = 'theirs' where name = 'ours'", &["rename provider \"ours\""]),
        ("update queues.provider set name = 'x' where name = 'http'", &["\"http\" is built in"]),
        ("update queues.provider set interface = 'http' where name = 'smtp'", &["\"smtp\" is built in"]),
        (
            "update queues.task_definition set task_type = 'mail' where task_type = 'email'",
            &["\"email\" is built in"],
        ),
        (
            "update queues.task_definition set processor = 'db_function' where task_type = 'sms'",
            &["\"sms\" is built in"],
        ),
    ] {
        assert_refused(client.batch_execute(sql), "2BP01", parts);
    }
    assert_eq!(rows(&mut client), before);
    client
        .batch_execute(
            "update queues.task_definition set granted_to = '{}' where task_type = 'email';
             delete from queues.task_definition where task_type = 'ours';
             update queues.provider set name = 'theirs' where name = 'ours';
             delete from queues.provider where name = 'theirs'",
        )
        .unwrap();
}

#[test]
fn a_type_is_sent_only_to_providers_that_can_serve_it() {
    let (_cluster, mut client) = start(&[]);
    client
        .batch_execute(
            r#"insert into queues.provider (name, base_url, request) values
                   ('slack', 'https://slack.test', '{"path": "/x", "body": {"json": {"channel": "{{channel}}"}}}'),
                   ('mailer', 'https://mail.test', '{"path": "/x", "body": {"json": {"to": "{{to_address}}"}}}'),
                   ('plain', 'https://plain.test', null);
               insert into queues.provider (name, interface) values ('texts', 'simulated');"#,
        )
        .unwrap();
    let before = rows(&mut client);
    for (sql, parts) in [
        (
            "update queues.task_definition set provider = 'slack' where task_type = 'email'",
            &["\"email\"", "\"slack\"", "{{to_address}}"],
        ),
        (
            "update queues.task_definition set provider = 'plain' where task_type = 'email'",
            &["\"plain\"", "http", "resend, smtp"],
        ),
        (
            "update queues.task_definition set provider = 'texts' where task_type = 'email'",
            &["\"texts\"", "simulated", "resend"],
        ),
        (
            "update queues.task_definition set provider = 'resend' where task_type = 'sms'",
            &["\"sms\"", "resend", "twilio"],
        ),
        (
            "update queues.task_definition set provider = 'smtp' where task_type = 'http'",
            &["\"http\"", "smtp", "insert a task type"],
        ),
    ] {
        assert_refused(client.batch_execute(sql), "22023", parts);
    }
    assert_eq!(rows(&mut client), before);
    client
        .batch_execute("update queues.task_definition set provider = 'mailer' where task_type = 'email'")
        .unwrap();
    let spoil = "update queues.provider set request = null where name = 'mailer'";
    assert_refused(client.batch_execute(spoil), "22023", &["\"email\"", "\"mailer\""]);
    // However it got there.
    client
        .batch_execute(
            "alter table queues.task_definition disable trigger task_definition_before_write_checked;
             update queues.task_definition set provider = 'plain' where task_type = 'email'",
        )
        .unwrap();
    let refused = client.batch_execute("select queues.enqueue('email', '{}')");
    assert_refused(refused, "55000", &["\"plain\"", "resend, smtp"]);
}

#[test]
fn a_provider_s_template_can_use_every_field_of_the_type_it_serves() {
    let (_cluster, mut client) = start(&[]);
    client
        .batch_execute(
            r#"insert into queues.provider (name, base_url, request) values
                ('mysms', 'https://sms.test', '{"path": "/x", "idempotency_key": "{{idempotency_key}}",
                    "body": {"json": {"to": "{{to_number}}", "sid": "{{content_sid}}", "values": "{{content_variables}}"}}}'),
                ('mymail', 'https://mail.test', '{"path": "/x", "idempotency_key": "{{idempotency_key}}",
                    "body": {"json": {"to": "{{to_address}}", "at": "{{scheduled_at}}", "template": "{{template_id}}"}}}');
            update queues.task_definition set provider = 'mysms' where task_type = 'sms';
            update queues.task_definition set provider = 'mymail' where task_type = 'email'"#,
        )
        .unwrap();
}

#[test]
fn a_template_that_is_not_closed_is_refused_and_loses_no_other_row_of_a_dump() {
    let (cluster, mut client) = start(&[]);
    for (column, template) in [
        ("request", r#"{"path": "/{{a"}"#),
        ("answer", r#"{"a": ["{{b} c"]}"#),
        ("failure", r#""{{body.error""#),
    ] {
        let insert = format!("insert into queues.provider (name, {column}) values ('odd', '{template}')");
        assert_refused(client.batch_execute(&insert), "22023", &["\"odd\"", column, "without \"}}\""]);
    }
    // As an older version took it.
    client
        .batch_execute(
            "alter table queues.provider disable trigger provider_before_write_checked;
             insert into queues.provider (name, lane, failure) values ('odd', 15, '\"{{a\"');
             insert into queues.provider (name, lane) values ('fine', 15);
             alter table queues.provider enable always trigger provider_before_write_checked",
        )
        .unwrap();
    let before = rows(&mut client);
    restore_dump(&cluster, "copy", &[]);
    assert_eq!(rows(&mut cluster.connect("copy")), before);
}

/// Restores a dump of `postgres` into another database.
#[track_caller]
fn restore_dump(cluster: &Cluster, database: &str, options: &[&str]) {
    let archive = cluster.socket_dir().join(format!("archive-{database}"));
    output(cluster.client_program("pg_dump").args(["--format=custom", "postgres", "--file"]).arg(&archive));
    if options.is_empty() {
        cluster.psql("postgres", &format!("create database {database}"));
    }
    let mut restore = cluster.client_program("pg_restore");
    output(restore.args(["--exit-on-error", "--dbname", database]).args(options).arg(&archive));
}

#[test]
fn rows_restored_with_triggers_disabled_replace_what_is_built_in() {
    let (cluster, mut client) = start(&[]);
    client
        .batch_execute(
            "insert into queues.provider (name, base_url) values ('ours', 'https://ours.test');
             insert into queues.task_definition (task_type, provider) values ('ours', 'ours');
             update queues.provider set batch_size = 100 where name = 'resend'",
        )
        .unwrap();
    run_one(&mut client, "there");
    let before = rows(&mut client);
    for (database, more) in [("at_once", "--single-transaction"), ("by_many", "--jobs=4")] {
        let mut copy = create_database(&cluster, database);
        copy.batch_execute("drop table public.done, public.door").unwrap();
        let triggers = "select array_agg(format('%s %s', tgname, tgenabled) order by tgname) from pg_trigger where not tgisinternal";
        let enabled: Vec<String> = one(&mut copy, triggers);
        assert!(enabled.len() > 10 && enabled.iter().all(|trigger| trigger.ends_with(" A")), "{enabled:?}");
        restore_dump(&cluster, database, &["--data-only", "--disable-triggers", "--schema=queues", more]);
        assert_eq!(rows(&mut copy), before, "{database}");
        assert_eq!(one::<Vec<String>>(&mut copy, triggers), enabled, "{database}");
        assert_eq!(restore(&mut copy), Vec::<String>::new());
        assert_eq!(one::<i64>(&mut copy, "select count(*) from queues.task"), 1);
    }
}

#[test]
fn what_belonged_to_a_removed_task_harms_none_that_has_its_number() {
    let (_cluster, mut client) = start(&[]);
    let again = "alter sequence queues.task_task_id_seq restart";
    for removal in [
        "set session_replication_role = replica; delete from queues.task; reset session_replication_role",
        "alter table queues.task disable trigger task_after_delete; delete from queues.task",
        "select 1 from queues.restore_built_in(); truncate queues.task",
    ] {
        let first = message(&mut client);
        wait_status(&mut client, first, "succeeded");
        client.execute("select queues.append_error($1, 'of the first')", &[&first]).unwrap();
        client.batch_execute(&format!("{removal}; {again}")).unwrap();
        let detached = "select count(*) from queues.error where task_id is not null";
        if !removal.contains("disable") {
            assert_eq!(one::<i64>(&mut client, detached), 0, "{removal}");
        }
        let second = message(&mut client);
        assert_eq!(second, first);
        wait_status(&mut client, second, "succeeded");
        client.batch_execute(&format!("delete from queues.task; truncate queues.error; {again}")).unwrap();
    }
}

#[test]
fn a_task_that_has_called_can_be_run_again() {
    let (_cluster, mut client) = start(&[("pg_errand.max_idle_time", "0")]);
    let task_id = message(&mut client);
    wait_status(&mut client, task_id, "succeeded");
    let key = "select idempotency_key::text from queues.call";
    let first: String = one(&mut client, key);
    for change in [
        "select",
        // Now its rows are written by statements.
        "create index mine on queues.call (responded_at)",
    ] {
        client.batch_execute(change).unwrap();
        client.batch_execute("update queues.task set finished_at = null, final_status = null").unwrap();
        client.batch_execute("update queues.task set scheduled_at = now()").unwrap();
        eventually("it has run again", || {
            let row = client.query_one("select status, last_error from queues.task_status", &[]).unwrap();
            let seen: (String, Option<String>) = (row.get(0), row.get(1));
            if seen == ("succeeded".into(), None) { Ok(()) } else { Err(seen) }
        });
    }
    assert_ne!(one::<String>(&mut client, key), first);
    assert_eq!(one::<i32>(&mut client, "select attempts from queues.task"), 3);
}

#[test]
fn a_call_of_no_known_age_holds_up_no_other_that_is_taken_over() {
    let (_cluster, mut client) = start(&[("pg_errand.concurrency", "0")]);
    let tasks: Vec<i64> = (0..3).map(|_| message(&mut client)).collect();
    client
        .batch_execute(
            "update queues.task set calling = true;
             insert into queues.call (task_id, owner, provider, idempotency_key, request, requested_at)
             select t.task_id, 1, 'simulated', gen_random_uuid(), '{\"local\": {\"answer\": {}}}',
                 (array['-infinity', 'now', 'infinity']::timestamptz[])[row_number() over (order by t.task_id)]
             from queues.task t;
             alter database postgres set pg_errand.concurrency = 1",
        )
        .unwrap();
    wait_status(&mut client, tasks[1], "succeeded");
    for id in [tasks[0], tasks[2]] {
        wait_status(&mut client, id, "failed");
        let error: String =
            one(&mut client, &format!("select last_error from queues.task_status where task_id = {id}"));
        assert!(error.contains("outcome unknown"), "{error}");
    }
}

#[test]
fn a_task_whose_call_was_removed_can_be_cancelled() {
    let (_cluster, mut client) = start(&[("pg_errand.concurrency", "0")]);
    let task_id = message(&mut client);
    client.batch_execute("update queues.task set calling = true").unwrap();
    client.batch_execute("set statement_timeout = '1min'").unwrap();
    assert!(one::<bool>(&mut client, "select queues.cancel(max(task_id)) from queues.task"));
    wait_status(&mut client, task_id, "cancelled");
}

#[test]
fn a_role_with_privileges_on_both_tables_changes_rows_that_are_not_built_in() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role admin login; grant usage on schema queues to admin;
             grant select, insert, update, delete, truncate on queues.provider, queues.task_definition to admin",
        )
        .unwrap();
    let mut admin = cluster.connect_as("admin", "postgres");
    for sql in [
        "insert into queues.provider (name, base_url) values ('own', 'https://api.test')",
        "insert into queues.task_definition (task_type, provider) values ('own', 'own')",
        "update queues.provider set burst = 2, requests_per_second = 1 where name = 'own'",
        "update queues.task_definition set granted_to = array['public'] where task_type = 'own'",
        "delete from queues.task_definition where task_type = 'own'",
        "delete from queues.provider where name = 'own'",
    ] {
        admin.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    for sql in [
        "delete from queues.task_definition where task_type = 'sms'",
        "delete from queues.provider where name = 'twilio'",
        "truncate queues.task_definition",
        "truncate queues.provider",
    ] {
        assert_refused(admin.batch_execute(sql), "2BP01", &["cannot "]);
    }
}
