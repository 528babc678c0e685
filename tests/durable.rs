//! What is durable when: a crash of the whole server takes nothing of it back.

use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{done, install, one, task};
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::wait_until_sql;

/// PostgreSQL's own writer of WAL leaves asynchronous commits alone.
const LATE: [(&str, &str); 4] = [
    ("wal_writer_delay", "10s"),
    ("wal_writer_flush_after", "1GB"),
    ("pg_errand.max_idle_time", "0"),
    ("pg_errand.concurrency", "1"),
];

#[test]
fn with_a_flush_interval_the_end_of_a_task_survives_a_crash_once_its_worker_rests() {
    let settings = [LATE.as_slice(), &[("pg_errand.flush_interval", "1ms")]].concat();
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    // Nothing but workers writes from here on.
    client.batch_execute("set synchronous_commit = off").unwrap();
    for label in ["first", "second", "third"] {
        let id = task(&mut client, "note", json!({"label": label}));
        wait_status(&mut client, id, "succeeded");
        let idle = "select state from pg_stat_activity where backend_type = 'pg_errand worker'";
        wait_until_sql(&mut client, idle, "idle");
        cluster.stop(StopMode::Kill);
        cluster.start_again();
        client = cluster.connect("postgres");
        assert_eq!(status(&mut client, id), "succeeded", "{label}");
    }
    assert_eq!(done(&mut client), ["first", "second", "third"]);
}

#[test]
fn a_task_s_effects_and_its_end_are_lost_together_or_not_at_all() {
    let cluster = Cluster::start(&LATE);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "note", json!({"label": "once"}));
    wait_status(&mut client, id, "succeeded");
    cluster.stop(StopMode::Kill);
    cluster.start_again();
    client = cluster.connect("postgres");
    wait_status(&mut client, id, "succeeded");
    assert_eq!(done(&mut client), ["once"]);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}
