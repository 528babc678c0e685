//! What becomes of responses: what their status says was done counts, and what they say is kept.

use serde_json::json;
use standin::{Answer, Request};

use crate::calling::{Calling, at, register};
use crate::harness::queue;

const LOOPBACK: (&str, &str) = ("pg_errand.http_allowed_hosts", "127.0.0.1");
const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");

/// Answers with what was sent.
fn echo(request: &Request) -> Answer {
    let kind = request.header("X-Type").unwrap_or("application/json");
    Answer::new(200, kind, request.body.clone())
}

#[test]
fn expect_compares_as_the_server_s_own_containment_does() {
    let mut calling = Calling::start(&[], echo);
    calling.register("api", json!({}));
    let mut checked = [0, 0];
    for (body, expected) in [
        (r#"{"code": 0.0}"#, r#"{"code": 0}"#),
        (r#"{"code": 0}"#, r#"{"code": -0.00}"#),
        (r#"{"code": 1e2}"#, r#"{"code": 1e2}"#),
        (r#"{"code": 100, "x": 1}"#, r#"{"code": 1.0E2}"#),
        (r#"{"n": 12345678901234567890123.50}"#, r#"{"n": 12345678901234567890123.5}"#),
        (r#"{"n": 12345678901234567890124}"#, r#"{"n": 12345678901234567890123}"#),
        (r#"{"n": 9007199254740993}"#, r#"{"n": 9007199254740992}"#),
        (r#"{"n": 0.1}"#, r#"{"n": 0.10000000000000000001}"#),
        (r#"{"n": 1}"#, r#"{"n": "1"}"#),
        (r#"[1, [2, 3.0]]"#, r#"[[3]]"#),
        (r#"[1, [2]]"#, "2"),
        ("[1.0, 2]", "1"),
        (r#"{"a": [1]}"#, r#"{"a": 1}"#),
        (r#"{"a": [{"b": 1.0, "c": 2}]}"#, r#"{"a": [{"b": 1}]}"#),
        (r#"{"a": [{"b": 1.0}]}"#, r#"{"a": [{"b": 2}]}"#),
        ("1", "[1]"),
        ("[]", "{}"),
        ("null", "null"),
        (r#"{"a": null}"#, r#"{"a": null}"#),
        (r#"{"a": 1, "a": 2}"#, r#"{"a": 2}"#),
    ] {
        let sql = "select $1::text::jsonb @> $2::text::jsonb";
        let contains: bool = calling.client.query_one(sql, &[&body, &expected]).unwrap().get(0);
        // The condition passes through jsonb as any payload, whose numbers jsonb writes in its own way.
        let sql = "select queues.enqueue('api', jsonb_build_object('request',
            jsonb_build_object('path', '/x', 'method', 'POST', 'body', jsonb_build_object('text', $1::text),
                'expect', jsonb_build_object('body', $2::text::jsonb))))";
        let task_id: i64 = calling.client.query_one(sql, &[&body, &expected]).unwrap().get(0);
        calling.wait(task_id, if contains { "succeeded" } else { "failed" });
        checked[usize::from(contains)] += 1;
    }
    assert!(checked[0] > 5 && checked[1] > 5, "{checked:?}");
}

#[test]
fn a_url_that_is_too_long_is_refused_with_the_limit() {
    let mut calling = Calling::friendly(&[LOOPBACK]);
    let url = calling.web.url();
    let longest = 65_534 - url.len() - "/?q=".len();
    calling.succeed("http", json!({"url": url, "query": {"q": "x".repeat(longest)}}));
    let message = calling.fail("http", json!({"url": url, "query": {"q": "x".repeat(longest + 1)}}));
    assert!(message.contains("65535 bytes") && message.contains("65534"), "{message:.300}");
    assert_eq!(calling.web.requests().len(), 1);
}

#[test]
fn an_error_names_a_provider_that_has_the_name_of_its_task_type_once() {
    let mut calling = Calling::start(&[LOOPBACK], |_| Answer::new(404, "text/plain", "no such thing"));
    let url = calling.web.url();
    assert_eq!(calling.fail("http", json!({"url": url})), "http: HTTP 404: no such thing");
    register(&mut calling.client, "shop", &at(&calling.web, json!({}))).unwrap();
    assert_eq!(calling.fail("shop", json!({"path": "/x"})), "shop: HTTP 404: no such thing");
}

#[test]
fn headers_of_a_provider_that_are_no_strings_are_named() {
    let mut calling = Calling::friendly(&[]);
    for (headers, part) in [(json!({"X": 5}), "X"), (json!(["X"]), "object"), (json!("X: 5"), "object")] {
        let fields = at(&calling.web, json!({"headers": headers}));
        let error = register(&mut calling.client, "api", &fields).unwrap_err();
        let error = error.as_db_error().unwrap();
        let text = format!("{} {}", error.message(), error.detail().unwrap_or_default());
        assert!(text.contains("headers") && text.contains(part), "{text}");
    }
}

#[test]
fn a_connection_that_is_refused_is_not_the_fault_of_who_built_the_request() {
    let mut calling = Calling::friendly(&[]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    register(&mut calling.client, "shop", &json!({"base_url": format!("http://{free}")})).unwrap();
    calling
        .client
        .execute("insert into queues.task_kind (name, provider) values ('order', 'shop')", &[])
        .unwrap();
    let payload = json!({"before_handler": "app.build", "mail": {"path": "/x"}});
    let task_id = queue::enqueue(&mut calling.client, "order", payload);
    let message = calling.error(task_id);
    assert!(message.starts_with("order: shop: ") && !message.contains("app.build"), "{message}");
    let sql = "select handler, detail from queues.error where task_id = $1";
    let row = calling.client.query_one(sql, &[&task_id]).unwrap();
    assert_eq!((row.get(0), row.get(1)), (None::<String>, "The request was built by app.build."));
}

#[test]
fn a_task_that_fails_before_its_call_takes_no_place_in_the_rate() {
    let mut calling = Calling::friendly(&[ONE_WORKER]);
    // One request in a day, and one call at a time.
    calling.register("rare", json!({"requests_per_second": 0.00002, "burst": 1, "max_in_flight": 1}));
    for _ in 0..3 {
        let broken = json!({"before_handler": "app.raises"});
        let task_id = queue::enqueue(&mut calling.client, "rare", broken);
        let message = calling.error(task_id);
        assert!(message.contains("this handler always raises"), "{message}");
        calling.fail("rare", json!({"uri": "/x"}));
    }
    calling.succeed("rare", json!({"path": "/x"}));
    // That one counts.
    let task_id = calling.call("rare", json!({"path": "/x"}));
    let state = queue::status(&mut calling.client, task_id);
    assert_eq!((state.as_str(), calling.web.requests().len()), ("ready", 1));
}
