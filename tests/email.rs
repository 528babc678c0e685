//! E-mail, from the task to the provider and to the handlers of the result.

use postgres::Client;
use serde_json::{Value, json};
use standin::{Behaviour, Options, Standin};

use crate::harness::calling::register;
use crate::harness::cluster::Cluster;
use crate::harness::mailing::{KEY, Mailing, mail, prepare, send, task};
use crate::harness::queue;
use crate::harness::wait::{eventually, wait_until_sql};

/// The header of the only request so far.
#[track_caller]
fn header(mailing: &Mailing, name: &str) -> String {
    let requests = mailing.standin.requests();
    assert_eq!(requests.len(), 1);
    let values: Vec<_> = requests[0].request.headers_named(name).collect();
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values[0].to_owned()
}

/// `task(mail)` with one field changed.
fn task_with(field: &str, value: Value) -> Value {
    let mut payload = task(&mail("someone@mail.test"));
    payload[field] = value;
    payload
}

/// Enqueues mails, one after the other, until one arrives at this stand-in.
#[track_caller]
fn send_until_it_arrives(client: &mut Client, standin: &Standin) {
    eventually("a mail arrives", || {
        let task_id = send(client, "someone@mail.test");
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(client, task_id).as_str())
        });
        !standin.mails().is_empty()
    });
}

#[test]
fn all_fields_arrive_under_the_provider_s_names() {
    let mut mailing = Mailing::start(&[]);
    let full = json!({
        "message_id": "m-1",
        "from_address": "Ann Ó <ann@mail.test>",
        "to_address": ["a@mail.test", "b@mail.test"],
        "subject": "Grüße 🦀 \"quoted\"",
        "html": "<p>1 &lt; 2 \\u0000</p>\n",
        "text": "plain",
        "cc": "c@mail.test",
        "bcc": ["d@mail.test"],
        "reply_to": ["e@mail.test", "f@mail.test"],
        "headers": {"X-Entity-Ref-ID": "1"},
        "tags": [{"name": "category", "value": "confirm_email"}],
        "attachments": [{"filename": "a.txt", "content": "aGVsbG8="}],
    });
    let task_id = queue::enqueue(&mut mailing.client, "email", task(&full));
    mailing.wait(task_id, "succeeded");
    let body = mailing.standin.mails()[0].body.clone();
    let expected = json!({
        "from": full["from_address"], "to": full["to_address"], "subject": full["subject"], "html": full["html"],
        "text": full["text"], "cc": full["cc"], "bcc": full["bcc"], "reply_to": full["reply_to"],
        "headers": full["headers"], "tags": full["tags"], "attachments": full["attachments"],
    });
    assert_eq!(body, expected);

    mailing.standin.clear();
    let task_id = mailing.deliver("alone@mail.test");
    let body = mailing.standin.mails()[0].body.clone();
    let expected = json!({
        "from": "sender@mail.test", "to": "alone@mail.test", "subject": "Hello", "html": "<p>Hello</p>",
    });
    assert_eq!(body, expected, "what is absent is not sent");
    assert!(queue::errors(&mut mailing.client, task_id).is_empty());

    // A null optional field is an absent one.
    mailing.standin.clear();
    let mut sparse = mail("alone@mail.test");
    sparse["cc"] = Value::Null;
    let task_id = queue::enqueue(&mut mailing.client, "email", task(&sparse));
    mailing.wait(task_id, "succeeded");
    assert_eq!(mailing.standin.mails()[0].body, expected);
}

#[test]
fn requests_say_who_asks_and_carry_a_random_key() {
    let mut mailing = Mailing::start(&[]);
    mailing.deliver("first@mail.test");
    let version: String = mailing
        .client
        .query_one("select extversion from pg_extension where extname = 'pg_errand'", &[])
        .unwrap()
        .get(0);
    assert_eq!(header(&mailing, "User-Agent"), format!("pg_errand/{version}"));
    assert_eq!(header(&mailing, "Authorization"), format!("Bearer {KEY}"));
    assert!(header(&mailing, "Content-Type").starts_with("application/json"));
    let first = header(&mailing, "Idempotency-Key");
    assert_eq!(uuid::Uuid::parse_str(&first).unwrap().get_version_num(), 4);
    let exchange = mailing.standin.requests().remove(0);
    assert_eq!((exchange.request.method.as_str(), exchange.request.target.as_str()), ("POST", "/emails"));

    mailing.standin.clear();
    mailing.deliver("second@mail.test");
    assert_ne!(header(&mailing, "Idempotency-Key"), first);
}

#[test]
fn the_success_handler_gets_the_task_s_payload_and_the_provider_s_answer() {
    let mut mailing = Mailing::start(&[("pg_errand.log_level", "debug")]);
    let payload = task_with("order_id", json!(12));
    let task_id = queue::enqueue(&mut mailing.client, "email", payload.clone());
    mailing.wait(task_id, "succeeded");
    let id = mailing.standin.mails()[0].id.clone();
    let expected = json!({"original_payload": payload, "worker_payload": {"id": id}});
    assert_eq!(mailing.seen("success"), [expected]);
    assert!(mailing.seen("error").is_empty());
    mailing.cluster.wait_log(0, &format!("task_id={task_id} task_type=email"));

    // All handlers but the before_handler are optional.
    let bare = json!({"task_type": "email", "before_handler": "app.build", "mail": mail("bare@mail.test")});
    let task_id = queue::enqueue(&mut mailing.client, "email", bare.clone());
    mailing.wait(task_id, "succeeded");
    let mut refused = bare;
    refused["mail"]["to_address"] = json!("not-an-address");
    let task_id = queue::enqueue(&mut mailing.client, "email", refused);
    assert!(mailing.error(task_id).contains("422"));
    assert_eq!((mailing.seen("success").len(), mailing.seen("error").len()), (1, 0));
}

#[test]
fn a_mail_with_missing_or_invalid_fields_is_not_sent_and_the_error_names_the_field() {
    let mut mailing = Mailing::start(&[]);
    let cases = [
        ("from_address", Value::Null),
        ("from_address", json!(7)),
        ("to_address", Value::Null),
        ("to_address", json!({"a": 1})),
        ("to_address", json!(["a@mail.test", 7])),
        ("subject", Value::Null),
        ("subject", json!(["s"])),
        ("html", Value::Null),
        ("html", json!(true)),
        ("text", json!(1)),
        ("cc", json!(7)),
        ("bcc", json!([null])),
        ("reply_to", json!({})),
        ("headers", json!("X-A: 1")),
        ("tags", json!("tag")),
        ("attachments", json!({"filename": "a.txt"})),
    ];
    for (field, value) in cases {
        let mut wrong = mail("someone@mail.test");
        wrong[field] = value.clone();
        let payload = task(&wrong);
        let task_id = queue::enqueue(&mut mailing.client, "email", payload.clone());
        let message = mailing.error(task_id);
        assert!(
            message.contains(field) && message.contains("email") && message.contains("app.build"),
            "{field} = {value}: {message}"
        );
        let told = mailing.seen("error").pop().unwrap();
        assert_eq!(told, json!({"original_payload": payload, "error": message}));
    }
    assert!(mailing.standin.requests().is_empty());
    assert!(mailing.seen("success").is_empty());
}

#[test]
fn a_failing_before_handler_keeps_the_provider_from_being_called() {
    let mut mailing = Mailing::start(&[]);
    let returning = |returned: Value| {
        let mut payload = task_with("before_handler", json!("app.returns"));
        payload["returned"] = returned;
        payload
    };
    let good = mail("someone@mail.test");
    let cases = [
        (task_with("before_handler", json!("app.raises")), "this handler always raises"),
        (task_with("before_handler", json!("app.no_such_function")), "app.no_such_function"),
        (task_with("before_handler", Value::Null), "before_handler"),
        (returning(json!({"error": "boom", "payload": good})), "boom"),
        (returning(json!({"error": {"message": "deep boom"}, "payload": good})), "deep boom"),
        (returning(json!({"validation_failure_message": "no consent", "payload": good})), "no consent"),
        (returning(json!({"success": false, "payload": good})), "success is false"),
        (returning(json!({"status": "not_found", "payload": good})), "not_found"),
        (returning(json!({"success": true})), "payload"),
        (returning(json!({"status": "succeeded", "payload": null})), "payload"),
        (returning(json!({})), "payload"),
        (returning(Value::Null), "app.returns"),
        (returning(json!(42)), "a number"),
        (returning(json!([good])), "an array"),
        (returning(json!({"payload": "text"})), "app.returns"),
    ];
    for (index, (payload, reason)) in cases.into_iter().enumerate() {
        let task_id = queue::enqueue(&mut mailing.client, "email", payload.clone());
        let message = mailing.error(task_id);
        assert!(message.contains(reason) && message.contains("email"), "{payload}: {message}");
        let told = mailing.seen("error");
        assert_eq!(told.len(), index + 1);
        assert_eq!(told[index], json!({"original_payload": payload, "error": message}));
    }
    let mut absent = task(&good);
    absent.as_object_mut().unwrap().remove("before_handler");
    let task_id = queue::enqueue(&mut mailing.client, "email", absent);
    assert!(mailing.error(task_id).contains("before_handler"));

    assert!(mailing.standin.requests().is_empty());
    assert!(mailing.seen("success").is_empty());
    assert_eq!(mailing.number("select count(*) from queues.call"), 0);

    // What is no error in an envelope is none here.
    let harmless = json!({
        "success": true, "error": {}, "validation_failure_message": "", "status": "succeeded", "payload": good,
    });
    let task_id = queue::enqueue(&mut mailing.client, "email", returning(harmless));
    mailing.wait(task_id, "succeeded");
}

#[test]
fn an_error_of_the_provider_fails_the_task_with_its_status_name_and_message() {
    let mut mailing = Mailing::start(&[]);
    let cases: [(&str, Behaviour, &[&str]); 9] = [
        (
            "a@mail.test",
            Behaviour::error(422, "validation_error", "Invalid `to` field."),
            &["422", "validation_error", "Invalid `to` field."],
        ),
        (
            "b@mail.test",
            Behaviour::error(403, "validation_error", "The domain is not verified."),
            &["403", "validation_error", "The domain is not verified."],
        ),
        (
            "c@mail.test",
            Behaviour::error(401, "restricted_api_key", "Only for sending."),
            &["401", "restricted_api_key", "Only for sending."],
        ),
        (
            "d@mail.test",
            Behaviour::error(409, "invalid_idempotent_request", "Another body."),
            &["409", "invalid_idempotent_request", "Another body."],
        ),
        (
            "e@mail.test",
            Behaviour::error(429, "daily_quota_exceeded", "Wait a day."),
            &["429", "daily_quota_exceeded", "Wait a day."],
        ),
        ("f@mail.test", Behaviour::html(500, "<html><body>Bad day</body></html>"), &["500", "Bad day"]),
        (
            "g@mail.test",
            Behaviour::error(503, "service_unavailable", "Later."),
            &["503", "service_unavailable", "Later."],
        ),
        ("h@mail.test", Behaviour::html(502, ""), &["502"]),
        ("i@mail.test", Behaviour::json(400, &json!(["odd"])), &["400", "odd"]),
    ];
    let rules: Vec<_> = cases.iter().map(|(to, behaviour, _)| (*to, behaviour.clone())).collect();
    mailing.standin.behave(move |submission| {
        rules.iter().find(|(to, _)| submission.is_to(to)).map(|(_, behaviour)| behaviour.clone())
    });
    for (to, _, parts) in &cases {
        let task_id = mailing.send(to);
        let message = mailing.error(task_id);
        for part in parts.iter().chain(&["email"]) {
            assert!(message.contains(part), "{to}: {part} is not in {message}");
        }
        let told = mailing.seen("error").pop().unwrap();
        assert_eq!(told, json!({"original_payload": task(&mail(to)), "error": message}));
        let status: Option<String> = mailing
            .client
            .query_one("select last_error from queues.task_status where task_id = $1", &[&task_id])
            .unwrap()
            .get(0);
        assert_eq!(status, Some(message));
    }
    // Nothing was tried again.
    assert_eq!(mailing.standin.requests().len(), cases.len());
    assert!(mailing.standin.mails().is_empty() && mailing.seen("success").is_empty());
    mailing.deliver("someone@mail.test");
}

#[test]
fn a_missing_api_key_is_one_clear_error_per_task() {
    let mut mailing = Mailing::build(Cluster::builder());
    for _ in 0..3 {
        let task_id = mailing.send("someone@mail.test");
        let message = mailing.error(task_id);
        assert!(
            message.contains("pg_errand.resend_api_key") && message.contains("RESEND_API_KEY"),
            "{message}"
        );
    }
    assert_eq!(mailing.seen("error").len(), 3);
    assert!(mailing.standin.requests().is_empty());

    // A key set by reload is used without a restart.
    mailing.cluster.set(&[("pg_errand.resend_api_key", KEY)]);
    send_until_it_arrives(&mut mailing.client, &mailing.standin);
    // One that is wrong is the provider's to refuse.
    mailing.cluster.set(&[("pg_errand.resend_api_key", "re_wrong_key")]);
    let message = eventually("a mail is refused", || {
        let task_id = mailing.send("someone@mail.test");
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(&mut mailing.client, task_id).as_str())
        });
        queue::errors(&mut mailing.client, task_id).pop()
    });
    assert!(message.error_message.contains("403 invalid_api_key"), "{message:?}");
}

#[test]
fn nobody_who_builds_a_mail_is_blamed_for_a_setting_or_secret_that_is_missing() {
    let mut mailing = Mailing::build(Cluster::builder());
    let fields = json!({"interface": "resend", "secret": "theirs", "base_url": mailing.standin.url()});
    register(&mut mailing.client, "theirs", &fields).unwrap();
    for (name, interface) in [("by_smtp", "smtp"), ("by_twilio", "twilio")] {
        register(&mut mailing.client, name, &json!({ "interface": interface })).unwrap();
    }
    for (task_type, start) in [
        ("email", "email: resend: no API key for Resend"),
        ("by_smtp", "by_smtp: no mail server"),
        ("by_twilio", "by_twilio: no account for Twilio"),
        ("theirs", "theirs: "),
    ] {
        // Also where what was built could not be sent anyway.
        let payloads = match task_type {
            "email" | "theirs" => vec![mail("you@mail.test")],
            _ => vec![mail("you@mail.test"), json!({})],
        };
        for mail in payloads {
            let payload = json!({"before_handler": "app.build", "mail": mail});
            let task_id = queue::enqueue(&mut mailing.client, task_type, payload);
            let message = mailing.error(task_id);
            assert!(message.starts_with(start) && !message.contains("app.build"), "{message}");
            let sql = "select handler is null and detail = 'The request was built by app.build.' \
                       from queues.error where task_id = $1";
            let blames_nobody: bool = mailing.client.query_one(sql, &[&task_id]).unwrap().get(0);
            assert!(blames_nobody, "{task_type}: {message}");
        }
    }
    assert!(mailing.standin.requests().is_empty());
    // What is wrong with the payload is the handler's business.
    let payload = json!({"before_handler": "app.build", "mail": {}});
    let task_id = queue::enqueue(&mut mailing.client, "email", payload);
    assert!(mailing.error(task_id).starts_with("email before_handler app.build: the payload has no"));
}

#[test]
fn the_api_key_comes_from_the_environment_where_the_setting_is_empty() {
    // A proxy in the environment is none of the workers' business.
    let builder = Cluster::builder().env("RESEND_API_KEY", KEY).env("http_proxy", "http://127.0.0.1:1");
    let mut mailing = Mailing::build(builder.env("ALL_PROXY", "http://127.0.0.1:1"));
    mailing.deliver("someone@mail.test");
    assert_eq!(header(&mailing, "Authorization"), format!("Bearer {KEY}"));

    let builder =
        Cluster::builder().env("RESEND_API_KEY", "re_other_key").set("pg_errand.resend_api_key", KEY);
    let mut mailing = Mailing::build(builder);
    mailing.deliver("someone@mail.test");
    assert_eq!(header(&mailing, "Authorization"), format!("Bearer {KEY}"), "the setting wins");
}

#[test]
fn the_provider_s_address_changes_by_reload_and_per_database() {
    let mut mailing = Mailing::start(&[]);
    let second = Standin::start(Options::default()).unwrap();
    let of_database = Standin::start(Options::default()).unwrap();
    mailing.deliver("someone@mail.test");
    // A slash at the end does no harm.
    mailing.cluster.set(&[("pg_errand.resend_base_url", &format!("{}/", second.url()))]);
    send_until_it_arrives(&mut mailing.client, &second);

    mailing.client.batch_execute("create database other").unwrap();
    let mut other = mailing.cluster.connect("other");
    prepare(&mut other);
    second.clear();
    let task_id = send(&mut other, "before@mail.test");
    queue::wait_status(&mut other, task_id, "succeeded");
    assert_eq!(second.mails().len(), 1);

    let url = of_database.url();
    mailing
        .client
        .batch_execute(&format!("alter database other set pg_errand.resend_base_url = '{url}'"))
        .unwrap();
    send_until_it_arrives(&mut other, &of_database);
    let task_id = send(&mut other, "after@mail.test");
    queue::wait_status(&mut other, task_id, "succeeded");
    assert!(of_database.mails().iter().any(|mail| mail.to() == ["after@mail.test"]));
    let before = of_database.requests().len();
    mailing.deliver("third@mail.test");
    assert_eq!(of_database.requests().len(), before, "the setting is for one database only");
    assert!(second.mails().iter().any(|mail| mail.to() == ["third@mail.test"]));

    other.batch_execute("alter database other reset pg_errand.resend_base_url").unwrap();
    second.clear();
    send_until_it_arrives(&mut other, &second);
}

#[test]
fn a_setting_for_a_database_counts_for_the_next_task() {
    let mut mailing = Mailing::start(&[]);
    let of_database = Standin::start(Options::default()).unwrap();
    mailing.deliver("someone@mail.test");
    let url = of_database.url();
    mailing
        .client
        .batch_execute(&format!("alter database postgres set pg_errand.resend_base_url = '{url}'"))
        .unwrap();
    mailing.deliver("someone@mail.test");
    assert_eq!((mailing.standin.mails().len(), of_database.mails().len()), (1, 1));
}

#[test]
fn what_a_handler_sets_does_not_change_where_and_how_mails_are_sent() {
    let mut mailing = Mailing::start(&[("pg_errand.role", "postgres"), ("pg_errand.concurrency", "1")]);
    let decoy = Standin::start(Options::default()).unwrap();
    let sql = format!(
        "create function app.build_and_set(_payload jsonb) returns jsonb language sql as $$
            select set_config('pg_errand.resend_base_url', '{}', false);
            select set_config('pg_errand.resend_api_key', 're_wrong_key', false);
            select app.build(_payload)
        $$",
        decoy.url()
    );
    mailing.client.batch_execute(&sql).unwrap();
    let payload = task_with("before_handler", json!("app.build_and_set"));
    let task_id = queue::enqueue(&mut mailing.client, "email", payload);
    mailing.wait(task_id, "succeeded");
    mailing.deliver("someone@mail.test");
    assert_eq!((mailing.standin.mails().len(), decoy.requests().len()), (2, 0));
}

#[test]
fn two_databases_send_at_the_same_time() {
    let mut mailing = Mailing::start(&[]);
    mailing.client.batch_execute("create database other").unwrap();
    let mut other = mailing.cluster.connect("other");
    prepare(&mut other);
    mailing.standin.hold();
    let task_id = mailing.send("one@mail.test");
    let other_task = send(&mut other, "two@mail.test");
    mailing.wait_held(2);
    mailing.standin.release();
    mailing.wait(task_id, "succeeded");
    queue::wait_status(&mut other, other_task, "succeeded");
    wait_until_sql(&mut other, "select count(*) from app.seen where handler = 'success'", "1");
    assert_eq!(mailing.seen("success").len(), 1);
}

#[test]
fn an_address_that_is_no_url_is_refused_and_says_what_is_allowed() {
    let mut mailing = Mailing::start(&[]);
    for bad in ["", "api.resend.com", "ftp://mail.test", "http://user:password@mail.test"] {
        let sql = format!("alter system set pg_errand.resend_base_url = '{bad}'");
        let error = mailing.client.batch_execute(&sql).unwrap_err();
        let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default();
        assert!(detail.contains("URL"), "{bad}: {error:?}");
    }
    mailing.deliver("someone@mail.test");
}

#[test]
fn a_mail_of_a_megabyte_arrives_as_it_was_and_an_answer_keeps_its_numbers() {
    let mut mailing = Mailing::start(&[]);
    let mut large = mail("large@mail.test");
    large["html"] = json!("<p>ü🦀\t\"\\</p>\n".repeat(60_000));
    let task_id = queue::enqueue(&mut mailing.client, "email", task(&large));
    mailing.wait(task_id, "succeeded");
    assert_eq!(mailing.standin.mails()[0].body["html"], large["html"]);

    let body = r#"{"id": 123456789012345678901234567890, "price": 0.1000, "list": [1e30, null, true]}"#;
    let answer = standin::Answer::new(200, "application/json", body);
    mailing.standin.behave(move |_| Some(Behaviour::answer(answer.clone())));
    let task_id = mailing.deliver("numbers@mail.test");
    let sql = "select (response = $2::text::jsonb and response::text = $2::text::jsonb::text)::text
        from queues.call where task_id = $1";
    let same: String = mailing.client.query_one(sql, &[&task_id, &body]).unwrap().get(0);
    assert_eq!(same, "true");
}

#[test]
fn an_unknown_field_of_a_mail_is_refused_with_the_right_name_and_nothing_is_sent() {
    let mut mailing = Mailing::start(&[]);
    for (field, value, said) in [
        ("replyTo", json!("a@mail.test"), "no field replyTo; did you mean reply_to?"),
        ("from", json!("a@mail.test"), "no field from; did you mean from_address?"),
        ("send_at", json!("2030-01-01T00:00:00Z"), "no field send_at; did you mean scheduled_at?"),
        ("messaging_service_sid", json!("MG0"), "no field messaging_service_sid; it may have from_address"),
        (
            "attachments",
            json!([{"filename": "a.txt", "content": "aGVsbG8=", "contentType": "text/plain"}]),
            "an attachment has no field contentType; did you mean content_type?",
        ),
    ] {
        let mut wrong = mail("someone@mail.test");
        wrong[field] = value;
        let task_id = queue::enqueue(&mut mailing.client, "email", task(&wrong));
        let message = mailing.error(task_id);
        assert!(message.contains(said) && message.contains("app.build"), "{field}: {message}");
    }
    assert!(mailing.standin.requests().is_empty());
    // A null field is an absent one, whatever its name; the task's own payload may hold anything.
    let mut sparse = task(&mail("someone@mail.test"));
    sparse["replyTo"] = json!("a@mail.test");
    sparse["mail"]["replyTo"] = Value::Null;
    let task_id = queue::enqueue(&mut mailing.client, "email", sparse);
    mailing.wait(task_id, "succeeded");
}

#[test]
fn a_mail_for_later_is_scheduled_by_resend() {
    let mut mailing = Mailing::start(&[]);
    let mut later = mail("someone@mail.test");
    later["scheduled_at"] = json!("2030-01-01T00:00:00Z");
    let task_id = queue::enqueue(&mut mailing.client, "email", task(&later));
    mailing.wait(task_id, "succeeded");
    assert_eq!(mailing.standin.mails()[0].body["scheduled_at"], later["scheduled_at"]);
}

#[test]
fn all_that_a_provider_says_of_an_error_is_told() {
    let mut mailing = Mailing::start(&[]);
    let body =
        json!({"statusCode": 422, "name": "validation_error", "message": ["Invalid `to`.", "Invalid `cc`."]});
    mailing.standin.behave(move |_| Some(Behaviour::json(422, &body)));
    let task_id = mailing.send("someone@mail.test");
    let message = mailing.error(task_id);
    assert!(message.contains("HTTP 422 validation_error: Invalid `to`.; Invalid `cc`."), "{message}");
}

#[test]
fn addresses_are_written_so_that_resend_takes_them() {
    let mut mailing = Mailing::start(&[]);
    let mut odd = mail("Ann (Sales) <a@mail.test>\n");
    odd["from_address"] = json!("Ü <me@bücher.test>");
    odd["cc"] = json!(["c@bücher.test", "C <c@mail.test>"]);
    let task_id = queue::enqueue(&mut mailing.client, "email", task(&odd));
    mailing.wait(task_id, "succeeded");
    let body = mailing.standin.mails()[0].body.clone();
    assert_eq!(body["from"], "Ü <me@xn--bcher-kva.test>");
    assert_eq!(body["to"], "\"Ann (Sales)\" <a@mail.test>");
    assert_eq!(body["cc"], json!(["c@xn--bcher-kva.test", "C <c@mail.test>"]));
}

#[test]
fn a_blank_html_is_not_sent_beside_a_text() {
    let mut mailing = Mailing::start(&[]);
    let mut with_text = mail("someone@mail.test");
    with_text["html"] = json!("");
    with_text["text"] = json!("Hello");
    let task_id = queue::enqueue(&mut mailing.client, "email", task(&with_text));
    mailing.wait(task_id, "succeeded");
    let body = mailing.standin.mails()[0].body.clone();
    assert_eq!((&body["html"], &body["text"]), (&Value::Null, &json!("Hello")));
}
