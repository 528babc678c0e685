//! Circuit breakers, pauses and slow rates belong to one database and stop no calls of another one.

use postgres::Client;
use serde_json::json;
use standin::{Answer, Behaviour};

use crate::harness::calling::Calling;
use crate::harness::cluster::Cluster;
use crate::harness::mailing::{Mailing, prepare, send};
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::eventually;

/// Another database of the same server, whose mails go to the same provider.
fn other_database(cluster: &Cluster) -> Client {
    cluster.connect("postgres").batch_execute("create database other").unwrap();
    let mut other = cluster.connect("other");
    prepare(&mut other);
    other
}

fn start() -> Mailing {
    let mailing = Mailing::start(&[("pg_errand.concurrency", "1")]);
    mailing.standin.behave(|submission| match submission.to()[0] {
        "bad@mail.test" => Some(Behaviour::error(500, "application_error", "bad day")),
        "later@mail.test" => Some(Behaviour::retry_after(3000)),
        _ => None,
    });
    mailing
}

#[test]
fn a_breaker_of_one_database_stops_no_mail_of_another_and_goes_with_a_change_of_its_row() {
    let mut mailing = start();
    let mut other = other_database(&mailing.cluster);
    let mark = mailing.cluster.log_mark();
    other
        .batch_execute(
            "update queues.provider set breaker_threshold = 1, breaker_cooldown = '10 years' where name = 'resend'",
        )
        .unwrap();
    mailing.cluster.wait_log(mark, "provider \"resend\": breaker_cooldown counts as 1 hour");
    let failed = send(&mut other, "bad@mail.test");
    wait_status(&mut other, failed, "failed");
    let line = mailing.cluster.wait_log(mark, "circuit breaker opened");
    assert!(line.contains("provider=\"resend\""), "{line}");
    let waits = send(&mut other, "someone@mail.test");

    mailing.deliver("someone@mail.test");
    // Ten years are an hour.
    let until = line.split("until=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let sql = format!(
        "select timestamptz '{until}' between now() + interval '50 min' and now() + interval '1 hour'"
    );
    let within: bool = mailing.client.query_one(&sql, &[]).unwrap().get(0);
    assert!(within, "{line}");

    assert_eq!(status(&mut other, waits), "ready");
    other.batch_execute("update queues.provider set breaker_threshold = 2 where name = 'resend'").unwrap();
    wait_status(&mut other, waits, "succeeded");
    // Told once.
    let log = mailing.cluster.log_since(mark);
    assert_eq!(log.matches("circuit breaker opened").count(), 1, "{log}");
}

#[test]
fn a_breaker_tells_when_it_opens_and_when_it_closes() {
    let mut mailing = start();
    mailing
        .client
        .batch_execute(
            "update queues.provider set breaker_threshold = 2, breaker_cooldown = '1 s', max_in_flight = 1 where name = 'resend'",
        )
        .unwrap();
    let mark = mailing.cluster.log_mark();
    for _ in 0..2 {
        let failed = mailing.send("bad@mail.test");
        mailing.wait(failed, "failed");
    }
    mailing.cluster.wait_log(mark, "circuit breaker opened");
    mailing.deliver("someone@mail.test");
    mailing.cluster.wait_log(mark, "circuit breaker closed provider=\"resend\"");
    mailing.deliver("someone@mail.test");
    let log = mailing.cluster.log_since(mark);
    assert_eq!(
        (log.matches("breaker opened").count(), log.matches("breaker closed").count()),
        (1, 1),
        "{log}"
    );
}

#[test]
fn responses_that_are_only_too_large_open_no_breaker() {
    let settings = [("pg_errand.http_max_response_size", "2kB"), ("pg_errand.concurrency", "1")];
    let mut calling = Calling::start(&settings, |request| {
        let status = if request.path() == "/down" { 502 } else { 200 };
        Answer::new(status, "text/plain", "x".repeat(100_000))
    });
    calling.register("api", json!({"breaker_threshold": "1", "breaker_cooldown": "1 hour"}));
    let mark = calling.cluster.log_mark();
    for _ in 0..3 {
        calling.succeed("api", json!({"path": "/large", "body": 1}));
        calling.fail("api", json!({"path": "/large"}));
    }
    let log = calling.cluster.log_since(mark);
    assert!(!log.contains("circuit breaker opened"), "{log}");
    calling.fail("api", json!({"path": "/down", "body": 1}));
    calling.cluster.wait_log(mark, "circuit breaker opened");
}

#[test]
fn a_provider_that_asks_one_database_to_wait_gets_the_mails_of_another() {
    let mut mailing = start();
    let mut other = other_database(&mailing.cluster);
    let mark = mailing.cluster.log_mark();
    send(&mut other, "later@mail.test");
    mailing.cluster.wait_log(mark, "call postponed");
    let waits = send(&mut other, "someone@mail.test");
    mailing.deliver("someone@mail.test");
    assert_eq!(status(&mut other, waits), "ready");
}

#[test]
fn a_slow_rate_or_a_single_place_in_one_database_holds_up_no_mail_of_another() {
    let mut mailing = start();
    let limits = |client: &mut Client, rate: &str, places: i32| {
        let sql =
            "update queues.provider set requests_per_second = $1::text::float8, burst = 1, max_in_flight = $2
            where name = 'resend'";
        client.execute(sql, &[&rate, &places]).unwrap();
    };
    let mut other = other_database(&mailing.cluster);
    limits(&mut other, "1e-300", 1);
    limits(&mut mailing.client, "1000", 100);
    let first = send(&mut other, "someone@mail.test");
    wait_status(&mut other, first, "succeeded");
    let second = send(&mut other, "someone@mail.test");
    for _ in 0..3 {
        mailing.deliver("someone@mail.test");
    }
    eventually("three mails and the first", || match mailing.standin.mail_count() {
        4 => Ok(()),
        count => Err(count),
    });
    assert_eq!(status(&mut other, second), "ready");
}
