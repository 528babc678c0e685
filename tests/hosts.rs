//! Tasks of the type `http` to many hosts: each host has limits of its own, though all have one lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use postgres::Client;
use serde_json::json;
use standin::{Answer, Web};

use crate::harness::calling::{Calling, at, ok, register};
use crate::harness::wait::{eventually, wait_until_sql};

const LOOPBACK: (&str, &str) = ("pg_errand.http_allowed_hosts", "127.0.0.1");
const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");
const FEW: (&str, &str) = ("pg_errand.max_in_flight", "16");
/// A call's time limit that no test lives to see.
const PATIENT: (&str, &str) = ("pg_errand.call_timeout", "10min");

/// Enqueues in one transaction so many requests to each of these hosts, in turn.
#[track_caller]
fn post_to_all(client: &mut Client, hosts: &[&Web], count: i32) {
    let urls: Vec<String> = hosts.iter().map(|web| web.url()).collect();
    let sql = "select count(queues.http_post(url || '/n', to_jsonb(n)))
        from generate_series(1, $2) n, unnest($1::text[]) url";
    client.execute(sql, &[&urls, &count]).unwrap();
}

#[track_caller]
fn wait_succeeded(client: &mut Client, count: usize) {
    let sql = "select count(*) from queues.task_status where status = 'succeeded'";
    wait_until_sql(client, sql, &count.to_string());
}

fn friendly_hosts<const N: usize>() -> [Web; N] {
    std::array::from_fn(|_| Web::start(|_| ok()).unwrap())
}

#[test]
fn a_host_that_hangs_among_others_holds_up_none_of_them() {
    let mut calling = Calling::friendly(&[LOOPBACK, ONE_WORKER, FEW, PATIENT]);
    calling.web.hold();
    let healthy = friendly_hosts::<9>();
    let hosts: Vec<&Web> = healthy.iter().chain([&calling.web]).collect();
    post_to_all(&mut calling.client, &hosts, 50);
    wait_succeeded(&mut calling.client, 9 * 50);
    calling.web.release();
    wait_succeeded(&mut calling.client, 10 * 50);
    assert_eq!(calling.web.requests().len(), 50);
}

#[test]
fn a_host_that_has_taken_all_places_holds_up_others_for_a_moment_only() {
    let mut calling = Calling::friendly(&[LOOPBACK, ONE_WORKER, FEW, PATIENT]);
    calling.web.hold();
    post_to_all(&mut calling.client, &[&calling.web], 100);
    eventually("it has taken all places", || calling.web.held() == 16);
    let healthy = friendly_hosts::<3>();
    // Nor does it matter that another provider is busy.
    register(&mut calling.client, "busy", &at(&healthy[2], json!({}))).unwrap();
    let busy = "select count(queues.enqueue('busy', '{\"request\": {}}')) from generate_series(1, 500)";
    calling.client.execute(busy, &[]).unwrap();
    post_to_all(&mut calling.client, &[&healthy[0], &healthy[1]], 50);
    wait_succeeded(&mut calling.client, 600);
    calling.web.release();
    wait_succeeded(&mut calling.client, 700);
    assert_eq!(calling.web.requests().len(), 100);
}

#[test]
fn a_host_that_asks_to_wait_is_not_asked_by_each_task_in_turn() {
    let closed = Arc::new(AtomicBool::new(true));
    let door = closed.clone();
    let mut calling = Calling::start(&[LOOPBACK, ONE_WORKER, FEW], move |_| match door.load(SeqCst) {
        true => Answer::new(429, "text/plain", "not so fast").with("Retry-After", "1"),
        false => ok(),
    });
    let healthy = friendly_hosts::<1>();
    post_to_all(&mut calling.client, &[&calling.web, &healthy[0]], 100);
    wait_succeeded(&mut calling.client, 100);
    // What was under way when it first said so, and one for each pause.
    let asked = calling.web.requests().len();
    assert!(asked < 100, "{asked}");
    closed.store(false, SeqCst);
    wait_succeeded(&mut calling.client, 200);
    assert_eq!(calling.number("select count(*) from queues.error"), 0);
}

#[test]
fn however_many_requests_wait_for_a_host_other_providers_go_on() {
    let mut calling = Calling::start(&[LOOPBACK, ONE_WORKER, FEW], |_| {
        Answer::new(429, "text/plain", "come back later").with("Retry-After", "600")
    });
    let healthy = friendly_hosts::<1>();
    register(&mut calling.client, "other", &at(&healthy[0], json!({}))).unwrap();
    post_to_all(&mut calling.client, &[&calling.web], 1300);
    wait_until_sql(&mut calling.client, "select in_flight >= 1000 from queues.worker", "t");
    let other = "select count(queues.enqueue('other', '{\"request\": {}}')) from generate_series(1, 50)";
    calling.client.execute(other, &[]).unwrap();
    wait_succeeded(&mut calling.client, 50);
}

#[test]
fn calls_of_all_hosts_together_keep_to_their_number() {
    let mut calling = Calling::friendly(&[LOOPBACK, ONE_WORKER, PATIENT]);
    calling.client.execute("update queues.provider set max_in_flight = 2 where name = 'http'", &[]).unwrap();
    calling.web.hold();
    post_to_all(&mut calling.client, &[&calling.web], 5);
    eventually("two are under way", || calling.web.held() == 2);
    // A call that is cancelled is still under way.
    let first: i64 = calling.client.query_one("select min(task_id) from queues.task", &[]).unwrap().get(0);
    calling.client.execute("select queues.cancel($1)", &[&first]).unwrap();
    calling.wait(first, "cancelled");
    calling
        .client
        .batch_execute("select queues.enqueue('db_function', '{\"db_function\": \"app.note\"}')")
        .unwrap();
    wait_succeeded(&mut calling.client, 1);
    assert_eq!(calling.web.requests().len(), 2);
    calling.web.release();
    wait_succeeded(&mut calling.client, 5);
}
