//! Mails of several tasks in one request: each task has the same result as if its mail were sent alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use postgres::Client;
use serde_json::{Value, json};
use standin::{Behaviour, Exchange, Submission};

use crate::harness::cluster::StopMode;
use crate::harness::handlers::one;
use crate::harness::mailing::{Mailing, mail, task};
use crate::harness::queue::{enqueue, errors};
use crate::harness::wait::{eventually, wait_until_sql};

/// A call's time limit that no test lives to see.
const PATIENT: (&str, &str) = ("pg_errand.call_timeout", "10min");

/// Batches of up to 100 mails, and so many requests a second.
fn batching(concurrency: &str, requests_per_second: f64) -> Mailing {
    let mut mailing = Mailing::start(&[PATIENT, ("pg_errand.concurrency", concurrency)]);
    let sql = "update queues.provider set batch_size = 100, requests_per_second = $1, burst = 1 where name = 'resend'";
    mailing.client.execute(sql, &[&requests_per_second]).unwrap();
    mailing
}

/// Enqueues mails in one transaction; returns the tasks' ids.
#[track_caller]
fn send_all(client: &mut Client, mails: &[Value]) -> Vec<i64> {
    let mut transaction = client.transaction().unwrap();
    let sql = "select queues.enqueue('email', $1)";
    let ids = mails.iter().map(|mail| transaction.query_one(sql, &[&task(mail)]).unwrap().get(0)).collect();
    transaction.commit().unwrap();
    ids
}

fn numbered(count: usize) -> Vec<Value> {
    (1..=count).map(|number| mail(&format!("n{number}@mail.test"))).collect()
}

fn batches(mailing: &Mailing) -> Vec<Exchange> {
    let all = mailing.standin.requests();
    all.into_iter().filter(|exchange| exchange.request.target == "/emails/batch").collect()
}

#[track_caller]
fn wait_count(client: &mut Client, status: &str, count: usize) {
    let sql = format!("select count(*) from queues.task_status where status = '{status}'");
    wait_until_sql(client, &sql, &count.to_string());
}

/// Addresses of the accepted mails with their ids, sorted.
fn accepted(mailing: &Mailing) -> Vec<(String, String)> {
    let mut mails: Vec<_> =
        mailing.standin.mails().iter().map(|mail| (mail.to()[0].to_owned(), mail.id.clone())).collect();
    mails.sort();
    mails
}

/// The same, as the success handlers were told.
fn told(mailing: &mut Mailing) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let seen = mailing.seen("success");
    let mut mails: Vec<_> = seen
        .iter()
        .map(|seen| {
            (text(&seen["original_payload"]["mail"]["to_address"]), text(&seen["worker_payload"]["id"]))
        })
        .collect();
    mails.sort();
    mails
}

#[test]
fn many_mails_go_out_in_few_requests_and_each_task_gets_its_own_answer() {
    for concurrency in ["1", "3"] {
        let mut mailing = batching(concurrency, 2.0);
        send_all(&mut mailing.client, &numbered(150));
        wait_count(&mut mailing.client, "succeeded", 150);
        assert!(mailing.standin.requests().len() < 50, "{}", mailing.standin.requests().len());
        assert_eq!(accepted(&mailing).len(), 150);
        assert_eq!(told(&mut mailing), accepted(&mailing));
        let left = "select count(*) from queues.call where request is not null";
        assert_eq!(mailing.number(left), 0);
    }
}

#[test]
fn a_mail_that_is_refused_harms_no_other() {
    let mut mailing = batching("1", 1000.0);
    let mut mails = numbered(5);
    mails[2]["to_address"] = json!("nobody");
    let ids = send_all(&mut mailing.client, &mails);
    mailing.wait(ids[2], "failed");
    wait_count(&mut mailing.client, "succeeded", 4);
    let message = errors(&mut mailing.client, ids[2])[0].error_message.clone();
    assert!(message.contains("HTTP 422") && message.contains("`to`"), "{message}");
    assert_eq!(told(&mut mailing), accepted(&mailing));
    assert_eq!(batches(&mailing).len(), 1);
}

#[test]
fn a_provider_without_batches_gets_single_mails() {
    let mut mailing = batching("1", 1000.0);
    mailing.standin.behave(|submission| {
        (submission.request.target == "/emails/batch")
            .then(|| Behaviour::error(404, "not_found", "Unknown path."))
    });
    send_all(&mut mailing.client, &numbered(5));
    wait_count(&mut mailing.client, "succeeded", 5);
    assert_eq!((accepted(&mailing).len(), batches(&mailing).len()), (5, 1));
}

#[test]
fn mails_with_attachments_go_on_their_own() {
    let mut mailing = batching("1", 1000.0);
    let mut mails = numbered(5);
    mails[1]["attachments"] = json!([{"filename": "a.txt", "content": "YQ=="}]);
    send_all(&mut mailing.client, &mails);
    wait_count(&mut mailing.client, "succeeded", 5);
    assert_eq!(told(&mut mailing), accepted(&mailing));
    let single = mailing.standin.requests().len() - batches(&mailing).len();
    assert_eq!((single, batches(&mailing).len()), (1, 1));
}

/// Sends a batch of three that is not answered, lets `interruption` happen, and waits for the batch to come again.
fn sent_twice(interruption: impl FnOnce(&mut Mailing)) -> Mailing {
    let mut mailing = batching("1", 1000.0);
    mailing.standin.hold();
    send_all(&mut mailing.client, &numbered(3));
    mailing.wait_held(1);
    interruption(&mut mailing);
    eventually("it is sent again", || batches(&mailing).len() == 2);
    mailing.standin.release();
    wait_count(&mut mailing.client, "succeeded", 3);
    mailing
}

#[test]
fn a_batch_that_was_cut_off_is_sent_again_as_it_was() {
    for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Kill] {
        let mut mailing = sent_twice(|mailing| {
            mailing.cluster.restart(mode);
            mailing.client = mailing.cluster.connect("postgres");
        });
        let sent = batches(&mailing);
        assert_eq!(sent[0].request.body, sent[1].request.body);
        let key = |exchange: &Exchange| exchange.request.header("Idempotency-Key").map(str::to_owned);
        assert_eq!(key(&sent[0]), key(&sent[1]));
        assert_eq!(accepted(&mailing).len(), 3);
        assert_eq!(told(&mut mailing), accepted(&mailing));
    }
}

#[test]
fn a_batch_waits_as_a_whole_if_the_provider_asks_for_it() {
    let mut mailing = batching("2", 1000.0);
    mailing.standin.behave(|submission| submission.is_first().then(|| Behaviour::retry_after(1)));
    send_all(&mut mailing.client, &numbered(4));
    wait_count(&mut mailing.client, "succeeded", 4);
    assert_eq!(told(&mut mailing), accepted(&mailing));
    assert_eq!(one::<i64>(&mut mailing.client, "select count(*) from queues.error"), 0);
}

/// Has the provider ask for a second's pause at each of these requests, as long as the answer is true.
fn closed_to(mailing: &Mailing, these: fn(&Submission) -> bool) -> Arc<AtomicBool> {
    let closed = Arc::new(AtomicBool::new(true));
    let door = closed.clone();
    mailing.standin.behave(move |submission| {
        (door.load(SeqCst) && these(submission)).then(|| Behaviour::retry_after(1))
    });
    closed
}

#[track_caller]
fn cancel(mailing: &mut Mailing, task_id: i64) {
    assert!(one::<bool>(&mut mailing.client, &format!("select queues.cancel({task_id})")));
    mailing.wait(task_id, "cancelled");
}

/// A batch of three that is under way, and whose first task, by which it is known, was cancelled.
fn with_the_first_cancelled() -> (Mailing, Vec<i64>) {
    let mut mailing = batching("1", 1000.0);
    mailing.standin.hold();
    let ids = send_all(&mut mailing.client, &numbered(3));
    mailing.wait_held(1);
    cancel(&mut mailing, ids[0]);
    (mailing, ids)
}

#[test]
fn one_task_of_a_batch_is_cancelled_and_the_others_end_as_usual() {
    let (mut mailing, _) = with_the_first_cancelled();
    mailing.standin.release();
    wait_count(&mut mailing.client, "succeeded", 2);
    assert_eq!(mailing.seen("success").len(), 2);
}

#[test]
fn what_is_left_of_a_batch_that_was_cut_off_is_not_sent_as_another_request() {
    let (mut mailing, ids) = with_the_first_cancelled();
    let pid = mailing.worker_pid();
    mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    wait_count(&mut mailing.client, "failed", 2);
    let message = errors(&mut mailing.client, ids[1])[0].error_message.clone();
    assert!(message.contains("outcome unknown"), "{message}");
    assert_eq!(mailing.standin.requests().len(), 1);
}

#[test]
fn a_batch_that_was_cut_off_is_sent_again_as_it_was_whatever_the_batch_size_is_now() {
    let mut mailing = sent_twice(|mailing| {
        mailing
            .client
            .execute("update queues.provider set batch_size = null where name = 'resend'", &[])
            .unwrap();
        mailing.cluster.restart(StopMode::Immediate);
        mailing.client = mailing.cluster.connect("postgres");
    });
    assert_eq!(accepted(&mailing).len(), 3);
    assert_eq!(batches(&mailing).len(), mailing.standin.requests().len());
    assert_eq!(told(&mut mailing), accepted(&mailing));
}

#[test]
fn all_that_a_dead_worker_has_left_is_taken_over_a_batch_among_it() {
    let mut mailing = Mailing::start(&[PATIENT, ("pg_errand.concurrency", "1")]);
    mailing.standin.hold();
    send_all(&mut mailing.client, &numbered(3));
    mailing.wait_held(3);
    mailing.client.execute("update queues.provider set batch_size = 100 where name = 'resend'", &[]).unwrap();
    send_all(&mut mailing.client, &numbered(3));
    mailing.wait_held(4);
    mailing
        .client
        .execute("update queues.provider set batch_size = null where name = 'resend'", &[])
        .unwrap();
    send_all(&mut mailing.client, &numbered(6));
    mailing.wait_held(10);
    mailing.cluster.set(&[("pg_errand.max_in_flight", "2")]);
    let pid = mailing.worker_pid();
    mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    mailing.standin.release();
    wait_count(&mut mailing.client, "succeeded", 12);
    assert_eq!((mailing.standin.mail_count(), mailing.seen("success").len()), (12, 12));
}

#[test]
fn a_batch_of_which_somebody_has_locked_a_part_blocks_no_worker_and_is_taken_over_later() {
    for locked in 0..2 {
        let mut mailing = batching("1", 1000.0);
        mailing.standin.hold();
        let ids = send_all(&mut mailing.client, &numbered(3));
        mailing.wait_held(1);
        let mut other = mailing.cluster.connect("postgres");
        other.batch_execute("begin").unwrap();
        other.execute("select from queues.call where task_id = $1 for update", &[&ids[locked]]).unwrap();
        let pid = mailing.worker_pid();
        mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
        mailing.run_function("app.note");
        mailing.standin.release();
        other.batch_execute("commit").unwrap();
        wait_count(&mut mailing.client, "succeeded", 4);
        assert_eq!(accepted(&mailing).len(), 3);
        assert_eq!(told(&mut mailing), accepted(&mailing));
    }
}

#[test]
fn a_mail_that_is_cancelled_while_its_batch_waits_is_not_sent() {
    let mut mailing = batching("1", 1000.0);
    let closed = closed_to(&mailing, |_| true);
    let ids = send_all(&mut mailing.client, &numbered(4));
    eventually("it was put off", || !batches(&mailing).is_empty());
    cancel(&mut mailing, ids[1]);
    closed.store(false, SeqCst);
    wait_count(&mut mailing.client, "succeeded", 3);
    let sent: Vec<String> = accepted(&mailing).into_iter().map(|(to, _)| to).collect();
    assert_eq!(sent, ["n1@mail.test", "n3@mail.test", "n4@mail.test"]);
}

#[test]
fn a_mail_that_is_cancelled_before_its_batch_is_put_off_is_not_sent() {
    let mut mailing = batching("1", 1000.0);
    mailing.standin.behave(|submission| {
        (submission.is_first() && submission.body.is_array()).then(|| Behaviour::retry_after(1))
    });
    mailing.standin.hold();
    let ids = send_all(&mut mailing.client, &numbered(3));
    mailing.wait_held(1);
    cancel(&mut mailing, ids[1]);
    mailing.standin.release();
    wait_count(&mut mailing.client, "succeeded", 2);
    let sent: Vec<String> = accepted(&mailing).into_iter().map(|(to, _)| to).collect();
    assert_eq!(sent, ["n1@mail.test", "n3@mail.test"]);
}

#[test]
fn a_batch_that_may_have_been_taken_stays_as_it_is_whatever_is_cancelled_while_it_waits() {
    let mut mailing = batching("1", 1000.0);
    let closed = closed_to(&mailing, |submission| !submission.is_first());
    mailing.standin.hold();
    let ids = send_all(&mut mailing.client, &numbered(3));
    mailing.wait_held(1);
    mailing.cluster.stop(StopMode::Immediate);
    mailing.standin.release();
    eventually("the provider has taken them", || mailing.standin.mail_count() == 3);
    mailing.cluster.start_again();
    mailing.client = mailing.cluster.connect("postgres");
    eventually("it was put off", || batches(&mailing).len() > 1);
    cancel(&mut mailing, ids[1]);
    closed.store(false, SeqCst);
    wait_count(&mut mailing.client, "succeeded", 2);
    assert_eq!(
        (mailing.standin.mail_count(), batches(&mailing).len()),
        (3, mailing.standin.requests().len())
    );
}

#[test]
fn a_sender_that_may_not_send_harms_no_other() {
    let mut mailing = batching("1", 1000.0);
    mailing.standin.behave(|submission| {
        let text = submission.body.to_string();
        text.contains("foreign")
            .then(|| Behaviour::error(403, "validation_error", "The domain is not verified."))
    });
    let mut mails = numbered(4);
    mails[3]["from_address"] = json!("me@foreign.test");
    let ids = send_all(&mut mailing.client, &mails);
    mailing.wait(ids[3], "failed");
    wait_count(&mut mailing.client, "succeeded", 3);
}

#[test]
fn a_batch_size_that_no_request_can_have_is_refused() {
    let mut mailing = Mailing::start(&[]);
    for (provider, size) in [("resend", 101), ("resend", 0), ("resend", -1), ("http", 2), ("twilio", 2)] {
        let sql = format!("update queues.provider set batch_size = {size} where name = '{provider}'");
        let error = mailing.client.execute(&sql, &[]).unwrap_err();
        let message = error.as_db_error().map(ToString::to_string).unwrap_or_default();
        assert!(message.contains("batch_size"), "{message}");
    }
    mailing.client.execute("update queues.provider set batch_size = 1 where name = 'http'", &[]).unwrap();
    let task_id = enqueue(&mut mailing.client, "email", task(&mail("someone@mail.test")));
    mailing.wait(task_id, "succeeded");
}
