//! Which ends of tasks are flushed when: a crash of the server loses none of them.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{done, install, one, task};
use crate::harness::programs::server;
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::eventually;

/// PostgreSQL's own writer of WAL leaves asynchronous commits alone.
const LATE: [(&str, &str); 4] = [
    ("wal_writer_delay", "10s"),
    ("wal_writer_flush_after", "1GB"),
    ("pg_errand.max_idle_time", "0"),
    ("pg_errand.concurrency", "1"),
];

/// Waits until the commit of the transaction that ended a task is on disk. WAL that follows it may stay in memory: with
/// data checksums, the default from 18 on, a query that sets hint bits writes some.
fn wait_flushed(cluster: &Cluster, client: &mut Client, start: &str, id: i64) {
    let xid: String = one(client, &format!("select xmin::text from queues.task where task_id = {id}"));
    eventually("the commit is on disk", || {
        let commit = commit_record(cluster, start, &xid).ok_or("not written")?;
        let is_flushed: bool = one(client, &format!("select pg_current_wal_flush_lsn() > '{commit}'"));
        if is_flushed { Ok(()) } else { Err("written, but not flushed") }
    });
}

/// Returns the place of the record that committed a transaction, if it is in the files of the WAL.
fn commit_record(cluster: &Cluster, start: &str, xid: &str) -> Option<String> {
    let mut dump = server("pg_waldump");
    dump.arg("--path").arg(cluster.data_dir().join("pg_wal"));
    // It ends with an error, at the end of the WAL.
    let output = dump.args(["--rmgr", "Transaction", "--start", start]).output().expect("pg_waldump");
    let text = String::from_utf8_lossy(&output.stdout);
    let is_of = |line: &&str| {
        line.contains("desc: COMMIT")
            && line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == xid)
    };
    let line = text.lines().find(is_of)?;
    Some(line.split("lsn: ").nth(1)?.split(',').next()?.to_owned())
}

#[test]
fn ends_of_tasks_are_written_to_the_disk_though_no_worker_waits_for_that() {
    for interval in ["0", "20ms"] {
        let cluster = Cluster::start(&[LATE.as_slice(), &[("pg_errand.flush_interval", interval)]].concat());
        let mut client = install(&cluster, "postgres");
        for label in ["first", "second", "third"] {
            let start: String = one(&mut client, "select pg_current_wal_insert_lsn()::text");
            let id = task(&mut client, "note", json!({"label": label}));
            wait_status(&mut client, id, "succeeded");
            wait_flushed(&cluster, &mut client, &start, id);
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
