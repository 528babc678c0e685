//! Reasons that concern provider calls.

use std::sync::mpsc;

use serde_json::json;
use standin::Answer;

use super::{explain, wait_reason};
use crate::harness::calling::{Calling, ok};
use crate::harness::handlers::one;
use crate::harness::wait::wait_until_sql;

const SETTINGS: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.poll_interval", "1h")];

#[test]
fn a_call_in_flight_waits_for_the_response_and_others_for_a_place() {
    let (open, opened) = mpsc::channel::<()>();
    let mut calling = Calling::start(&SETTINGS, move |_| {
        let _ = opened.recv();
        ok()
    });
    calling.register("api", json!({"max_in_flight": 1}));
    let first = calling.call("api", json!({"path": "/", "body": 1}));
    let second = calling.call("api", json!({"path": "/", "body": 2}));
    let in_flight = wait_reason(&mut calling.client, first, "call_in_flight");
    assert_eq!(in_flight.status, "running");
    assert!(in_flight.pid.is_some() && in_flight.explanation.contains("\"api\""), "{in_flight:?}");
    let waits = wait_reason(&mut calling.client, second, "provider_full");
    assert!(waits.hint.contains("max_in_flight"), "{waits:?}");
    drop(open);
    calling.wait(second, "succeeded");
}

#[test]
fn a_breaker_a_rate_and_a_pause_are_told_with_their_end() {
    let mut calling = Calling::start(&SETTINGS, |request| match request.path() {
        "/down" => Answer::json(500, &json!({})),
        "/later" => Answer::json(429, &json!({})).with("Retry-After", "3000"),
        _ => ok(),
    });
    calling.register("breaks", json!({"breaker_threshold": 1, "breaker_cooldown": "1 hour"}));
    calling.fail("breaks", json!({"path": "/down", "body": 1}));
    let waits = calling.call("breaks", json!({"path": "/", "body": 1}));
    let broken = wait_reason(&mut calling.client, waits, "breaker_open");
    broken.lasts();

    calling.register("slow", json!({"requests_per_second": 0.001, "burst": 1}));
    calling.succeed("slow", json!({"path": "/", "body": 1}));
    let waits = calling.call("slow", json!({"path": "/", "body": 2}));
    let rated = wait_reason(&mut calling.client, waits, "rate_limit");
    rated.lasts();
    assert!(rated.hint.contains("requests_per_second"), "{rated:?}");

    calling.register("later", json!({}));
    let postponed = calling.call("later", json!({"path": "/later", "body": 1}));
    let queued = wait_reason(&mut calling.client, postponed, "call_queued");
    assert_eq!(queued.status, "running");
    queued.lasts();
    let waits = calling.call("later", json!({"path": "/", "body": 2}));
    let paused = wait_reason(&mut calling.client, waits, "provider_paused");
    paused.lasts();
}

#[test]
fn a_worker_with_as_many_calls_as_it_may_have_takes_no_more() {
    let (open, opened) = mpsc::channel::<()>();
    let settings = [SETTINGS[0], SETTINGS[1], ("pg_errand.max_in_flight", "1")];
    let mut calling = Calling::start(&settings, move |_| {
        let _ = opened.recv();
        ok()
    });
    calling.register("api", json!({}));
    let last = (0..6).map(|body| calling.call("api", json!({"path": "/", "body": body}))).last().unwrap();
    let full = wait_reason(&mut calling.client, last, "max_in_flight");
    assert!(full.hint.contains("pg_errand.max_in_flight"), "{full:?}");
    drop(open);
    calling.wait(last, "succeeded");
}

#[test]
fn a_response_whose_task_is_locked_waits_for_its_handler() {
    let (open, opened) = mpsc::channel::<()>();
    let mut calling = Calling::start(&SETTINGS, move |_| {
        let _ = opened.recv();
        ok()
    });
    calling.register("api", json!({}));
    let id = calling.call("api", json!({"path": "/", "body": 1}));
    wait_reason(&mut calling.client, id, "call_in_flight");
    let mut other = calling.cluster.connect("postgres");
    let pid: i32 = one(&mut other, "select pg_backend_pid()");
    let lock = format!("begin; select from queues.task where task_id = {id} for no key update");
    other.batch_execute(&lock).unwrap();
    drop(open);
    let answered = wait_reason(&mut calling.client, id, "call_answered");
    assert_eq!((answered.status.as_str(), answered.pid), ("running", Some(pid)));
    other.batch_execute("rollback").unwrap();
    calling.wait(id, "succeeded");
}

#[test]
fn an_orphaned_call_says_why_no_worker_takes_it_over() {
    let (open, opened) = mpsc::channel::<()>();
    let mut calling = Calling::start(&SETTINGS, move |_| {
        let _ = opened.recv();
        ok()
    });
    calling.register("api", json!({}));
    let id = calling.call("api", json!({"path": "/", "body": 1}));
    wait_reason(&mut calling.client, id, "call_in_flight");
    // Once it is committed, a worker may take the call over at once.
    calling.client.batch_execute("begin; update queues.call set owner = 1").unwrap();
    let reason = explain(&mut calling.client, id).reason;
    calling.client.batch_execute("commit").unwrap();
    assert_eq!(reason, "call_orphaned");
    drop(open);
    wait_until_sql(&mut calling.client, "select count(*) from queues.worker", "1");
}
