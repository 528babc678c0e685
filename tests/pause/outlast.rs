//! Pauses outlast restarts, crashes and dumps.

use super::{enqueue, start};
use crate::harness::cluster::StopMode;
use crate::harness::handlers::one;
use crate::harness::programs::output;
use crate::harness::queue::{self, wait_status};

#[test]
fn a_pause_outlasts_a_restart_and_a_crash() {
    for mode in [StopMode::Fast, StopMode::Kill] {
        let (cluster, mut client) = start();
        client.batch_execute("select queues.pause('one')").unwrap();
        let waiting = enqueue(&mut client, "one", "waiting");
        cluster.restart(mode);
        let mut client = cluster.connect("postgres");
        let other = enqueue(&mut client, "two", "other");
        wait_status(&mut client, other, "succeeded");
        assert_eq!(queue::status(&mut client, waiting), "ready");
        client.batch_execute("select queues.pause()").unwrap();
        cluster.restart(mode);
        let mut client = cluster.connect("postgres");
        let second = enqueue(&mut client, "two", "second");
        client.batch_execute("select queues.resume('one')").unwrap();
        assert_eq!(
            one::<String>(&mut client, &format!("select reason from queues.explain({second})")),
            "database_paused"
        );
        client.batch_execute("select queues.resume()").unwrap();
        wait_status(&mut client, waiting, "succeeded");
        wait_status(&mut client, second, "succeeded");
    }
}

#[test]
fn a_dump_holds_pauses() {
    let (cluster, mut client) = start();
    client.batch_execute("select queues.pause('one', _why => 'x'); select queues.pause()").unwrap();
    client.batch_execute("create database copy").unwrap();
    let archive = cluster.socket_dir().join("archive");
    output(cluster.client_program("pg_dump").args(["--format=custom", "postgres", "--file"]).arg(&archive));
    output(cluster.client_program("pg_restore").args(["--exit-on-error", "--dbname=copy"]).arg(&archive));
    let mut copy = cluster.connect("copy");
    let found =
        "select string_agg(concat_ws('|', task_type, reason), ', ' order by task_type) from queues.paused";
    assert_eq!(one::<String>(&mut copy, found), "one|x, ");
    let waiting = enqueue(&mut copy, "two", "waiting");
    assert_eq!(
        one::<String>(&mut copy, &format!("select reason from queues.explain({waiting})")),
        "database_paused"
    );
    copy.batch_execute("select queues.resume()").unwrap();
    wait_status(&mut copy, waiting, "succeeded");
}
