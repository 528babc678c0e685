//! Calls: many at a time, without an open transaction, and with one outcome whatever interrupts them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use postgres::Client;
use serde_json::{Value, json};
use standin::{Behaviour, Exchange, Options, Standin};

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::mailing::{Mailing, mail, task};
use crate::harness::queue;
use crate::harness::wait::{eventually, wait_until_sql};

const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");
/// A call's time limit that no test lives to see.
const PATIENT: (&str, &str) = ("pg_errand.call_timeout", "10min");

/// Enqueues many mails by one statement.
#[track_caller]
fn send_many(client: &mut Client, count: i32) {
    let payload = task(&mail("someone@mail.test"));
    client
        .execute(
            "insert into queues.task (task_type, payload) select 'email', $1 from generate_series(1, $2)",
            &[&payload, &count],
        )
        .unwrap();
}

/// Keys and bodies of requests: all the same?
fn are_the_same(exchanges: &[Exchange]) -> bool {
    let key = |exchange: &Exchange| exchange.request.header("Idempotency-Key").map(str::to_owned);
    let first = &exchanges[0];
    exchanges
        .iter()
        .all(|exchange| key(exchange) == key(first) && exchange.request.body == first.request.body)
}

/// A mail whose success handler is this one.
fn task_ending_in(success_handler: &str) -> Value {
    let mut payload = task(&mail("someone@mail.test"));
    payload["success_handler"] = json!(success_handler);
    payload
}

/// What a task is told of a mail to this recipient by a rule of the stand-in's.
fn rule(standin: &Standin, to: &'static str, behaviour: Behaviour) {
    standin.behave(move |submission| submission.is_to(to).then(|| behaviour.clone()));
}

#[test]
fn a_worker_has_many_calls_in_flight_and_goes_on_with_other_tasks() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    mailing.standin.hold();
    send_many(&mut mailing.client, 50);
    mailing.wait_held(50);
    wait_until_sql(&mut mailing.client, "select in_flight from queues.worker", "50");
    mailing.run_function("app.note");
    let running = "select count(*) from queues.task_status where task_type = 'email' and status = 'running'";
    assert_eq!(mailing.number(running), 50);
    assert_eq!(mailing.standin.held(), 50);
    mailing.standin.release();
    let succeeded =
        "select count(*) from queues.task_status where task_type = 'email' and status = 'succeeded'";
    wait_until_sql(&mut mailing.client, succeeded, "50");
    wait_until_sql(&mut mailing.client, "select in_flight from queues.worker", "0");
    assert_eq!(mailing.standin.mail_count(), 50);
    assert_eq!(mailing.seen("success").len(), 50);
    let keys = "select count(distinct idempotency_key) from queues.call";
    assert_eq!(mailing.number(keys), 50);
}

#[test]
fn max_in_flight_limits_the_calls_of_a_worker_but_not_its_other_tasks() {
    let mut mailing = Mailing::start(&[ONE_WORKER, ("pg_errand.max_in_flight", "3")]);
    mailing.standin.hold();
    send_many(&mut mailing.client, 10);
    mailing.wait_held(3);
    // The worker looked for tasks several times since.
    for _ in 0..3 {
        mailing.run_function("app.note");
    }
    assert_eq!((mailing.standin.held(), mailing.standin.requests().len()), (3, 3));
    let by_status = "select count(*) from queues.task_status where status = ";
    assert_eq!(mailing.number(&format!("{by_status} 'ready'")), 7);
    assert_eq!(mailing.number(&format!("{by_status} 'running'")), 3);
    // Raised by reload, it counts at once.
    mailing.cluster.set(&[("pg_errand.max_in_flight", "5")]);
    mailing.run_function("app.note");
    mailing.wait_held(5);
    mailing.standin.release();
    wait_until_sql(&mut mailing.client, &format!("{by_status} 'succeeded'"), "14");
    assert_eq!(mailing.standin.mail_count(), 10);
}

#[test]
fn connections_are_kept_and_a_dead_one_is_replaced() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    for _ in 0..10 {
        mailing.deliver("someone@mail.test");
    }
    assert_eq!((mailing.standin.connections(), mailing.standin.mail_count()), (1, 10));
    for round in 1..=3 {
        mailing.standin.close_idle_connections();
        mailing.deliver("someone@mail.test");
        assert_eq!(mailing.standin.mail_count(), 10 + round);
    }
}

#[test]
fn a_kept_connection_that_breaks_under_the_next_request_is_replaced_once() {
    for breaks in [Behaviour::close().refusing(), Behaviour::reset().refusing(), Behaviour::close()] {
        let mut mailing = Mailing::start(&[ONE_WORKER]);
        mailing.deliver("someone@mail.test");
        mailing.standin.clear();
        let mut broken = false;
        mailing.standin.behave(move |submission| {
            let first = submission.request.earlier_on_connection > 0 && !broken;
            broken |= first;
            first.then(|| breaks.clone())
        });
        let task_id = mailing.send("someone@mail.test");
        mailing.wait(task_id, "succeeded");
        assert_eq!((mailing.standin.requests().len(), mailing.standin.mail_count()), (2, 1));
        assert!(are_the_same(&mailing.standin.requests()));
    }
}

#[test]
fn a_connection_the_provider_closes_as_the_next_mail_comes_harms_no_mail() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    for round in 1..=100 {
        let task_id = mailing.send("someone@mail.test");
        mailing.standin.close_idle_connections();
        mailing.wait(task_id, "succeeded");
        assert_eq!(mailing.standin.mail_count(), round);
    }
}

#[test]
fn no_transaction_is_open_and_nothing_is_locked_while_a_call_is_in_flight() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT]);
    mailing.standin.hold();
    let task_id = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    // Without work the worker waits; the snapshot of its last look is gone by then.
    let quiet = "select count(*)::text || ',' || bool_and(
            xact_start is null and backend_xmin is null and backend_xid is null
            and application_name = 'pg_errand worker 1' and wait_event is not null
        )::text
        from pg_stat_activity where backend_type = 'pg_errand worker'";
    wait_until_sql(&mut mailing.client, quiet, "1,true");
    let locks = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
        where a.backend_type = 'pg_errand worker'";
    assert_eq!(mailing.number(locks), 0);
    let shown = "select query from pg_stat_activity where backend_type = 'pg_errand worker'";
    let query: String = mailing.client.query_one(shown, &[]).unwrap().get(0);
    assert!(query.contains("provider call"), "{query}");

    // The queue's tables can be locked, and vacuum gets everything.
    mailing
        .client
        .batch_execute(
            "begin; set local lock_timeout = '1s'; lock queues.task, queues.call, queues.error; rollback",
        )
        .unwrap();
    assert_eq!(queue::status(&mut mailing.client, task_id), "running");
    let worker = queue::workers(&mut mailing.client).remove(0);
    assert_eq!(worker.in_flight, 1);

    // A cancel request for the process has nothing to interrupt.
    mailing.client.execute("select pg_cancel_backend($1)", &[&worker.pid]).unwrap();
    mailing.run_function("app.note");
    assert_eq!(mailing.worker_pid(), worker.pid);
    mailing.standin.release();
    mailing.wait(task_id, "succeeded");
    assert_eq!(mailing.standin.requests().len(), 1);
}

#[test]
fn the_request_is_durable_before_it_is_sent_and_the_answer_before_the_success_handler_runs() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    mailing.client.batch_execute("select pg_advisory_lock(1)").unwrap();
    mailing.standin.hold();
    let task_id = queue::enqueue(&mut mailing.client, "email", task_ending_in("app.on_success_waiting"));
    mailing.wait_held(1);
    let row = mailing
        .client
        .query_one(
            "select idempotency_key::text, request::text, responded_at is null and response is null and failure is null
             from queues.call where task_id = $1",
            &[&task_id],
        )
        .unwrap();
    let (key, request, unanswered): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
    let sent = mailing.standin.requests().remove(0).request;
    assert_eq!(sent.header("Idempotency-Key"), Some(&*key));
    assert!(
        unanswered && request.contains("someone@mail.test") && !request.contains("re_test_key"),
        "{request}"
    );

    mailing.standin.release();
    wait_until_sql(&mut mailing.client, "select count(*) from pg_locks where not granted", "1");
    let id = mailing.standin.mails()[0].id.clone();
    let sql = "select responded_at is not null and response = jsonb_build_object('id', $2::text)
        from queues.call where task_id = $1";
    let stored: bool = mailing.client.query_one(sql, &[&task_id, &id]).unwrap().get(0);
    assert!(stored);
    let worker = queue::workers(&mut mailing.client).remove(0);
    assert_eq!((worker.state.as_str(), worker.task_id), ("busy", Some(task_id)));
    assert_eq!(worker.handler.as_deref(), Some("app.on_success_waiting"));
    let shown = "select query from pg_stat_activity where backend_type = 'pg_errand worker'";
    let query: String = mailing.client.query_one(shown, &[]).unwrap().get(0);
    assert!(query.contains("app.on_success_waiting") && query.contains(&task_id.to_string()), "{query}");

    // The worker dies now: another one goes on at the handler, and nobody is asked again.
    mailing.client.execute("select pg_terminate_backend($1)", &[&worker.pid]).unwrap();
    wait_until_sql(&mut mailing.client, "select last_value from app.runs", "2");
    mailing.client.batch_execute("select pg_advisory_unlock(1)").unwrap();
    mailing.wait(task_id, "succeeded");
    assert_eq!((mailing.standin.requests().len(), mailing.seen("success").len()), (1, 1));
    assert!(mailing.seen("error").is_empty());
    let sql = "select (request is null)::text from queues.call";
    wait_until_sql(&mut mailing.client, sql, "true");
}

#[test]
fn an_answered_call_outlives_a_crash_of_the_server_during_its_success_handler() {
    for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Kill] {
        let mut mailing = Mailing::start(&[ONE_WORKER]);
        mailing.client.batch_execute("select pg_advisory_lock(1)").unwrap();
        let task_id = queue::enqueue(&mut mailing.client, "email", task_ending_in("app.on_success_waiting"));
        wait_until_sql(&mut mailing.client, "select count(*) from pg_locks where not granted", "1");
        mailing.cluster.restart(mode);
        mailing.client = mailing.cluster.connect("postgres");
        mailing.wait(task_id, "succeeded");
        assert_eq!((mailing.standin.requests().len(), mailing.seen("success").len()), (1, 1), "{mode:?}");
    }
}

#[test]
fn a_call_takes_no_longer_than_call_timeout_whatever_the_provider_does() {
    let mut mailing = Mailing::start(&[("pg_errand.call_timeout", "500ms")]);
    let slow = [
        ("never@mail.test", Behaviour::never()),
        ("drip@mail.test", Behaviour::usual().dripping(Duration::from_secs(1))),
        ("endless-head@mail.test", Behaviour::raw("HTTP/1.1 200 OK\r\nX-", standin::End::Silence)),
    ];
    // Their status says that the mail was sent.
    let cut = [
        (
            "silent-body@mail.test",
            Behaviour::raw(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
                standin::End::Silence,
            ),
        ),
        ("endless-body@mail.test", Behaviour::endless_body()),
        ("truncated@mail.test", Behaviour::truncated()),
    ];
    let broken = [
        ("flood-head@mail.test", Behaviour::endless_head()),
        ("half-head@mail.test", Behaviour::half_head()),
        ("reset@mail.test", Behaviour::reset()),
        ("close@mail.test", Behaviour::close()),
        ("garbage@mail.test", Behaviour::raw("220 mail.test ESMTP\r\n", standin::End::Close)),
    ];
    for (to, behaviour) in slow.iter().chain(&broken).chain(&cut) {
        rule(&mailing.standin, to, behaviour.clone());
    }
    let took = |mailing: &mut Mailing, task_id| {
        mailing.number(&format!(
            "select extract(epoch from finished_at - started_at)::bigint from queues.task_status where task_id = {task_id}"
        ))
    };
    let ids = slow.iter().chain(&broken).map(|(to, _)| (mailing.send(to), *to)).collect::<Vec<_>>();
    for (index, (task_id, to)) in ids.into_iter().enumerate() {
        let message = mailing.error(task_id);
        assert!(message.contains("127.0.0.1"), "{to}: {message}");
        assert!(index >= slow.len() || message.contains("no response"), "{to}: {message}");
        assert!(took(&mut mailing, task_id) < 3, "{to}");
    }
    for (to, _) in &cut {
        let task_id = mailing.send(to);
        mailing.wait(task_id, "succeeded");
        let told = mailing.seen("success").pop().unwrap();
        let warning = told["worker_payload"]["warning"].as_str().unwrap();
        assert!(warning.contains("cut off") && warning.contains("127.0.0.1"), "{to}: {told}");
        assert!(took(&mut mailing, task_id) < 3, "{to}");
    }
    assert_eq!(mailing.seen("error").len(), slow.len() + broken.len());
    mailing.deliver("someone@mail.test");
}

#[test]
fn a_provider_that_cannot_be_reached_is_named() {
    let mut mailing = Mailing::start(&[("pg_errand.call_timeout", "5s")]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, host) in [
        (format!("http://{free}"), free.to_string()),
        (mailing.standin.url().replace("http:", "https:"), mailing.standin.address().to_string()),
        ("http://no-such-host.invalid".to_owned(), "no-such-host.invalid".to_owned()),
    ] {
        mailing.cluster.set(&[("pg_errand.resend_base_url", &url)]);
        eventually("a mail fails and its error names the host", || {
            let task_id = mailing.send("someone@mail.test");
            eventually("the task ends", || {
                ["succeeded", "failed"].contains(&queue::status(&mut mailing.client, task_id).as_str())
            });
            let message = queue::errors(&mut mailing.client, task_id).pop().map(|error| error.error_message);
            match message {
                Some(message) if message.contains(&host) => Ok(()),
                other => Err(other),
            }
        });
    }
}

#[test]
fn an_answer_that_is_no_answer_is_kept_with_a_warning_and_harms_nobody() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    let cases: [(&str, Behaviour, &[&str]); 5] = [
        ("no-json@mail.test", Behaviour::invalid_json(), &["JSON", "oops"]),
        ("no-utf8@mail.test", Behaviour::invalid_utf8(), &["JSON", "base64"]),
        ("huge@mail.test", Behaviour::huge_body(2 * 1024 * 1024), &["larger than 1048576 bytes", "aaa"]),
        ("truncated@mail.test", Behaviour::truncated(), &["127.0.0.1", "4ef9"]),
        (
            "empty@mail.test",
            Behaviour::raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", standin::End::KeepAlive),
            &["JSON", "\"body\":null"],
        ),
    ];
    for (to, behaviour, _) in &cases {
        rule(&mailing.standin, to, behaviour.clone());
    }
    mailing.deliver("someone@mail.test");
    let pid = mailing.worker_pid();
    for (to, _, parts) in &cases {
        let mark = mailing.cluster.log_mark();
        let task_id = mailing.send(to);
        mailing.wait(task_id, "succeeded");
        let told = mailing.seen("success").pop().unwrap()["worker_payload"].clone();
        assert_eq!(told["status"], json!(200), "{to}");
        assert!(told["warning"].is_string(), "{to}");
        let told = told.to_string();
        for part in *parts {
            assert!(told.contains(part), "{to}: {part} is not in {told:.500}");
        }
        mailing.cluster.wait_log(mark, &format!("task_id={task_id} provider=resend reason="));
    }
    let page = Behaviour::html(500, &format!("<p>{}\u{1f980}</p>", "x".repeat(100_000)));
    rule(&mailing.standin, "html-error@mail.test", page);
    let task_id = mailing.send("html-error@mail.test");
    let message = mailing.error(task_id);
    assert!(message.contains("500") && message.len() < 2000, "{} bytes", message.len());
    // jsonb cannot hold a NUL; what stands for it is up to the worker, but the mail was sent.
    rule(&mailing.standin, "nul@mail.test", Behaviour::nul_in_json());
    mailing.deliver("nul@mail.test");
    let answer = mailing.seen("success").pop().unwrap();
    let id = answer["worker_payload"]["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("before") && id.ends_with("after"), "{id}");
    // In an error, too.
    rule(&mailing.standin, "nul-error@mail.test", Behaviour::error(422, "bad\0name", "bad\0message"));
    let task_id = mailing.send("nul-error@mail.test");
    assert!(mailing.error(task_id).contains("422"));
    assert_eq!(mailing.worker_pid(), pid);
    mailing.deliver("someone@mail.test");
}

#[test]
fn a_provider_that_is_down_fails_tasks_until_it_is_up_again() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    mailing.deliver("someone@mail.test");
    let pid = mailing.worker_pid();
    let address = mailing.standin.address();
    mailing.standin = Standin::start(Options::default()).unwrap();
    for _ in 0..3 {
        let task_id = mailing.send("someone@mail.test");
        let message = mailing.error(task_id);
        assert!(message.contains(&address.to_string()), "{message}");
    }
    mailing.standin = Standin::start(Options { listen: address, ..Options::default() }).unwrap();
    mailing.deliver("someone@mail.test");
    assert_eq!((mailing.standin.mail_count(), mailing.worker_pid()), (1, pid));
    assert_eq!(mailing.seen("error").len(), 3);
}

/// Cuts calls off in some way and sees that they are repeated, with what was in flight and once.
#[track_caller]
fn a_call_cut_off_is_repeated(settings: &[(&str, &str)], cut: impl FnOnce(&mut Mailing)) {
    let mut mailing = Mailing::start(settings);
    mailing.standin.hold();
    let payload = task(&mail("Ünï <someone@mail.test>"));
    let task_id = queue::enqueue(&mut mailing.client, "email", payload.clone());
    mailing.wait_held(1);
    // A changed address or payload must not change a request that has been made.
    let changed = "update queues.task set payload = jsonb_set(payload, '{mail,subject}', '\"Changed\"')";
    mailing.client.execute(changed, &[]).unwrap();
    cut(&mut mailing);
    mailing.client = mailing.cluster.connect("postgres");
    mailing.wait_requests(2);
    assert_eq!(queue::status(&mut mailing.client, task_id), "running");
    mailing.standin.release();
    mailing.wait(task_id, "succeeded");
    assert!(are_the_same(&mailing.standin.requests()));
    let mails = mailing.standin.mails();
    assert_eq!((mails.len(), mails[0].subject()), (1, "Hello"));
    let seen = mailing.seen("success");
    assert_eq!((seen.len(), &seen[0]["worker_payload"]), (1, &json!({"id": mails[0].id})));
    assert!(mailing.seen("error").is_empty() && queue::errors(&mut mailing.client, task_id).is_empty());
}

#[test]
fn a_call_whose_worker_is_terminated_is_repeated_with_the_same_key_and_body() {
    for concurrency in ["1", "2"] {
        a_call_cut_off_is_repeated(&[("pg_errand.concurrency", concurrency)], |mailing| {
            let sql = "select pid from queues.worker where in_flight = 1";
            let pid: i32 = mailing.client.query_one(sql, &[]).unwrap().get(0);
            mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
        });
    }
}

#[test]
fn a_call_whose_worker_crashes_is_repeated_with_the_same_key_and_body() {
    a_call_cut_off_is_repeated(&[ONE_WORKER], |mailing| {
        let pid = mailing.worker_pid();
        mailing.cluster.crash(pid, libc::SIGKILL);
    });
}

#[test]
fn a_call_cut_off_by_a_restart_of_the_server_is_repeated_with_the_same_key_and_body() {
    for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Kill] {
        a_call_cut_off_is_repeated(&[ONE_WORKER], |mailing| mailing.cluster.restart(mode));
    }
}

#[test]
fn a_call_that_was_answered_while_nobody_listened_is_settled_by_its_key() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    mailing.standin.hold();
    let task_id = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    mailing.cluster.stop(StopMode::Immediate);
    mailing.standin.release();
    eventually("the provider has taken the mail", || mailing.standin.mail_count() == 1);
    mailing.cluster.start_again();
    mailing.client = mailing.cluster.connect("postgres");
    mailing.wait(task_id, "succeeded");
    assert!(are_the_same(&mailing.standin.requests()));
    assert_eq!((mailing.standin.mail_count(), mailing.seen("success").len()), (1, 1));
}

#[test]
fn a_failing_success_handler_is_an_error_of_its_own_and_asks_nobody_again() {
    let mut mailing = Mailing::start(&[]);
    for handler in ["app.raises", "app.no_such_function"] {
        mailing.standin.clear();
        let task_id = queue::enqueue(&mut mailing.client, "email", task_ending_in(handler));
        mailing.wait(task_id, "succeeded");
        let errors = queue::errors(&mut mailing.client, task_id);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let message = &errors[0].error_message;
        assert!(message.contains(handler) && message.contains("success_handler"), "{message}");
        let last: Option<String> = mailing
            .client
            .query_one("select last_error from queues.task_status where task_id = $1", &[&task_id])
            .unwrap()
            .get(0);
        assert_eq!(last.as_ref(), Some(message));
        mailing.run_function("app.note");
        assert_eq!(mailing.standin.requests().len(), 1);
    }
    assert!(mailing.seen("error").is_empty());

    // An error handler that fails adds its own row to the task's error.
    let mut payload = task(&mail("not-an-address"));
    payload["error_handler"] = json!("app.raises");
    let task_id = queue::enqueue(&mut mailing.client, "email", payload);
    mailing.wait(task_id, "failed");
    let errors = queue::errors(&mut mailing.client, task_id);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].error_message.contains("422")
            && errors[1].error_message.contains("error_handler app.raises")
    );
}

#[test]
fn a_success_handler_is_repeated_after_serialization_failures_without_asking_again() {
    let mut mailing = Mailing::start(&[]);
    let payload = task_ending_in("app.on_success_unserializable_twice");
    let task_id = queue::enqueue(&mut mailing.client, "email", payload);
    mailing.wait(task_id, "succeeded");
    assert_eq!(mailing.number("select last_value from app.runs"), 3);
    assert_eq!((mailing.standin.requests().len(), mailing.seen("success").len()), (1, 1));
    assert!(queue::errors(&mut mailing.client, task_id).is_empty());
}

#[test]
fn a_call_cut_off_more_than_a_day_ago_fails_as_outcome_unknown() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT]);
    mailing.standin.hold();
    let old = mailing.send("old@mail.test");
    let recent = mailing.send("recent@mail.test");
    mailing.wait_held(2);
    // Paused as from the next start; the workers of this one die with their calls.
    mailing.client.batch_execute("alter system set pg_errand.concurrency = 0").unwrap();
    mailing.cluster.restart(StopMode::Fast);
    mailing.client = mailing.cluster.connect("postgres");
    let age = "update queues.call set requested_at = requested_at - $2::text::interval where task_id = $1";
    mailing.client.execute(age, &[&old, &"24 hours 1 minute"]).unwrap();
    mailing.client.execute(age, &[&recent, &"23 hours"]).unwrap();
    assert_eq!(mailing.standin.requests().len(), 2);
    mailing.cluster.set(&[("pg_errand.concurrency", "1")]);
    let message = mailing.error(old);
    assert!(message.contains("outcome unknown"), "{message}");
    assert_eq!(
        mailing.seen("error"),
        [json!({"original_payload": task(&mail("old@mail.test")), "error": message})]
    );
    mailing.wait_requests(3);
    mailing.standin.release();
    mailing.wait(recent, "succeeded");
    let asked = mailing.standin.requests();
    let of_old = asked.iter().filter(|exchange| exchange.request.json().unwrap()["to"] == "old@mail.test");
    assert_eq!(of_old.count(), 1, "the provider is not asked again");
}

#[test]
fn a_cancelled_task_runs_no_handler_when_its_answer_comes() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT]);
    mailing.standin.hold();
    let task_id = mailing.send("someone@mail.test");
    let rolled_back = mailing.send("someone@mail.test");
    mailing.wait_held(2);
    let cancel = "select queues.cancel($1)";
    assert!(mailing.client.query_one(cancel, &[&task_id]).unwrap().get::<_, bool>(0));
    mailing.wait(task_id, "cancelled");
    // The caller's rollback does not undo it.
    let mut transaction = mailing.client.transaction().unwrap();
    assert!(transaction.query_one(cancel, &[&rolled_back]).unwrap().get::<_, bool>(0));
    transaction.rollback().unwrap();
    mailing.wait(rolled_back, "cancelled");
    assert!(!mailing.client.query_one(cancel, &[&task_id]).unwrap().get::<_, bool>(0));
    wait_until_sql(&mut mailing.client, "select in_flight from queues.worker", "0");
    mailing.standin.release();
    eventually("the answers are sent", || {
        mailing.standin.requests().iter().all(|exchange| exchange.status == Some(200))
    });
    // The same worker goes through a whole mail afterwards.
    mailing.deliver("someone@mail.test");
    mailing.run_function("app.note");
    assert_eq!((mailing.seen("success").len(), mailing.seen("error").len()), (1, 0));
    for id in [task_id, rolled_back] {
        assert_eq!(queue::status(&mut mailing.client, id), "cancelled");
        assert!(queue::errors(&mut mailing.client, id).is_empty());
    }
}

#[test]
fn many_calls_in_flight_are_cancelled_at_once() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT]);
    mailing.standin.hold();
    send_many(&mut mailing.client, 40);
    mailing.wait_held(40);
    let sql = "select count(*) filter (where queues.cancel(task_id)) from queues.task";
    assert_eq!(mailing.number(sql), 40);
    let cancelled = "select count(*) from queues.task_status where status = 'cancelled'";
    wait_until_sql(&mut mailing.client, cancelled, "40");
    // What was cancelled is not repeated by whoever comes next.
    let pid = mailing.worker_pid();
    mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    mailing.standin.release();
    mailing.deliver("someone@mail.test");
    assert_eq!(mailing.standin.requests().len(), 41);
}

#[test]
fn a_task_with_a_call_in_flight_is_not_handed_out_nor_ended_by_others() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    mailing.standin.hold();
    let task_id = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    let sql = "select task_id from queues.dequeue_next_available_task()";
    assert_eq!(mailing.client.query_one(sql, &[]).unwrap().get::<_, Option<i64>>(0), None);
    mailing.client.execute("select queues.complete_task($1)", &[&task_id]).unwrap();
    mailing.client.execute("select queues.fail_task($1, 'not yours')", &[&task_id]).unwrap();
    assert_eq!(queue::status(&mut mailing.client, task_id), "running");
    mailing.standin.release();
    mailing.wait(task_id, "succeeded");
    assert_eq!(mailing.seen("success").len(), 1);
}

#[test]
fn a_worker_stays_for_its_calls_when_it_is_idle_or_no_longer_wanted() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT, ("pg_errand.max_idle_time", "100ms")]);
    mailing.standin.hold();
    let idle = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    let pid = mailing.worker_pid();
    let old = "select (clock_timestamp() - started_at > '500ms')::text from queues.worker";
    wait_until_sql(&mut mailing.client, old, "true");
    assert_eq!(mailing.worker_pid(), pid);
    mailing.cluster.set(&[("pg_errand.concurrency", "0")]);
    let waiting = mailing.send("someone@mail.test");
    mailing.standin.release();
    mailing.wait(idle, "succeeded");
    wait_until_sql(&mut mailing.client, "select count(*) from queues.worker", "0");
    assert_eq!(queue::status(&mut mailing.client, waiting), "ready");
    assert_eq!(mailing.standin.requests().len(), 1);
    mailing.cluster.set(&[("pg_errand.concurrency", "1")]);
    mailing.wait(waiting, "succeeded");
}

#[test]
fn a_fast_shutdown_waits_for_no_provider() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT]);
    mailing.standin.behave(|_| Some(Behaviour::never()));
    send_many(&mut mailing.client, 20);
    mailing.wait_requests(20);
    let start = Instant::now();
    mailing.cluster.stop(StopMode::Fast);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    mailing.standin.behave_as_usual();
    mailing.standin.forget_keys();
    mailing.cluster.start_again();
    mailing.client = mailing.cluster.connect("postgres");
    let succeeded = "select count(*) from queues.task_status where status = 'succeeded'";
    wait_until_sql(&mut mailing.client, succeeded, "20");
}

#[test]
fn commands_that_want_the_workers_gone_wait_for_no_provider() {
    let mut mailing = Mailing::start(&[PATIENT]);
    mailing.client.batch_execute("create database other").unwrap();
    let mut other = mailing.cluster.connect("other");
    crate::harness::mailing::prepare(&mut other);
    mailing.standin.hold();
    let renamed = crate::harness::mailing::send(&mut other, "someone@mail.test");
    mailing.send("dropped@mail.test");
    mailing.wait_held(2);
    drop(other);
    let start = Instant::now();
    mailing.client.batch_execute("alter database other rename to renamed").unwrap();
    mailing.client.batch_execute("drop extension pg_errand cascade").unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    mailing.wait_requests(3);
    mailing.standin.release();
    let mut other = mailing.cluster.connect("renamed");
    queue::wait_status(&mut other, renamed, "succeeded");
    drop(other);
    mailing.client.batch_execute("drop database renamed").unwrap();
}

#[test]
fn a_slow_provider_holds_up_nobody_else_s_call() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT]);
    rule(&mailing.standin, "slow@mail.test", Behaviour::usual().held());
    let slow = mailing.send("slow@mail.test");
    mailing.wait_held(1);
    for _ in 0..5 {
        mailing.deliver("someone@mail.test");
    }
    assert_eq!(queue::status(&mut mailing.client, slow), "running");
    mailing.standin.release();
    mailing.wait(slow, "succeeded");
}

#[test]
fn a_provider_that_is_just_processing_the_same_key_is_asked_again() {
    let mut mailing =
        Mailing::build(Cluster::builder().set("pg_errand.resend_api_key", crate::harness::mailing::KEY));
    mailing.standin.behave(|submission| {
        submission
            .is_first()
            .then(|| Behaviour::error(409, "concurrent_idempotent_requests", "The same key is in progress."))
    });
    mailing.deliver("someone@mail.test");
    assert_eq!((mailing.standin.requests().len(), mailing.standin.mail_count()), (2, 1));
    assert!(are_the_same(&mailing.standin.requests()));
}

#[test]
fn all_calls_of_a_dead_worker_are_taken_over_within_the_limit_of_its_successor() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT]);
    mailing.standin.hold();
    send_many(&mut mailing.client, 10);
    mailing.wait_held(10);
    mailing.cluster.set(&[("pg_errand.max_in_flight", "4")]);
    let pid = mailing.worker_pid();
    mailing.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    mailing.wait_requests(14);
    wait_until_sql(&mut mailing.client, "select in_flight from queues.worker", "4");
    // Those nobody has taken over yet are not lost, nor handed out, nor run by anybody.
    mailing.run_function("app.note");
    let sql = "select count(*) from queues.task_status where status in ('ready', 'running')";
    assert_eq!(mailing.number(sql), 10);
    assert_eq!(mailing.standin.requests().len(), 14);
    mailing.standin.release();
    let succeeded =
        "select count(*) from queues.task_status where status = 'succeeded' and task_type = 'email'";
    wait_until_sql(&mut mailing.client, succeeded, "10");
    assert_eq!((mailing.standin.mail_count(), mailing.seen("success").len()), (10, 10));
}

#[test]
fn call_timeout_counts_from_the_start_of_each_call() {
    let mut mailing =
        Mailing::start(&[ONE_WORKER, ("pg_errand.max_in_flight", "1"), ("pg_errand.call_timeout", "1500ms")]);
    mailing.standin.behave(|_| Some(Behaviour::usual().after(Duration::from_millis(500))));
    send_many(&mut mailing.client, 5);
    let ended = "select count(*) from queues.task_status where finished_at is not null";
    wait_until_sql(&mut mailing.client, ended, "5");
    assert_eq!(mailing.standin.mail_count(), 5);
    assert_eq!(mailing.seen("success").len(), 5);
    // A new limit counts for the next call.
    mailing.cluster.set(&[("pg_errand.call_timeout", "100ms")]);
    eventually("a call takes too long", || {
        let task_id = mailing.send("someone@mail.test");
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(&mut mailing.client, task_id).as_str())
        });
        queue::status(&mut mailing.client, task_id) == "failed"
    });
}

#[test]
fn a_success_handler_can_be_cancelled_with_its_task_or_alone() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    mailing.client.batch_execute("select pg_advisory_lock(1)").unwrap();
    let waiting = "select count(*) from pg_locks where not granted";

    let task_id = queue::enqueue(&mut mailing.client, "email", task_ending_in("app.on_success_waiting"));
    wait_until_sql(&mut mailing.client, waiting, "1");
    let cancelled = mailing.client.query_one("select queues.cancel($1)", &[&task_id]).unwrap();
    assert!(cancelled.get::<_, bool>(0));
    mailing.wait(task_id, "cancelled");

    let task_id = queue::enqueue(&mut mailing.client, "email", task_ending_in("app.on_success_waiting"));
    wait_until_sql(&mut mailing.client, waiting, "1");
    let pid = mailing.worker_pid();
    mailing.client.execute("select pg_cancel_backend($1)", &[&pid]).unwrap();
    mailing.wait(task_id, "succeeded");
    let errors = queue::errors(&mut mailing.client, task_id);
    assert!(errors.len() == 1 && errors[0].error_message.contains("app.on_success_waiting"), "{errors:?}");

    mailing.client.batch_execute("select pg_advisory_unlock(1)").unwrap();
    mailing.run_function("app.note");
    assert_eq!(mailing.worker_pid(), pid);
    assert_eq!(mailing.standin.requests().len(), 2);
    assert!(mailing.seen("success").is_empty() && mailing.seen("error").is_empty());
}

#[test]
fn a_deferred_constraint_counts_as_part_of_its_handler() {
    let mut mailing = Mailing::start(&[]);
    mailing
        .client
        .batch_execute(
            "create table app.parent (i int primary key);
             create table app.child (i int references app.parent deferrable initially deferred);
             create function app.build_orphan(_payload jsonb) returns jsonb language sql security definer as $$
                 insert into app.child values (1);
                 select app.build(_payload)
             $$;
             create function app.on_success_orphan(_payload jsonb) returns jsonb language sql security definer as $$
                 insert into app.child values (1) returning '{}'::jsonb
             $$;",
        )
        .unwrap();
    let mut payload = task(&mail("someone@mail.test"));
    payload["before_handler"] = json!("app.build_orphan");
    let task_id = queue::enqueue(&mut mailing.client, "email", payload);
    let message = mailing.error(task_id);
    assert!(message.contains("app.build_orphan") && message.contains("foreign key"), "{message}");
    assert!(mailing.standin.requests().is_empty());
    assert_eq!(mailing.seen("error").len(), 1);

    let task_id = queue::enqueue(&mut mailing.client, "email", task_ending_in("app.on_success_orphan"));
    mailing.wait(task_id, "succeeded");
    let errors = queue::errors(&mut mailing.client, task_id);
    assert!(errors.len() == 1 && errors[0].error_message.contains("app.on_success_orphan"), "{errors:?}");
    assert_eq!((mailing.standin.requests().len(), mailing.number("select count(*) from app.child")), (1, 0));
}

#[test]
fn a_before_handler_is_repeated_after_serialization_failures_and_its_request_is_sent_once() {
    let mut mailing = Mailing::start(&[]);
    mailing
        .client
        .batch_execute(
            "create function app.build_unserializable_twice(_payload jsonb) returns jsonb language plpgsql as $$
             begin
                 if nextval('app.runs') < 3 then
                     raise exception 'try again' using errcode = 'deadlock_detected';
                 end if;
                 return app.build(_payload);
             end
             $$",
        )
        .unwrap();
    let mut payload = task(&mail("someone@mail.test"));
    payload["before_handler"] = json!("app.build_unserializable_twice");
    let task_id = queue::enqueue(&mut mailing.client, "email", payload);
    mailing.wait(task_id, "succeeded");
    assert_eq!((mailing.standin.requests().len(), mailing.number("select last_value from app.runs")), (1, 3));
    assert_eq!(mailing.number("select count(*) from queues.call"), 1);
    assert!(queue::errors(&mut mailing.client, task_id).is_empty());
}

#[test]
fn a_task_whose_handlers_kill_their_worker_three_times_is_failed() {
    let mut mailing = Mailing::start(&[]);
    mailing
        .client
        .batch_execute(
            "create function app.dies(_payload jsonb) returns jsonb language plpgsql security definer as $$
             begin
                 perform nextval('app.runs');
                 perform pg_terminate_backend(pg_backend_pid());
                 perform pg_sleep(60);
                 return '{}';
             end
             $$",
        )
        .unwrap();
    let mut payload = task(&mail("someone@mail.test"));
    payload["before_handler"] = json!("app.dies");
    let task_id = queue::enqueue(&mut mailing.client, "email", payload);
    mailing.wait(task_id, "failed");
    assert_eq!((mailing.standin.requests().len(), mailing.number("select last_value from app.runs")), (0, 3));

    mailing.client.batch_execute("alter sequence app.runs restart").unwrap();
    let task_id = queue::enqueue(&mut mailing.client, "email", task_ending_in("app.dies"));
    let ended = "select (finished_at is not null)::text from queues.task_status order by task_id desc";
    wait_until_sql(&mut mailing.client, ended, "true");
    assert_eq!((mailing.standin.requests().len(), mailing.number("select last_value from app.runs")), (1, 3));
    assert_eq!(queue::errors(&mut mailing.client, task_id).len(), 1);
    mailing.deliver("someone@mail.test");
}

#[test]
fn a_reload_reaches_a_worker_that_is_just_starting() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    mailing
        .client
        .batch_execute(
            "create function app.note_setting(_payload jsonb) returns jsonb language sql as $$
                select app.note(to_jsonb(current_setting('pg_errand.call_timeout')))
            $$",
        )
        .unwrap();
    let payload = json!({"task_type": "db_function", "db_function": "app.note_setting"});
    for round in 1..=40 {
        let value = format!("{}ms", 10_001 + round);
        let terminate =
            "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'pg_errand worker'";
        mailing.client.execute(&format!("alter system set pg_errand.call_timeout = '{value}'"), &[]).unwrap();
        mailing.client.execute(terminate, &[]).unwrap();
        queue::enqueue(&mut mailing.client, "db_function", payload.clone());
        mailing.cluster.reload();
        let expected = json!(value);
        eventually("the new value is in force", || {
            let task_id = queue::enqueue(&mut mailing.client, "db_function", payload.clone());
            mailing.wait(task_id, "succeeded");
            let seen = mailing.seen("task").pop();
            if seen.as_ref() == Some(&expected) { Ok(()) } else { Err(seen) }
        });
    }
}
