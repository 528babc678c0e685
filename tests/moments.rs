//! Workers that die at each step of a task: nothing is lost and nothing happens twice. Wake-ups at the moments when one
//! could get lost.

use serde_json::json;
use standin::Exchange;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{done, install, one, run_one, task, wait_asleep, worker_pids};
use crate::harness::mailing::Mailing;
use crate::harness::points::Point;
use crate::harness::queue::{enqueue, status, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// Nothing is found by polling, so what is not announced is lost.
const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");

/// The only worker has settled to wait.
const WAITS: &str = "select state from pg_stat_activity where backend_type = 'pg_errand worker'";

/// Ways to die.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// The held process is killed, and the server recovers from that.
    Killed,
    /// It is told to end, and goes on to where it notices.
    Terminated,
    /// The server stops, without and with a checkpoint, or all of it is killed; then it is started again.
    Stopped(StopMode),
}

const DEATHS: [Death; 4] =
    [Death::Killed, Death::Terminated, Death::Stopped(StopMode::Immediate), Death::Stopped(StopMode::Kill)];

/// Has the process that is held die, and the point opened.
fn die(cluster: &Cluster, point: Point, death: Death) {
    let pid = point.reached();
    match death {
        Death::Killed => {
            cluster.crash(pid, libc::SIGKILL);
            point.open();
        }
        Death::Terminated => {
            cluster.kill(pid, libc::SIGTERM);
            point.open();
        }
        Death::Stopped(mode) => {
            cluster.stop(mode);
            point.open();
            cluster.start_again();
        }
    }
}

#[test]
fn a_function_and_its_task_s_end_are_one_whenever_its_worker_dies() {
    let cluster = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).start();
    let mut client = install(&cluster, "postgres");
    let mut expected = Vec::new();
    for name in ["claimed", "begun", "recorded", "committed"] {
        for death in DEATHS {
            let label = format!("{name} {death:?}");
            let point = Point::set(&cluster, name);
            let fields = json!({"label": label, "success_handler": "public.note"});
            let id = task(&mut client, "note", fields);
            die(&cluster, point, death);
            client = cluster.connect("postgres");
            wait_status(&mut client, id, "succeeded");
            // Its function's, and the success handler's, which knows no label.
            expected.push(label);
            let labels = "select array_agg(label order by n) from public.done where label is not null";
            assert_eq!(one::<Vec<String>>(&mut client, labels), expected);
            let handlers = "select count(*) from public.done where label is null";
            wait_until_sql(&mut client, handlers, &expected.len().to_string());
        }
    }
}

#[test]
fn a_mail_is_sent_under_one_key_and_handled_once_whenever_its_worker_dies() {
    let builder = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1);
    let mut mailing = Mailing::build(builder.set("pg_errand.resend_api_key", crate::harness::mailing::KEY));
    let mut sent = 0;
    let moments = [
        "claimed",
        "call_recorded",
        "committed",
        "call_prepared",
        "call_stored",
        "durable",
        "answered",
        "answer_committed",
        "answer_stored",
        "call_finished",
    ];
    for name in moments {
        for death in DEATHS {
            let point = Point::set(&mailing.cluster, name);
            let id = mailing.send(&format!("someone{sent}@mail.test"));
            die(&mailing.cluster, point, death);
            mailing.client = mailing.cluster.connect("postgres");
            mailing.wait(id, "succeeded");
            sent += 1;
            let handled = mailing.seen("success").len();
            assert_eq!((mailing.standin.mail_count(), handled), (sent, sent), "{name} {death:?}");
        }
    }
    assert!(mailing.seen("error").is_empty());
}

#[test]
fn an_answer_that_was_stored_is_never_asked_for_again() {
    let builder = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1);
    let mut mailing = Mailing::build(builder.set("pg_errand.resend_api_key", crate::harness::mailing::KEY));
    for (n, death) in DEATHS.into_iter().enumerate() {
        mailing.standin.hold();
        let id = mailing.send("someone@mail.test");
        mailing.wait_held(1);
        let point = Point::set(&mailing.cluster, "answer_stored");
        mailing.standin.release();
        die(&mailing.cluster, point, death);
        mailing.client = mailing.cluster.connect("postgres");
        mailing.wait(id, "succeeded");
        mailing.wait_requests(n + 1);
    }
}

#[test]
fn calls_that_were_just_taken_over_are_taken_over_again() {
    let builder = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1);
    let mut mailing = Mailing::build(builder.set("pg_errand.resend_api_key", crate::harness::mailing::KEY));
    for (n, death) in DEATHS.into_iter().enumerate() {
        let first = Point::set(&mailing.cluster, "call_stored");
        let id = mailing.send("someone@mail.test");
        let second = Point::set(&mailing.cluster, "taken_over");
        die(&mailing.cluster, first, Death::Killed);
        die(&mailing.cluster, second, death);
        mailing.client = mailing.cluster.connect("postgres");
        mailing.wait(id, "succeeded");
        assert_eq!(
            (mailing.standin.mail_count(), mailing.seen("success").len()),
            (n + 1, n + 1),
            "{death:?}"
        );
    }
}

#[test]
fn a_task_that_comes_as_the_worker_has_just_looked_is_found() {
    let cluster =
        Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).set("pg_errand.concurrency", "1").start();
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    wait_until_sql(&mut client, WAITS, "idle");
    let point = Point::set(&cluster, "looked");
    run_one(&mut client, "next");
    point.reached();
    let id = task(&mut client, "note", json!({"label": "second"}));
    point.open();
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn a_task_that_comes_as_the_worker_is_about_to_leave_gets_another_one() {
    let builder = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1);
    let cluster = builder.set("pg_errand.concurrency", "1").set("pg_errand.max_idle_time", "50ms").start();
    let mut client = install(&cluster, "postgres");
    for death in [None, Some(Death::Terminated), Some(Death::Killed)] {
        let point = Point::set(&cluster, "leaving");
        run_one(&mut client, "first");
        point.reached();
        let id = task(&mut client, "note", json!({"label": "second"}));
        match death {
            None => point.open(),
            Some(death) => die(&cluster, point, death),
        }
        client = cluster.connect("postgres");
        wait_status(&mut client, id, "succeeded");
        wait_asleep(&mut client);
    }
}

#[test]
fn what_a_worker_was_woken_for_is_passed_on_when_it_dies() {
    let cluster =
        Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).set("pg_errand.concurrency", "1").start();
    let mut client = install(&cluster, "postgres");
    for death in DEATHS {
        run_one(&mut client, "first");
        wait_until_sql(&mut client, WAITS, "idle");
        let point = Point::set(&cluster, "woken");
        // One that still looks round finds a task without being woken.
        let id = eventually("a worker is woken", || {
            let id = task(&mut client, "note", json!({"label": "second"}));
            let taken = eventually("it is taken", || match point.held() {
                Some(_) => Ok(false),
                None if status(&mut client, id) == "succeeded" => Ok(true),
                None => Err(id),
            });
            if taken { Err(id) } else { Ok(id) }
        });
        die(&cluster, point, death);
        client = cluster.connect("postgres");
        wait_status(&mut client, id, "succeeded");
    }
}

#[test]
fn a_session_that_dies_before_it_announces_what_it_committed_costs_no_task() {
    let cluster = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).start();
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let point = Point::set(&cluster, "announce");
    let mut other = cluster.connect("postgres");
    let enqueuing = std::thread::spawn(move || {
        let payload = json!({"db_function": "public.note", "label": "second"});
        let sql = "select queues.enqueue('db_function', $1)";
        other.execute(sql, &[&payload])
    });
    let pid = point.reached();
    cluster.crash(pid, libc::SIGKILL);
    point.open();
    enqueuing.join().unwrap().unwrap_err();
    let mut client = cluster.connect("postgres");
    wait_until_sql(&mut client, "select count(*) from public.done where label = 'second'", "1");
}

#[test]
fn a_launcher_that_dies_while_it_starts_a_worker_leaves_no_slot_taken() {
    let builder = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1);
    let cluster = builder.set("pg_errand.max_workers", "1").set("pg_errand.max_idle_time", "50ms").start();
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    for death in [Death::Terminated, Death::Killed, Death::Terminated, Death::Terminated] {
        wait_asleep(&mut client);
        let point = Point::set(&cluster, "allocated");
        let id = task(&mut client, "note", json!({"label": "second"}));
        die(&cluster, point, death);
        client = cluster.connect("postgres");
        wait_status(&mut client, id, "succeeded");
        assert!(worker_pids(&mut client).len() <= 1);
    }
}

#[test]
fn a_cancel_between_claim_and_start_and_between_end_and_commit_is_either_in_time_or_refused() {
    let cluster = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).start();
    let mut client = install(&cluster, "postgres");
    for name in ["claimed", "begun", "recorded", "committed"] {
        let point = Point::set(&cluster, name);
        let payload = json!({"db_function": "public.note", "label": name});
        let id = enqueue(&mut client, "db_function", payload);
        point.reached();
        let mut other = cluster.connect("postgres");
        let cancelling = std::thread::spawn(move || -> bool {
            other.query_one("select queues.cancel($1)", &[&id]).unwrap().get(0)
        });
        // It waits for the row while nothing is shown as running.
        let waits = "select exists (select from pg_stat_activity where query like 'select queues.cancel%' \
                     and backend_type = 'client backend')";
        eventually("it has begun to cancel", || cancelling.is_finished() || one::<bool>(&mut client, waits));
        point.open();
        let cancelled = cancelling.join().unwrap();
        wait_status(&mut client, id, if cancelled { "cancelled" } else { "succeeded" });
        let ran = done(&mut client).iter().any(|label| label == name);
        assert_eq!(ran, !cancelled, "{name}");
    }
}

/// Raises a serialization failure in its first run.
const FAILS_ONCE: &str = "
    create sequence public.runs;
    grant usage on sequence public.runs to public;
    create function public.fails_once(payload jsonb) returns jsonb language plpgsql as $$
    begin
        if nextval('public.runs') = 1 then
            raise exception 'once more' using errcode = 'serialization_failure';
        end if;
        return public.note(payload);
    end $$";

#[test]
fn a_cancel_before_the_task_is_given_back_for_its_repetition_counts() {
    let cluster = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).start();
    let mut client = install(&cluster, "postgres");
    client.batch_execute(FAILS_ONCE).unwrap();
    let point = Point::set(&cluster, "committed");
    let id = task(&mut client, "fails_once", json!({"label": "cancelled"}));
    point.reached();
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({id})")));
    point.open();
    wait_status(&mut client, id, "cancelled");
    assert!(done(&mut client).is_empty());
    run_one(&mut client, "after");
}

#[test]
fn a_task_that_a_worker_outside_takes_before_its_repetition_is_that_workers() {
    let builder = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1);
    let cluster = builder.set("pg_errand.lease_duration", "1h").start();
    let mut client = install(&cluster, "postgres");
    client.batch_execute(FAILS_ONCE).unwrap();
    let point = Point::set(&cluster, "committed");
    let id = task(&mut client, "fails_once", json!({"label": "inside"}));
    point.reached();
    let taken: Option<i64> = one(&mut client, "select task_id from queues.dequeue_next_available_task()");
    assert_eq!(taken, Some(id));
    point.open();
    run_one(&mut client, "next");
    assert_eq!(status(&mut client, id), "running");
    client.execute("select queues.complete_task($1)", &[&id]).unwrap();
    assert_eq!((status(&mut client, id), done(&mut client)), ("succeeded".into(), vec!["next".into()]));
}

/// Enqueues so many tasks with one command.
const MANY_NOTES: &str = "
    insert into queues.task (task_type, payload)
    select 'db_function', jsonb_build_object('db_function', 'public.note', 'label', 'many ' || n)
    from generate_series(1, 200) n";

#[test]
fn a_task_that_comes_as_a_worker_has_begun_to_look_is_found() {
    let cluster =
        Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).set("pg_errand.concurrency", "1").start();
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    wait_until_sql(&mut client, WAITS, "idle");
    let point = Point::set(&cluster, "looking");
    let id = task(&mut client, "note", json!({"label": "second"}));
    point.reached();
    client.batch_execute(MANY_NOTES).unwrap();
    point.open();
    wait_status(&mut client, id, "succeeded");
    wait_until_sql(&mut client, "select count(*) from public.done where label like 'many%'", "200");
}

#[test]
fn what_a_worker_has_read_or_taken_as_it_dies_is_run_by_others() {
    let builder = Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1);
    let cluster = builder.set("pg_errand.concurrency", "2").start();
    let mut client = install(&cluster, "postgres");
    let mut expected = 0;
    for name in ["looking", "read", "claimed"] {
        for death in DEATHS {
            let point = Point::set(&cluster, name);
            client.batch_execute(MANY_NOTES).unwrap();
            expected += 200;
            die(&cluster, point, death);
            client = cluster.connect("postgres");
            wait_until_sql(&mut client, "select count(*) from public.done", &expected.to_string());
            wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
        }
    }
}

/// A cluster of one worker that sends mails, and stops at points.
fn mailing_with_points() -> Mailing {
    let builder =
        Cluster::builder().with_points().set(NO_POLL.0, NO_POLL.1).set("pg_errand.concurrency", "1");
    Mailing::build(builder.set("pg_errand.resend_api_key", crate::harness::mailing::KEY))
}

/// Sends 20 mails at once, again and again, and has the worker die at each of these points in each way: each mail
/// arrives once and is handled once. `stored`: the points before anything may have been sent.
#[track_caller]
fn mails_arrive_once_whenever_their_worker_dies(mailing: &mut Mailing, stored: &[&'static str]) {
    let mut sent = 0;
    for name in stored.iter().copied().chain(["answered", "answer_stored"]) {
        for death in DEATHS {
            let point = Point::set(&mailing.cluster, name);
            mailing.client.batch_execute("begin").unwrap();
            for n in 0..20 {
                mailing.send(&format!("someone{n}@mail.test"));
            }
            mailing.client.batch_execute("commit").unwrap();
            point.reached();
            if stored.contains(&name) {
                assert_eq!(mailing.standin.mail_count(), sent, "{name} {death:?}: sent before it was stored");
            }
            die(&mailing.cluster, point, death);
            mailing.client = mailing.cluster.connect("postgres");
            let unfinished = "select count(*) from queues.task where finished_at is null";
            wait_until_sql(&mut mailing.client, unfinished, "0");
            sent += 20;
            let handled = mailing.seen("success").len();
            assert_eq!((mailing.standin.mail_count(), handled), (sent, sent), "{name} {death:?}");
        }
    }
}

/// The keys that the provider was shown, each once.
fn keys_asked(mailing: &Mailing) -> Vec<String> {
    let key = |exchange: &Exchange| exchange.request.header("Idempotency-Key").unwrap().to_owned();
    let mut asked: Vec<String> = mailing.standin.requests().iter().map(key).collect();
    asked.sort();
    asked.dedup();
    asked
}

#[test]
fn mails_that_are_made_durable_together_are_each_sent_under_the_stored_key_whenever_their_worker_dies() {
    let mut mailing = mailing_with_points();
    mails_arrive_once_whenever_their_worker_dies(&mut mailing, &["call_stored", "durable"]);
    let stored = "select array_agg(idempotency_key::text order by idempotency_key::text) from queues.call";
    let stored: Vec<String> = one(&mut mailing.client, stored);
    assert_eq!(keys_asked(&mailing), stored);
}

#[test]
fn mails_that_go_out_in_one_request_arrive_once_whenever_their_worker_dies() {
    let mut mailing = mailing_with_points();
    mailing.client.execute("update queues.provider set batch_size = 100 where name = 'resend'", &[]).unwrap();
    mails_arrive_once_whenever_their_worker_dies(&mut mailing, &["joined", "call_stored", "durable"]);
    let stored = "select array_agg(idempotency_key || '-batch' order by idempotency_key || '-batch')
        from queues.call where task_id = batch";
    let batches: Vec<String> = one(&mut mailing.client, stored);
    let asked = keys_asked(&mailing);
    assert!(batches.iter().all(|key| asked.contains(key)), "{batches:?} {asked:?}");
    assert!(!batches.is_empty());
}
