//! Users' JSON passes through unchanged, however deeply it is nested and whatever its keys are.

use serde_json::{Value, json};
use standin::Answer;

use crate::harness::calling::{Calling, ok};
use crate::harness::handlers::worker_pids;
use crate::harness::queue;
use crate::harness::wait::eventually;

const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");
/// A call's time limit that no test lives to see.
const PATIENT: (&str, &str) = ("pg_errand.call_timeout", "10min");
/// Keys that mean something inside the library that reads JSON here.
const KEYS: [&str; 2] = ["$serde_json::private::Number", "$serde_json::private::RawValue"];

/// Text of arrays in arrays.
fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Enqueues a task whose payload is this text.
#[track_caller]
fn enqueue(calling: &mut Calling, task_type: &str, payload: &str) -> i64 {
    let sql = "select queues.enqueue($1, $2::text::jsonb)";
    calling.client.query_one(sql, &[&task_type, &payload]).unwrap().get(0)
}

/// The same, whose request is sent again when its worker has been terminated.
#[track_caller]
fn send_twice(calling: &mut Calling, task_type: &str, payload: &str) -> i64 {
    calling.web.hold();
    let task_id = enqueue(calling, task_type, payload);
    eventually("it is under way", || calling.web.held() == 1);
    let workers = queue::workers(&mut calling.client);
    calling.client.execute("select pg_terminate_backend($1)", &[&workers[0].pid]).unwrap();
    eventually("it was sent again", || calling.web.held() == 2);
    calling.web.release();
    task_id
}

fn body(calling: &Calling) -> String {
    String::from_utf8(calling.web.requests().last().unwrap().request.body.clone()).unwrap()
}

#[test]
fn nesting_is_no_matter_up_to_a_limit_that_is_named() {
    let mut calling = Calling::start(&[ONE_WORKER], |request| {
        Answer::new(200, "application/json", format!("{{\"deep\":{}}}", nested(request.body.len() / 2 - 5)))
    });
    calling.register("deep", json!({}));
    let made = "create function app.made(_payload jsonb) returns jsonb language sql as $$
        select jsonb_build_object('payload', jsonb_build_object('path', '/x', 'body', _payload->'value')) $$";
    calling.client.batch_execute(made).unwrap();
    let pid = worker_pids(&mut calling.client);
    for levels in [126, 128, 900] {
        let text = nested(levels);
        // In the payload beside the request, in the request, and in what a handler makes of it.
        for payload in [
            format!("{{\"value\": {text}, \"request\": {{\"path\": \"/x\", \"body\": {text}}}}}"),
            format!("{{\"value\": {text}, \"before_handler\": \"app.made\"}}"),
        ] {
            let task_id = enqueue(&mut calling, "deep", &payload);
            calling.wait(task_id, "succeeded");
            assert_eq!(body(&calling), text);
            let result = "select queues.result($1)->'body'->'deep'";
            let row = calling.client.query_one(&format!("select ({result})::text"), &[&task_id]).unwrap();
            assert_eq!(row.get::<_, String>(0).replace(' ', ""), nested(levels - 5));
        }
    }
    // What only a handler of the database gets is none of our business.
    let payload = format!("{{\"db_function\": \"app.note\", \"value\": {}}}", nested(3000));
    let task_id = enqueue(&mut calling, "db_function", &payload);
    calling.wait(task_id, "succeeded");
    let seen = calling.web.requests().len();
    for levels in [1001, 3000] {
        let payload = format!("{{\"request\": {{\"path\": \"/x\", \"body\": {}}}}}", nested(levels));
        let task_id = enqueue(&mut calling, "deep", &payload);
        let message = calling.error(task_id);
        assert!(message.contains("nested too deeply: 1000 levels"), "{message}");
    }
    assert_eq!(calling.web.requests().len(), seen);
    assert!(pid.is_empty() || worker_pids(&mut calling.client) == pid, "the worker lives");
}

#[test]
fn a_response_that_is_nested_too_deeply_to_be_read_is_kept_as_text() {
    let text = nested(100_000);
    let answer = text.clone();
    let mut calling =
        Calling::start(&[ONE_WORKER], move |_| Answer::new(200, "application/json", answer.clone()));
    calling.register("deep", json!({}));
    let task_id = calling.succeed("deep", json!({"path": "/x"}));
    assert_eq!(calling.result(task_id).unwrap()["body"], Value::String(text));
}

#[test]
fn no_key_of_a_payload_a_row_or_a_response_changes_it() {
    // What is sent comes back.
    let mut calling =
        Calling::start(&[ONE_WORKER], |request| Answer::new(200, "application/json", request.body.clone()));
    let contents = ["\"17\"", "\"[1]\"", "{\"a\":1}"];
    let all = KEYS.iter().flat_map(|key| contents.map(|content| format!("{{\"{key}\":{content}}}")));
    for (number, text) in all.enumerate() {
        let name = format!("odd{number}");
        let insert = format!(
            "insert into queues.provider (name, base_url, request, expect, answer) values ('{name}', '{}',
                '{{\"path\": \"/x\", \"body\": {{\"value\": {text}, \"given\": \"{{{{given}}}}\"}}}}',
                '{{\"body\": {{\"value\": {text}}}}}', '{{\"fixed\": {text}, \"value\": \"{{{{body.value}}}}\"}}');
             insert into queues.task_definition (task_type, provider) values ('{name}', '{name}')",
            calling.web.url()
        );
        calling.client.batch_execute(&insert).unwrap();
        let task_id = enqueue(&mut calling, &name, &format!("{{\"request\": {{\"given\": {text}}}}}"));
        calling.wait(task_id, "succeeded");
        assert_eq!(body(&calling), format!("{{\"given\":{text},\"value\":{text}}}"));
        let stored = "select (queues.result($1))::text";
        let result: String = calling.client.query_one(stored, &[&task_id]).unwrap().get(0);
        assert_eq!(result.replace(' ', ""), format!("{{\"fixed\":{text},\"value\":{text}}}"));
    }
}

#[test]
fn a_request_that_is_sent_again_has_the_keys_that_it_was_made_with() {
    for key in KEYS {
        let mut calling = Calling::start(&[ONE_WORKER, PATIENT], |_| ok());
        calling.register("odd", json!({}));
        let request = format!(
            "{{\"path\": \"/x\", \"body\": {{\"{key}\": \"1\"}}, \"expect\": {{\"status\": 200, \"body\": {{\"{key}\": \"1\"}}}}}}"
        );
        let task_id = send_twice(&mut calling, "odd", &format!("{{\"request\": {request}}}"));
        // The answer is not what was expected: the condition still is what it was.
        let message = calling.error(task_id);
        assert!(message.contains("HTTP 200"), "{message}");
        let bodies: Vec<_> = calling.web.requests().iter().map(|sent| sent.request.body.clone()).collect();
        assert_eq!(bodies[0], bodies[1]);
        assert_eq!(body(&calling).replace(' ', ""), format!("{{\"{key}\":\"1\"}}"));
    }
}

#[test]
fn a_stored_request_that_cannot_be_read_says_why() {
    let mut calling = Calling::start(&[ONE_WORKER, PATIENT], |_| ok());
    calling.register("odd", json!({}));
    calling.web.hold();
    let task_id = calling.call("odd", json!({"path": "/x"}));
    eventually("it is under way", || calling.web.held() == 1);
    let workers = queue::workers(&mut calling.client);
    calling.client.execute("update queues.call set request = '{\"http\": {\"url\": 7}}'", &[]).unwrap();
    calling.client.execute("select pg_terminate_backend($1)", &[&workers[0].pid]).unwrap();
    let message = calling.error(task_id);
    assert!(
        message.contains("its stored request cannot be read")
            && message.contains("invalid type")
            && message.contains("outcome unknown"),
        "{message}"
    );
    calling.web.release();
}

#[test]
fn a_request_that_is_sent_can_be_read_after_a_crash() {
    let mut calling = Calling::start(&[ONE_WORKER, PATIENT], |_| ok());
    calling.register("odd", json!({}));
    // The row's template puts the whole payload into the condition.
    calling.register("made", json!({"request": {"path": "/x", "expect": {"body": {"a": ["{{value}}"]}}}}));
    let expecting = |levels| {
        format!("{{\"request\": {{\"path\": \"/x\", \"expect\": {{\"body\": {}}}}}}}", nested(levels))
    };
    let valued = |levels| format!("{{\"request\": {{\"value\": {}}}}}", nested(levels));
    let too_deep =
        [("odd", expecting(998)), ("odd", expecting(997)), ("made", valued(995)), ("made", valued(999))];
    for (task_type, payload) in too_deep {
        let task_id = enqueue(&mut calling, task_type, &payload);
        let message = calling.error(task_id);
        assert!(message.contains("expect is nested too deeply: 997 levels"), "{message}");
    }
    assert!(calling.web.requests().is_empty());

    for (task_type, payload) in [("odd", expecting(996)), ("made", valued(994))] {
        let task_id = send_twice(&mut calling, task_type, &payload);
        let message = calling.error(task_id);
        assert!(message.contains("HTTP 200"), "{message}");
    }
}

#[test]
fn secrets_in_the_environment_that_are_no_json_are_named_and_not_shown() {
    let cluster =
        crate::harness::cluster::Cluster::builder().env("PG_ERRAND_SECRETS", "{\"key\": s3cret}").start();
    let mut client = cluster.connect("postgres");
    crate::harness::mailing::prepare(&mut client);
    let web = standin::Web::start(|_| ok()).unwrap();
    let fields = crate::harness::calling::at(&web, json!({"auth": "bearer", "secret": "key"}));
    crate::harness::calling::register(&mut client, "guarded", &fields).unwrap();
    let task_id =
        queue::enqueue(&mut client, "guarded", json!({"task_type": "guarded", "request": {"path": "/x"}}));
    queue::wait_status(&mut client, task_id, "failed");
    let message = queue::errors(&mut client, task_id).remove(0).error_message;
    assert!(message.contains("PG_ERRAND_SECRETS") && message.contains("line 1, column 9"), "{message}");
    assert!(!message.contains("s3cret") && !cluster.log().contains("s3cret"), "{message}");
}
