//! Sections that are not here, and advice.

use postgres::Client;
use serde_json::json;

use super::{report, section};
use crate::harness::builder::Builder;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, task, wait_running};
use crate::harness::queue::wait_status;
use crate::harness::wait::wait_until_sql;

#[track_caller]
fn has(page: &str, id: &str, parts: &[&str]) {
    let section = section(page, id);
    for part in parts {
        assert!(section.contains(part), "{id}: no {part:?} in {section}");
    }
}

#[test]
fn a_section_that_cannot_be_read_says_so_and_the_others_are_there() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    // The launcher has looked at the database.
    wait_until_sql(&mut client, "select string_agg(problem, ',') from queues.health", "paused");
    let mut other = cluster.connect("postgres");
    other.batch_execute("begin; lock table queues.stats_history in access exclusive mode").unwrap();
    let page = report(&mut client, "");
    has(&page, "time", &["Not here", "lock timeout"]);
    has(&page, "problems", &["paused"]);
    other.batch_execute("rollback; begin; lock table queues.error in access exclusive mode").unwrap();
    let page = report(&mut client, "");
    has(&page, "failures", &["Not here", "lock timeout"]);
    has(&page, "time", &["Nothing has ended"]);
}

#[test]
fn what_workers_wait_for_and_what_waits_is_said() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "2")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    for _ in 0..2 {
        task(&mut client, "gate", json!({"gate": 1}));
    }
    wait_running(&mut client, 2);
    wait_until_sql(
        &mut client,
        "select count(*) from pg_stat_activity where wait_event = 'advisory' and backend_type = 'pg_errand worker'",
        "2",
    );
    let waiting = task(&mut client, "note", json!({}));
    let page = report(&mut client, "");
    let holder: i32 = client
        .query_one("select pid from pg_locks where locktype = 'advisory' and granted and objid = 1", &[])
        .unwrap()
        .get(0);
    has(
        &page,
        "problems",
        &[&format!("2 workers wait for a lock of process {holder}"), "pg_terminate_backend"],
    );
    has(&page, "longest", &["public.gate", "worker, process"]);
    has(&page, "waiting", &["workers_busy", " 1 "]);
    gate.open();
    wait_status(&mut client, waiting, "succeeded");
}

/// Makes queue keys and limits.
fn steer(client: &mut Client) {
    client
        .batch_execute(
            "insert into queues.task_definition (task_type, processor, max_running, keep_failed_for)
             values ('import', 'db_function', 3, '30 days');
             select queues.enqueue('import', '{}', _queue_key => 'customer ' || n % 2) from generate_series(1, 5) n;
             select queues.pause_key('import', 'customer 1')",
        )
        .unwrap();
}

#[test]
fn keys_and_limits_are_shown() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    steer(&mut client);
    let page = report(&mut client, "");
    has(&page, "keys", &[" 3 ", "customer 1", "paused", " 2 ", "customer 0"]);
    has(&page, "settings", &["import", "30 days", "pg_errand.concurrency"]);
    has(&page, "providers", &["resend"]);
}

#[test]
fn the_queue_that_grows_is_told_and_one_that_does_not_is_not() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    let insert = "insert into queues.task (task_type, payload, enqueued_at, scheduled_at)
        select 'db_function', '{}', at, at from generate_series(1, 3000) n, lateral (select now() - (3001 - n) * interval '2 s') a (at)";
    client.batch_execute(insert).unwrap();
    let page = report(&mut client, "");
    // Those of an hour: one each 2 seconds.
    let problems = section(&page, "problems");
    let growth = problems.split("The queue grows by about ").nth(1).unwrap().split(' ').next().unwrap();
    let growth: i64 = growth.replace(',', "").parse().unwrap();
    assert!((1600..=1800).contains(&growth), "{problems}");
    client
        .batch_execute(
            "insert into queues.stats_history (at, resolution, succeeded, failed, cancelled, repeated, errors, calls,
                 failed_calls, busy_workers, details)
             values (now() - interval '5 minutes', 'minute', 1790, 0, 0, 0, 0, 0, 0, 1, '{}')",
        )
        .unwrap();
    assert!(!section(&report(&mut client, ""), "problems").contains("The queue grows"));
}

#[test]
fn a_standby_and_a_server_without_the_library_say_what_is_not_here() {
    let primary = Cluster::start(&[]);
    let mut client = install(&primary, "postgres");
    let failed = task(&mut client, "refuse", json!({"label": "7"}));
    wait_status(&mut client, failed, "failed");
    let standby = Builder::standby_of(&primary).start();
    let page = report(&mut standby.connect("postgres"), "");
    assert!(page.contains("This server is a standby") && page.contains("is not here"), "{page}");
    has(&page, "failures", &["refused: 7"]);
    has(&page, "longest", &[&format!(" {failed} "), "No task runs"]);

    let bare = Cluster::start(&[("shared_preload_libraries", "")]);
    let mut client = install(&bare, "postgres");
    let page = report(&mut client, "");
    assert!(page.contains("The library is not in shared_preload_libraries"), "{page}");
    has(&page, "problems", &["not_preloaded"]);
    has(&page, "types", &["Nothing was counted"]);
    let told = bare.psql("postgres", "select 1");
    assert_eq!(told, "1");
}
