//! Plain tasks are enqueued without statements, as a statement would do it.

mod alterations;
mod batches;
mod changes;
mod refusals;
mod stored;

use postgres::Client;
use postgres::error::SqlState;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one};
use crate::harness::queue::wait_status;
use crate::harness::wait::wait_until_sql;

const ENQUEUE: &str = "select queues.enqueue('db_function', '{\"db_function\": \"public.note\"}')";

const SETTINGS: [(&str, &str); 4] = [
    ("shared_preload_libraries", "pg_stat_statements, pg_errand"),
    ("pg_stat_statements.track", "all"),
    ("pg_errand.concurrency", "0"),
    // A task that is not announced does not start.
    ("pg_errand.poll_interval", "1h"),
];

const CHECK_INDEXES: &str =
    "select bt_index_check(indexrelid, true) from pg_index where indrelid = 'queues.task'::regclass";

/// The number of statements that have inserted tasks.
const INSERTS: &str = "select coalesce(sum(calls), 0)::bigint from pg_stat_statements where query ~ 'insert into queues\\.task\\M'";

fn enqueue(client: &mut Client) -> i64 {
    one(client, ENQUEUE)
}

/// A session that knows the table.
fn warm(cluster: &Cluster) -> Client {
    let mut client = cluster.connect("postgres");
    enqueue(&mut client);
    client
}

/// The same call, but with a priority, so that a statement inserts the task.
fn by_statement(call: &str) -> String {
    format!("{}, _priority => 1)", call.strip_suffix(')').unwrap())
}

fn prepare(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(settings);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create extension pg_stat_statements; create extension amcheck").unwrap();
    (cluster, client)
}

/// Returns whether enqueueing a task takes a statement.
fn takes_statement(client: &mut Client) -> bool {
    let before: i64 = one(client, INSERTS);
    enqueue(client);
    one::<i64>(client, INSERTS) > before
}

#[test]
fn tasks_are_enqueued_without_statements_and_are_the_same() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let mut client = cluster.connect("postgres");
    assert!(!takes_statement(&mut client), "the first task of a session");
    let last = enqueue(&mut client);
    let before: i64 = one(&mut admin, INSERTS);
    let first: i64 = one(&mut admin, &by_statement(ENQUEUE));
    assert_eq!(one::<i64>(&mut admin, INSERTS), before + 1);
    let of = |id: i64| {
        format!(
            "select (to_jsonb(t) - '{{task_id,enqueued_at,scheduled_at,priority}}'::text[])::text
             from queues.task t where task_id = {id}"
        )
    };
    assert_eq!(one::<String>(&mut client, &of(first)), one::<String>(&mut client, &of(last)));
    let times =
        format!("select count(*) from queues.task where task_id = {last} and enqueued_at = scheduled_at");
    assert_eq!(one::<i64>(&mut client, &times), 1);
    let later: i64 =
        one(&mut client, "select queues.enqueue('db_function', null, now() + interval '1 hour')");
    let is_later = format!(
        "select count(*) from queues.task
         where task_id = {later} and scheduled_at = enqueued_at + interval '1 hour' and payload = '{{}}'"
    );
    assert_eq!(one::<i64>(&mut client, &is_later), 1);
    client.batch_execute(CHECK_INDEXES).unwrap();

    cluster.set(&[("pg_errand.concurrency", "2")]);
    wait_status(&mut client, last, "succeeded");
    wait_until_sql(
        &mut client,
        "select count(*) from queues.task where finished_at is null and scheduled_at <= now()",
        "0",
    );
    let next = enqueue(&mut client);
    wait_status(&mut client, next, "succeeded");
}

#[test]
fn a_role_that_may_only_enqueue_needs_no_other_privilege() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    admin
        .batch_execute(
            "create role app login;
             grant usage on schema queues to app;
             grant execute on function queues.enqueue to app;
             update queues.task_definition set granted_to = '{app}' where task_type = 'db_function'",
        )
        .unwrap();
    let mut client = cluster.connect_as("app", "postgres");
    let before: i64 = one(&mut admin, INSERTS);
    enqueue(&mut client);
    assert_eq!(one::<i64>(&mut admin, INSERTS), before);
    admin.batch_execute("select queues.revoke_enqueue('db_function', 'app')").unwrap();
    let error = client.query_one(ENQUEUE, &[]).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}
