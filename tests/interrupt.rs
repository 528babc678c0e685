//! Cancelling and terminating workers, by users and by a shutdown.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{Gate, done, install, one, run_one, runner, task, wait_running, worker_pids};
use crate::harness::queue::{errors, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// One worker that stays, and finds nothing by polling.
const ONE_WORKER: [(&str, &str); 3] =
    [("pg_errand.poll_interval", "1h"), ("pg_errand.max_idle_time", "0"), ("pg_errand.concurrency", "1")];

fn signal(client: &mut Client, function: &str, pid: i32) {
    assert!(one::<bool>(client, &format!("select {function}({pid})")), "{function}({pid})");
}

#[test]
fn pg_cancel_backend_fails_the_current_task_and_only_that() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    for _ in 0..3 {
        let id = task(&mut client, "nap", json!({"seconds": 60}));
        let pid = runner(&mut client, id);
        let next = task(&mut client, "note", json!({"label": "next"}));
        signal(&mut client, "pg_cancel_backend", pid);
        wait_status(&mut client, id, "failed");
        wait_status(&mut client, next, "succeeded");
        assert_eq!(worker_pids(&mut client), [pid]);
        let errors = errors(&mut client, id);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].error_message.contains("public.nap"), "{errors:?}");
        let state: String =
            one(&mut client, &format!("select sqlstate from queues.error where task_id = {id}"));
        assert_eq!(state, "57014");
    }
}

#[test]
fn pg_cancel_backend_does_an_idle_worker_no_harm() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let pids = worker_pids(&mut client);
    for n in 0..20 {
        wait_until_sql(&mut client, "select state from queues.worker", "idle");
        signal(&mut client, "pg_cancel_backend", pids[0]);
        // Not even a task that starts at this moment.
        run_one(&mut client, &n.to_string());
    }
    assert_eq!(worker_pids(&mut client), pids);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}

#[test]
fn the_error_handler_of_a_cancelled_handler_still_runs() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "nap", json!({"seconds": 60, "error_handler": "public.note"}));
    let pid = runner(&mut client, id);
    signal(&mut client, "pg_cancel_backend", pid);
    wait_status(&mut client, id, "failed");
    assert_eq!(one::<i64>(&mut client, "select count(*) from public.done"), 1);
}

#[test]
fn pg_terminate_backend_gives_the_task_back_and_a_new_worker_runs_it() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({"label": "terminated"}));
    let pid = runner(&mut client, id);
    signal(&mut client, "pg_terminate_backend", pid);
    let other =
        eventually("another worker runs it", || Some(runner(&mut client, id)).filter(|other| *other != pid));
    assert_eq!(worker_pids(&mut client), [other]);
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(&mut client, id, "succeeded");
    assert_eq!(done(&mut client), ["terminated"]);

    // An idle one is replaced when there is work.
    wait_until_sql(&mut client, "select state from queues.worker", "idle");
    signal(&mut client, "pg_terminate_backend", other);
    eventually("it is gone", || !worker_pids(&mut client).contains(&other));
    run_one(&mut client, "next");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}

#[test]
fn attempts_count_starts_also_of_runs_that_were_terminated() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({}));
    let pid = runner(&mut client, id);
    signal(&mut client, "pg_terminate_backend", pid);
    eventually("another worker runs it", || runner(&mut client, id) != pid);
    let attempts = format!("select attempts from queues.task_status where task_id = {id}");
    assert_eq!(one::<i32>(&mut client, &attempts), 2);
}

#[test]
fn a_task_whose_worker_died_three_times_is_failed_and_others_go_on() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({"label": "deadly", "error_handler": "public.note"}));
    let next = task(&mut client, "note", json!({"label": "next"}));
    for _ in 0..3 {
        let pid = runner(&mut client, id);
        signal(&mut client, "pg_terminate_backend", pid);
        eventually("it is gone", || !worker_pids(&mut client).contains(&pid));
    }
    wait_status(&mut client, id, "failed");
    wait_status(&mut client, next, "succeeded");
    let errors = errors(&mut client, id);
    assert!(errors.len() == 1 && errors[0].error_message.contains('3'), "{errors:?}");
    let attempts = format!("select attempts from queues.task_status where task_id = {id}");
    assert_eq!(one::<i32>(&mut client, &attempts), 3);
    assert_eq!(one::<i64>(&mut client, "select count(*) from public.done where label = 'deadly'"), 0);
}

#[test]
fn a_shutdown_waits_for_no_handler_and_the_task_runs_after_the_start() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({"label": "interrupted"}));
    runner(&mut client, id);
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    runner(&mut client, id);
    // Clients only are waited for.
    drop(client);
    cluster.restart(StopMode::Smart);
    let mut client = cluster.connect("postgres");
    runner(&mut client, id);
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(&mut client, id, "succeeded");
    assert_eq!(done(&mut client), ["interrupted"]);
    // Of idle workers neither.
    wait_until_sql(&mut client, "select state from queues.worker", "idle");
    drop(client);
    cluster.restart(StopMode::Smart);
    let mut client = cluster.connect("postgres");
    run_one(&mut client, "after");
    let log = cluster.log();
    assert!(!log.contains("PANIC:") && !log.contains("terminated by signal"), "{log}");
}

/// Handlers that catch what they can.
const STUBBORN: &str = "
    create function public.careless(payload jsonb) returns jsonb language plpgsql as $$
    begin
        perform pg_sleep(60);
        return '{}';
    exception when others then
        return '{}';
    end $$;

    create function public.stubborn(payload jsonb) returns jsonb language plpgsql as $$
    begin
        loop
            begin
                perform pg_sleep(60);
            exception when query_canceled or others then
                perform public.note(payload);
            end;
        end loop;
    end $$;
";

#[test]
fn a_handler_that_catches_everything_can_be_cancelled() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(STUBBORN).unwrap();

    let id = task(&mut client, "careless", json!({}));
    let pid = runner(&mut client, id);
    signal(&mut client, "pg_cancel_backend", pid);
    wait_status(&mut client, id, "failed");

    let id = task(&mut client, "careless", json!({}));
    runner(&mut client, id);
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({id})")));
    wait_status(&mut client, id, "cancelled");
    run_one(&mut client, "next");
    assert_eq!(worker_pids(&mut client), [pid]);
}

#[test]
fn a_handler_that_even_catches_cancels_is_cancelled_by_queues_cancel() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(STUBBORN).unwrap();
    let id = task(&mut client, "stubborn", json!({"label": "stubborn"}));
    runner(&mut client, id);
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({id})")));
    wait_status(&mut client, id, "cancelled");
    run_one(&mut client, "next");
    assert_eq!(done(&mut client), ["next"]);
}

#[test]
fn a_handler_that_even_catches_cancels_can_be_terminated() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(STUBBORN).unwrap();
    let id = task(&mut client, "stubborn", json!({}));
    let pid = runner(&mut client, id);
    client.batch_execute("alter system set pg_errand.concurrency = 0").unwrap();
    cluster.reload();
    signal(&mut client, "pg_terminate_backend", pid);
    wait_until_sql(
        &mut client,
        &format!("select status from queues.task_status where task_id = {id}"),
        "ready",
    );
}

#[test]
fn many_cancels_and_terminations_lose_and_repeat_nothing() {
    let cluster = Cluster::start(&[ONE_WORKER[0], ("pg_errand.concurrency", "3")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    for n in 0..30 {
        task(&mut client, "gate", json!({"gate": 1, "label": n.to_string()}));
    }
    for _ in 0..4 {
        wait_running(&mut client, 3);
        let pids = worker_pids(&mut client);
        signal(&mut client, "pg_terminate_backend", pids[0]);
        eventually("it is gone", || !worker_pids(&mut client).contains(&pids[0]));
    }
    gate.open();
    wait_until_sql(&mut client, "select count(*) from queues.task where final_status = 'succeeded'", "30");
    let labels = "select count(distinct label) = 30 and count(*) = 30 from public.done";
    assert!(one::<bool>(&mut client, labels));
}
