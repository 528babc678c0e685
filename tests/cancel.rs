//! `queues.cancel` of tasks that are between two steps, when no worker runs them.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::StopMode;
use crate::harness::handlers::one;
use crate::harness::mailing::{Mailing, mail, task};
use crate::harness::queue::{enqueue, errors, status};
use crate::harness::wait::wait_until_sql;

const ONE_WORKER: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.call_timeout", "10min")];

#[track_caller]
fn cancel(client: &mut Client, task_id: i64) -> bool {
    client.query_one("select queues.cancel($1)", &[&task_id]).unwrap().get(0)
}

/// A handler that waits for the advisory lock 1, as a task of its own.
#[track_caller]
fn block_worker(mailing: &mut Mailing) -> i64 {
    mailing
        .client
        .batch_execute(
            "create function app.wait(_payload jsonb) returns jsonb language plpgsql as $$
             begin
                 perform pg_advisory_xact_lock(1);
                 return '{}';
             end $$;
             select pg_advisory_lock(1)",
        )
        .unwrap();
    let blocker = enqueue(&mut mailing.client, "db_function", json!({"db_function": "app.wait"}));
    wait_until_sql(&mut mailing.client, "select count(*) from pg_locks where not granted", "1");
    blocker
}

#[test]
fn a_call_that_was_answered_while_its_worker_is_busy_is_cancelled_before_its_handler() {
    let mut mailing = Mailing::start(&ONE_WORKER);
    mailing.standin.hold();
    let (cancelled, kept) = (mailing.send("cancelled@mail.test"), mailing.send("kept@mail.test"));
    mailing.wait_held(2);
    let blocker = block_worker(&mut mailing);
    mailing.standin.release();
    crate::harness::wait::eventually("the answers are sent", || {
        mailing.standin.requests().iter().all(|exchange| exchange.status == Some(200))
    });
    assert!(cancel(&mut mailing.client, cancelled));
    mailing.client.batch_execute("select pg_advisory_unlock(1)").unwrap();
    mailing.wait(cancelled, "cancelled");
    mailing.wait(kept, "succeeded");
    mailing.wait(blocker, "succeeded");
    assert!(!cancel(&mut mailing.client, cancelled) && !cancel(&mut mailing.client, kept));
    let seen = mailing.seen("success");
    assert_eq!(
        (seen.len(), &seen[0]["original_payload"]["mail"]["to_address"]),
        (1, &json!("kept@mail.test"))
    );
    assert!(errors(&mut mailing.client, cancelled).is_empty() && mailing.seen("error").is_empty());
}

#[test]
fn a_success_handler_that_waits_for_its_repetition_is_cancelled() {
    let mut mailing = Mailing::start(&ONE_WORKER);
    mailing
        .client
        .batch_execute(
            "create function app.never_serializable(_payload jsonb) returns jsonb language plpgsql as $$
             begin
                 perform nextval('app.runs');
                 raise exception 'try again' using errcode = 'serialization_failure';
             end $$",
        )
        .unwrap();
    let mut payload = task(&mail("someone@mail.test"));
    payload["success_handler"] = json!("app.never_serializable");
    let after_call = enqueue(&mut mailing.client, "email", payload);
    wait_until_sql(&mut mailing.client, "select last_value >= 4 from app.runs", "t");
    assert!(cancel(&mut mailing.client, after_call));
    mailing.wait(after_call, "cancelled");

    // The same of a task that is back in the queue.
    mailing.client.batch_execute("alter sequence app.runs restart").unwrap();
    let payload = json!({"db_function": "app.never_serializable", "error_handler": "app.on_error"});
    let in_queue = enqueue(&mut mailing.client, "db_function", payload);
    wait_until_sql(&mut mailing.client, "select last_value >= 4 from app.runs", "t");
    assert!(cancel(&mut mailing.client, in_queue));
    mailing.wait(in_queue, "cancelled");

    let runs: i64 = one(&mut mailing.client, "select last_value from app.runs");
    mailing.run_function("app.note");
    mailing.deliver("other@mail.test");
    assert_eq!(one::<i64>(&mut mailing.client, "select last_value from app.runs"), runs);
    assert_eq!((mailing.seen("success").len(), mailing.seen("error").len()), (1, 0));
    assert_eq!(mailing.standin.requests().len(), 2);
}

#[test]
fn what_waits_in_the_queue_is_cancelled_in_every_state() {
    let mut mailing = Mailing::start(&[ONE_WORKER[0], ("pg_errand.concurrency", "0")]);
    let client = &mut mailing.client;
    let later =
        "select queues.enqueue('db_function', '{\"db_function\": \"app.note\"}', now() + interval '1 day')";
    let scheduled: i64 = one(client, later);
    let leased = enqueue(client, "db_function", json!({"db_function": "app.note"}));
    let handed_out: i64 = one(client, "select task_id from queues.dequeue_next_available_task()");
    assert_eq!(handed_out, leased);
    let ready = enqueue(client, "db_function", json!({"db_function": "app.note"}));
    for (task_id, state) in [(scheduled, "scheduled"), (leased, "running"), (ready, "ready")] {
        assert_eq!(status(client, task_id), state);
        assert!(cancel(client, task_id));
        assert_eq!(status(client, task_id), "cancelled");
        assert!(!cancel(client, task_id));
    }
    // Whoever had it comes too late.
    client.execute("select queues.complete_task($1)", &[&leased]).unwrap();
    client.execute("select queues.fail_task($1, 'late')", &[&leased]).unwrap();
    assert_eq!(status(client, leased), "cancelled");
    client.execute("update queues.task set scheduled_at = now() where task_id = $1", &[&scheduled]).unwrap();
    mailing.cluster.set(&[("pg_errand.concurrency", "1")]);
    mailing.run_function("app.note");
    assert_eq!(mailing.seen("task").len(), 1);
}

#[test]
fn a_call_nobody_has_taken_over_yet_is_cancelled_and_never_repeated() {
    let mut mailing = Mailing::start(&ONE_WORKER);
    mailing.standin.hold();
    let (cancelled, kept) = (mailing.send("cancelled@mail.test"), mailing.send("kept@mail.test"));
    mailing.wait_held(2);
    mailing.client.batch_execute("alter system set pg_errand.concurrency = 0").unwrap();
    mailing.cluster.restart(StopMode::Immediate);
    mailing.client = mailing.cluster.connect("postgres");
    assert!(cancel(&mut mailing.client, cancelled));
    assert_eq!(status(&mut mailing.client, cancelled), "cancelled");
    mailing.cluster.set(&[("pg_errand.concurrency", "1")]);
    mailing.wait_requests(3);
    mailing.standin.release();
    mailing.wait(kept, "succeeded");
    mailing.run_function("app.note");
    // The one that is kept may have been asked for more than once: its first call was still being processed.
    let to = |exchange: &standin::Exchange| exchange.request.json().unwrap()["to"].clone();
    let asked: Vec<_> = mailing.standin.requests().iter().map(to).collect();
    assert_eq!(asked.iter().filter(|to| **to == "cancelled@mail.test").count(), 1, "{asked:?}");
    assert_eq!(mailing.seen("success").len(), 1);
    assert_eq!(status(&mut mailing.client, cancelled), "cancelled");
}
