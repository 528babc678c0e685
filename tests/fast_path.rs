//! On a fresh install, workers claim and end tasks and begin calls without statements of their own. A column that is
//! renamed or retyped in `sql/` and not in `src/worker/columns.rs`, or is added to `queues.call` only there, silently has
//! them use statements instead, which take several times as long.

use postgres::Client;
use serde_json::json;

use crate::harness::calling::Calling;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, run_one};
use crate::harness::wait::wait_until_sql;

/// One worker throughout.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_preload_libraries", "pg_stat_statements, pg_errand"),
    ("pg_stat_statements.track", "all"),
    ("pg_errand.concurrency", "1"),
    ("pg_errand.max_idle_time", "0"),
];

/// Statements that lock or change rows of tasks, or insert calls, without the one that takes over orphaned calls, which a
/// worker runs once. From PostgreSQL 18 on, the comments before a statement are not part of its text.
const WRITES: &str = "
    select coalesce(string_agg(calls || ' times: ' || query, E'\\n'), '')
    from pg_stat_statements
    where (query ~ 'queues\\.task t[^;]*for no key update'
            or query ~ 'update only queues\\.task\\M'
            or query ~ 'insert into queues\\.call\\M')
        and query !~ 'from only queues\\.call o\\M[^;]*for no key update of o\\M'";

/// The number of statements that have read queue keys, see sql/runtime/read_keys.sql.
const READS_OF_KEYS: &str = "select coalesce(sum(calls), 0)::bigint from pg_stat_statements
    where query ~ 'with recursive key \\(digest\\)'";

/// Begins to count statements. Those that create the extension are not counted.
fn count_statements(client: &mut Client) {
    client.batch_execute("create extension pg_stat_statements; select pg_stat_statements_reset()").unwrap();
}

#[test]
fn tasks_are_claimed_and_ended_without_statements() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    count_statements(&mut client);
    run_one(&mut client, "first");
    assert_eq!(one::<String>(&mut client, WRITES), "", "the first task of a worker");
    (0..5).for_each(|_| {
        run_one(&mut client, "next");
    });
    let prioritized = "insert into queues.task (task_type, payload, priority)
        select task_type, payload, 9 from queues.task order by task_id desc limit 1";
    client.batch_execute(prioritized).unwrap();
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    // More keys than are announced one by one.
    let keyed = "insert into queues.task (task_type, payload, queue_key)
        select task_type, payload, 'key ' || n % 200
        from (select task_type, payload from queues.task limit 1) t, generate_series(1, 400) n";
    client.batch_execute(keyed).unwrap();
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    assert_eq!(one::<String>(&mut client, WRITES), "");
    assert_eq!(one::<i64>(&mut client, READS_OF_KEYS), 0);
    // A trigger has the executor do it, so the question above would notice.
    client
        .batch_execute(
            "create function public.pass() returns trigger language plpgsql as 'begin return new; end';
             create trigger pass before update on queues.task for each row execute function public.pass()",
        )
        .unwrap();
    client.batch_execute(keyed).unwrap();
    run_one(&mut client, "with a trigger");
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    assert_ne!(one::<String>(&mut client, WRITES), "");
    assert!(one::<i64>(&mut client, READS_OF_KEYS) > 0);
}

#[test]
fn calls_are_begun_and_ended_without_statements() {
    let mut calling = Calling::friendly(&SETTINGS);
    count_statements(&mut calling.client);
    calling.register("api", json!({}));
    (0..5).for_each(|n| {
        calling.succeed("api", json!({"path": format!("/{n}")}));
    });
    assert_eq!(one::<String>(&mut calling.client, WRITES), "");
}
