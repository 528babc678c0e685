//! Providers as data: HTTP, secrets, limits, rights.

use postgres::Client;
use serde_json::{Value, json};
use standin::{Anything, Said};

use crate::harness::cluster::Cluster;
use crate::harness::queue;
use crate::harness::wait::wait_until_sql;

const TOKEN: &str = "tok-9f8e7d6c5b4a";

struct Place {
    cluster: Cluster,
    client: Client,
}

/// A cluster in which requests may go to this machine, if `open`.
#[track_caller]
fn place(open: bool, settings: &[(&str, &str)]) -> Place {
    let secrets = json!({ "token": TOKEN, "signing": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }).to_string();
    let mut all = vec![("pg_errand.secrets", secrets.as_str())];
    if open {
        all.push(("pg_errand.http_allowed_hosts", "127.0.0.1"));
    }
    all.extend(settings);
    let cluster = Cluster::start(&all);
    let mut client = cluster.connect("postgres");
    queue::install(&mut client);
    client
        .batch_execute(
            "create schema app; grant usage on schema app to public;
             create table app.heard (what jsonb);
             create function app.hear(p jsonb) returns jsonb language sql security definer as
             $$ insert into app.heard values (p); select '{}'::jsonb $$",
        )
        .unwrap();
    Place { cluster, client }
}

impl Place {
    fn text(&mut self, sql: &str) -> String {
        self.client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Registers a provider and a kind of that name.
    fn register(&mut self, name: &str, base: &str, more: &str) {
        let columns = if more.is_empty() { String::new() } else { format!(", {more}") };
        let (names, values): (Vec<&str>, Vec<&str>) =
            columns.split(", ").filter_map(|pair| pair.split_once(" = ")).unzip();
        let (names, values) = (list(&names), list(&values));
        self.client
            .batch_execute(&format!(
                "insert into queues.provider (name, base_url{names}) values ('{name}', '{base}'{values});
                 insert into queues.task_kind (name, provider) values ('{name}', '{name}')"
            ))
            .unwrap();
    }

    fn result(&mut self, task_id: i64) -> Value {
        self.client.query_one("select queues.result($1)", &[&task_id]).unwrap().get(0)
    }

    /// The error of a statement: SQLSTATE, message, hint.
    fn refused(&mut self, sql: &str) -> (String, String, String) {
        let error = self.client.batch_execute(sql).unwrap_err();
        let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}"));
        (error.code().code().into(), error.message().into(), error.hint().unwrap_or_default().into())
    }

    fn wait_ended(&mut self, task_type: &str) {
        let sql = format!(
            "select count(*) from queues.task where task_type = '{task_type}' and finished_at is null"
        );
        wait_until_sql(&mut self.client, &sql, "0");
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!(", {name}")).collect()
}

fn ok(body: &str) -> Said {
    (200, vec![("Content-Type", "application/json".into())], body.into())
}

#[test]
fn a_webhook_is_one_line_and_its_answer_is_kept() {
    let web = Anything::start(|_| ok(r#"{"thanks": 1}"#));
    let mut place = place(true, &[]);
    let id: i64 = place
        .client
        .query_one(&format!("select queues.http_post('{}/hook?a=1', '{{\"order\": 7}}')", web.url()), &[])
        .unwrap()
        .get(0);
    queue::wait_status(&mut place.client, id, "succeeded");
    let seen = &web.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/hook?a=1"));
    assert_eq!(serde_json::from_str::<Value>(&seen.body).unwrap(), json!({ "order": 7 }));
    assert!(seen.header("idempotency-key").is_some());
    let result = place.result(id);
    assert_eq!(result["status"], 200);
    assert_eq!(result["body"], json!({ "thanks": 1 }));
    assert_eq!(result["headers"]["content-type"], "application/json");
}

#[test]
fn handlers_get_the_answer_or_the_reason() {
    let web = Anything::start(|seen| match seen.target.as_str() {
        "/good" => (201, vec![("Content-Type", "text/plain".into())], "done".into()),
        _ => (404, vec![], "no such thing".into()),
    });
    let mut place = place(true, &[]);
    for (path, status) in [("good", "succeeded"), ("bad", "failed")] {
        let task = json!({
            "request": { "url": format!("{}/{path}", web.url()), "body": "x" },
            "success_handler": "app.hear", "error_handler": "app.hear",
        });
        let id = queue::enqueue(&mut place.client, "http", task);
        queue::wait_status(&mut place.client, id, status);
    }
    assert_eq!(
        place.text("select what #>> '{worker_payload,body}' from app.heard where what ? 'worker_payload'"),
        "done"
    );
    let reason = place.text("select what ->> 'error' from app.heard where what ? 'error'");
    assert!(reason.contains("HTTP 404: no such thing"), "{reason}");
    let expected = json!({ "request": { "url": format!("{}/bad", web.url()), "expect": [404] } });
    let id = queue::enqueue(&mut place.client, "http", expected);
    queue::wait_status(&mut place.client, id, "succeeded");
}

#[test]
fn by_default_no_request_reaches_this_machine_however_its_address_is_written() {
    let web = Anything::start(|_| ok("{}"));
    let mut place = place(false, &[]);
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "127.0.0.1.",
    ] {
        let url = format!("http://{host}:{}/", web.port());
        let id = queue::enqueue(&mut place.client, "http", json!({ "request": { "url": url } }));
        queue::wait_status(&mut place.client, id, "failed");
        let error = queue::errors(&mut place.client, id)[0].error_message.clone();
        assert!(
            error.contains("pg_errand.http_allowed_hosts") || error.contains("no such host"),
            "{host}: {error}"
        );
    }
    assert!(web.seen().is_empty());
    place.cluster.set(&[("pg_errand.http_allowed_hosts", "127.0.0.1")]);
    place.cluster.reload();
    // What a superuser has registered needs no permission; by then the new setting counts, too.
    place.register("mine", &web.url(), "");
    let id = queue::enqueue(&mut place.client, "mine", json!({ "request": { "path": "/x" } }));
    queue::wait_status(&mut place.client, id, "succeeded");
}

#[test]
fn a_superuser_s_provider_may_be_private_and_an_administrator_s_may_not() {
    let web = Anything::start(|_| ok("{}"));
    let mut place = place(false, &[]);
    place
        .client
        .batch_execute(
            "create role admin login; grant usage on schema queues to admin;
             grant select, insert, update, delete on queues.provider, queues.task_kind to admin",
        )
        .unwrap();
    let mut admin = place.cluster.connect_as("admin", "postgres");
    admin
        .batch_execute(&format!(
            "insert into queues.provider (name, base_url, trusted, built_in) values ('theirs', '{}', true, true);
             insert into queues.task_kind (name, provider) values ('theirs', 'theirs');
             update queues.provider set trusted = true where name = 'theirs'",
            web.url()
        ))
        .unwrap();
    assert_eq!(
        place.text("select trusted::text || built_in from queues.provider where name = 'theirs'"),
        "falsefalse"
    );
    let id = queue::enqueue(&mut place.client, "theirs", json!({ "request": {} }));
    queue::wait_status(&mut place.client, id, "failed");
    place.register("ours", &web.url(), "");
    let id = queue::enqueue(&mut place.client, "ours", json!({ "request": {} }));
    queue::wait_status(&mut place.client, id, "succeeded");
    // Whoever then leads it elsewhere has to ask again.
    admin
        .batch_execute(&format!(
            "update queues.provider set base_url = '{}/x' where name = 'ours'",
            web.url()
        ))
        .unwrap();
    let id = queue::enqueue(&mut place.client, "ours", json!({ "request": {} }));
    queue::wait_status(&mut place.client, id, "failed");
}

#[test]
fn a_provider_registered_in_sql_works_at_once_with_templates_and_a_secret() {
    let web = Anything::start(|seen| {
        let good = seen.body.contains("general") || seen.target.contains("general");
        ok(if good {
            r#"{"ok": true, "ts": "17"}"#
        } else {
            r#"{"ok": false, "error": "channel_not_found"}"#
        })
    });
    let mut place = place(false, &[]);
    place
        .client
        .batch_execute(&format!(
            r#"begin;
            insert into queues.provider (name, base_url, auth, secret, request, expect, answer, failure) values (
                'slack', '{}/api', 'bearer', 'token',
                '{{"path": "/say/{{{{channel}}}}", "body": {{"json": {{"text": "{{{{text}}}}"}}}}}}',
                '{{"body": {{"ok": true}}}}', '{{"ts": "{{{{body.ts}}}}"}}', '"{{{{body.error}}}}"');
            insert into queues.task_kind (name, provider) values ('slack', 'slack');
            create function app.message(p jsonb) returns jsonb language sql as
            $$ select jsonb_build_object('status', 'succeeded', 'payload', p -> 'say') $$;
            select queues.enqueue('slack', '{{"before_handler": "app.message", "say": {{"channel": "general", "text": "hi"}}}}');
            select queues.enqueue('slack', '{{"before_handler": "app.message", "say": {{"channel": "../x", "text": "hi"}}}}');
            commit"#,
            web.url()
        ))
        .unwrap();
    queue::wait_status(&mut place.client, 1, "succeeded");
    queue::wait_status(&mut place.client, 2, "failed");
    assert_eq!(place.result(1), json!({ "ts": "17" }));
    let error = queue::errors(&mut place.client, 2)[0].error_message.clone();
    assert!(error.contains("channel_not_found"), "{error}");
    let seen = web.seen();
    let mut targets: Vec<_> = seen.iter().map(|seen| seen.target.as_str()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["/api/say/..%2Fx", "/api/say/general"]);
    assert!(seen.iter().all(|seen| seen.header("authorization") == Some(&format!("Bearer {TOKEN}"))));
}

#[test]
fn a_secret_that_is_echoed_is_seen_nowhere() {
    let web = Anything::start(|seen| {
        let said = format!("{:?} {}", seen.headers, seen.target);
        match seen.target.contains("fail") {
            true => (500, vec![("X-Echo", said.replace('"', "'"))], said),
            false => {
                (200, vec![("X-Echo", said.replace('"', "'")), ("Content-Type", "text/plain".into())], said)
            }
        }
    });
    let mut place = place(false, &[("pg_errand.log_level", "debug")]);
    for (name, more) in [
        ("bearer", "auth = 'bearer', secret = 'token'"),
        ("basic", "auth = 'basic', auth_name = 'me', secret = 'token'"),
        ("header", "auth = 'header', auth_name = 'X-Key', secret = 'token'"),
        ("query", "auth = 'query', auth_name = 'key', secret = 'token'"),
        ("signed", "auth = 'webhook', secret = 'signing'"),
    ] {
        place.register(name, &web.url(), more);
        for path in ["/ok", "/fail"] {
            let task = json!({ "request": { "path": path, "body": "x" }, "success_handler": "app.hear", "error_handler": "app.hear" });
            queue::enqueue(&mut place.client, name, task);
        }
        place.wait_ended(name);
    }
    let seen = web.seen();
    assert_eq!(seen.len(), 10);
    assert!(
        seen.iter().any(|seen| seen.target.contains(TOKEN))
            && seen.iter().any(|seen| seen.header("x-key") == Some(TOKEN))
    );
    assert!(
        seen.iter()
            .any(|seen| seen.header("webhook-signature").is_some_and(|value| value.starts_with("v1,")))
    );
    let mut all = place.cluster.log();
    for table in [
        "queues.task",
        "queues.call",
        "queues.error",
        "queues.provider",
        "queues.task_kind",
        "app.heard",
        "pg_settings",
        "pg_stat_activity",
    ] {
        all += &place.text(&format!("select coalesce(string_agg(t::text, ' '), '') from {table} t"));
    }
    all += &place.text("show pg_errand.secrets");
    for secret in [TOKEN, "bWU6dG9rLTlmOGU3ZDZjNWI0YQ", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[test]
fn secrets_come_from_files_too_and_a_new_one_counts_at_once() {
    let web = Anything::start(|_| ok("{}"));
    let directory = std::env::temp_dir().join(format!("pg-errand-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("filed"), "first\n").unwrap();
    let mut place = place(false, &[("pg_errand.secrets_dir", directory.to_str().unwrap())]);
    place.register("filed", &web.url(), "auth = 'header', auth_name = 'X-Key', secret = 'filed'");
    let id = queue::enqueue(&mut place.client, "filed", json!({ "request": {} }));
    queue::wait_status(&mut place.client, id, "succeeded");
    std::fs::write(directory.join("filed"), "second\n").unwrap();
    let id = queue::enqueue(&mut place.client, "filed", json!({ "request": {} }));
    queue::wait_status(&mut place.client, id, "succeeded");
    std::fs::remove_dir_all(&directory).unwrap();
    let id = queue::enqueue(&mut place.client, "filed", json!({ "request": {} }));
    queue::wait_status(&mut place.client, id, "failed");
    let error = queue::errors(&mut place.client, id)[0].error_message.clone();
    assert!(error.contains("\"filed\"") && error.contains("PG_ERRAND_SECRET_FILED"), "{error}");
    let keys: Vec<_> = web.seen().iter().map(|seen| seen.header("x-key").unwrap().to_owned()).collect();
    assert_eq!(keys, ["first", "second"]);
}

#[test]
fn who_may_enqueue_a_type_is_a_grant() {
    let mut place = place(true, &[]);
    place
        .client
        .batch_execute("create role app login; grant usage on schema queues to app; grant execute on function queues.enqueue to app")
        .unwrap();
    let mut app = place.cluster.connect_as("app", "postgres");
    let error = app.batch_execute("select queues.enqueue('http', '{}')").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(
        (error.code().code(), error.hint()),
        ("42501", Some("To allow it, run: SELECT queues.allow('http', 'app');"))
    );
    app.batch_execute("select queues.enqueue('sms', '{}')").unwrap();
    place.client.batch_execute("select queues.allow('http', 'app')").unwrap();
    app.batch_execute("select queues.enqueue('http', '{}')").unwrap();
    place.client.batch_execute("select queues.disallow('http', 'app')").unwrap();
    assert!(app.batch_execute("select queues.enqueue('http', '{}')").is_err());
}

#[test]
fn rows_that_make_no_sense_are_refused_and_the_reason_is_named() {
    let mut place = place(true, &[]);
    for (columns, values, named) in [
        ("interface", "'fax'", "fax"),
        ("requests_per_second", "0", "requests_per_second"),
        ("max_in_flight", "0", "max_in_flight"),
        ("auth", "'bearer'", "secret"),
        ("auth", "'magic'", "magic"),
        ("secret", "'../x'", "../x"),
        ("base_url", "'ftp://x'", "URL"),
        ("idempotency_header", "'a b'", "a b"),
        ("requests_per_second", "'NaN'", "provider"),
        ("burst", "-1", "provider"),
        ("timeout", "'-1 s'", "negative"),
        ("auth, auth_name, secret, base_url", "'header', 'a b', 'token', 'https://x'", "a b"),
        ("auth, secret", "'bearer', 'token'", "base_url"),
        ("request", "'{\"uri\": 1}'", "uri"),
        ("expect", "'{\"status\": 1}'", "expect"),
        ("headers", "'{\"Host\": \"x\"}'", "Host"),
    ] {
        let sql = format!("insert into queues.provider (name, {columns}) values ('x', {values})");
        let (code, message, _) = place.refused(&sql);
        assert!(code == "22023" && message.contains(named), "{sql}: {message}");
    }
    place
        .client
        .batch_execute("insert into queues.task_kind (name, provider) values ('lost', 'nowhere')")
        .unwrap();
    let (code, message, _) = place.refused("select queues.enqueue('lost', '{}')");
    assert!(code == "55000" && message.contains("nowhere"), "{message}");
    let (code, ..) = place.refused("insert into queues.task_kind (name) values ('none')");
    assert_eq!(code, "22023");
    // What is rolled back was never there.
    place.client.batch_execute("begin; insert into queues.task_kind (name, provider) values ('gone', 'http'); select queues.enqueue('gone', '{}'); rollback").unwrap();
    let (_, message, _) = place.refused("select queues.enqueue('gone', '{}')");
    assert!(message.contains("unknown task type"), "{message}");
}

#[test]
fn a_provider_that_asks_to_wait_loses_nothing_and_holds_up_nobody() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    static CLOSED: AtomicBool = AtomicBool::new(true);
    let web = Anything::start(|_| match CLOSED.load(Relaxed) {
        true => (429, vec![("Retry-After", "1".into())], "slow down".into()),
        false => ok("{}"),
    });
    let other = Anything::start(|_| ok("{}"));
    let mut place = place(true, &[("pg_errand.max_in_flight", "4")]);
    place.register("slow", &web.url(), "");
    place.register("quick", &other.url(), "");
    let insert = |name: &str, n: i32| {
        format!(
            "insert into queues.task (task_type, payload) select '{name}',
             jsonb_build_object('request', jsonb_build_object('path', '/' || g, 'body', 'x')) from generate_series(1, {n}) g"
        )
    };
    place.client.batch_execute(&insert("slow", 300)).unwrap();
    wait_until_sql(
        &mut place.client,
        "select (count(*) > 0)::text from queues.call where provider = 'slow'",
        "true",
    );
    place.client.batch_execute(&insert("quick", 100)).unwrap();
    place.wait_ended("quick");
    assert_eq!(
        place.text(
            "select count(*)::text from queues.task where task_type = 'slow' and finished_at is not null"
        ),
        "0"
    );
    let refused = web.seen().len();
    assert!(refused < 100, "{refused} requests while the provider asks to wait");
    CLOSED.store(false, Relaxed);
    place.wait_ended("slow");
    assert_eq!(place.text("select count(*)::text from queues.error"), "0");
    // Each task kept its key, and nothing was accepted twice.
    let accepted = &web.seen()[refused..];
    let mut keys: Vec<_> = accepted.iter().map(|seen| seen.header("idempotency-key").unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 300);
}

#[test]
fn a_wait_that_is_too_long_is_a_failure() {
    let web = Anything::start(|_| (503, vec![("Retry-After", "7200".into())], "maintenance".into()));
    let mut place = place(true, &[]);
    place.register("shut", &web.url(), "");
    let id = queue::enqueue(&mut place.client, "shut", json!({ "request": {} }));
    queue::wait_status(&mut place.client, id, "failed");
    let error = queue::errors(&mut place.client, id)[0].error_message.clone();
    assert!(error.contains("HTTP 503: maintenance"), "{error}");
}

#[test]
fn a_limit_of_calls_in_flight_counts_for_all_workers() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let web = Anything::start(|_| {
        MOST.fetch_max(NOW.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(20));
        NOW.fetch_sub(1, SeqCst);
        ok("{}")
    });
    let mut place = place(true, &[("pg_errand.concurrency", "2")]);
    place.register("narrow", &web.url(), "max_in_flight = 3");
    place
        .client
        .batch_execute("insert into queues.task (task_type, payload) select 'narrow', '{\"request\": {}}' from generate_series(1, 100)")
        .unwrap();
    place.wait_ended("narrow");
    assert_eq!(web.seen().len(), 100);
    let most = MOST.load(SeqCst);
    assert!((1..=3).contains(&most), "{most} at the same time");
}

#[test]
fn requests_are_spread_over_time() {
    let web = Anything::start(|_| ok("{}"));
    let mut place = place(true, &[]);
    place.register("paced", &web.url(), "requests_per_second = 20, burst = 1");
    place
        .client
        .batch_execute("insert into queues.task (task_type, payload) select 'paced', '{\"request\": {}}' from generate_series(1, 30)")
        .unwrap();
    place.wait_ended("paced");
    let seen = web.seen();
    let took = seen[29].at - seen[0].at;
    // 29 pauses of 50 ms, less what a single request can be late.
    assert!(took.as_millis() > 29 * 50 - 500, "{took:?}");
}

#[test]
fn a_dead_provider_does_not_hold_up_the_others() {
    let dead = Anything::start(|_| (0, vec![], String::new()));
    let web = Anything::start(|_| ok("{}"));
    let mut place = place(true, &[("pg_errand.http_timeout", "1h")]);
    let mut sql = String::new();
    for n in 0..10 {
        let url = if n == 0 { dead.url() } else { web.url() };
        place.register(&format!("p{n}"), &url, "");
        sql += &format!(
            "insert into queues.task (task_type, payload) select 'p{n}', '{{\"request\": {{}}}}' from generate_series(1, 100);"
        );
    }
    place.client.batch_execute(&format!("begin; {sql} commit")).unwrap();
    (1..10).for_each(|n| place.wait_ended(&format!("p{n}")));
    assert_eq!(web.seen().len(), 900);
}

#[test]
fn a_call_that_waits_for_its_provider_goes_on_after_its_worker_dies() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    static CLOSED: AtomicBool = AtomicBool::new(true);
    let web = Anything::start(|_| match CLOSED.load(Relaxed) {
        true => (429, vec![("Retry-After", "1".into())], "slow down".into()),
        false => ok("{}"),
    });
    let mut place = place(true, &[("pg_errand.concurrency", "1")]);
    place.register("slow", &web.url(), "");
    let id = queue::enqueue(&mut place.client, "slow", json!({ "request": { "body": "x" } }));
    crate::harness::wait::eventually("a refusal", || !web.seen().is_empty());
    let pid = queue::workers(&mut place.client)[0].pid;
    place.cluster.kill(pid, libc::SIGTERM);
    CLOSED.store(false, Relaxed);
    queue::wait_status(&mut place.client, id, "succeeded");
    let seen = web.seen();
    assert!(seen.iter().all(|one| one.header("idempotency-key") == seen[0].header("idempotency-key")));
}

#[test]
fn twilio_gets_a_form_with_basic_auth_and_its_errors_are_passed_on() {
    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
    let web = Anything::start(|seen| match seen.body.contains("To=%2B4915") {
        true => (201, vec![], r#"{"sid": "SM1", "status": "queued"}"#.into()),
        false => {
            (400, vec![], r#"{"code": 21211, "message": "Invalid 'To' Phone Number", "status": 400}"#.into())
        }
    });
    let mut place = place(
        false,
        &[
            ("pg_errand.sms_provider", "twilio"),
            ("pg_errand.twilio_account_sid", ACCOUNT),
            ("pg_errand.twilio_auth_token", TOKEN),
            ("pg_errand.twilio_from", "+4930"),
            ("pg_errand.twilio_base_url", &web.url()),
        ],
    );
    place
        .client
        .batch_execute(
            "create function app.sms(p jsonb) returns jsonb language sql as
             $$ select jsonb_build_object('success', true, 'payload', p -> 'sms') $$",
        )
        .unwrap();
    for (number, status) in [("+4915", "succeeded"), ("+1", "failed")] {
        let sms = json!({ "message_id": 1, "to_number": number, "body": "Grüße & mehr" });
        let id = queue::enqueue(&mut place.client, "sms", json!({ "before_handler": "app.sms", "sms": sms }));
        queue::wait_status(&mut place.client, id, status);
    }
    assert_eq!(place.result(1)["sid"], "SM1");
    let error = queue::errors(&mut place.client, 2)[0].error_message.clone();
    assert!(error.contains("HTTP 400 21211: Invalid 'To' Phone Number"), "{error}");
    let seen = &web.seen()[0];
    assert_eq!(seen.target, format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json"));
    assert_eq!(seen.body, "To=%2B4915&Body=Gr%C3%BC%C3%9Fe+%26+mehr&From=%2B4930");
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert!(seen.header("authorization").is_some_and(|value| value.starts_with("Basic QUMwMTIz")));
    // The token of the setting goes nowhere else.
    let elsewhere = Anything::start(|_| (201, vec![], "{}".into()));
    place.register("theirs", &elsewhere.url(), "interface = 'twilio'");
    let sms = json!({ "message_id": 1, "to_number": "+4915", "body": "x" });
    let id = queue::enqueue(&mut place.client, "theirs", json!({ "before_handler": "app.sms", "sms": sms }));
    queue::wait_status(&mut place.client, id, "failed");
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn a_text_message_that_a_death_cut_off_is_not_sent_twice() {
    let web = Anything::start(|_| (0, vec![], String::new()));
    let mut place = place(
        false,
        &[
            ("pg_errand.sms_provider", "twilio"),
            ("pg_errand.concurrency", "1"),
            ("pg_errand.twilio_account_sid", "AC0123456789abcdef0123456789abcdef"),
            ("pg_errand.twilio_auth_token", TOKEN),
            ("pg_errand.twilio_from", "+4930"),
            ("pg_errand.twilio_base_url", &web.url()),
        ],
    );
    place
        .client
        .batch_execute(
            r#"create function app.sms(p jsonb) returns jsonb language sql as
             $$ select '{"success": true, "payload": {"message_id": 1, "to_number": "+4915", "body": "x"}}'::jsonb $$"#,
        )
        .unwrap();
    let id = queue::enqueue(&mut place.client, "sms", json!({ "before_handler": "app.sms" }));
    crate::harness::wait::eventually("the request", || !web.seen().is_empty());
    let pid = queue::workers(&mut place.client)[0].pid;
    place.cluster.kill(pid, libc::SIGTERM);
    queue::wait_status(&mut place.client, id, "failed");
    let error = queue::errors(&mut place.client, id)[0].error_message.clone();
    assert!(error.contains("outcome unknown"), "{error}");
    assert_eq!(web.seen().len(), 1);
}

/// A mail server for one connection after the other: what it was told, line by line.
fn mail_server() -> (u16, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = told.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut writer = stream.try_clone().unwrap();
            let _ = writer.write_all(b"220 mail.test\r\n");
            let mut in_data = false;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let answer = match line.as_str() {
                    "." if in_data => "250 2.0.0 queued as 42",
                    _ if in_data => "",
                    "DATA" => "354 go on",
                    "QUIT" => "221 bye",
                    _ if line.starts_with("EHLO") => "250-mail.test\r\n250 AUTH PLAIN",
                    _ if line.starts_with("AUTH") => "235 welcome",
                    _ if line.contains("nobody@") => "550 5.1.1 no such mailbox",
                    _ => "250 fine",
                };
                in_data = (in_data || line == "DATA") && line != ".";
                kept.lock().unwrap().push(line);
                if !answer.is_empty() && writer.write_all(format!("{answer}\r\n").as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (port, told)
}

#[test]
fn mail_goes_by_smtp_if_the_setting_says_so() {
    let (port, told) = mail_server();
    let port = port.to_string();
    let mut place = place(
        false,
        &[
            ("pg_errand.email_provider", "smtp"),
            ("pg_errand.smtp_host", "127.0.0.1"),
            ("pg_errand.smtp_port", &port),
            ("pg_errand.smtp_tls", "none"),
            ("pg_errand.smtp_user", "me"),
            ("pg_errand.smtp_password", TOKEN),
        ],
    );
    place
        .client
        .batch_execute(
            "create function app.mail(p jsonb) returns jsonb language sql as
             $$ select jsonb_build_object('success', true, 'payload', p -> 'mail') $$",
        )
        .unwrap();
    for (to, status) in [("you@mail.test", "succeeded"), ("nobody@mail.test", "failed")] {
        let mail = json!({
            "message_id": 1, "from_address": "Me <me@mail.test>", "to_address": to, "bcc": "hidden@mail.test",
            "subject": "Grüße", "html": "<p>Hi</p>", "text": "Hi",
            "attachments": [{ "filename": "a.txt", "content": "aGVsbG8=" }],
        });
        let id =
            queue::enqueue(&mut place.client, "email", json!({ "before_handler": "app.mail", "mail": mail }));
        queue::wait_status(&mut place.client, id, status);
    }
    assert_eq!(place.result(1)["response"], "2.0.0 queued as 42");
    let error = queue::errors(&mut place.client, 2)[0].error_message.clone();
    assert!(error.contains("permanent: 550 5.1.1 no such mailbox"), "{error}");
    let told = told.lock().unwrap().join("\n");
    assert!(told.contains("RCPT TO:<hidden@mail.test>") && !told.contains("Bcc:"), "{told}");
    assert!(told.contains("multipart/alternative") && told.contains("a.txt"), "{told}");
    assert!(told.contains("AUTH PLAIN"), "{told}");
    let all =
        place.cluster.log() + &place.text("select coalesce(string_agg(c::text, ' '), '') from queues.call c");
    assert!(!all.contains(TOKEN));
}
