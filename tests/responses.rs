//! Responses: the status decides whether the call has succeeded, and the body is kept.

use std::time::Duration;

use serde_json::{Value, json};
use standin::{Answer, Request, Web};

use crate::harness::calling::{Calling, at, ok, register};
use crate::harness::queue;

const LOOPBACK: (&str, &str) = ("pg_errand.http_allowed_hosts", "127.0.0.1");
const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");

/// Answers with what was sent.
fn echo(request: &Request) -> Answer {
    let kind = request.header("X-Type").unwrap_or("application/json");
    Answer::new(200, kind, request.body.clone())
}

/// A request whose answer has this body.
fn echoed(body: &str) -> Value {
    json!({"path": "/x", "method": "POST", "body": {"text": body}})
}

#[test]
fn what_a_status_says_was_done_is_a_success_whatever_the_response_holds() {
    let mut calling = Calling::start(&[("pg_errand.http_max_response_size", "2kB")], echo);
    calling.register("api", json!({}));
    calling.register("strict", json!({"answer": {"id": "no. {{body.id}}"}}));
    let large = format!("[\"{}\"]", "x".repeat(3000));
    for (task_type, body, kept, warning) in [
        ("api", r#"{"n":1e999999}"#, json!(r#"{"n":1e+999999}"#), "cannot be stored"),
        ("strict", r#"{"ident":7}"#, json!({"ident": 7}), "body.id"),
        ("strict", "[1]", json!([1]), "body.id"),
        ("api", &large, json!(&large[..2048]), "larger than 2048 bytes"),
    ] {
        let mark = calling.cluster.log_mark();
        let mut request = json!({"task_type": task_type, "request": echoed(body)});
        request["success_handler"] = json!("app.on_success");
        let task_id = queue::enqueue(&mut calling.client, task_type, request);
        calling.wait(task_id, "succeeded");
        let result = calling.result(task_id).unwrap();
        assert_eq!((&result["status"], &result["body"]), (&json!(200), &kept), "{body:.100}");
        let said = result["warning"].as_str().unwrap_or_else(|| panic!("{result:.200}"));
        assert!(said.contains(warning), "{said}");
        assert_eq!(calling.seen("success").pop().unwrap()["worker_payload"], result);
        calling.cluster.wait_log(mark, &format!("task_id={task_id}"));
        assert!(calling.cluster.log_since(mark).contains(warning));
    }
    // A mark of the byte order is no part of a text.
    for (kind, body) in [("application/json", json!({"id": 7})), ("text/plain", json!("id 7"))] {
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let mut request = echoed(&format!("\u{feff}{text}"));
        request["headers"] = json!({"X-Type": kind});
        let task_id = calling.succeed("api", request);
        assert_eq!(calling.result(task_id).unwrap()["body"], body);
    }
    let task_id = calling.succeed("strict", echoed("\u{feff}{\"id\":7}"));
    assert_eq!(calling.result(task_id), Some(json!({"id": "no. 7"})));
    assert_eq!(calling.number("select count(*) from queues.error"), 0);
}

#[test]
fn a_response_that_is_all_that_was_wanted_has_to_be_complete() {
    let large = "x".repeat(3000);
    let mut calling = Calling::start(&[("pg_errand.http_max_response_size", "2kB")], move |_| {
        Answer::new(200, "text/plain", large.clone())
    });
    calling.register("api", json!({}));
    let task_id = calling.call("api", json!({"path": "/x"}));
    let message = calling.error(task_id);
    assert!(message.contains("larger than 2048 bytes"), "{message}");
    let result = calling.result(task_id).unwrap();
    assert_eq!((&result["status"], result["body"].as_str().map(str::len)), (&json!(200), Some(2048)));
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
fn the_status_of_a_response_that_is_too_large_counts_and_so_does_its_retry_after() {
    let mut asked = 0;
    let mut calling = Calling::start(&[("pg_errand.http_max_response_size", "2kB")], move |request| {
        let page = "x".repeat(100_000);
        match request.path() {
            "/wait" if std::mem::replace(&mut asked, 1) == 0 => {
                Answer::new(429, "text/plain", page).with("Retry-After", "1")
            }
            "/wait" => ok(),
            _ => Answer::new(502, "text/plain", page).with("X-Trace", "t-1"),
        }
    });
    calling.register("api", json!({}));
    calling.succeed("api", json!({"path": "/wait", "body": 1}));
    assert_eq!(calling.web.requests().len(), 2);
    let task_id = calling.call("api", json!({"path": "/down", "body": 1}));
    let message = calling.error(task_id);
    assert!(message.contains("HTTP 502: xxx") && message.len() < 1000, "{message}");
    let result = calling.result(task_id).unwrap();
    assert_eq!((&result["status"], &result["headers"]["x-trace"]), (&json!(502), &json!("t-1")));
    assert_eq!(result["body"].as_str().map(str::len), Some(2048));
}

#[test]
fn retry_after_is_understood_in_every_spelling_that_is_clear() {
    let mut seen = Vec::new();
    let mut calling = Calling::start(&[], move |request| {
        let spelling = request.header("X-Wait").unwrap().to_owned();
        let is_new = !seen.contains(&spelling);
        seen.push(spelling.clone());
        if is_new { Answer::json(429, &json!({})).with("Retry-After", &spelling) } else { ok() }
    });
    calling.register("api", json!({}));
    let past = "Sun, 06 Nov 1994 08:49:37";
    let dates = [format!("{past} UTC"), format!("{past} +0000")];
    for spelling in ["0.5", "\"1\"", "1s", "1 second", "+1", &dates[0], &dates[1]] {
        let task_id = calling.succeed("api", json!({"path": "/x", "headers": {"X-Wait": spelling}}));
        let line = calling.cluster.wait_log(0, &format!("call postponed task_id={task_id} "));
        assert!(line.contains("pause_ms=1000"), "{spelling}: {line}");
    }
    for spelling in ["soon", "-1", "1e3"] {
        calling.fail("api", json!({"path": "/x", "headers": {"X-Wait": spelling}}));
    }
}

#[test]
fn after_a_503_only_what_is_recognized_or_changes_nothing_is_sent_again() {
    let mut seen: Vec<String> = Vec::new();
    let mut calling = Calling::start(&[], move |request| {
        let is_new = !seen.contains(&request.target);
        seen.push(request.target.clone());
        let status = request.target.rsplit_once('?').unwrap().1.parse().unwrap();
        if is_new { Answer::json(status, &json!({"busy": true})).with("Retry-After", "1") } else { ok() }
    });
    calling.register("keyless", json!({"idempotency_key_ttl": "0"}));
    calling.register("usual", json!({}));
    calling.register("forgetful", json!({"idempotency_key_ttl": "1 second"}));
    let message = calling.fail("keyless", json!({"path": "/a?503", "body": 1}));
    assert!(message.contains("HTTP 503"), "{message}");
    let message = calling.fail("forgetful", json!({"path": "/b?503", "body": 1}));
    assert!(message.contains("HTTP 503"), "{message}");
    assert_eq!(calling.web.requests().len(), 2);
    calling.succeed("keyless", json!({"path": "/c?503"}));
    calling.succeed("keyless", json!({"path": "/d?429", "body": 1}));
    calling.succeed("usual", json!({"path": "/e?503", "body": 1}));
    assert_eq!(calling.web.requests().len(), 8);
}

#[test]
fn the_whole_response_of_a_failed_call_is_kept_without_what_gives_access() {
    let detail = "what is wrong with the order ".repeat(100);
    let said = detail.clone();
    let mut calling = Calling::start(&[], move |request| {
        let key = request.header("Authorization").unwrap_or_default();
        Answer::json(422, &json!({"errors": [{"field": "item", "detail": said.clone()}], "key": key}))
            .with("X-Request-Id", "r-7")
            .with("X-Echo", key)
            .with("Set-Cookie", "session=abcdef")
            .with("Authentication-Info", "nextnonce=abcdef")
    });
    calling.cluster.set(&[("pg_errand.secrets", r#"{"shop_key": "sk_live_0123456789"}"#)]);
    calling.register("shop", json!({"auth": "bearer", "secret": "shop_key"}));
    let task_id = calling.call_handled("shop", &json!({"path": "/orders", "body": {"n": 1}}));
    let message = calling.error(task_id);
    assert!(message.contains("HTTP 422: ") && message.len() < 500, "{message}");
    let result = calling.result(task_id).unwrap();
    assert_eq!(result["status"], json!(422));
    assert_eq!(result["body"]["errors"][0], json!({"field": "item", "detail": detail}));
    assert_eq!(result["headers"]["x-request-id"], json!("r-7"));
    assert!(message.contains(result["error"].as_str().unwrap()), "{result:.200}");
    let text = result.to_string();
    for hidden in ["set-cookie", "authentication-info", "abcdef", "sk_live", "0123456789"] {
        assert!(!text.contains(hidden), "{hidden} is in {text:.500}");
    }
    assert_eq!(result["body"]["key"], json!("Bearer ********"));
    assert_eq!(calling.seen("error")[0]["error"], json!(message));
}

#[test]
fn a_redirect_that_is_not_followed_is_named_with_the_field_that_decides() {
    let mut calling = Calling::start(&[LOOPBACK], |_| {
        let answer = Answer { status: 308, headers: vec![], body: vec![] };
        answer.with("Location", "https://other.test/orders/7?token=abcdef")
    });
    let request = json!({"url": calling.web.url(), "method": "PUT", "body": 1});
    let task_id = calling.call("http", request);
    let message = calling.error(task_id);
    for part in ["HTTP 308", "https://other.test/orders/7", "redirects", "same_host"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(!message.contains("abcdef"), "{message}");
    assert!(calling.result(task_id).unwrap()["headers"]["location"].is_string());
}

#[test]
fn a_redirect_that_could_not_be_followed_is_named_with_the_reason() {
    let mut calling = Calling::start(&[LOOPBACK], |request| {
        let place = if request.path() == "/loop" { "/loop?k=abcdef" } else { "ftp://other.test/?k=abcdef" };
        Answer { status: 307, headers: vec![], body: vec![] }.with("Location", place)
    });
    let url = calling.web.url();
    for (path, place, reason) in
        [("/loop", "/loop", "at most 5"), ("/ftp", "ftp://other.test/", "not a URL that can be called")]
    {
        let message =
            calling.fail("http", json!({"url": format!("{url}{path}"), "body": 1, "redirects": "all"}));
        assert!(message.contains(place) && message.contains(reason), "{message}");
        assert!(!message.contains("says which") && !message.contains("abcdef"), "{message}");
    }
}

#[test]
fn a_text_that_is_cut_off_is_a_text() {
    let mut calling = Calling::start(&[("pg_errand.http_max_response_size", "2kB")], |_| {
        Answer::new(200, "text/plain; charset=utf-8", "\u{20ac}".repeat(1000))
    });
    calling.register("api", json!({}));
    let task_id = calling.succeed("api", json!({"path": "/x", "body": 1}));
    let result = calling.result(task_id).unwrap();
    assert_eq!(result["body"], json!("\u{20ac}".repeat(2048 / 3)));
    assert!(result.get("body_encoding").is_none(), "{result:.200}");
}

#[test]
fn json_that_is_sent_as_a_page_or_as_text_can_be_expected_and_used() {
    let mut calling = Calling::start(&[], echo);
    calling.register("api", json!({"expect": {"body": {"ok": true}}, "answer": {"id": "{{body.id}}"}}));
    for kind in ["text/html; charset=utf-8", "text/plain", "text/html;charset=ISO-8859-1"] {
        let mut request = echoed("\n {\"ok\": true, \"id\": 7}\n");
        request["headers"] = json!({"X-Type": kind});
        let task_id = calling.succeed("api", request);
        assert_eq!(calling.result(task_id), Some(json!({"id": 7})), "{kind}");
    }
}

#[test]
fn a_text_is_text_in_whatever_charset_it_comes() {
    let mut calling = Calling::start(&[], |request| {
        let kind = request.header("X-Type").unwrap();
        Answer::new(200, kind, b"Gr\xfc\xdfe \x96".to_vec())
    });
    calling.register("api", json!({}));
    for (kind, body) in [
        ("text/plain; charset=windows-1252", "Grüße –"),
        ("text/plain; charset=ISO-8859-2", "Grüße \u{96}"),
        ("text/html", "Grüße –"),
        ("application/xml; charset=\"latin1\"", "Grüße –"),
    ] {
        let task_id = calling.succeed("api", json!({"path": "/x", "headers": {"X-Type": kind}}));
        assert_eq!(calling.result(task_id).unwrap()["body"], json!(body), "{kind}");
    }
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
fn no_response_is_in_the_log_unless_it_is_for_debugging() {
    let signed = "https://files.test/invoice-7.pdf?X-Signature=abcdef0123456789";
    let mut calling = Calling::start(&[], move |request| match request.path() {
        "/bad" => Answer::json(422, &json!({"see": signed})),
        _ => Answer::json(200, &json!({"url": signed})),
    });
    calling.register("files", json!({}));
    let task_id = calling.succeed("files", json!({"path": "/x"}));
    let line = calling.cluster.wait_log(0, &format!("call ended task_id={task_id} "));
    assert!(line.contains("provider=files") && line.contains("status=200"), "{line}");
    let message = calling.fail("files", json!({"path": "/bad"}));
    assert!(message.contains("https://files.test/invoice-7.pdf?********"), "{message}");
    let log = calling.cluster.log();
    assert!(!log.contains("abcdef") && log.matches("files.test").count() == 1, "{log}");

    calling.cluster.set(&[("pg_errand.log_level", "debug")]);
    let task_id = calling.succeed("files", json!({"path": "/x"}));
    let line = calling.cluster.wait_log(0, &format!("call response task_id={task_id} "));
    assert!(line.contains("https://files.test/invoice-7.pdf?********"), "{line}");
    assert!(!calling.cluster.log().contains("abcdef"));
}

#[test]
fn no_signed_url_is_in_an_error_however_a_provider_writes_it() {
    let escaped = r#"{"reason":"see https:\/\/files.test\/a?X-Signature=abcdef0123"}"#;
    let plain = json!({"reason": "see https://files.test/a?x=1&X-Signature=abcdef0123"}).to_string();
    let ampersand = plain.replace('&', r"\u0026");
    let bodies = [escaped.to_owned(), plain, ampersand];
    let mut calling = Calling::start(&[], move |request| {
        let n: usize = request.path().trim_start_matches('/').parse().unwrap();
        Answer::new(422, "application/json", bodies[n].clone())
    });
    calling.register("plain", json!({}));
    calling.register("templated", json!({"failure": "{{body.reason}}"}));
    for task_type in ["plain", "templated"] {
        for n in 0..3 {
            let message = calling.fail(task_type, json!({"path": format!("/{n}")}));
            assert!(message.contains("files.test") && message.contains("a?********"), "{message}");
            assert!(!message.contains("abcdef"), "{message}");
        }
    }
    assert!(!calling.cluster.log().contains("abcdef"));
}

#[test]
fn a_connection_that_is_refused_is_not_the_fault_of_who_built_the_request() {
    let mut calling = Calling::friendly(&[]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    register(&mut calling.client, "shop", &json!({"base_url": format!("http://{free}")})).unwrap();
    calling
        .client
        .execute("insert into queues.task_definition (task_type, provider) values ('order', 'shop')", &[])
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

#[test]
fn others_wait_as_long_as_a_503_asks_although_it_is_not_repeated() {
    let web = Web::start({
        let mut first = true;
        move |_| match std::mem::take(&mut first) {
            true => Answer::json(503, &json!({})).with("Retry-After", "3"),
            false => ok(),
        }
    })
    .unwrap();
    let mut calling = Calling::friendly(&[]);
    let fields = at(&web, json!({"idempotency_key_ttl": "0"}));
    register(&mut calling.client, "keyless", &fields).unwrap();
    calling.fail("keyless", json!({"path": "/x", "body": 1}));
    calling.succeed("keyless", json!({"path": "/x", "body": 1}));
    let times: Vec<_> = web.requests().iter().map(|exchange| exchange.request.received_at).collect();
    assert!(times[1].duration_since(times[0]).unwrap() >= Duration::from_secs(2));
}
