//! Tasks that crash their process or the whole server.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{install, one, run_one, runner, task, wait_running, worker_pids};
use crate::harness::queue::{errors, wait_status};

const TWO_WORKERS: [(&str, &str); 3] =
    [("pg_errand.poll_interval", "1h"), ("pg_errand.max_idle_time", "0"), ("pg_errand.concurrency", "2")];

/// Sends `signal` to the process that runs a task, and waits until the server has recovered from that.
#[track_caller]
fn crash(cluster: &Cluster, client: Client, task_id: i64, signal: i32) -> Client {
    let mut client = client;
    let pid = runner(&mut client, task_id);
    cluster.crash(pid, signal);
    cluster.connect("postgres")
}

fn attempts(client: &mut Client, task_id: i64) -> i32 {
    one(client, &format!("select attempts from queues.task where task_id = {task_id}"))
}

fn open_the_door(client: &mut Client) {
    client.batch_execute("update public.door set open = true").unwrap();
}

#[test]
fn a_task_that_crashes_the_server_three_times_is_failed_and_those_beside_it_are_not() {
    let cluster = Cluster::start(&TWO_WORKERS);
    let mut client = install(&cluster, "postgres");
    let innocent = task(&mut client, "linger", json!({"label": "innocent"}));
    let deadly = task(&mut client, "linger", json!({"label": "deadly", "error_handler": "public.note"}));
    for signal in [libc::SIGSEGV, libc::SIGKILL, libc::SIGABRT] {
        wait_running(&mut client, 2);
        client = crash(&cluster, client, deadly, signal);
    }
    wait_status(&mut client, deadly, "failed");
    let found = errors(&mut client, deadly);
    assert!(found.len() == 1 && found[0].error_message.contains("ended 3 times"), "{found:?}");
    assert_eq!(attempts(&mut client, deadly), 3);
    assert_eq!(one::<i64>(&mut client, "select count(*) from public.done"), 1, "its error handler");

    runner(&mut client, innocent);
    open_the_door(&mut client);
    wait_status(&mut client, innocent, "succeeded");
    assert_eq!(attempts(&mut client, innocent), 4);
    run_one(&mut client, "after");
}

/// Waits at the door as an error handler, too.
const LINGERS_TWICE: &str = "select queues.enqueue('db_function',
    '{\"db_function\": \"public.linger\", \"error_handler\": \"public.linger\"}')";

#[test]
fn an_error_handler_that_crashes_the_server_is_called_once() {
    let cluster = Cluster::start(&TWO_WORKERS);
    let mut client = install(&cluster, "postgres");
    let deadly: i64 = one(&mut client, LINGERS_TWICE);
    for _ in 0..4 {
        client = crash(&cluster, client, deadly, libc::SIGSEGV);
    }
    wait_status(&mut client, deadly, "failed");
    let found = errors(&mut client, deadly);
    assert!(found.len() == 1 && found[0].error_message.contains("ended 4 times"), "{found:?}");
    run_one(&mut client, "after");
}

#[test]
fn stops_and_restarts_of_the_server_are_no_deaths_and_count_as_runs() {
    let cluster = Cluster::start(&TWO_WORKERS);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({}));
    let modes = [StopMode::Fast, StopMode::Immediate, StopMode::Fast, StopMode::Immediate, StopMode::Fast];
    for mode in modes {
        runner(&mut client, id);
        cluster.restart(mode);
        client = cluster.connect("postgres");
    }
    runner(&mut client, id);
    open_the_door(&mut client);
    wait_status(&mut client, id, "succeeded");
    assert_eq!(attempts(&mut client, id), modes.len() as i32 + 1);
}

#[test]
fn a_server_that_is_killed_again_and_again_fails_no_task() {
    let cluster = Cluster::start(&TWO_WORKERS);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({}));
    for _ in 0..4 {
        runner(&mut client, id);
        cluster.restart(StopMode::Kill);
        client = cluster.connect("postgres");
    }
    runner(&mut client, id);
    open_the_door(&mut client);
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn a_crash_that_ends_the_server_counts() {
    let cluster =
        Cluster::builder().set("pg_errand.poll_interval", "1h").set("restart_after_crash", "off").start();
    let mut client = install(&cluster, "postgres");
    let innocent = task(&mut client, "linger", json!({"label": "innocent"}));
    let deadly = task(&mut client, "linger", json!({"label": "deadly"}));
    for _ in 0..3 {
        wait_running(&mut client, 2);
        let pid = runner(&mut client, deadly);
        cluster.kill(pid, libc::SIGSEGV);
        cluster.wait_end();
        cluster.start_again();
        client = cluster.connect("postgres");
    }
    wait_status(&mut client, deadly, "failed");
    assert!(errors(&mut client, deadly)[0].error_message.contains("ended 3 times"));
    open_the_door(&mut client);
    wait_status(&mut client, innocent, "succeeded");
}

#[test]
fn a_task_cancelled_just_before_a_crash_stays_cancelled() {
    let cluster = Cluster::start(&TWO_WORKERS);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({}));
    let pid = runner(&mut client, id);
    // It does not get round to it.
    cluster.kill(pid, libc::SIGSTOP);
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({id})")));
    client = crash(&cluster, client, id, libc::SIGKILL);
    wait_status(&mut client, id, "cancelled");
    run_one(&mut client, "after");
}

#[test]
fn after_a_crash_elsewhere_all_tasks_run_again_and_none_is_to_blame() {
    let cluster = Cluster::start(&TWO_WORKERS);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({}));
    for _ in 0..4 {
        runner(&mut client, id);
        let mut victim = cluster.connect("postgres");
        let pid: i32 = one(&mut victim, "select pg_backend_pid()");
        cluster.crash(pid, libc::SIGKILL);
        client = cluster.connect("postgres");
    }
    let pid = runner(&mut client, id);
    assert!(worker_pids(&mut client).contains(&pid));
    open_the_door(&mut client);
    wait_status(&mut client, id, "succeeded");
    assert_eq!(attempts(&mut client, id), 5);
}
