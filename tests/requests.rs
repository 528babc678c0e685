//! Parts of a request: an idempotency key of the user's, several values of a header, multipart bodies, users without a
//! password.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use standin::Request;

use crate::harness::calling::Calling;
use crate::harness::mailing::{Mailing, mail, task};
use crate::harness::queue;
use crate::harness::wait::eventually;

const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");
/// A call's time limit that no test lives to see.
const PATIENT: (&str, &str) = ("pg_errand.call_timeout", "10min");
const SECRETS: (&str, &str) = ("pg_errand.secrets", r#"{"key": "sk_Zx9yW8vUq"}"#);

fn last(calling: &Calling) -> Arc<Request> {
    calling.web.requests().pop().unwrap().request
}

/// The values of a header, in order.
fn values(request: &Request, name: &str) -> Vec<String> {
    let all = request.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    all.map(|(_, value)| value.clone()).collect()
}

fn keys(calling: &Calling) -> Vec<String> {
    calling.web.requests().iter().flat_map(|sent| values(&sent.request, "Idempotency-Key")).collect()
}

#[test]
fn a_key_of_the_user_s_own_is_that_of_each_attempt() {
    let mut calling = Calling::friendly(&[ONE_WORKER, PATIENT]);
    calling.register("own", json!({}));
    calling.register(
        "built",
        json!({"request": {"path": "/x", "body": {}, "idempotency_key": "order-{{order}}"}}),
    );
    let key = "order-7:pay/1+2=~.";
    for method in ["POST", "PUT", "GET"] {
        let request = json!({"path": "/x", "method": method, "idempotency_key": key});
        let task_id = calling.succeed("own", request);
        let sql = "select idempotency_key from queues.call where task_id = $1";
        let stored: String = calling.client.query_one(sql, &[&task_id]).unwrap().get(0);
        assert_eq!(stored, key);
    }
    assert_eq!(keys(&calling), [key; 3]);
    calling.succeed("built", json!({"order": 8}));
    assert_eq!(values(&last(&calling), "Idempotency-Key"), ["order-8"]);
    // A worker that takes the call over sends it with that key, too.
    calling.web.hold();
    let task_id = calling.call("own", json!({"path": "/x", "body": {}, "idempotency_key": "held"}));
    eventually("it is under way", || calling.web.held() == 1);
    let workers = queue::workers(&mut calling.client);
    calling.client.execute("select pg_terminate_backend($1)", &[&workers[0].pid]).unwrap();
    eventually("it was sent again", || calling.web.held() == 2);
    calling.web.release();
    calling.wait(task_id, "succeeded");
    assert_eq!(keys(&calling)[4..], ["held", "held"]);
}

#[test]
fn a_key_that_cannot_be_one_fails_the_task_before_anything_is_sent() {
    let mut calling = Calling::friendly(&[]);
    calling.register("own", json!({}));
    calling.register("keyless", json!({"idempotency_header": ""}));
    for bad in [json!(""), json!(7), json!("a b"), json!("a\r\nX: y"), json!("x".repeat(256))] {
        let message = calling.fail("own", json!({"path": "/x", "idempotency_key": bad}));
        assert!(message.contains("idempotency_key has to be a string"), "{message}");
    }
    let message = calling.fail("keyless", json!({"path": "/x", "idempotency_key": "a"}));
    assert!(message.contains("knows no idempotency keys"), "{message}");
    assert!(calling.web.requests().is_empty());
}

#[test]
fn a_request_has_one_key() {
    let mut calling = Calling::friendly(&[]);
    calling.register("own", json!({}));
    calling.register("named", json!({"idempotency_header": "X-Key"}));
    calling.register(
        "built",
        json!({"request": {"path": "/x", "idempotency_key": "{{key}}", "headers": {"IDEMPOTENCY-KEY": "a"}}}),
    );
    for (task_type, request) in [
        ("own", json!({"path": "/x", "headers": {"Idempotency-Key": "a"}, "idempotency_key": "b"})),
        ("own", json!({"path": "/x", "headers": {"idempotency-key": ["a"]}, "idempotency_key": "a"})),
        ("named", json!({"path": "/x", "headers": {"x-key": "a"}, "idempotency_key": "b"})),
        ("built", json!({"key": "b"})),
    ] {
        let message = calling.fail(task_type, request);
        assert!(message.contains("give one of the two"), "{message}");
    }
    assert!(calling.web.requests().is_empty());
    // One of the two is enough, and a header that holds no key is none.
    calling.succeed("own", json!({"path": "/x", "body": {}, "headers": {"Idempotency-Key": "a"}}));
    calling.succeed("built", json!({"key": null}));
    calling
        .succeed("named", json!({"path": "/x", "headers": {"Idempotency-Key": "a"}, "idempotency_key": "b"}));
    assert_eq!(values(&last(&calling), "X-Key"), ["b"]);
}

#[test]
fn the_key_of_a_signed_webhook_is_one_part_of_what_is_signed() {
    let secrets = r#"{"key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}"#;
    let mut calling = Calling::friendly(&[("pg_errand.secrets", secrets)]);
    calling.register("hook", json!({"auth": "webhook", "secret": "key"}));
    let message = calling.fail("hook", json!({"path": "/x", "body": {}, "idempotency_key": "order.7"}));
    assert!(message.contains("idempotency_key cannot hold \".\""), "{message}");
    assert!(calling.web.requests().is_empty());
    calling.succeed("hook", json!({"path": "/x", "body": {}, "idempotency_key": "order:7"}));
    assert_eq!(values(&last(&calling), "webhook-id"), ["msg_order:7"]);
}

#[test]
fn a_mail_with_a_key_of_the_user_s_own_goes_alone_and_once_for_all_tasks_that_have_it() {
    let mut mailing = Mailing::start(&[ONE_WORKER, PATIENT]);
    let sql = "update queues.provider set batch_size = 100 where name = 'resend'";
    mailing.client.batch_execute(sql).unwrap();
    let with_key = |to: &str| {
        let mut mail = mail(to);
        mail["idempotency_key"] = "welcome-7".into();
        task(&mail)
    };
    let mut transaction = mailing.client.transaction().unwrap();
    let enqueue = "select queues.enqueue('email', $1)";
    let payloads: [Value; 4] = [
        with_key("own@mail.test"),
        task(&mail("a@mail.test")),
        with_key("own@mail.test"),
        task(&mail("b@mail.test")),
    ];
    let tasks = payloads.map(|payload| transaction.query_one(enqueue, &[&payload]).unwrap().get::<_, i64>(0));
    transaction.commit().unwrap();
    for task_id in tasks {
        mailing.wait(task_id, "succeeded");
    }
    let requests = mailing.standin.requests();
    let own = requests.iter().filter(|sent| sent.request.header("Idempotency-Key") == Some("welcome-7"));
    assert!(own.clone().count() == 2 && own.clone().all(|sent| sent.request.target == "/emails"));
    let to_own = mailing.standin.mails().iter().filter(|mail| mail.to()[0] == "own@mail.test").count();
    assert_eq!((to_own, mailing.standin.mail_count()), (1, 3), "the provider has recognized the key");
}

#[test]
fn a_header_can_have_several_values() {
    let mut calling = Calling::friendly(&[]);
    calling.register("many", json!({"headers": {"X-Row": ["a", "b"], "X-Both": "row"}}));
    let headers = json!({"X-Given": ["1", 2, true], "X-Both": ["x", "y"], "X-None": []});
    calling.succeed("many", json!({"path": "/x", "headers": headers}));
    let sent = last(&calling);
    assert_eq!(values(&sent, "X-Row"), ["a", "b"]);
    assert_eq!(values(&sent, "X-Given"), ["1", "2", "true"]);
    assert_eq!(values(&sent, "X-Both"), ["x", "y"]);
    assert!(values(&sent, "X-None").is_empty());
    for bad in [json!([{}]), json!([["a"]]), json!(["a", "b\r\nX: y"]), json!({})] {
        let message = calling.fail("many", json!({"path": "/x", "headers": {"X-Odd": bad}}));
        assert!(message.contains("X-Odd"), "{message}");
    }
}

#[test]
fn parts_of_a_form_arrive_byte_by_byte() {
    let mut calling = Calling::friendly(&[]);
    calling.register("upload", json!({}));
    let parts = json!({
        "title": "Grüße", "tags": ["a", "b"],
        "file": {"filename": "a.bin", "content_type": "application/x-own", "base64": "AP8NCi0tAQ=="},
    });
    calling.succeed("upload", json!({"path": "/x", "body": {"multipart": parts}}));
    let sent = last(&calling);
    let content_type = values(&sent, "Content-Type").remove(0);
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
    let field = |name: &str, value: &str| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    // In the order of jsonb.
    let mut expected = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
         Content-Type: application/x-own\r\n\r\n"
    )
    .into_bytes();
    expected.extend_from_slice(b"\x00\xff\r\n--\x01\r\n");
    let fields =
        [field("tags", "a"), field("tags", "b"), field("title", "Grüße"), format!("--{boundary}--\r\n")];
    expected.extend_from_slice(fields.concat().as_bytes());
    assert_eq!(sent.body, expected);
    let message = calling.fail("upload", json!({"path": "/x", "body": {"multipart": {"a": {"file": "x"}}}}));
    assert!(message.contains("the part \"a\" of the body has no field file"), "{message}");
}

#[test]
fn a_user_needs_no_password() {
    let mut calling = Calling::friendly(&[SECRETS]);
    // The key is the user: sk_Zx9yW8vUq and a colon.
    calling.register("key", json!({"auth": "basic", "secret": "key"}));
    calling.succeed("key", json!({"path": "/x"}));
    assert_eq!(calling.last_header("Authorization").as_deref(), Some("Basic c2tfWng5eVc4dlVxOg=="));
    // The user is no secret: ann and a colon.
    calling.register("user", json!({"auth": "basic", "auth_name": "ann"}));
    calling.succeed("user", json!({"path": "/x"}));
    assert_eq!(calling.last_header("Authorization").as_deref(), Some("Basic YW5uOg=="));
    let nobody = json!({"base_url": calling.web.url(), "auth": "basic"});
    let refusal = crate::harness::calling::register(&mut calling.client, "nobody", &nobody).unwrap_err();
    assert!(refusal.as_db_error().unwrap().message().contains("auth_name"), "{refusal:?}");
    assert!(!calling.cluster.log().contains("Zx9yW8vUq"));
}

/// The head of the next request.
fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|size| size == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

#[test]
fn a_user_logs_in_at_the_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let heads = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            for answer in [
                "HTTP/1.1 200 OK\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ] {
                let head = head(&mut stream);
                heads.lock().unwrap().push(head);
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    let mut calling = Calling::friendly(&[
        ("pg_errand.http_proxy", &url),
        ("pg_errand.http_proxy_user", "ann"),
        ("pg_errand.http_proxy_password", "sk_Zx9yW8vUq"),
    ]);
    calling.succeed("http", json!({"url": "http://bücher.test/x"}));
    let seen = seen.lock().unwrap();
    assert!(seen[0].starts_with("CONNECT xn--bcher-kva.test:80 "), "{seen:?}");
    // ann:sk_Zx9yW8vUq
    assert!(seen[0].contains("Proxy-Authorization: Basic YW5uOnNrX1p4OXlXOHZVcQ==\r\n"), "{seen:?}");
    assert!(
        seen[1].starts_with("GET /x ") && !seen[1].to_ascii_lowercase().contains("authorization"),
        "{seen:?}"
    );
    let shown = "select current_setting('pg_errand.http_proxy_password') || setting
        from pg_settings where name = 'pg_errand.http_proxy_password'";
    let shown: String = calling.client.query_one(shown, &[]).unwrap().get(0);
    assert!(!shown.contains("Zx9y") && !calling.cluster.log().contains("Zx9y"));
}

/// A server on loopback that handles each connection so; its URL.
fn server(handle: fn(TcpStream) -> std::io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || stream.and_then(handle));
        }
    });
    url
}

#[test]
fn interim_responses_are_skipped_whatever_their_headers_are() {
    let url = server(|mut stream| {
        head(&mut stream);
        for interim in ["100 Continue\r\nX-A: b", "103 Early Hints\r\nLink: </a>", "100 Continue"] {
            stream.write_all(format!("HTTP/1.1 {interim}\r\n\r\n").as_bytes())?;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\ndone")
    });
    let mut calling = Calling::friendly(&[("pg_errand.http_allowed_hosts", "127.0.0.1")]);
    let task_id = calling.succeed("http", json!({"url": url}));
    let result = calling.result(task_id).unwrap();
    assert_eq!((&result["status"], &result["body"]), (&json!(200), &json!("done")));
}

#[test]
fn a_refusal_that_comes_before_the_whole_request_is_the_answer() {
    const TOO_LARGE: &[u8] = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!";
    let closes = server(|mut stream| {
        head(&mut stream);
        stream.write_all(TOO_LARGE)
    });
    let reads_no_more = server(|mut stream| {
        head(&mut stream);
        stream.write_all(TOO_LARGE)?;
        loop {
            std::thread::park();
        }
    });
    let mut calling = Calling::friendly(&[("pg_errand.http_allowed_hosts", "127.0.0.1"), PATIENT]);
    for url in [closes, reads_no_more] {
        let sql = "select queues.http_post($1, to_jsonb(repeat('x', 20000000)))";
        let task_id: i64 = calling.client.query_one(sql, &[&url]).unwrap().get(0);
        let message = calling.error(task_id);
        assert!(message.contains("HTTP 413: no!"), "{message}");
    }
}

#[test]
fn the_trace_context_of_a_payload_is_in_the_request_and_in_the_log() {
    let mut calling = Calling::friendly(&[ONE_WORKER, ("pg_errand.log_level", "debug")]);
    calling.register("traced", json!({}));
    let call = |calling: &mut Calling, traceparent: &Value| {
        let request = json!({"path": "/x", "body": {}});
        let payload = json!({"task_type": "traced", "request": request, "traceparent": traceparent});
        let task_id = queue::enqueue(&mut calling.client, "traced", payload);
        calling.wait(task_id, "succeeded");
        task_id
    };
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mark = calling.cluster.log_mark();
    let task_id = call(&mut calling, &json!(valid));
    assert_eq!(values(&last(&calling), "traceparent"), [valid]);
    let line = calling.cluster.wait_log(mark, &format!("task succeeded task_id={task_id} "));
    assert!(line.contains(&format!(" traceparent={valid}")), "{line}");
    for invalid in [json!("00-4bf9\r\nX-Own: 1"), json!(7), json!(null), json!(valid.to_uppercase())] {
        call(&mut calling, &invalid);
        assert_eq!(values(&last(&calling), "traceparent"), [""; 0]);
    }
}
