//! Providers that ask to wait, have rate limits or fail: no task is lost, and other providers' tasks continue.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use postgres::Client;
use serde_json::{Value, json};
use standin::{Answer, Behaviour, RawServer, Request, Web};

use crate::harness::calling::{Calling, at, ok, register};
use crate::harness::queue;
use crate::harness::wait::{eventually, wait_until_sql};

const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");
const TWO_WORKERS: (&str, &str) = ("pg_errand.concurrency", "2");
/// A call's time limit that no test lives to see.
const PATIENT: (&str, &str) = ("pg_errand.call_timeout", "10min");

/// Enqueues tasks in one transaction whose bodies are the numbers from 1.
#[track_caller]
fn enqueue_numbered(client: &mut Client, task_type: &str, count: i32) {
    let sql = "select count(queues.enqueue($1, jsonb_build_object(
            'task_type', $1::text, 'request', jsonb_build_object('path', '/x', 'body', jsonb_build_object('n', n)))))
        from generate_series(1, $2) n";
    client.execute(sql, &[&task_type, &count]).unwrap();
}

#[track_caller]
fn wait_ended(client: &mut Client, task_type: &str, count: usize) {
    let sql = format!(
        "select count(*) from queues.task_status where task_type = '{task_type}' and status = 'succeeded'"
    );
    wait_until_sql(client, &sql, &count.to_string());
}

/// The numbers of the requests that were accepted, in the order of their arrival.
fn accepted(web: &Web) -> Vec<i64> {
    let all = web.requests();
    let good = all.iter().filter(|exchange| exchange.status == Some(200));
    good.filter_map(|exchange| exchange.request.json()?["n"].as_i64()).collect()
}

fn refused(web: &Web) -> usize {
    web.requests().iter().filter(|exchange| exchange.status.is_some_and(|status| status != 200)).count()
}

fn is_new(seen: &mut Vec<String>, request: &Request) -> bool {
    let key = request.header("Idempotency-Key").unwrap_or_default().to_owned();
    let new = !seen.contains(&key);
    seen.push(key);
    new
}

/// The key of each request so far that had this status.
fn keys_with(web: &Web, status: u16) -> BTreeSet<String> {
    let all = web.requests();
    let with_status = all.iter().filter(|exchange| exchange.status == Some(status));
    with_status.filter_map(|exchange| exchange.request.header("Idempotency-Key").map(str::to_owned)).collect()
}

/// Says "wait" while `closed`.
fn door(
    closed: &Arc<AtomicBool>,
    status: u16,
    retry_after: &'static str,
) -> impl FnMut(&Request) -> Answer + Send + use<> {
    let closed = closed.clone();
    move |_| match closed.load(SeqCst) {
        true => Answer::json(status, &json!({"message": "not so fast"})).with("Retry-After", retry_after),
        false => ok(),
    }
}

#[test]
fn five_hundred_tasks_wait_while_their_provider_asks_for_it_and_others_go_on() {
    let closed = Arc::new(AtomicBool::new(true));
    let mut calling = Calling::start(&[TWO_WORKERS], door(&closed, 429, "1"));
    let other = Web::start(|_| ok()).unwrap();
    calling.register("slow", json!({"max_in_flight": 1}));
    register(&mut calling.client, "other", &at(&other, json!({}))).unwrap();
    enqueue_numbered(&mut calling.client, "slow", 500);
    eventually("the provider has said so three times", || refused(&calling.web) >= 3);
    enqueue_numbered(&mut calling.client, "other", 50);
    wait_ended(&mut calling.client, "other", 50);
    // A request a pause and worker: not each of the tasks in turn.
    let (asked, pauses) = (refused(&calling.web), pauses(&calling.web));
    assert!(asked <= 4 * (pauses + 1), "{asked} requests in {pauses} pauses");
    closed.store(false, SeqCst);
    wait_ended(&mut calling.client, "slow", 500);
    assert_eq!(calling.number("select count(*) from queues.error"), 0);
    let order = accepted(&calling.web);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=500).collect::<Vec<_>>(), "each once");
    let misplaced = order.iter().zip(1..).filter(|(n, place)| (**n - place).abs() > 10).count();
    assert!(misplaced <= 10, "{misplaced} tasks are more than 10 places away: {order:?}");
}

/// Seconds from the first to the last request that was refused: each asked for a pause of one.
fn pauses(web: &Web) -> usize {
    let all = web.requests();
    let times: Vec<_> = all
        .iter()
        .filter(|exchange| exchange.status.is_some_and(|status| status != 200))
        .map(|exchange| exchange.request.received_at)
        .collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return 0 };
    last.duration_since(*first).unwrap().as_secs() as usize
}

#[test]
fn calls_side_by_side_that_are_told_to_wait_keep_their_keys_and_hold_up_nobody() {
    let closed = Arc::new(AtomicBool::new(true));
    let mut calling = Calling::start(&[("pg_errand.max_in_flight", "4")], door(&closed, 429, "1"));
    let other = Web::start(|_| ok()).unwrap();
    calling.register("slow", json!({}));
    register(&mut calling.client, "other", &at(&other, json!({}))).unwrap();
    enqueue_numbered(&mut calling.client, "slow", 300);
    eventually("the provider has said so", || refused(&calling.web) > 0);
    enqueue_numbered(&mut calling.client, "other", 100);
    wait_ended(&mut calling.client, "other", 100);
    let ended = "select count(*) from queues.task where task_type = 'slow' and finished_at is not null";
    assert_eq!(calling.number(ended), 0);
    let asked = calling.web.requests().len();
    assert!(asked < 100, "{asked} requests while the provider asks to wait");
    closed.store(false, SeqCst);
    wait_ended(&mut calling.client, "slow", 300);
    assert_eq!(calling.number("select count(*) from queues.error"), 0);
    let (refused, accepted) = (keys_with(&calling.web, 429), keys_with(&calling.web, 200));
    assert!(accepted.len() == 300 && refused.is_subset(&accepted), "{refused:?} {accepted:?}");
}

#[test]
fn a_refused_request_is_sent_again_with_the_same_key() {
    let mut seen = Vec::new();
    let rule = move |request: &Request| match is_new(&mut seen, request) {
        true => Answer::json(429, &json!({})).with("Retry-After", "1"),
        false => ok(),
    };
    let mut calling = Calling::start(&[], rule);
    calling.register("slow", json!({}));
    enqueue_numbered(&mut calling.client, "slow", 3);
    wait_ended(&mut calling.client, "slow", 3);
    assert_eq!(accepted(&calling.web).len(), 3);
    assert_eq!(calling.number("select count(*) from queues.error"), 0);
}

#[test]
fn a_date_to_wait_for_is_understood() {
    let closed = Arc::new(AtomicBool::new(true));
    let mut calling = Calling::start(&[], door(&closed, 503, "Sun, 06 Nov 1994 08:49:37 GMT"));
    calling.register("down", json!({}));
    let task_id = calling.call("down", json!({"path": "/x"}));
    eventually("it has said so", || refused(&calling.web) > 0);
    closed.store(false, SeqCst);
    calling.wait(task_id, "succeeded");

    // One that is far away is too far.
    let mut calling = Calling::start(&[], |_| {
        Answer::json(503, &json!({"message": "see you"})).with("Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT")
    });
    calling.register("down", json!({}));
    let message = calling.fail("down", json!({"path": "/x"}));
    assert!(message.contains("503") && message.contains("see you"), "{message}");
}

#[test]
fn a_wait_beyond_the_limit_fails_the_task_with_the_provider_s_words() {
    let mut calling = Calling::start(&[], |request| match request.path() {
        "/shut" => Answer::new(503, "text/plain", "maintenance").with("Retry-After", "7200"),
        _ => Answer::json(429, &json!({"message": "come back tomorrow"})).with("Retry-After", "86400"),
    });
    calling.register("strict", json!({"max_wait": "1 minute"}));
    let task_id = calling.call_handled("strict", &json!({"path": "/x"}));
    let message = calling.error(task_id);
    assert!(message.contains("429") && message.contains("come back tomorrow"), "{message}");
    assert_eq!((calling.web.requests().len(), calling.seen("error").len()), (1, 1));

    // The limit of who has none.
    calling.register("usual", json!({}));
    let message = calling.fail("usual", json!({"path": "/shut"}));
    assert!(message.contains("HTTP 503: maintenance"), "{message}");
}

#[test]
fn a_429_that_does_not_say_how_long_is_a_failure() {
    let mut calling = Calling::start(&[], |_| Answer::json(429, &json!({"message": "no"})));
    calling.register("terse", json!({}));
    assert!(calling.fail("terse", json!({"path": "/x"})).contains("429"));
    assert_eq!(calling.web.requests().len(), 1);
}

/// When the requests arrived, in order.
fn arrivals(web: &Web) -> Vec<SystemTime> {
    let mut times: Vec<_> = web.requests().iter().map(|exchange| exchange.request.received_at).collect();
    times.sort_unstable();
    times
}

/// The most requests that arrived within any second.
fn most_in_a_second(web: &Web) -> usize {
    let times = arrivals(web);
    let within = |from: &SystemTime| {
        times
            .iter()
            .filter(|time| time.duration_since(*from).is_ok_and(|gap| gap < Duration::from_secs(1)))
            .count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn no_second_has_more_requests_than_the_provider_allows() {
    let mut calling = Calling::friendly(&[TWO_WORKERS]);
    calling.register("rated", json!({"requests_per_second": 20, "burst": 1}));
    enqueue_numbered(&mut calling.client, "rated", 60);
    wait_ended(&mut calling.client, "rated", 60);
    let most = most_in_a_second(&calling.web);
    assert!(most <= 21, "{most}");
    // 59 pauses of 50 ms, less what a single request can be late.
    let times = arrivals(&calling.web);
    let took = times[59].duration_since(times[0]).unwrap();
    assert!(took > Duration::from_millis(59 * 50 - 500), "{took:?}");
}

#[test]
fn a_changed_rate_counts_at_once_for_tasks_that_wait() {
    let mut calling = Calling::friendly(&[TWO_WORKERS]);
    // At this rate the second request would go out after a day.
    calling.register("rated", json!({"requests_per_second": 0.00001, "burst": 1}));
    enqueue_numbered(&mut calling.client, "rated", 5);
    wait_ended(&mut calling.client, "rated", 1);
    let change = |client: &mut Client, rate: f64| {
        let sql = "update queues.provider set requests_per_second = $1 where name = 'rated'";
        client.execute(sql, &[&rate]).unwrap();
    };
    // Up and down again: what went out at one rate does not count twice at another.
    for (rate, ended) in [(0.02, 2), (0.00001, 2), (1000.0, 5)] {
        change(&mut calling.client, rate);
        wait_ended(&mut calling.client, "rated", ended);
    }
    assert_eq!(calling.web.requests().len(), 5);
}

#[test]
fn a_changed_rate_counts_at_once_for_a_request_that_was_refused() {
    let closed = Arc::new(AtomicBool::new(true));
    let mut calling = Calling::start(&[ONE_WORKER], door(&closed, 429, "1"));
    calling.register("rated", json!({"requests_per_second": 0.00001, "burst": 1}));
    let task_id = calling.call("rated", json!({"path": "/x"}));
    calling.cluster.wait_log(0, "call postponed");
    closed.store(false, SeqCst);
    calling
        .client
        .batch_execute("update queues.provider set requests_per_second = 1000 where name = 'rated'")
        .unwrap();
    calling.wait(task_id, "succeeded");
}

#[test]
fn the_rate_of_a_provider_is_that_of_all_its_types_and_databases() {
    let mut calling = Calling::friendly(&[TWO_WORKERS]);
    calling.register("rated", json!({"requests_per_second": 20, "burst": 1}));
    calling
        .client
        .batch_execute("insert into queues.task_definition (task_type, provider) values ('twin', 'rated')")
        .unwrap();
    calling.client.batch_execute("create database other").unwrap();
    let mut other = calling.cluster.connect("other");
    queue::install(&mut other);
    let fields = at(&calling.web, json!({"requests_per_second": 20, "burst": 1}));
    register(&mut other, "rated", &fields).unwrap();
    enqueue_numbered(&mut calling.client, "rated", 20);
    enqueue_numbered(&mut calling.client, "twin", 20);
    enqueue_numbered(&mut other, "rated", 20);
    wait_ended(&mut calling.client, "rated", 20);
    wait_ended(&mut calling.client, "twin", 20);
    wait_ended(&mut other, "rated", 20);
    let most = most_in_a_second(&calling.web);
    assert!(most <= 21, "{most}");
}

#[test]
fn two_workers_together_keep_the_number_of_calls_under_way() {
    let mut calling = Calling::friendly(&[TWO_WORKERS, PATIENT]);
    let web = RawServer::start(|_| Behaviour::answer(ok()).held()).unwrap();
    let fields = json!({"base_url": web.url(), "max_in_flight": 3});
    register(&mut calling.client, "narrow", &fields).unwrap();
    enqueue_numbered(&mut calling.client, "narrow", 40);
    for round in 0..13 {
        let under_way = (3, 3 * round + 3);
        eventually("three are under way", || (web.held(), web.requests().len()) == under_way);
        // Whoever looks for more work has done so when a task of another kind is over.
        for _ in 0..4 {
            calling
                .client
                .batch_execute("select queues.enqueue('db_function', '{\"db_function\": \"app.note\"}')")
                .unwrap();
        }
        wait_ended(&mut calling.client, "db_function", 4 * round + 4);
        assert_eq!((web.held(), web.requests().len()), under_way);
        web.release();
    }
    eventually("the last is under way", || (web.held(), web.requests().len()) == (1, 40));
    web.release();
    wait_ended(&mut calling.client, "narrow", 40);
    assert_eq!(web.requests().len(), 40);
}

#[test]
fn the_tasks_of_healthy_providers_end_while_a_dead_one_hangs() {
    let mut calling = Calling::friendly(&[TWO_WORKERS, PATIENT, ("pg_errand.max_in_flight", "16")]);
    let healthy: [Web; 9] = std::array::from_fn(|_| Web::start(|_| ok()).unwrap());
    let names: [String; 9] = std::array::from_fn(|n| format!("healthy{n}"));
    calling.web.hold();
    calling.register("dead", json!({}));
    for (name, web) in names.iter().zip(&healthy) {
        register(&mut calling.client, name, &at(web, json!({}))).unwrap();
    }
    enqueue_numbered(&mut calling.client, "dead", 300);
    eventually("it has taken all places", || calling.web.held() == 32);
    for name in &names {
        enqueue_numbered(&mut calling.client, name, 100);
    }
    for (name, web) in names.iter().zip(&healthy) {
        wait_ended(&mut calling.client, name, 100);
        assert_eq!(web.requests().len(), 100);
    }
    let over = "select count(*) from queues.task_status where task_type = 'dead' and status in ('succeeded', 'failed')";
    assert_eq!(calling.number(over), 0);
    calling.web.release();
    wait_ended(&mut calling.client, "dead", 300);
}

#[test]
fn a_provider_that_fails_again_and_again_is_left_alone_for_a_while() {
    let mut calling = Calling::start(&[ONE_WORKER], |_| Answer::json(500, &json!({"message": "bad day"})));
    let other = Web::start(|_| ok()).unwrap();
    let fields = json!({"breaker_threshold": 3, "breaker_cooldown": "1 hour", "max_in_flight": 1});
    calling.register("broken", fields);
    register(&mut calling.client, "other", &at(&other, json!({}))).unwrap();
    enqueue_numbered(&mut calling.client, "broken", 20);
    let failed = "select count(*) from queues.task_status where task_type = 'broken' and status = 'failed'";
    wait_until_sql(&mut calling.client, failed, "3");
    enqueue_numbered(&mut calling.client, "other", 20);
    wait_ended(&mut calling.client, "other", 20);
    assert_eq!((calling.web.requests().len(), calling.number(failed)), (3, 3));
}

#[test]
fn after_its_pause_a_broken_provider_gets_its_tasks() {
    let asked = Arc::new(AtomicUsize::new(0));
    let rule = {
        let asked = asked.clone();
        move |_: &Request| match asked.fetch_add(1, SeqCst) {
            0..3 => Answer::json(500, &json!({})),
            _ => ok(),
        }
    };
    let mut calling = Calling::start(&[ONE_WORKER], rule);
    let fields = json!({"breaker_threshold": 3, "breaker_cooldown": "1 second", "max_in_flight": 1});
    calling.register("broken", fields);
    enqueue_numbered(&mut calling.client, "broken", 20);
    wait_ended(&mut calling.client, "broken", 17);
    assert_eq!(calling.number("select count(*) from queues.error"), 3);
}

/// The key of each request so far.
fn keys(web: &Web) -> Vec<String> {
    let all = web.requests();
    all.iter().filter_map(|exchange| exchange.request.header("Idempotency-Key").map(str::to_owned)).collect()
}

#[test]
fn calls_that_are_held_are_taken_over_with_their_keys_when_their_worker_ends() {
    let closed = Arc::new(AtomicBool::new(true));
    let mut calling = Calling::start(&[ONE_WORKER], door(&closed, 429, "2"));
    calling.register("slow", json!({}));
    let task_id = calling.call_handled("slow", &json!({"path": "/x", "body": {"n": 1}}));
    calling.cluster.wait_log(0, "call postponed");
    calling.wait(task_id, "running");
    let workers = queue::workers(&mut calling.client);
    calling.client.execute("select pg_terminate_backend($1)", &[&workers[0].pid]).unwrap();
    eventually("it is gone", || {
        queue::workers(&mut calling.client).iter().all(|worker| worker.pid != workers[0].pid)
    });
    closed.store(false, SeqCst);
    calling.wait(task_id, "succeeded");
    let keys = keys(&calling.web);
    assert!(keys.len() >= 2 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!((accepted(&calling.web), calling.seen("success").len()), (vec![1], 1));
}

#[test]
fn a_crash_of_the_server_loses_no_call_that_is_held() {
    let closed = Arc::new(AtomicBool::new(true));
    let mut calling = Calling::start(&[ONE_WORKER], door(&closed, 429, "1"));
    calling.register("slow", json!({}));
    let request: Value = json!({"path": "/x", "body": {"n": 1}});
    let task_id = calling.call_handled("slow", &request);
    calling.cluster.wait_log(0, "call postponed");
    let workers = queue::workers(&mut calling.client);
    calling.cluster.crash(workers[0].pid, libc::SIGKILL);
    calling.client = calling.cluster.connect("postgres");
    closed.store(false, SeqCst);
    calling.wait(task_id, "succeeded");
    let keys = keys(&calling.web);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!((accepted(&calling.web), calling.seen("success").len()), (vec![1], 1));
}
