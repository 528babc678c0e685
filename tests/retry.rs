//! A person's decision to run a task again: `queues.retry`, `queues.retry_failed`.

use postgres::Client;
use standin::Behaviour;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one};
use crate::harness::mailing::Mailing;
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::wait_until_sql;

#[track_caller]
fn retry(client: &mut Client, task_id: i64) -> i64 {
    client.query_one("select queues.retry($1)", &[&task_id]).unwrap().get(0)
}

#[track_caller]
fn refused(client: &mut Client, task_id: i64, state: &str, message: &str) {
    let error = client.query_one("select queues.retry($1)", &[&task_id]).unwrap_err();
    let error = error.as_db_error().unwrap();
    let is_expected =
        error.code().code() == state && error.message().contains(message) && error.hint().is_some();
    assert!(is_expected, "{error:?}");
}

fn keys(mailing: &Mailing) -> Vec<String> {
    let key = |exchange: &standin::Exchange| exchange.request.header("Idempotency-Key").unwrap().to_owned();
    mailing.standin.requests().iter().map(key).collect()
}

#[test]
fn after_a_call_of_unknown_outcome_the_retry_has_its_key() {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1"), ("pg_errand.call_timeout", "300ms")]);
    mailing.standin.hold();
    let lost = mailing.send("lost@mail.test");
    mailing.wait(lost, "failed");
    mailing.standin.release();
    let again = retry(&mut mailing.client, lost);
    mailing.wait(again, "succeeded");
    let sent = keys(&mailing);
    assert!(sent.len() == 2 && sent[0] == sent[1], "{sent:?}");
    // The provider recognizes it, and has sent one mail.
    assert_eq!(mailing.standin.mail_count(), 1);
    let shown = "select retry_of from queues.task_status order by task_id desc limit 1";
    assert_eq!(mailing.number(shown), lost);
    refused(&mut mailing.client, lost, "55000", &format!("was retried already, as task {again}"));
    refused(&mut mailing.client, again, "55000", "has succeeded");
}

#[test]
fn after_a_response_the_retry_has_a_key_of_its_own() {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1")]);
    mailing
        .standin
        .behave(|_| Some(Behaviour::error(403, "validation_error", "The domain is not verified.")));
    let refused_mail = mailing.send("a@mail.test");
    mailing.wait(refused_mail, "failed");
    let before = keys(&mailing).len();
    let again = retry(&mut mailing.client, refused_mail);
    mailing.wait(again, "failed");
    let sent = keys(&mailing);
    assert!(before == 1 && sent.len() == 2 && sent[0] != sent[1], "{sent:?}");
    let key = "select count(idempotency_key) from queues.task";
    assert_eq!(mailing.number(key), 0);
}

#[test]
fn a_retry_is_like_the_task_and_what_cannot_be_retried_is_refused() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    let enqueue = "select queues.enqueue('sms', '{\"a\": 1}', now() + interval '1 d', _unique_key => 'u',
        _priority => 7, _queue_key => 'k')";
    let first: i64 = one(&mut client, enqueue);
    refused(&mut client, first, "55000", "has not ended");
    refused(&mut client, -1, "P0002", "task -1 does not exist");
    client.execute("select queues.cancel($1)", &[&first]).unwrap();
    let mark = cluster.log_mark();
    let second = retry(&mut client, first);
    let line = format!("pg_errand: queues.retry({first}) by role postgres: 1 tasks");
    assert!(cluster.log_since(mark).contains(&line));
    let same =
        "select count(distinct (task_type, payload, priority, unique_key, queue_key)) from queues.task";
    assert_eq!(one::<i64>(&mut client, same), 1);
    assert_eq!(status(&mut client, second), "ready");
    client.execute("select queues.fail_task($1, 'no')", &[&second]).unwrap();
    // Another task has taken the unique key.
    let third: i64 = one(&mut client, enqueue);
    refused(&mut client, second, "23505", "has the unique key");
    client.execute("select queues.cancel($1)", &[&third]).unwrap();
    let fourth = retry(&mut client, second);
    // A retry that was removed is none.
    client.execute("delete from queues.task where task_id = $1", &[&fourth]).unwrap();
    let fifth = retry(&mut client, second);
    client.execute("select queues.complete_task($1)", &[&fifth]).unwrap();
    refused(&mut client, fifth, "55000", "has succeeded");
}

const FAILURES: &str = "
    insert into queues.task (task_type, payload, enqueued_at, scheduled_at, finished_at, final_status, unique_key)
    select (array['sms', 'email'])[1 + n % 2], jsonb_build_object('n', n), t, t, t, 'failed', case when n in (3, 5) then 'u' end
    from (select n, now() - interval '1 h' * (9 - n) as t from generate_series(1, 8) n) a;
    insert into queues.error (task_id, error_message)
    select task_id, message from queues.task, unnest(array['Before', 'HTTP 50' || (payload ->> 'n')]) message
    order by task_id, message";

#[test]
fn failed_tasks_are_retried_once_by_type_time_and_error() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(FAILURES).unwrap();
    let mut retry = |arguments: &str, expected: i64| {
        let sql = format!("select queues.retry_failed({arguments})");
        assert_eq!(one::<i64>(&mut client, &sql), expected, "{arguments}");
    };
    retry("_error_like => 'Before'", 0);
    retry("_error_like => 'HTTP 501'", 1);
    retry("'email', now() - interval '90 min'", 0);
    retry("_since => now() - interval '90 min'", 1);
    retry("'sms', _limit => 2", 2);
    // 3 and 5 have the same unique key, of which one is unfinished then.
    retry("", 3);
    retry("", 0);
    let order =
        "select string_agg(retry_of::text, ' ' order by task_id) from queues.task where retry_of is not null";
    assert_eq!(one::<String>(&mut client, order), "1 8 2 4 3 6 7");
    client.execute("select queues.cancel_where(_older_than => '0')", &[]).unwrap();
    assert_eq!(one::<i64>(&mut client, "select queues.retry_failed()"), 1);
    let state = client.batch_execute("select queues.retry_failed('smss')").unwrap_err();
    assert_eq!(state.as_db_error().unwrap().code().code(), "22023");
}

/// As long as the cause remains, each retry fails, too.
#[test]
fn a_repeated_call_leaves_out_retries_that_have_failed_as_well() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(FAILURES).unwrap();
    let retry_and_wait = |client: &mut Client, sql: &str| -> i64 {
        let retried = one(client, sql);
        wait_until_sql(client, "select count(*)::text from queues.task where finished_at is null", "0");
        retried
    };
    let failed = "select count(*) from queues.task where final_status = 'failed' and retried_as is null";
    assert_eq!(retry_and_wait(&mut client, "select queues.retry_failed('sms')"), 4);
    assert_eq!(one::<i64>(&mut client, failed), 8);
    let again = "select queues.retry_failed('sms', _limit => 100)";
    assert_eq!(retry_and_wait(&mut client, again), 0);
    let notices = cluster.notices("postgres", again);
    assert!(notices.contains("left out, since they are retries themselves: 4 failed tasks"), "{notices}");
    assert!(notices.contains("_retries => true"), "{notices}");
    let mark = cluster.log_mark();
    assert_eq!(
        retry_and_wait(&mut client, "select queues.retry_failed('sms', _limit => 3, _retries => true)"),
        3
    );
    cluster.wait_log(mark, "queues.retry_failed(_task_type => 'sms', _limit => 3, _retries => true) by role");
    assert_eq!(one::<i64>(&mut client, failed), 8);
    // One retry has no retry yet, and three are retries of retries.
    assert_eq!(retry_and_wait(&mut client, "select queues.retry_failed('sms', _retries => true)"), 4);
}

/// Two sessions that retry the same tasks at once.
#[test]
fn no_task_is_retried_twice_by_sessions_at_once() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(FAILURES).unwrap();
    let mut transaction = client.transaction().unwrap();
    let count: i64 = transaction.query_one("select queues.retry_failed('sms')", &[]).unwrap().get(0);
    let mut other = cluster.connect("postgres");
    assert_eq!((count, one::<i64>(&mut other, "select queues.retry_failed('sms')")), (4, 0));
    transaction.commit().unwrap();
    assert_eq!(one::<i64>(&mut other, "select queues.retry_failed('sms')"), 0);
}

/// The worker that claims by statement and the one that does not hand on the key alike.
#[test]
fn the_key_of_a_retry_reaches_its_call_however_it_is_claimed() {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1")]);
    for n in 0..3 {
        let sent = mailing.send("a@mail.test");
        mailing.wait(sent, "succeeded");
        let set = "update queues.task set final_status = 'failed' where task_id = $1";
        mailing.client.execute(set, &[&sent]).unwrap();
        let set = "update queues.call set response = null where task_id = $1";
        mailing.client.execute(set, &[&sent]).unwrap();
        if n == 2 {
            let trigger = "create trigger t before update on queues.task for each row
                execute function suppress_redundant_updates_trigger()";
            mailing.client.batch_execute(trigger).unwrap();
        }
        let again = retry(&mut mailing.client, sent);
        wait_status(&mut mailing.client, again, "succeeded");
    }
    let sent = keys(&mailing);
    assert!(sent.len() == 6 && sent.chunks(2).all(|pair| pair[0] == pair[1]), "{sent:?}");
}
