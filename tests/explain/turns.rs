//! Which tasks come first: those that may start, and no others.

use postgres::Client;
use serde_json::json;

use super::{Explained, explain, wait_reason};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, payload, runner, task};
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::wait_until_sql;

const SETTINGS: [(&str, &str); 2] = [("pg_errand.poll_interval", "1h"), ("pg_errand.concurrency", "1")];
const SEE: &str = "SELECT * FROM queues.running;";

/// A server whose only worker is busy until the gate opens, and the task that it runs.
fn busy() -> (Cluster, Client, Gate, i64) {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "export", "");
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"gate": 1}));
    runner(&mut client, running);
    (cluster, client, gate, running)
}

fn define(client: &mut Client, task_type: &str, columns: &str) {
    let sql = format!(
        "insert into queues.task_definition (task_type, processor, granted_to) values ('{task_type}', 'db_function', '{{public}}');
         update queues.task_definition set task_type = task_type {columns} where task_type = '{task_type}'"
    );
    client.batch_execute(&sql).unwrap();
}

fn export(client: &mut Client, task_type: &str) -> i64 {
    enqueue(client, task_type, payload("note", json!({"label": task_type})))
}

fn note(client: &mut Client) -> i64 {
    task(client, "note", json!({"label": "note"}))
}

/// The task is told to be the next one.
#[track_caller]
fn is_next(client: &mut Client, task_id: i64, running: i64) -> Explained {
    let told = explain(client, task_id);
    assert_eq!((told.reason.as_str(), told.task), ("workers_busy", Some(running)), "{told:?}");
    assert!(told.explanation.starts_with("It is the next task") && told.hint.contains(SEE), "{told:?}");
    told
}

#[test]
fn tasks_of_a_paused_type_do_not_come_first() {
    let (_cluster, mut client, gate, running) = busy();
    let exports = [(); 3].map(|()| export(&mut client, "export"));
    let (next, later) = (note(&mut client), note(&mut client));
    let behind = explain(&mut client, next);
    assert_eq!(behind.reason, "behind");
    assert!(behind.explanation.contains(" 3 ready tasks come first; the only worker"), "{behind:?}");
    assert!(behind.hint.contains(SEE), "{behind:?}");
    client.batch_execute("select queues.pause('export')").unwrap();
    is_next(&mut client, next, running);
    assert!(explain(&mut client, later).explanation.contains(" 1 ready task comes first"));
    let waiting = "select string_agg(concat_ws(' ', task_type, reason, tasks), ', ' order by task_type)
        from queues.waiting";
    assert_eq!(one::<String>(&mut client, waiting), "db_function workers_busy 2, export type_paused 3");
    // Prioritized, and ageing.
    client
        .batch_execute(
            "update queues.task set priority = 5 where task_type = 'export';
             update queues.task_definition set priority_ages_every = '1 s' where task_type = 'export'",
        )
        .unwrap();
    is_next(&mut client, next, running);
    client.batch_execute("select queues.resume('export')").unwrap();
    assert!(explain(&mut client, next).explanation.contains(" 3 ready tasks come first"));
    gate.open();
    exports.into_iter().for_each(|task| wait_status(&mut client, task, "succeeded"));
}

#[test]
fn tasks_of_a_paused_provider_do_not_come_first() {
    let (_cluster, mut client, _gate, running) = busy();
    client
        .batch_execute(
            "insert into queues.provider (name, base_url) values ('shop', 'https://shop.example');
             insert into queues.task_definition (task_type, provider, granted_to) values ('order', 'shop', '{public}')",
        )
        .unwrap();
    enqueue(&mut client, "order", json!({"request": {"path": "/"}}));
    let next = note(&mut client);
    assert_eq!(explain(&mut client, next).reason, "behind");
    client.batch_execute("select queues.pause_provider('shop')").unwrap();
    is_next(&mut client, next, running);
}

#[test]
fn tasks_beyond_the_limits_of_their_type_do_not_come_first() {
    let cluster = Cluster::start(&[SETTINGS[0], ("pg_errand.concurrency", "2")]);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "single", ", max_running = 1");
    define(&mut client, "slow", ", starts_per_second = 0.001, burst = 1");
    define(&mut client, "leased", ", max_running = 1");
    let gate = Gate::close(&cluster, "postgres", 1);
    let slow = export(&mut client, "slow");
    wait_status(&mut client, slow, "succeeded");
    let first = enqueue(&mut client, "single", payload("gate", json!({"gate": 1})));
    runner(&mut client, first);
    let second = task(&mut client, "gate", json!({"gate": 1}));
    runner(&mut client, second);
    let waiting = ["single", "slow", "leased", "leased"].map(|task_type| export(&mut client, task_type));
    let next = note(&mut client);
    assert!(explain(&mut client, next).explanation.contains(" 2 ready tasks come first; all 2 workers"));
    let dequeue = "select task_id from queues.dequeue_next_available_task('{leased}')";
    assert_eq!(one::<i64>(&mut client, dequeue), waiting[2]);
    let told = is_next(&mut client, next, first);
    assert!(told.explanation.contains("all 2 workers for it are busy"), "{told:?}");
    assert_eq!(explain(&mut client, waiting[3]).reason, "type_full");
    gate.open();
    wait_status(&mut client, next, "succeeded");
}

#[test]
fn tasks_that_are_locked_or_follow_another_one_do_not_come_first() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let enqueue = "select queues.enqueue('db_function', '{\"db_function\": \"public.gate\", \"gate\": 1}', \
                   _unique_key => 'k', _if_exists => 'replace')";
    let running: i64 = one(&mut client, enqueue);
    runner(&mut client, running);
    let follower: i64 = one(&mut client, enqueue);
    let locked = note(&mut client);
    let next = note(&mut client);
    assert!(explain(&mut client, next).explanation.contains(" 1 ready task comes first"));
    let mut other = cluster.connect("postgres");
    let lock = format!("begin; select from queues.task where task_id = {locked} for update");
    other.batch_execute(&lock).unwrap();
    is_next(&mut client, next, running);
    other.batch_execute("rollback").unwrap();
    gate.open();
    [follower, locked, next].into_iter().for_each(|task| wait_status(&mut client, task, "succeeded"));
}

#[test]
fn keys_that_may_not_start_have_no_turns() {
    let (_cluster, mut client, _gate, running) = busy();
    let keyed = |task_type: &str| format!("select queues.enqueue('{task_type}', '{{}}', _queue_key => 'k')");
    client.batch_execute(&keyed("export")).unwrap();
    let next = note(&mut client);
    assert!(explain(&mut client, next).explanation.starts_with("It is ready, and the only worker"));
    client.batch_execute("select queues.pause_key('export', 'k')").unwrap();
    is_next(&mut client, next, running);
    client.batch_execute("select queues.resume_key('export', 'k'); select queues.pause('export')").unwrap();
    is_next(&mut client, next, running);
}

#[test]
fn the_setting_is_named_that_limits_the_workers() {
    for (settings, hint) in [
        ([("pg_errand.concurrency", "1"), SETTINGS[0]], "a higher pg_errand.concurrency, which is 1."),
        (
            [("pg_errand.concurrency", "1"), ("pg_errand.max_workers", "1")],
            "a higher pg_errand.concurrency, which is 1, and pg_errand.max_workers, which is 1.",
        ),
        (
            [("pg_errand.concurrency", "3"), ("pg_errand.max_workers", "1")],
            "a higher pg_errand.max_workers, which is 1.",
        ),
        // The launcher and one more process.
        (
            [("pg_errand.concurrency", "3"), ("max_worker_processes", "2")],
            "a higher max_worker_processes (this needs a restart of the server)",
        ),
    ] {
        let settings = [settings[0], settings[1], ("max_logical_replication_workers", "0")];
        let cluster = Cluster::start(&settings);
        let mut client = install(&cluster, "postgres");
        let gate = Gate::close(&cluster, "postgres", 1);
        let running = task(&mut client, "gate", json!({"gate": 1}));
        runner(&mut client, running);
        let next = note(&mut client);
        let is_told = format!("select hint like '%{hint}%' from queues.explain({next})");
        wait_until_sql(&mut client, &is_told, "t");
        assert_eq!(wait_reason(&mut client, next, "workers_busy").task, Some(running));
        gate.open();
        wait_status(&mut client, next, "succeeded");
    }
}
