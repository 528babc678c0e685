//! On a fresh install, workers claim and end tasks and begin calls without statements of their own. A column that is
//! renamed or retyped in `sql/` and not in `src/worker/columns.rs`, or is added to `queues.call` only there, silently has
//! them use statements instead, which take several times as long.

use postgres::Client;
use serde_json::json;

use crate::harness::calling::Calling;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, run_one};
use crate::harness::wait::wait_until_sql;

/// One worker throughout: the first task of a process is written by statements.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_preload_libraries", "pg_stat_statements, pg_errand"),
    ("pg_stat_statements.track", "all"),
    ("pg_errand.concurrency", "1"),
    ("pg_errand.max_idle_time", "0"),
];

/// Statements that lock or change rows of tasks, or insert calls.
const WRITES: &str = "
    select coalesce(string_agg(calls || ' times: ' || query, E'\\n'), '')
    from pg_stat_statements
    where query ~ 'queues\\.task t[^;]*for no key update'
        or query ~ 'update only queues\\.task\\M'
        or query ~ 'insert into queues\\.call\\M'";

fn forget_statements(client: &mut Client) {
    client.execute("select pg_stat_statements_reset()", &[]).unwrap();
}

#[test]
fn tasks_are_claimed_and_ended_without_statements() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create extension pg_stat_statements").unwrap();
    run_one(&mut client, "first");
    assert_ne!(one::<String>(&mut client, WRITES), "", "the first task is written by statements");
    forget_statements(&mut client);
    (0..5).for_each(|_| {
        run_one(&mut client, "next");
    });
    let prioritized = "insert into queues.task (task_type, payload, priority)
        select task_type, payload, 9 from queues.task order by task_id desc limit 1";
    client.batch_execute(prioritized).unwrap();
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    assert_eq!(one::<String>(&mut client, WRITES), "");
    // A trigger has the executor do it, so the question above would notice.
    client
        .batch_execute(
            "create function public.pass() returns trigger language plpgsql as 'begin return new; end';
             create trigger pass before update on queues.task for each row execute function public.pass()",
        )
        .unwrap();
    run_one(&mut client, "with a trigger");
    assert_ne!(one::<String>(&mut client, WRITES), "");
}

#[test]
fn calls_are_begun_and_ended_without_statements() {
    let mut calling = Calling::friendly(&SETTINGS);
    calling.client.batch_execute("create extension pg_stat_statements").unwrap();
    calling.register("api", json!({}));
    calling.succeed("api", json!({"path": "/first"}));
    forget_statements(&mut calling.client);
    (0..5).for_each(|n| {
        calling.succeed("api", json!({"path": format!("/{n}")}));
    });
    assert_eq!(one::<String>(&mut calling.client, WRITES), "");
}
