//! Providers and task types are registered in SQL, without a restart.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use postgres::{Client, Error};
use serde_json::{Value, json};
use sha2::Sha256;
use standin::{Answer, Request};

use crate::harness::calling::{Calling, at, insert_provider, register};
use crate::harness::queue;
use crate::harness::wait::eventually;

/// What must be found nowhere: every secret holds it.
const MARK: &str = "Zx9yW8vUq";
const SECRETS: (&str, &str) = (
    "pg_errand.secrets",
    r#"{"key": "k_Zx9yW8vUq", "quoted": "q\\"\\\\Zx9yW8vUq", "hook": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}"#,
);
const KEY: &str = "k_Zx9yW8vUq";

fn message(error: &Error) -> String {
    error.as_db_error().map_or_else(|| format!("{error:?}"), |refusal| refusal.message().to_owned())
}

#[track_caller]
fn refused(result: Result<(), Error>, word: &str) {
    let text = message(&result.expect_err(word));
    assert!(text.contains(word), "{word} is not in {text}");
}

fn get() -> Value {
    json!({"path": "/x"})
}

#[test]
fn a_bearer_token_goes_into_its_header() {
    let mut calling = Calling::friendly(&[SECRETS]);
    calling.register("bearer", json!({"auth": "bearer", "secret": "key"}));
    calling.succeed("bearer", get());
    assert_eq!(calling.last_header("Authorization"), Some(format!("Bearer {KEY}")));
}

#[test]
fn a_secret_goes_into_the_header_that_the_row_names() {
    let mut calling = Calling::friendly(&[SECRETS]);
    calling.register("keyed", json!({"auth": "header", "auth_name": "X-Api-Key", "secret": "key"}));
    calling.succeed("keyed", get());
    assert_eq!(calling.last_header("X-Api-Key").as_deref(), Some(KEY));
    let message = calling.fail("keyed", json!({"path": "/x", "headers": {"x-api-key": "mine"}}));
    assert!(message.contains("x-api-key"), "{message}");
}

#[test]
fn a_secret_goes_into_the_query_parameter_that_the_row_names() {
    let mut calling = Calling::friendly(&[SECRETS]);
    calling.register("queried", json!({"auth": "query", "auth_name": "api_key", "secret": "key"}));
    calling.succeed("queried", json!({"path": "/x", "query": {"q": "a b"}}));
    let target = calling.web.requests().pop().unwrap().request.target.clone();
    assert_eq!(target, format!("/x?q=a+b&api_key={KEY}"));
}

#[test]
fn user_and_password_go_into_their_header() {
    let mut calling = Calling::friendly(&[SECRETS]);
    calling.register("basic", json!({"auth": "basic", "auth_name": "ann", "secret": "key"}));
    calling.succeed("basic", get());
    let expected = format!("Basic {}", STANDARD.encode(format!("ann:{KEY}")));
    assert_eq!(calling.last_header("Authorization"), Some(expected));
}

/// The signature that a receiver of a webhook makes of what it got.
fn signature(request: &Request) -> String {
    let header = |name| request.header(name).unwrap_or_default();
    let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&request.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[test]
fn a_webhook_is_signed_as_its_receiver_computes_it() {
    let mut calling = Calling::friendly(&[SECRETS]);
    calling.register("hook", json!({"auth": "webhook", "secret": "hook"}));
    for body in
        [json!({"json": {"a": "Grüße", "n": 0.10}}), json!("text"), json!({"base64": "AP8B"}), Value::Null]
    {
        calling.succeed("hook", json!({"method": "POST", "path": "/x", "body": body}));
        let request = calling.web.requests().pop().unwrap().request;
        assert_eq!(request.header("webhook-signature"), Some(&*signature(&request)), "{body}");
        let id = request.header("webhook-id").unwrap();
        let key = request.header("Idempotency-Key").unwrap();
        assert_eq!(id, format!("msg_{key}"));
        assert!(request.header("webhook-timestamp").unwrap().parse::<u64>().unwrap() > 1_600_000_000);
    }
}

#[test]
fn a_provider_can_be_registered_in_the_transaction_that_enqueues() {
    let mut calling = Calling::friendly(&[SECRETS]);
    calling.register("first", json!({}));
    calling.succeed("first", get());
    let fields = at(&calling.web, json!({"auth": "bearer", "secret": "key"}));
    let mut transaction = calling.client.transaction().unwrap();
    let insert =
        "insert into queues.provider (name, base_url, auth, secret) values ('new', $1, 'bearer', 'key')";
    transaction.execute(insert, &[&fields["base_url"].as_str().unwrap()]).unwrap();
    transaction
        .batch_execute("insert into queues.task_definition (task_type, provider) values ('new', 'new')")
        .unwrap();
    let handler = "create function app.new(_payload jsonb) returns jsonb language sql as
        $$ select jsonb_build_object('status', 'succeeded', 'payload', _payload -> 'mail') $$";
    transaction.batch_execute(handler).unwrap();
    let payloads = [json!({"request": get()}), json!({"before_handler": "app.new", "mail": get()})];
    let tasks = payloads.map(|payload| {
        let enqueue = "select queues.enqueue('new', $1)";
        transaction.query_one(enqueue, &[&payload]).unwrap().get::<_, i64>(0)
    });
    transaction.commit().unwrap();
    for task_id in tasks {
        calling.wait(task_id, "succeeded");
    }
    let requests = calling.web.requests();
    let token = format!("Bearer {KEY}");
    let with_token = requests.iter().filter(|one| one.request.header("Authorization") == Some(&token));
    assert_eq!((requests.len(), with_token.count()), (3, 2));
}

#[test]
fn a_registration_that_is_rolled_back_leaves_no_trace() {
    let mut calling = Calling::friendly(&[]);
    let url = calling.web.url();
    let registration = format!(
        "begin;
        insert into queues.provider (name, base_url) values ('gone', '{url}');
        insert into queues.task_definition (task_type, provider) values ('gone', 'gone');
        select queues.enqueue('gone', '{{\"task_type\": \"gone\", \"request\": {{}}}}');
        rollback"
    );
    calling.client.batch_execute(&registration).unwrap();
    let left = "select (select count(*) from queues.provider where name = 'gone')
        + (select count(*) from queues.task_definition where task_type = 'gone') + (select count(*) from queues.task)";
    assert_eq!(calling.number(left), 0);
    let enqueued = calling.client.batch_execute("select queues.enqueue('gone', '{\"task_type\": \"gone\"}')");
    refused(enqueued, "unknown task type \"gone\"");
    calling.register("next", json!({}));
    calling.succeed("next", get());
    assert_eq!(calling.web.requests().len(), 1);
}

#[test]
fn a_changed_row_counts_for_the_next_task() {
    let mut calling = Calling::friendly(&[SECRETS]);
    calling.register("changing", json!({"headers": {"X-Version": "1"}}));
    calling.succeed("changing", get());
    assert_eq!(calling.last_header("X-Version").as_deref(), Some("1"));
    calling
        .client
        .batch_execute(
            "update queues.provider set headers = '{\"X-Version\": \"2\"}' where name = 'changing'",
        )
        .unwrap();
    calling.succeed("changing", get());
    assert_eq!(calling.last_header("X-Version").as_deref(), Some("2"));
    calling.client.batch_execute("delete from queues.task_definition where task_type = 'changing'").unwrap();
    let enqueued =
        calling.client.batch_execute("select queues.enqueue('changing', '{\"task_type\": \"changing\"}')");
    refused(enqueued, "changing");
}

#[test]
fn a_type_is_known_to_every_worker_from_its_commit_on() {
    let mut calling = Calling::friendly(&[("pg_errand.concurrency", "4")]);
    let work = "select count(queues.enqueue('db_function', '{\"db_function\": \"app.note\"}'))
        from generate_series(1, 20)";
    let mut tasks = Vec::new();
    for n in 0..50 {
        // So that workers are in the middle of something.
        calling.client.batch_execute(work).unwrap();
        let name = format!("type{n}");
        calling.register(&name, json!({}));
        tasks.push(calling.call(&name, get()));
    }
    for task_id in tasks {
        calling.wait(task_id, "succeeded");
    }
}

#[test]
fn templates_make_the_request_and_read_the_answer() {
    let mut calling = Calling::start(&[SECRETS], |request| match request.path() {
        "/api/channels/a%20b/messages" => Answer::json(200, &json!({"ok": true, "ts": "1.2"})),
        _ => Answer::json(200, &json!({"ok": false, "error": "no_channel"})),
    });
    let fields = json!({
        "base_url": format!("{}/api", calling.web.url()), "auth": "bearer", "secret": "key",
        "request": {"path": "/channels/{{channel}}/messages", "body": {"json": {"text": "Hi {{who}}"}}},
        "expect": {"body": {"ok": true}}, "answer": {"ts": "{{body.ts}}"}, "failure": "{{body.error}}",
    });
    register(&mut calling.client, "chat", &fields).unwrap();
    let task_id = calling.succeed("chat", json!({"channel": "a b", "who": "Ann"}));
    assert_eq!(calling.result(task_id), Some(json!({"ts": "1.2"})));
    let request = calling.web.requests().pop().unwrap().request;
    assert_eq!(request.json(), Some(&json!({"text": "Hi Ann"})));
    let message = calling.fail("chat", json!({"channel": "other", "who": "Ann"}));
    assert!(message.contains("no_channel"), "{message}");
    let payload = json!({"before_handler": "app.build", "mail": {"channel": "../x", "who": "Ann"}});
    let task_id = queue::enqueue(&mut calling.client, "chat", payload);
    let message = calling.error(task_id);
    assert!(message.contains("a segment of the path"), "{message}");
    let requests = calling.web.requests();
    assert_eq!(requests.last().unwrap().request.target, "/api/channels/other/messages");
    let token = format!("Bearer {KEY}");
    assert!(requests.iter().all(|one| one.request.header("Authorization") == Some(&token)));
    let message = calling.fail("chat", json!({"channel": "a"}));
    assert!(message.contains("who"), "{message}");
}

#[test]
fn a_secret_in_a_file_counts_from_the_next_call_on() {
    let mut calling = Calling::friendly(&[SECRETS]);
    let directory = calling.directory("secrets");
    std::fs::write(directory.join("token"), "one\n").unwrap();
    calling.cluster.set(&[("pg_errand.secrets_dir", directory.to_str().unwrap())]);
    calling.register("filed", json!({"auth": "bearer", "secret": "token"}));
    eventually("the directory is known", || {
        let task_id = calling.call("filed", get());
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(&mut calling.client, task_id).as_str())
        });
        !calling.web.requests().is_empty()
    });
    assert_eq!(calling.last_header("Authorization").as_deref(), Some("Bearer one"));
    std::fs::write(directory.join("token"), "two\r\n").unwrap();
    calling.succeed("filed", get());
    assert_eq!(calling.last_header("Authorization").as_deref(), Some("Bearer two"));
    let sent = calling.web.requests().len();
    std::fs::remove_file(directory.join("token")).unwrap();
    let without_file = calling.fail("filed", get());
    std::fs::remove_dir_all(&directory).unwrap();
    let without_directory = calling.fail("filed", get());
    for message in [without_file, without_directory] {
        for part in ["\"token\"", "pg_errand.secrets_dir", "PG_ERRAND_SECRET_TOKEN"] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        // Not a word of what else there is.
        assert!(!message.contains(directory.to_str().unwrap()), "{message}");
    }
    assert_eq!(calling.web.requests().len(), sent);
}

#[test]
fn a_secret_changed_by_reload_is_used_without_a_restart() {
    let mut calling = Calling::friendly(&[("pg_errand.secrets", r#"{"key": "old_key"}"#)]);
    calling.register("set", json!({"auth": "bearer", "secret": "key"}));
    calling.succeed("set", get());
    assert_eq!(calling.last_header("Authorization").as_deref(), Some("Bearer old_key"));
    calling.cluster.set(&[("pg_errand.secrets", r#"{"key": "new_key"}"#)]);
    eventually("the new one is used", || {
        calling.succeed("set", get());
        calling.last_header("Authorization").as_deref() == Some("Bearer new_key")
    });
}

#[test]
fn a_secret_that_fits_nowhere_fails_its_tasks_without_being_shown() {
    let mut calling = Calling::friendly(&[("pg_errand.log_level", "debug")]);
    let directory = calling.directory("secrets");
    std::fs::write(directory.join("lines"), "a_Zx9yW8vUq\r\nX-Evil: 1\n").unwrap();
    std::fs::write(directory.join("bytes"), b"a_Zx9yW8vUq\xff").unwrap();
    std::fs::write(directory.join("empty"), "\n").unwrap();
    calling.cluster.set(&[("pg_errand.secrets_dir", directory.to_str().unwrap())]);
    for secret in ["lines", "bytes", "empty"] {
        let name = format!("with_{secret}");
        calling.register(&name, json!({"auth": "bearer", "secret": secret}));
        let message = calling.fail(&name, get());
        assert_hidden("the error", &message);
    }
    assert!(calling.web.requests().is_empty());
    assert_hidden("a table or view", &everything(&mut calling.client));
    assert_hidden("the log", &calling.cluster.log());
    assert!(!calling.cluster.log().contains("panicked"), "{}", calling.cluster.log());
}

#[test]
fn a_webhook_s_secret_that_is_nearly_no_key_fails_its_task_and_is_named() {
    let short = STANDARD.encode("Zx9yW8vUq_short");
    let secrets = json!({"bare": "whsec_", "short": format!("whsec_{short}"), "one_short": format!("whsec_{short}0 {short}")});
    let mut calling = Calling::friendly(&[("pg_errand.secrets", &secrets.to_string())]);
    let directory = calling.directory("secrets");
    std::fs::write(directory.join("filed"), "whsec_\n").unwrap();
    calling.cluster.set(&[("pg_errand.secrets_dir", directory.to_str().unwrap())]);
    for secret in ["bare", "short", "one_short", "filed"] {
        calling.register(secret, json!({"auth": "webhook", "secret": secret}));
    }
    for secret in ["bare", "short", "one_short"] {
        let message = calling.fail(secret, get());
        assert!(message.contains(&format!("\"{secret}\"")) && message.contains("16 bytes"), "{message}");
        assert!(!message.contains(&short), "{message}");
    }
    eventually("the file is judged, too", || {
        let message = calling.fail("filed", get());
        if message.contains("\"filed\"") && message.contains("16 bytes") { Ok(()) } else { Err(message) }
    });
    assert!(calling.web.requests().is_empty());
}

#[test]
fn a_secret_that_is_echoed_in_another_form_is_masked() {
    let secret = "Sk-Zx9yW8vUq<&'/0123456789";
    let forms = vec![
        secret.bytes().map(|byte| format!("{byte:02X}")).collect::<String>(),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
        secret.bytes().map(|byte| format!("%25{byte:02x}")).collect(),
        secret.bytes().map(|byte| format!("&#{byte};")).collect(),
        secret.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&#39;"),
        secret.to_lowercase(),
        secret.to_uppercase(),
        STANDARD.encode(STANDARD.encode(secret)),
        secret[..secret.len() - 4].to_owned(),
    ];
    let body = forms.clone();
    let mut calling =
        Calling::start(&[("pg_errand.secrets", &json!({"odd": secret}).to_string())], move |_| {
            Answer::json(200, &json!({"echo": body})).with("X-Sk-Zx9yW8vUq0123456789", "1")
        });
    calling.register("forms", json!({"auth": "query", "auth_name": "key", "secret": "odd"}));
    let task_id = calling.succeed("forms", get());
    let result = calling.result(task_id).unwrap();
    let echoes = result["body"]["echo"].as_array().unwrap();
    for (form, echo) in forms.iter().zip(echoes) {
        let shown = echo.as_str().unwrap();
        // Base64 takes what is around the secret into its first and last characters.
        let left = shown.replace("********", "").len();
        assert!(shown.contains("********") && left <= 6, "{form}: {shown}");
    }
}

#[test]
fn a_name_that_is_no_header_adds_none() {
    let mut calling = Calling::friendly(&[SECRETS]);
    for (name, fields) in [
        ("blank", json!({"auth": "header", "auth_name": "a b", "secret": "key"})),
        ("line", json!({"auth": "header", "auth_name": "X\r\nX-Evil", "secret": "key"})),
        ("own", json!({"auth": "header", "auth_name": "Host", "secret": "key"})),
        ("key_blank", json!({"idempotency_header": "a b"})),
        ("key_line", json!({"idempotency_header": "X: 1\r\nX-Evil"})),
    ] {
        let fields = at(&calling.web, fields);
        // Refused at once, or when it is sent.
        if register(&mut calling.client, name, &fields).is_ok() {
            let message = calling.fail(name, json!({"method": "POST", "path": "/x"}));
            assert!(message.contains(name), "{message}");
        }
    }
    assert!(calling.web.requests().is_empty(), "{:?}", calling.web.requests());
    assert_hidden("the log", &calling.cluster.log());
}

#[test]
fn a_call_takes_no_longer_than_its_provider_s_row_allows() {
    let mut calling = Calling::friendly(&[("pg_errand.call_timeout", "10min")]);
    calling.register("timed", json!({"timeout": "100 ms"}));
    calling.web.hold();
    let message = calling.fail("timed", get());
    assert!(message.contains("timed"), "{message}");
    // A request can only shorten it.
    calling.fail("timed", json!({"path": "/x", "timeout": 500}));
    calling.web.release();
}

/// All rows of all tables and views of the extension, and what the server shows of itself.
#[track_caller]
fn everything(client: &mut Client) -> String {
    let sql = "select c.oid::regclass::text from pg_class c
        where c.relnamespace in ('queues'::regnamespace, 'internal'::regnamespace) and c.relkind in ('r', 'p', 'v')";
    let mut relations: Vec<String> = client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(relations.len() > 4, "{relations:?}");
    let more =
        ["app.seen", "pg_settings", "pg_stat_activity", "pg_db_role_setting", "pg_show_all_settings()"];
    relations.extend(more.map(str::to_owned));
    relations.iter().map(|relation| contents(client, relation)).collect()
}

#[track_caller]
fn contents(client: &mut Client, relation: &str) -> String {
    let sql = format!("select coalesce(string_agg(r::text, E'\\n'), '') from {relation} r");
    client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

#[track_caller]
fn assert_hidden(what: &str, text: &str) {
    let forms = [MARK.to_owned(), STANDARD.encode(format!("ann:{KEY}")), "MfKQ9r8GKYqr".to_owned()];
    for form in forms {
        if let Some(at) = text.find(&form) {
            let from =
                (0..=at.saturating_sub(300)).rev().find(|from| text.is_char_boundary(*from)).unwrap_or(0);
            panic!("{what} shows a secret: {}", &text[from..at + form.len()]);
        }
    }
}

/// Answers with all it was told, in the way that the path says.
fn echo(request: &Request) -> Answer {
    let sent: Vec<_> = request.headers.iter().map(|(_, value)| value.as_str()).collect();
    let all = format!("{} {}", request.target, sent.join(" "));
    match request.path() {
        "/body" => Answer::json(200, &json!({"echo": all, (all.clone()): [all]})),
        "/header" => {
            Answer::json(200, &json!({})).with("X-Echo", &all).with("Set-Cookie", &format!("a={all}"))
        }
        "/text" => Answer::new(200, "text/plain", all),
        "/bytes" => Answer::new(200, "application/octet-stream", all),
        "/error" => Answer::json(401, &json!({"message": format!("bad key {all}")})),
        "/location" => {
            Answer::new(302, "text/plain", "").with("Location", &format!("/{}", all.replace(' ', "-")))
        }
        _ => Answer::new(500, "text/html", format!("<p>{all}</p>")).with("X-Echo", &all),
    }
}

#[test]
fn a_secret_that_a_provider_echoes_is_found_nowhere() {
    let mut calling =
        Calling::start(&[SECRETS, ("pg_errand.log_level", "debug"), ("log_min_messages", "debug1")], echo);
    let providers = [
        ("bearer", json!({"auth": "bearer", "secret": "key"})),
        ("keyed", json!({"auth": "header", "auth_name": "X-Api-Key", "secret": "key"})),
        ("quoted", json!({"auth": "header", "auth_name": "X-Api-Key", "secret": "quoted"})),
        ("queried", json!({"auth": "query", "auth_name": "api_key", "secret": "key"})),
        ("odd", json!({"auth": "query", "auth_name": "api_key", "secret": "quoted"})),
        ("basic", json!({"auth": "basic", "auth_name": "ann", "secret": "key"})),
        ("hook", json!({"auth": "webhook", "secret": "hook"})),
    ];
    let mut tasks = Vec::new();
    for (name, fields) in providers {
        calling.register(name, fields);
        for path in ["/body", "/header", "/text", "/bytes", "/error", "/location", "/page"] {
            tasks.push(calling.call_handled(name, &json!({"path": path, "body": {"a": 1}})));
        }
    }
    for task_id in &tasks {
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(&mut calling.client, *task_id).as_str())
        });
    }
    assert_hidden("a table or view", &everything(&mut calling.client));
    assert_hidden("the log", &calling.cluster.log());
    let shown: String = calling.client.query_one("show pg_errand.secrets", &[]).unwrap().get(0);
    assert_hidden("show", &shown);
    let errors = contents(&mut calling.client, "queues.error");
    let requests = calling.web.requests();
    assert_eq!(requests.len(), tasks.len(), "{errors}");
    // They did go out.
    assert!(requests.iter().any(|one| one.request.target.contains(KEY)));
    assert!(requests.iter().any(|one| one.request.header("X-Api-Key") == Some(KEY)));
    let signature =
        |request: &Request| request.header("webhook-signature").is_some_and(|value| value.starts_with("v1,"));
    assert!(requests.iter().any(|one| signature(&one.request)));
}

#[test]
fn a_secret_is_found_nowhere_while_a_call_is_under_way() {
    let mut calling = Calling::start(&[SECRETS], echo);
    calling.register("queried", json!({"auth": "query", "auth_name": "api_key", "secret": "key"}));
    calling.web.hold();
    let task_id = calling.call_handled("queried", &json!({"path": "/body"}));
    eventually("the request has come", || calling.web.held() == 1);
    assert!(calling.web.requests()[0].request.target.contains(KEY));
    assert_hidden("a table or view", &everything(&mut calling.client));
    calling.web.release();
    calling.wait(task_id, "succeeded");
    assert_hidden("the log", &calling.cluster.log());
}

#[track_caller]
fn assert_refused(client: &mut Client, fields: &Value, word: &str) {
    let error = insert_provider(client, "odd", fields).expect_err(&fields.to_string());
    let refusal = error.as_db_error().unwrap();
    assert_eq!(refusal.code().code(), "22023", "{fields}: {refusal:?}");
    for part in ["provider", word] {
        assert!(refusal.message().contains(part), "{part}: {fields}: {refusal:?}");
    }
}

#[test]
fn secrets_that_are_no_json_object_of_texts_are_refused_without_being_shown() {
    let calling = Calling::friendly(&[("pg_errand.secrets", "{\"key\": k_Zx9yW8vUq}")]);
    assert_hidden("the log", &calling.cluster.log());
    let mut client = calling.cluster.connect("postgres");
    for bad in ["k_Zx9yW8vUq", "{\"key\": [\"k_Zx9yW8vUq\"]}", "{\"../a\": \"k_Zx9yW8vUq\"}"] {
        let error =
            client.batch_execute(&format!("alter system set pg_errand.secrets = '{bad}'")).unwrap_err();
        assert_hidden("the refusal", &format!("{error:?}"));
    }
}

#[test]
fn a_row_that_makes_no_sense_is_refused_and_says_why() {
    let mut calling = Calling::friendly(&[]);
    for (fields, word) in [
        (json!({"interface": "gopher"}), "gopher"),
        (json!({"requests_per_second": "NaN"}), "requests_per_second"),
        (json!({"requests_per_second": 0}), "requests_per_second"),
        (json!({"requests_per_second": -1}), "requests_per_second"),
        (json!({"burst": 0}), "burst"),
        (json!({"burst": -1}), "burst"),
        (json!({"max_in_flight": 0}), "max_in_flight"),
        (json!({"breaker_threshold": 0}), "breaker_threshold"),
        (json!({"timeout": "-1 s"}), "timeout"),
        (json!({"timeout": "-1 s"}), "negative"),
        (json!({"idempotency_header": "a b"}), "a b"),
        (json!({"auth": "bearer"}), "secret"),
        (json!({"auth": "magic"}), "magic"),
        (json!({"auth": "magic", "secret": "x"}), "magic"),
        (json!({"auth": "header", "secret": "x"}), "auth_name"),
        (json!({"auth": "header", "auth_name": "a b", "secret": "x"}), "a b"),
        (json!({"auth": "header", "auth_name": "a b", "secret": "x", "base_url": "https://x.test"}), "a b"),
        (json!({"auth": "bearer", "secret": "x"}), "base_url"),
        (json!({"auth": "bearer", "secret": "../x"}), "../x"),
        (json!({"secret": "../x"}), "../x"),
        (json!({"base_url": "ftp://x.test"}), "URL"),
        (json!({"headers": {"Host": "x"}}), "Host"),
        (json!({"headers": {"idempotency-key": "x"}}), "idempotency key of its own"),
        (
            json!({"auth": "header", "auth_name": "Idempotency-Key", "secret": "x", "base_url": "https://x.test"}),
            "contains the idempotency key",
        ),
        (
            json!({"auth": "bearer", "secret": "x", "base_url": "https://x.test", "idempotency_header": "authorization"}),
            "contains the idempotency key",
        ),
        (json!({"headers": {"X": "a\r\nY: b"}}), "X"),
        (json!({"request": {"uri": "/x"}}), "uri"),
        (json!({"expect": "fine"}), "expect"),
        (json!({"expect": {"status": 1}}), "expect"),
    ] {
        assert_refused(&mut calling.client, &fields, word);
    }
    assert_eq!(calling.number("select count(*) from queues.provider where name = 'odd'"), 0);
}

#[test]
fn a_base_url_is_judged_by_the_same_rules_in_a_row_and_in_a_setting() {
    let mut calling = Calling::friendly(&[]);
    for (bad, reason) in [
        ("https://api.test/v1#x", "base URL cannot have a fragment"),
        ("https://api.test/v1?x=1", "base URL cannot have a query"),
        ("https://{{tenant}}.api.test", "base URL cannot have placeholders"),
        ("https://api.test/{{tenant}}", "base URL cannot have placeholders"),
        ("https://user:pass@api.test", "URL with a user or a password in it cannot be called"),
        ("https://api.test\n", "URL contains a control character"),
        (" https://api.test", "URL begins or ends with a space"),
        ("https://api..test", "URL has no valid host"),
        ("https://127.0.0.256", "URL is not valid"),
        ("ftp://api.test", "only URLs with http:// or https:// can be called"),
    ] {
        assert_refused(&mut calling.client, &json!({"base_url": bad}), reason);
        // In a setting the reason is a sentence.
        for setting in ["resend_base_url", "twilio_base_url", "http_proxy"] {
            let sql = format!("set pg_errand.{setting} = '{bad}'");
            let error = calling.client.batch_execute(&sql).unwrap_err();
            let detail = error.as_db_error().unwrap().detail().unwrap();
            assert!(detail.contains(&reason[1..]), "{setting} {bad}: {detail}");
        }
    }
    // The same of the URL in a payload, as far as a base URL's rules concern it.
    calling.cluster.set(&[("pg_errand.http_allowed_hosts", "127.0.0.1")]);
    for (bad, reason) in [
        ("https://user:pass@api.test", "URL with a user or a password in it cannot be called"),
        ("https://api.test/\n", "URL contains a control character"),
        ("https://api..test", "URL has no valid host"),
        ("ftp://api.test", "only URLs with http:// or https:// can be called"),
    ] {
        let message = calling.fail("http", json!({"url": bad}));
        assert!(message.contains(reason), "{bad}: {message}");
    }
    for good in ["https://bücher.test/ä", "HTTPS://API.test.:443/v1/"] {
        let fields = json!({"base_url": good});
        insert_provider(&mut calling.client, "odd", &fields).unwrap_or_else(|error| panic!("{error:?}"));
        let sql = format!(
            "delete from queues.provider where name = 'odd'; set pg_errand.resend_base_url = '{good}'"
        );
        calling.client.batch_execute(&sql).unwrap_or_else(|error| panic!("{good}: {error:?}"));
    }
}

#[test]
fn a_host_is_the_same_provider_in_every_spelling() {
    let mut calling = Calling::friendly(&[]);
    let port = calling.web.url().rsplit_once(':').unwrap().1.to_owned();
    for (name, host) in
        [("plain", "127.0.0.1"), ("short", "127.1"), ("wide", "１２７.0.0.1"), ("dotted", "127.0.0.1.")]
    {
        let fields = json!({"base_url": format!("http://{host}:{port}/v1/")});
        register(&mut calling.client, name, &fields).unwrap_or_else(|error| panic!("{host}: {error:?}"));
        calling.succeed(name, json!({"path": "/x"}));
        assert_eq!(calling.web.requests().last().unwrap().request.target, "/v1/x", "{host}");
        assert_eq!(calling.last_header("Host"), Some(format!("127.0.0.1:{port}")), "{host}");
    }
}

#[test]
fn a_type_whose_provider_is_unknown_is_refused_when_it_is_enqueued() {
    let mut calling = Calling::friendly(&[]);
    let insert = "insert into queues.task_definition (task_type, provider) values ('early', 'late')";
    calling.client.batch_execute(insert).unwrap();
    let enqueue =
        "select queues.enqueue('early', '{\"task_type\": \"early\", \"request\": {\"path\": \"/x\"}}')";
    let error = calling.client.batch_execute(enqueue).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "55000");
    refused(Err(error), "late");
    let error = calling
        .client
        .batch_execute("insert into queues.task_definition (task_type) values ('none')")
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22023");
    let fields = at(&calling.web, json!({}));
    insert_provider(&mut calling.client, "late", &fields).unwrap();
    calling.succeed("early", get());
}

/// Lets a role `app` register providers and types, and enqueue; its session.
#[track_caller]
fn registrar(calling: &mut Calling) -> Client {
    let sql = "create role app login;
        grant usage on schema queues to app;
        grant execute on function queues.enqueue to app;
        grant select, insert, update, delete on queues.provider, queues.task_definition to app;";
    calling.client.batch_execute(sql).unwrap();
    calling.cluster.connect_as("app", "postgres")
}

#[track_caller]
fn is_trusted(calling: &mut Calling, name: &str) -> bool {
    let sql = "select trusted from queues.provider where name = $1";
    calling.client.query_one(sql, &[&name]).unwrap().get(0)
}

#[test]
fn only_a_superuser_s_address_may_be_in_a_private_network() {
    let mut calling = Calling::friendly(&[]);
    let mut app = registrar(&mut calling);
    calling.register("ours", json!({}));
    calling.register("ours_too", json!({}));
    let fields = at(&calling.web, json!({"trusted": true, "built_in": true, "headers": {}}));
    register(&mut app, "theirs", &fields).unwrap();
    assert!(is_trusted(&mut calling, "ours") && is_trusted(&mut calling, "ours_too"));
    assert!(!is_trusted(&mut calling, "theirs"));
    let built_in = "select count(*) from queues.provider where name = 'theirs' and built_in";
    assert_eq!(calling.number(built_in), 0);
    calling.succeed("ours", get());
    let message = calling.fail("theirs", get());
    assert!(message.contains("pg_errand.http_allowed_hosts"), "{message}");

    // Nor by a change.
    for (name, change) in [
        ("theirs", "trusted = true"),
        ("ours", "base_url = base_url || '/x', trusted = true"),
        ("ours_too", "base_url = base_url || '/x'"),
    ] {
        app.batch_execute(&format!("update queues.provider set {change} where name = '{name}'")).unwrap();
        assert!(!is_trusted(&mut calling, name), "{name}: {change}");
        let message = calling.fail(name, get());
        assert!(message.contains("pg_errand.http_allowed_hosts"), "{name}: {change}: {message}");
    }
    assert_eq!((calling.number(built_in), calling.web.requests().len()), (0, 1));

    // What the setting allows is theirs, too.
    calling.cluster.set(&[("pg_errand.http_allowed_hosts", "127.0.0.1")]);
    eventually("a request arrives", || {
        let task_id = calling.call("theirs", get());
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(&mut calling.client, task_id).as_str())
        });
        calling.web.requests().len() > 1
    });
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn registrations_survive_a_dump_and_its_restoration() {
    let mut calling = Calling::friendly(&[SECRETS]);
    let mut app = registrar(&mut calling);
    let fields = json!({"auth": "bearer", "secret": "key", "requests_per_second": 50, "max_wait": "2 min"});
    calling.register("ours", fields);
    let fields = at(&calling.web, json!({}));
    register(&mut app, "theirs", &fields).unwrap();
    calling.client.batch_execute("select queues.grant_enqueue('http', 'app')").unwrap();
    let rows = |client: &mut Client| {
        ["queues.provider", "queues.task_definition"].map(|table| {
            let sql = format!("select string_agg(r::text, E'\\n' order by r::text) from {table} r");
            client.query_one(&sql, &[]).unwrap().get::<_, String>(0)
        })
    };
    let before = rows(&mut calling.client);
    let dump = calling.cluster.data_dir().with_file_name("dump");
    let mut pg_dump = calling.cluster.client_program("pg_dump");
    run(pg_dump.args(["--format=custom", "--file"]).arg(&dump).arg("postgres"));
    for (name, option) in [("plainly", "--exit-on-error"), ("at_once", "--single-transaction")] {
        calling.client.batch_execute(&format!("create database {name}")).unwrap();
        let mut pg_restore = calling.cluster.client_program("pg_restore");
        run(pg_restore.args([option, "--dbname", name]).arg(&dump));
        let mut restored = calling.cluster.connect(name);
        assert_eq!(rows(&mut restored), before, "{name}");
        let payload = json!({"task_type": "ours", "request": get()});
        let task_id = queue::enqueue(&mut restored, "ours", payload);
        queue::wait_status(&mut restored, task_id, "succeeded");
        assert_eq!(calling.last_header("Authorization"), Some(format!("Bearer {KEY}")));
    }
}
