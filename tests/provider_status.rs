//! `queues.provider_status`: what keeps requests from being sent to a provider, and until when.

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;
use standin::Answer;

use crate::harness::calling::{Calling, ok};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one};
use crate::harness::wait::{eventually, wait_until_sql};

const WORKER: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")];

#[track_caller]
fn shown(client: &mut Client, columns: &str, name: &str) -> String {
    one(
        client,
        &format!("select concat_ws('|', {columns}) from queues.provider_status where name = '{name}'"),
    )
}

#[track_caller]
fn wait_state(client: &mut Client, name: &str, state: &str) {
    wait_until_sql(client, &format!("select state from queues.provider_status where name = '{name}'"), state);
}

#[test]
fn a_provider_that_asks_for_a_pause_is_told_from_one_that_an_operator_has_paused() {
    let mut calling = Calling::start(&WORKER, |_| Answer::json(429, &json!({})).with("Retry-After", "3000"));
    calling.register("later", json!({}));
    assert_eq!(shown(&mut calling.client, "state, in_flight, queued, breaker is null", "later"), "ok|0|0|t");
    calling.call("later", json!({}));
    wait_state(&mut calling.client, "later", "paused");
    let columns =
        "pause_reason, paused_until > now() + interval '2900 s', paused_by is null, last_status, queued";
    wait_until_sql(
        &mut calling.client,
        &format!("select concat_ws('|', {columns}) from queues.provider_status where name = 'later'"),
        "retry_after|t|t|429|1",
    );
    calling.client.batch_execute("select queues.pause_provider('later', _why => 'x')").unwrap();
    let columns = "state, pause_reason, paused_until is null, paused_by, paused_why";
    assert_eq!(shown(&mut calling.client, columns, "later"), "paused|operator|t|postgres|x");
}

#[test]
fn failures_and_the_circuit_breaker_are_told() {
    let mut calling = Calling::start(&WORKER, |_| Answer::json(500, &json!({})));
    calling.register("broken", json!({"breaker_threshold": 2, "breaker_cooldown": "1 h"}));
    calling.fail("broken", json!({}));
    let columns =
        "state, breaker, consecutive_failures, last_status, last_failure_at > now() - interval '1 min'";
    eventually("it is told", || shown(&mut calling.client, columns, "broken") == "ok|closed|1|500|t");
    calling.fail("broken", json!({}));
    wait_state(&mut calling.client, "broken", "broken");
    let columns =
        "breaker, breaker_until > now() + interval '50 min', consecutive_failures, pause_reason is null";
    assert_eq!(shown(&mut calling.client, columns, "broken"), "open|t|2|t");
    let told = "select concat_ws('|', problem, severity, subject, until is not null) from queues.health";
    wait_until_sql(&mut calling.client, told, "breaker_open|warning|broken|t");
    let waits = calling.call("broken", json!({}));
    wait_until_sql(&mut calling.client, told, "breaker_open|error|broken|t");

    let resume = "select queues.resume_provider('broken')";
    let said = calling.cluster.notices("postgres", resume);
    assert!(said.contains("the circuit breaker of provider \"broken\" is open"), "{said}");
    let hint: String = one(&mut calling.client, "select hint from queues.health");
    assert_eq!(
        one::<String>(&mut calling.client, &format!("select hint from queues.explain({waits})")),
        hint
    );
    let close = hint.rsplit_once("run: ").unwrap().1;
    assert!(said.contains(close), "{said}");
    calling
        .client
        .batch_execute(&format!("begin; {close} delete from queues.task where task_id = {waits}; commit"))
        .unwrap();
    wait_state(&mut calling.client, "broken", "ok");
    assert_eq!(shown(&mut calling.client, "breaker, consecutive_failures", "broken"), "closed|0");
    assert!(!calling.cluster.notices("postgres", resume).contains("circuit breaker"));
}

#[test]
fn a_secret_that_is_missing_is_told_before_and_after_tasks_fail_for_it() {
    let mut calling = Calling::friendly(&WORKER);
    let directory = calling.directory("secrets");
    calling.cluster.set(&[("pg_errand.secrets_dir", directory.to_str().unwrap())]);
    calling.register("locked", json!({"auth": "bearer", "secret": "key"}));
    wait_state(&mut calling.client, "locked", "secret_missing");
    let told = "select concat_ws('|', problem, severity, subject) from queues.health";
    wait_until_sql(&mut calling.client, told, "secret_missing|warning|locked");
    let error = calling.fail("locked", json!({}));
    wait_until_sql(&mut calling.client, told, "secret_missing|error|locked");
    let explanation: String = one(&mut calling.client, "select explanation from queues.health");
    let problem = error.strip_prefix("locked: ").unwrap();
    assert!(problem.contains("\"key\"") && explanation.contains(problem), "{explanation}: {error}");
    let counted = "select concat_ws('|', calls, failed_calls) from queues.stats where provider = 'locked'";
    wait_until_sql(&mut calling.client, counted, "0|1");
    let columns = "state, consecutive_failures, last_failure_at is not null, last_status is null";
    assert_eq!(shown(&mut calling.client, columns, "locked"), "secret_missing|1|t|t");
    // That of a built-in provider is only told if it is missed.
    assert_eq!(shown(&mut calling.client, "state", "resend"), "ok");

    calling.client.batch_execute("create role watcher login in role pg_monitor").unwrap();
    let mut watcher = calling.cluster.connect_as("watcher", "postgres");
    assert_eq!(one::<String>(&mut watcher, told), "secret_missing|error|locked");
    std::fs::write(directory.join("key"), "sesame\n").unwrap();
    assert_eq!(shown(&mut watcher, "state", "locked"), "ok");
    assert_eq!(one::<i64>(&mut watcher, "select count(*) from queues.health"), 0);
    calling.succeed("locked", json!({}));
}

#[test]
fn limits_are_told() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut calling = Calling::start(&WORKER, move |request| {
        if request.target.contains("slow") {
            let _ = receiver.recv_timeout(std::time::Duration::from_secs(60));
        }
        ok()
    });
    calling.register("few", json!({"max_in_flight": 1}));
    calling.register("free", json!({}));
    calling.register("rare", json!({"requests_per_second": 0.001}));
    // Providers at the same address, with the same credentials, have a common account.
    calling
        .client
        .batch_execute("update queues.provider set base_url = base_url || '/' || name where not built_in")
        .unwrap();
    calling.succeed("rare", json!({}));
    wait_state(&mut calling.client, "rare", "rate_limited");
    assert_eq!(shown(&mut calling.client, "next_request_at > now() + interval '10 min'", "rare"), "t");
    let slow =
        [calling.call("few", json!({"path": "/slow"})), calling.call("free", json!({"path": "/slow"}))];
    wait_state(&mut calling.client, "few", "full");
    let told = |client: &mut Client| shown(client, "state, in_flight, queued", "free") == "ok|1|0";
    eventually("the call is told", || told(&mut calling.client));
    (0..2).for_each(|_| sender.send(()).unwrap());
    for task_id in slow {
        calling.wait(task_id, "succeeded");
    }
    wait_state(&mut calling.client, "few", "ok");
}

#[test]
fn monitors_may_read_it_and_nobody_else() {
    let cluster = Cluster::start(&WORKER);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute("create role watcher in role pg_monitor; create role ann; set role watcher")
        .unwrap();
    assert!(one::<i64>(&mut client, "select count(*) from queues.provider_status") > 0);
    client.batch_execute("reset role; grant usage on schema queues, errand to ann; set role ann").unwrap();
    for sql in ["select * from queues.provider_status", "select * from errand.provider_state()"] {
        let error = client.batch_execute(sql).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}");
    }
}

#[test]
fn a_standby_shows_what_the_rows_say() {
    let primary = Cluster::builder().start();
    let mut client = install(&primary, "postgres");
    client.batch_execute("select queues.pause_provider('resend', _why => 'x')").unwrap();
    let standby = crate::harness::builder::Builder::standby_of(&primary).start();
    let mut client = standby.connect("postgres");
    let columns = "state, pause_reason, in_flight is null, queued is null";
    eventually("it is replicated", || shown(&mut client, columns, "resend") == "paused|operator|t|t");
    assert_eq!(shown(&mut client, "state is null, in_flight is null", "smtp"), "t|t");
    let error = client.batch_execute("select queues.drain()").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
}
