//! Which ends of tasks are flushed when: a crash of the server loses none of them.

use postgres::Client;
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

/// All WAL that was written when the end of the task could be seen is on the disk.
fn wait_durable(client: &mut Client) {
    let end: String = one(client, "select pg_current_wal_insert_lsn()::text");
    wait_until_sql(client, &format!("select (pg_current_wal_flush_lsn() >= '{end}')::text"), "true");
}

#[test]
fn ends_of_tasks_are_written_to_the_disk_though_no_worker_waits_for_that() {
    for interval in ["0", "20ms"] {
        let cluster = Cluster::start(&[LATE.as_slice(), &[("pg_errand.flush_interval", interval)]].concat());
        let mut client = install(&cluster, "postgres");
        for label in ["first", "second", "third"] {
            let id = task(&mut client, "note", json!({"label": label}));
            wait_status(&mut client, id, "succeeded");
            wait_durable(&mut client);
            cluster.stop(StopMode::Kill);
            cluster.start_again();
            client = cluster.connect("postgres");
            assert_eq!(status(&mut client, id), "succeeded", "{label}");
        }
        assert_eq!(done(&mut client), ["first", "second", "third"]);
    }
}

#[test]
fn a_task_s_effects_and_its_end_are_lost_together_or_not_at_all() {
    let never = ("pg_errand.flush_interval", "-1");
    let cluster = Cluster::start(&[LATE.as_slice(), &[never]].concat());
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
