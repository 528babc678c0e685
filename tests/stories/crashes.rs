//! Crashes, failovers and shutdowns: everything comes back, and nothing is shown that is not so.

use serde_json::json;

use crate::harness::builder::Builder;
use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{done, install, one, run_one, runner, task, wait_running, worker_pids};
use crate::harness::mailing::Mailing;
use crate::harness::queue::{status, wait_status, workers};
use crate::harness::wait::{eventually, wait_until_sql};

const LAUNCHER: &str = "select max(pid) from pg_stat_activity where application_name = 'pg_errand launcher'";

#[test]
fn a_launcher_killed_again_and_again_comes_back_with_everything() {
    let cluster = Cluster::start(&[("pg_errand.poll_interval", "1h")]);
    let mut client = install(&cluster, "postgres");
    let held: Vec<i64> = (0..3).map(|_| task(&mut client, "linger", json!({"label": "held"}))).collect();
    for round in 0..20 {
        wait_running(&mut client, 2);
        let pid: i32 = eventually("there is a launcher", || one::<Option<i32>>(&mut client, LAUNCHER));
        cluster.crash(pid, libc::SIGKILL);
        client = cluster.connect("postgres");
        // Running is what a live process does, at every moment.
        let lies = "select count(*) from queues.task_status s where s.status = 'running' \
            and not exists (select from queues.worker w where w.task_id = s.task_id) \
            and not exists (select from pg_stat_activity where backend_type = 'pg_errand worker')";
        assert_eq!(one::<i64>(&mut client, lies), 0, "round {round}");
    }
    wait_running(&mut client, 2);
    assert_eq!(worker_pids(&mut client).len(), 2);
    client.batch_execute("update public.door set open = true").unwrap();
    for id in held {
        wait_status(&mut client, id, "succeeded");
    }
    assert_eq!(done(&mut client), ["held"; 3]);
    run_one(&mut client, "after");
}

#[test]
fn after_a_failover_the_new_server_runs_what_ran_and_what_waited() {
    let primary = Cluster::start(&[("pg_errand.concurrency", "1"), ("pg_errand.poll_interval", "1h")]);
    let mut client = install(&primary, "postgres");
    let standby = Builder::standby_of(&primary).start();
    let running = task(&mut client, "linger", json!({"label": "running"}));
    runner(&mut client, running);
    let waiting = task(&mut client, "note", json!({"label": "waiting"}));
    let mut there = standby.connect("postgres");
    wait_until_sql(&mut there, "select count(*) from queues.task", "2");
    // Nothing runs there, and nothing is said to.
    let processes = "select count(*) from pg_stat_activity where backend_type like 'pg_errand%'";
    assert_eq!(one::<i64>(&mut there, processes), 0);
    assert_eq!((status(&mut there, running), workers(&mut there)), ("ready".to_owned(), Vec::new()));
    drop(client);
    primary.stop(StopMode::Kill);
    assert!(one::<bool>(&mut there, "select pg_promote()"));
    runner(&mut there, running);
    there.batch_execute("update public.door set open = true").unwrap();
    for id in [running, waiting] {
        wait_status(&mut there, id, "succeeded");
    }
    assert_eq!(done(&mut there), ["running", "waiting"]);
}

#[test]
fn a_fast_shutdown_waits_for_no_synchronous_standby() {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1")]);
    mailing.deliver("first@mail.test");
    mailing.cluster.set(&[("synchronous_standby_names", "away")]);
    mailing.client.batch_execute("set synchronous_commit = local").unwrap();
    let waits = "select count(*) from pg_stat_activity where backend_type = 'pg_errand worker' and wait_event = 'SyncRep'";
    let id = eventually("a worker waits for the standby", || {
        let id = mailing.send("second@mail.test");
        let since = std::time::Instant::now();
        while since.elapsed().as_secs() < 5 {
            if mailing.number(waits) == 1 {
                return Some(id);
            }
        }
        None
    });
    mailing.cluster.stop(StopMode::Fast);
    mailing.cluster.start_again();
    mailing.client = mailing.cluster.connect("postgres");
    mailing.cluster.set(&[("synchronous_standby_names", "")]);
    mailing.wait(id, "succeeded");
    // It was sent under one key, however often.
    let keys: std::collections::HashSet<_> = mailing
        .standin
        .requests()
        .iter()
        .map(|exchange| exchange.request.header("Idempotency-Key").unwrap_or_default().to_owned())
        .collect();
    let sent = mailing.number("select count(*) from queues.task");
    assert_eq!(i64::try_from(keys.len()).unwrap(), sent, "{keys:?}");
}
