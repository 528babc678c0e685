//! What a worker that ends leaves behind: its calls, cancels that it has been told of, the count of its deaths.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, run_one, runner, task, wait_running, worker_pids};
use crate::harness::mailing::Mailing;
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");
/// A call's time limit that no test lives to see.
const PATIENT: (&str, &str) = ("pg_errand.call_timeout", "10min");

/// Waits until no process of a worker is left.
#[track_caller]
fn wait_no_worker(client: &mut Client) {
    eventually("there is no worker", || worker_pids(client).is_empty());
}

#[test]
fn a_call_whose_owner_has_a_later_identity_than_any_worker_here_is_taken_over() {
    let mut mailing = Mailing::start(&[NO_POLL, ONE_WORKER, PATIENT]);
    mailing.standin.hold();
    let task_id = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    let pid = mailing.worker_pid();
    // As after a failover from a server that was restarted after this one was started.
    mailing.cluster.set(&[("pg_errand.concurrency", "0")]);
    mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    wait_no_worker(&mut mailing.client);
    mailing.client.execute("update queues.call set owner = owner + 86400000000", &[]).unwrap();
    mailing.cluster.set(&[("pg_errand.concurrency", "1")]);
    mailing.wait_requests(2);
    wait_until_sql(&mut mailing.client, "select in_flight from queues.worker", "1");
    mailing.wait(task_id, "running");
    // And once more, by a worker whose identity is later still.
    let pid = mailing.worker_pid();
    mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    mailing.wait_requests(3);
    mailing.standin.release();
    mailing.wait(task_id, "succeeded");
    assert_eq!((mailing.standin.mail_count(), mailing.seen("success").len()), (1, 1));
}

/// Waits for whoever holds the advisory lock 1.
const BLOCKS: &str = "
    create function app.blocks(_payload jsonb) returns jsonb language plpgsql as $$
    begin
        perform pg_advisory_xact_lock(1);
        return '{}';
    end
    $$";

#[test]
fn a_call_cancelled_while_its_worker_was_busy_stays_cancelled_when_that_worker_ends() {
    let mut mailing = Mailing::start(&[NO_POLL, ONE_WORKER, PATIENT]);
    mailing.client.batch_execute(BLOCKS).unwrap();
    mailing.client.batch_execute("select pg_advisory_lock(1)").unwrap();
    mailing.standin.hold();
    let mail = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    let blocking = queue::enqueue(&mut mailing.client, "db_function", json!({"db_function": "app.blocks"}));
    wait_until_sql(&mut mailing.client, "select count(*) from pg_locks where not granted", "1");
    let pid = mailing.worker_pid();
    assert!(one::<bool>(&mut mailing.client, &format!("select queues.cancel({mail})")));
    mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    eventually("it is gone", || !worker_pids(&mut mailing.client).contains(&pid));
    mailing.standin.release();
    mailing.client.batch_execute("select pg_advisory_unlock(1)").unwrap();
    mailing.wait(blocking, "succeeded");
    mailing.wait(mail, "cancelled");
    assert!(mailing.seen("success").is_empty() && mailing.seen("error").is_empty());
    // The others' calls go on.
    mailing.deliver("another@mail.test");
}

#[test]
fn a_task_that_kills_its_worker_is_given_up_however_many_others_were_interrupted() {
    let cluster = Cluster::start(&[
        NO_POLL,
        ("pg_errand.concurrency", "12"),
        ("pg_errand.max_workers", "12"),
        ("max_worker_processes", "32"),
    ]);
    let mut client = install(&cluster, "postgres");
    for _ in 0..12 {
        task(&mut client, "linger", json!({}));
    }
    wait_running(&mut client, 12);
    let steady = "select min(clock_timestamp() - started_at) > '1200 ms' from queues.worker";
    wait_until_sql(&mut client, steady, "t");
    // Tasks that are gone before anybody runs them again.
    let mut other = cluster.connect("postgres");
    let removal = std::thread::spawn(move || {
        other.batch_execute(
            "begin; lock table queues.task in access exclusive mode; delete from queues.task; commit",
        )
    });
    let waiting = "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'";
    wait_until_sql(&mut client, waiting, "1");
    let all =
        "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'pg_errand worker'";
    client.batch_execute(all).unwrap();
    removal.join().unwrap().unwrap();

    let id = task(&mut client, "linger", json!({"label": "deadly"}));
    for _ in 0..3 {
        let pid = runner(&mut client, id);
        client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
        eventually("it is gone", || !worker_pids(&mut client).contains(&pid));
    }
    wait_status(&mut client, id, "failed");
    let attempts = format!("select attempts from queues.task where task_id = {id}");
    assert_eq!(one::<i32>(&mut client, &attempts), 3);
    run_one(&mut client, "after");
}

#[test]
fn workers_that_were_ended_in_their_first_tasks_are_replaced_at_once() {
    let cluster = Cluster::start(&[
        NO_POLL,
        ("pg_errand.concurrency", "12"),
        ("pg_errand.max_workers", "12"),
        ("max_worker_processes", "32"),
    ]);
    let mut client = install(&cluster, "postgres");
    for _ in 0..12 {
        task(&mut client, "linger", json!({}));
    }
    wait_running(&mut client, 12);
    let all =
        "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'pg_errand worker'";
    client.batch_execute(all).unwrap();
    client.batch_execute("update public.door set open = true").unwrap();
    wait_until_sql(&mut client, "select count(*) from queues.task_status where status = 'succeeded'", "12");
}

/// Catches every interruption, and counts its runs.
const STUBBORN: &str = "
    create sequence public.runs;
    grant usage on sequence public.runs to public;
    create function public.stubborn(payload jsonb) returns jsonb language plpgsql as $$
    begin
        perform nextval('public.runs');
        loop
            begin
                perform pg_sleep(10);
            exception when query_canceled then
                null;
            end;
        end loop;
    end $$";

#[test]
fn a_handler_that_catches_its_time_limit_for_ever_is_ended_and_given_up() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER, ("pg_errand.handler_timeout", "100ms")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(STUBBORN).unwrap();
    let id = task(&mut client, "stubborn", json!({}));
    let next = task(&mut client, "note", json!({"label": "next"}));
    wait_status(&mut client, id, "failed");
    wait_status(&mut client, next, "succeeded");
    let errors = queue::errors(&mut client, id);
    assert!(errors.len() == 1 && errors[0].error_message.contains("3 times"), "{errors:?}");
    assert_eq!(one::<i64>(&mut client, "select last_value from public.runs"), 3);
}
