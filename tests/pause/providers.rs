//! `queues.pause_provider`: a provider that is paused gets no request, and stored requests wait for it.

use serde_json::{Value, json};
use standin::Answer;

use super::{FOUR_WORKERS, reason};
use crate::harness::calling::{Calling, ok};
use crate::harness::handlers::one;
use crate::harness::wait::wait_until_sql;

#[test]
fn a_paused_provider_gets_no_request_and_others_do() {
    let mut calling = Calling::friendly(&FOUR_WORKERS);
    calling.register("first", json!({}));
    calling.register("second", json!({}));
    let sql = "select queues.pause_provider('first', _why => 'it double-charges')";
    assert!(one::<bool>(&mut calling.client, sql));
    let waiting: Vec<i64> = (0..20).map(|_| calling.call("first", json!({}))).collect();
    calling.succeed("second", json!({}));
    assert_eq!(calling.web.requests().len(), 1);
    assert_eq!(reason(&mut calling.client, waiting[0]), "provider_paused_by_operator");
    let said: String =
        one(&mut calling.client, &format!("select explanation || hint from queues.explain({})", waiting[0]));
    assert!(said.contains("it double-charges") && said.contains("queues.resume_provider('first')"), "{said}");
    assert!(one::<bool>(&mut calling.client, "select queues.resume_provider('first')"));
    for task_id in waiting {
        calling.wait(task_id, "succeeded");
    }
    assert_eq!(calling.web.requests().len(), 21);
}

/// A request that is stored, since the first response asks for a pause of one second, and whose provider is paused then.
fn stored_request(definition: Value) -> (Calling, i64) {
    let mut answers = 0;
    let mut calling = Calling::start(&FOUR_WORKERS, move |_| {
        answers += 1;
        if answers == 1 { asks_for_a_second() } else { ok() }
    });
    calling.register("first", definition);
    let task_id = calling.call("first", json!({}));
    wait_until_sql(
        &mut calling.client,
        &format!("select reason from queues.explain({task_id})"),
        "call_queued",
    );
    calling.client.batch_execute("select queues.pause_provider('first')").unwrap();
    (calling, task_id)
}

#[test]
fn a_stored_request_waits_for_a_paused_provider() {
    // Together with the pause of an operator, the call waits for longer.
    let (mut calling, task_id) = stored_request(json!({"max_wait": "2 s"}));
    wait_until_sql(
        &mut calling.client,
        &format!("select explanation like '%paused by role \"postgres\"%' from queues.explain({task_id})"),
        "t",
    );
    // Nothing is sent when the time has come for which the provider asked.
    wait_until_sql(
        &mut calling.client,
        "select clock_timestamp() > requested_at + interval '3 s' from queues.call",
        "t",
    );
    assert_eq!(calling.web.requests().len(), 1);
    calling.client.batch_execute("select queues.resume_provider('first')").unwrap();
    calling.wait(task_id, "succeeded");
    assert_eq!(calling.web.requests().len(), 2);
}

#[test]
fn a_call_in_flight_ends_while_its_type_provider_and_database_are_paused() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut calling = Calling::start(&FOUR_WORKERS, move |_| {
        let _ = receiver.recv_timeout(std::time::Duration::from_secs(60));
        ok()
    });
    calling.register("first", json!({}));
    let task_id = calling.call_handled("first", &json!({}));
    crate::harness::wait::eventually("it is called", || calling.web.requests().len() == 1);
    calling
        .client
        .batch_execute(
            "select queues.pause('first'); select queues.pause_provider('first'); select queues.pause()",
        )
        .unwrap();
    sender.send(()).unwrap();
    calling.wait(task_id, "succeeded");
    assert_eq!(calling.seen("success").len(), 1);
}

#[test]
fn a_worker_that_dies_leaves_a_stored_request_to_wait_on() {
    let (mut calling, task_id) = stored_request(json!({"idempotency_key_ttl": "1 h"}));
    let worker = format!("select blocking_pid from queues.explain({task_id})");
    let pid: i32 = one(&mut calling.client, &worker);
    assert!(one::<bool>(&mut calling.client, &format!("select pg_terminate_backend({pid})")));
    wait_until_sql(
        &mut calling.client,
        &format!("select coalesce(blocking_pid, {pid}) <> {pid} from queues.explain({task_id})"),
        "t",
    );
    assert_eq!(calling.web.requests().len(), 1);
    calling.client.batch_execute("select queues.resume_provider('first')").unwrap();
    calling.wait(task_id, "succeeded");
}

fn asks_for_a_second() -> Answer {
    Answer::json(429, &json!({})).with("Retry-After", "1")
}
