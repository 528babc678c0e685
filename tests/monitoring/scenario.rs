//! Tasks and calls of all outcomes, and what monitoring has to tell.

use serde_json::json;
use standin::Answer;

use crate::harness::calling::{Calling, ok};
use crate::harness::handlers::{HANDLERS, task};
use crate::harness::queue::enqueue;
use crate::harness::wait::wait_until_sql;

/// A name of a handler that the text format has to escape.
pub const HOSTILE: &str = "public.\"quote\"\" back\\ line\n\"";

/// A cluster with a provider "api", which fails where the path says so, and "broken", whose circuit breaker opens after two
/// failures.
#[track_caller]
pub fn start() -> Calling {
    let settings = [("pg_errand.concurrency", "2"), ("pg_errand.retention", "1h")];
    let mut calling = Calling::start(&settings, |request| {
        if request.target.contains("bad") { Answer::json(500, &json!({})) } else { ok() }
    });
    calling.client.batch_execute(HANDLERS).unwrap();
    let hostile =
        format!("create function {HOSTILE}(jsonb) returns jsonb language sql as $$ select '{{}}'::jsonb $$");
    calling.client.batch_execute(&hostile).unwrap();
    calling.register("api", json!({}));
    calling.register("broken", json!({"breaker_threshold": 2, "breaker_cooldown": "1 h"}));
    // Providers at the same address, with the same credentials, have a common account.
    calling
        .client
        .batch_execute("update queues.provider set base_url = base_url || '/' || name where not built_in")
        .unwrap();
    calling
}

/// Runs this many tasks that succeed, that fail, that are cancelled, and calls of both outcomes, to their end.
#[track_caller]
pub fn run_some(calling: &mut Calling, count: usize) {
    enqueue(&mut calling.client, "db_function", json!({"db_function": HOSTILE}));
    for n in 0..count {
        task(&mut calling.client, "note", json!({ "label": n.to_string() }));
        task(&mut calling.client, "refuse", json!({ "label": n.to_string() }));
        calling.call("api", json!({"path": "/good"}));
        calling.call("api", json!({"path": "/bad"}));
        calling
            .client
            .batch_execute("select queues.cancel(queues.enqueue('db_function', '{}', now() + '1 h'))")
            .unwrap();
    }
    wait_until_sql(&mut calling.client, "select count(*) from queues.task where finished_at is null", "0");
}

/// Opens the circuit breaker of one provider, pauses the other one, and a task type of which a task is due since an hour.
#[track_caller]
pub fn make_trouble(calling: &mut Calling) {
    calling.fail("broken", json!({"path": "/bad"}));
    calling.fail("broken", json!({"path": "/bad"}));
    let client = &mut calling.client;
    wait_until_sql(client, "select state from queues.provider_status where name = 'broken'", "broken");
    client
        .batch_execute(
            "select queues.pause_provider('api'), queues.pause('sms'), queues.pause_key('db_function', 'k');
             insert into queues.task (task_type, payload, scheduled_at) values ('sms', '{}', now() - interval '1 hour')",
        )
        .unwrap();
    enqueue(client, "api", json!({"task_type": "api", "request": {"path": "/good"}}));
}
