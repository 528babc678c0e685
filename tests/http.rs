//! Tasks of the type `http`: any request, without a row in `queues.provider`.

use postgres::error::DbError;
use postgres::{Client, Error};
use serde_json::{Value, json};
use standin::{Answer, Web};

use crate::harness::calling::{Calling, handled, ok};
use crate::harness::queue;
use crate::harness::wait::{eventually, wait_until_sql};

const LOOPBACK: (&str, &str) = ("pg_errand.http_allowed_hosts", "127.0.0.1");

fn refusal(error: &Error) -> &DbError {
    error.as_db_error().unwrap_or_else(|| panic!("{error:?}"))
}

#[track_caller]
fn http_post(client: &mut Client, url: &str, body: &Value) -> i64 {
    client.query_one("select queues.http_post($1, $2)", &[&url, body]).unwrap().get(0)
}

#[test]
fn a_request_is_one_line_of_sql_and_its_answer_another() {
    let mut calling =
        Calling::start(&[LOOPBACK], |_| Answer::json(201, &json!({"id": 7})).with("X-Request-Id", "r-1"));
    let url = format!("{}/orders?dry=1", calling.web.url());
    let task_id = http_post(&mut calling.client, &url, &json!({"item": "Grüße 🦀", "price": 0.10}));
    calling.wait(task_id, "succeeded");
    let result = calling.result(task_id).unwrap();
    assert_eq!((&result["status"], &result["body"]), (&json!(201), &json!({"id": 7})));
    assert_eq!(result["headers"]["x-request-id"], json!("r-1"));
    assert_eq!(result["headers"]["content-type"], json!("application/json; charset=utf-8"));

    let requests = calling.web.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0].request;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/orders?dry=1"));
    assert_eq!(request.json(), Some(&json!({"item": "Grüße 🦀", "price": 0.10})));
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    assert!(request.header("Idempotency-Key").is_some_and(|key| !key.is_empty()));
}

#[test]
fn a_get_request_has_neither_a_body_nor_a_key() {
    let mut calling = Calling::friendly(&[LOOPBACK]);
    let sql = "select queues.http_get($1, '{\"X-Who\": \"me\"}')";
    let url = format!("{}/x", calling.web.url());
    let task_id: i64 = calling.client.query_one(sql, &[&url]).unwrap().get(0);
    calling.wait(task_id, "succeeded");
    let request = calling.web.requests()[0].request.clone();
    assert_eq!((request.method.as_str(), request.body.len()), ("GET", 0));
    assert_eq!(request.header("X-Who"), Some("me"));
    assert_eq!(request.header("Idempotency-Key"), None);
}

#[test]
fn there_is_no_result_before_the_answer_nor_of_a_task_that_never_was() {
    let mut calling = Calling::friendly(&[LOOPBACK]);
    calling.web.hold();
    let url = calling.web.url();
    let task_id = http_post(&mut calling.client, &url, &json!({}));
    eventually("the request has come", || calling.web.held() == 1);
    assert_eq!((calling.result(task_id), calling.result(task_id + 1)), (None, None));
    calling.web.release();
    calling.wait(task_id, "succeeded");
    assert!(calling.result(task_id).is_some());
}

#[test]
fn the_result_of_a_failed_call_is_its_error() {
    let mut calling = Calling::start(&[LOOPBACK], |_| Answer::json(422, &json!({"why": "no such item"})));
    let url = calling.web.url();
    let task_id = http_post(&mut calling.client, &url, &json!({}));
    let message = calling.error(task_id);
    assert!(message.contains("422") && message.contains("no such item"), "{message}");
    let result = calling.result(task_id).unwrap();
    assert!(result["error"].as_str().is_some_and(|error| error.contains("no such item")), "{result}");
}

#[test]
fn where_a_name_leads_is_told_to_nobody_who_may_not_call_it() {
    let mut calling = Calling::friendly(&[]);
    let port = calling.web.url().rsplit_once(':').unwrap().1.to_owned();
    let task_id = http_post(&mut calling.client, &format!("http://localhost:{port}/"), &json!({}));
    let message = calling.error(task_id);
    assert!(message.contains("localhost") && message.contains("pg_errand.http_allowed_hosts"), "{message}");
    assert!(!message.contains("127.") && !message.contains("::1"), "{message}");
    let result = calling.result(task_id).unwrap().to_string();
    assert!(!result.contains("127.") && !result.contains("::1"), "{result}");
    assert!(calling.web.requests().is_empty());
}

#[test]
fn loopback_is_refused_in_every_spelling_until_the_setting_allows_it() {
    let mut calling = Calling::friendly(&[]);
    let port = calling.web.url().rsplit_once(':').unwrap().1.to_owned();
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "localhost",
        "0.0.0.0",
    ] {
        let message = calling.fail("http", json!({"url": format!("http://{host}:{port}/")}));
        assert!(message.contains("pg_errand.http_allowed_hosts"), "{host}: {message}");
    }
    assert_eq!(calling.web.connections(), 0);

    calling.cluster.set(&[LOOPBACK]);
    let url = calling.web.url();
    eventually("a request arrives", || {
        let task_id = http_post(&mut calling.client, &url, &json!({}));
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(&mut calling.client, task_id).as_str())
        });
        !calling.web.requests().is_empty()
    });
}

#[test]
fn handlers_build_the_request_and_are_given_the_answer() {
    let mut calling = Calling::start(&[LOOPBACK], |request| match request.path() {
        "/good" => ok(),
        "/text" => Answer::new(201, "text/plain", "done"),
        "/gone" => Answer { status: 404, headers: vec![], body: b"no such thing".into() },
        _ => Answer::json(500, &json!({"bad": "day"})),
    });
    for (path, status, handler) in [
        ("/good", "succeeded", "success"),
        ("/text", "succeeded", "success"),
        ("/gone", "failed", "error"),
        ("/bad", "failed", "error"),
    ] {
        let mut payload = handled("http", &Value::Null);
        payload["before_handler"] = json!("app.build");
        payload["mail"] =
            json!({"method": "PUT", "url": format!("{}{path}", calling.web.url()), "body": {"a": 1}});
        let task_id = queue::enqueue(&mut calling.client, "http", payload.clone());
        calling.wait(task_id, status);
        let told = calling.seen(handler).pop().unwrap();
        assert_eq!(told["original_payload"], payload);
        let request = calling.web.requests().pop().unwrap().request;
        assert_eq!((request.method.as_str(), request.path()), ("PUT", path));
        assert_eq!(request.json(), Some(&json!({"a": 1})));
    }
    let bodies: Vec<_> =
        calling.seen("success").iter().map(|told| told["worker_payload"]["body"].clone()).collect();
    assert_eq!(bodies, [json!({"ok": true}), json!("done")]);
    for (told, reason) in calling.seen("error").iter().zip(["HTTP 404: no such thing", "500"]) {
        assert!(told["error"].as_str().is_some_and(|error| error.contains(reason)), "{told}");
    }
}

#[test]
fn a_request_in_the_payload_needs_no_before_handler() {
    let mut calling = Calling::friendly(&[LOOPBACK]);
    let request = json!({"url": calling.web.url()});
    let task_id = calling.call_handled("http", &request);
    calling.wait(task_id, "succeeded");
    assert_eq!(calling.seen("success")[0]["original_payload"], handled("http", &request));
    let missing = queue::enqueue(&mut calling.client, "http", json!({"task_type": "http"}));
    let message = calling.error(missing);
    assert!(message.contains("before_handler") && message.contains("request"), "{message}");
}

#[test]
fn what_counts_as_success_can_be_said_with_the_request() {
    let mut calling = Calling::start(&[LOOPBACK], |request| match request.path() {
        "/gone" => Answer::json(404, &json!({})),
        "/not-ok" => Answer::json(200, &json!({"ok": false})),
        _ => ok(),
    });
    let url = calling.web.url();
    let request = |path: &str, expect: Value| json!({"url": format!("{url}{path}"), "expect": expect});
    calling.succeed("http", request("/gone", json!([404, "2xx"])));
    calling.succeed("http", request("/ok", json!({"status": "2xx", "body": {"ok": true}})));
    calling.fail("http", request("/not-ok", json!({"body": {"ok": true}})));
    calling.fail("http", request("/ok", json!("201-204")));
    let message = calling.fail("http", request("/never", json!({"stat": 200})));
    assert!(message.contains("stat"), "{message}");
    assert!(calling.web.requests().iter().all(|exchange| exchange.request.path() != "/never"));
}

#[test]
fn a_role_needs_to_be_allowed_and_is_told_how() {
    let mut calling = Calling::friendly(&[LOOPBACK]);
    calling.client.batch_execute("create role \"App Role\" login").unwrap();
    let mut app = calling.cluster.connect_as("App Role", "postgres");
    let grants = "grant usage on schema queues to \"App Role\"; grant execute on function queues.enqueue to \"App Role\"";
    calling.client.batch_execute(grants).unwrap();
    let url = calling.web.url();
    let payload = json!({"task_type": "http", "request": {"url": url}});
    let sql = "select queues.enqueue('http', $1)";
    let error = app.query_one(sql, &[&payload]).unwrap_err();
    assert_eq!(refusal(&error).code().code(), "42501");
    let hint = refusal(&error).hint().unwrap();
    assert_eq!(hint, "To allow it, run: SELECT queues.grant_enqueue('http', '\"App Role\"');");
    // Some types are anybody's.
    app.batch_execute("select queues.enqueue('sms', '{}')").unwrap();

    // The statement as it is does it.
    let statement = hint.split_once("run: ").unwrap().1.to_owned();
    calling.client.batch_execute(&statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let task_id: i64 = app.query_one(sql, &[&payload]).unwrap().get(0);
    calling.wait(task_id, "succeeded");

    calling.client.batch_execute("select queues.revoke_enqueue('http', '\"App Role\"')").unwrap();
    let error = app.query_one(sql, &[&payload]).unwrap_err();
    assert_eq!(refusal(&error).code().code(), "42501");
    assert_eq!(calling.web.requests().len(), 1);
}

#[test]
fn the_statement_that_allows_a_role_is_right_for_any_name() {
    let mut calling = Calling::friendly(&[LOOPBACK]);
    let setup = "create role \"Ann's \"\"app\"\"\" login; grant usage on schema queues to public;
        grant execute on function queues.enqueue to public";
    calling.client.batch_execute(setup).unwrap();
    let mut app = calling.cluster.connect_as("Ann's \"app\"", "postgres");
    let payload = json!({"task_type": "http", "request": {"url": calling.web.url()}});
    let error = app.query_one("select queues.enqueue('http', $1)", &[&payload]).unwrap_err();
    let hint = refusal(&error).hint().unwrap();
    let statement = hint.split_once("run: ").unwrap().1;
    calling.client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    app.query_one("select queues.enqueue('http', $1)", &[&payload]).unwrap();
}

#[test]
fn a_field_that_no_request_has_is_named() {
    let mut calling = Calling::friendly(&[LOOPBACK]);
    let url = calling.web.url();
    for field in ["uri", "Headers", "json"] {
        let message = calling.fail("http", json!({"url": url, (field): {}}));
        assert!(message.contains(field) && message.contains("query"), "{field}: {message}");
    }
    assert!(calling.web.requests().is_empty());
}

#[test]
fn a_redirect_to_another_host_is_not_followed() {
    let other = Web::start(|_| ok()).unwrap();
    let elsewhere = format!("{}/stolen", other.url().replace("127.0.0.1", "localhost"));
    let mut calling =
        Calling::start(&[("pg_errand.http_allowed_hosts", "127.0.0.1, localhost")], move |_| {
            Answer::json(307, &json!({})).with("Location", &elsewhere)
        });
    let url = calling.web.url();
    let headers = json!({"Authorization": "Bearer abcdef", "X-Key": "secret"});
    let task_id = calling.call("http", json!({"url": url, "headers": headers, "body": {"a": 1}}));
    calling.error(task_id);
    assert_eq!((calling.web.requests().len(), other.connections()), (1, 0));
}

#[test]
fn a_request_whose_method_and_body_were_not_delivered_is_no_success() {
    let mut calling = Calling::start(&[LOOPBACK], |request| match request.path() {
        "/there" => ok(),
        path => {
            let status = path.trim_start_matches('/').parse().unwrap();
            Answer::new(status, "text/plain", "").with("Location", "/there?key=s3cret")
        }
    });
    let request = |calling: &Calling, status: u16, redirects: &str| {
        let url = format!("{}/{status}", calling.web.url());
        json!({"url": url, "body": {"order": 7}, "redirects": redirects})
    };
    let methods = |calling: &Calling| {
        let all = calling.web.requests();
        all.iter().map(|exchange| exchange.request.method.clone()).collect::<Vec<_>>()
    };
    for status in [301, 302, 303] {
        for redirects in ["same_host", "all"] {
            let asked = request(&calling, status, redirects);
            let message = calling.fail("http", asked);
            assert!(message.contains(&format!("HTTP {status}: ")), "{message}");
            assert!(message.contains("/there") && message.contains("same_host_as_get"), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
    assert_eq!(methods(&calling), ["POST"; 6]);
    for status in [307, 308] {
        let asked = request(&calling, status, "same_host");
        calling.succeed("http", asked);
    }
    assert_eq!(methods(&calling), ["POST"; 10]);
    let asked = request(&calling, 303, "same_host_as_get");
    let task_id = calling.succeed("http", asked);
    assert_eq!(calling.result(task_id).unwrap()["body"], json!({"ok": true}));
    assert_eq!(methods(&calling)[10..], ["POST", "GET"]);
    // A redirect that is not followed is the answer: whoever expects one has it.
    let mut asked = request(&calling, 302, "same_host");
    asked["expect"] = json!(302);
    let task_id = calling.succeed("http", asked);
    assert_eq!(calling.result(task_id).unwrap()["status"], json!(302));
}

#[test]
fn a_body_that_is_no_json_comes_as_text_or_base64() {
    let mut calling = Calling::start(&[LOOPBACK], |request| match request.path() {
        "/text" => Answer::new(200, "text/plain", "Grüße"),
        _ => Answer::new(200, "application/octet-stream", [0u8, 255, 1]),
    });
    let url = calling.web.url();
    let task_id = calling.succeed("http", json!({"url": format!("{url}/text")}));
    assert_eq!(calling.result(task_id).unwrap()["body"], json!("Grüße"));
    let task_id = calling.succeed("http", json!({"url": format!("{url}/bytes")}));
    let result = calling.result(task_id).unwrap();
    assert_eq!((&result["body"], &result["body_encoding"]), (&json!("AP8B"), &json!("base64")));
    wait_until_sql(&mut calling.client, "select count(*) from queues.error", "0");
}

/// The blocks of SQL in a section of a page of the documentation.
fn blocks(page: &str, section: &str) -> Vec<String> {
    let path = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|part| part.starts_with(section)).unwrap();
    let blocks = section.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn http_in_one_line_works_as_the_page_shows_it() {
    let mut calling = Calling::friendly(&[]);
    let [grants, request, hosts, ..] = &blocks("providers.md", "HTTP in one line")[..] else { panic!() };
    // The server of the test stands for those that the page names.
    let (grants, request) =
        (grants.clone(), request.replace("https://hooks.example.com", &calling.web.url()));
    let hosts = hosts.replace("localhost:8080", "127.0.0.1");
    calling.cluster.psql("postgres", &hosts);
    calling.cluster.psql("postgres", &grants);
    let mut app = calling.cluster.connect_as("app", "postgres");
    let sql = request.split_once(';').unwrap().0;
    let task_id: i64 = app.query_one(sql, &[]).unwrap().get(0);
    calling.wait(task_id, "succeeded");
    let sql = format!("select queues.result({task_id})");
    assert_eq!(app.query_one(&sql, &[]).unwrap().get::<_, Value>(0)["status"], json!(200));
}

#[test]
fn allow_says_which_privileges_a_role_lacks_besides() {
    let calling = Calling::friendly(&[]);
    let allow = "set log_min_messages = notice; select queues.grant_enqueue('http', '\"An App\"')";
    let said = |sql: &str| {
        let mark = calling.cluster.log_mark();
        calling.cluster.psql("postgres", sql);
        calling.cluster.log_since(mark)
    };
    calling.cluster.psql("postgres", "create role \"An App\"");
    let statements = "GRANT USAGE ON SCHEMA queues TO \"An App\"; GRANT EXECUTE ON FUNCTION \
                      queues.enqueue, queues.http_post, queues.http_get, queues.result TO \"An App\";";
    let log = said(allow);
    assert!(
        log.contains("lacks privileges for tasks of type") && log.contains(&format!("Run: {statements}")),
        "{log}"
    );
    calling.cluster.psql("postgres", statements);
    let log = said(allow);
    assert!(!log.contains("lacks privileges"), "{log}");
}
