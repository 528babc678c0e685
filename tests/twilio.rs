//! Text messages with Twilio, against a stand-in as strict as the published interface.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postgres::Client;
use serde_json::{Value, json};
use standin::{Answer, Request, Web};

use crate::harness::calling::{at, register};
use crate::harness::cluster::Cluster;
use crate::harness::mailing::prepare;
use crate::harness::queue;
use crate::harness::wait::eventually;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "tok_Zx9yW8vUq";
const FROM: &str = "+15005550006";
const API_KEY: &str = "SK0123456789abcdef0123456789abcdef";
const SERVICE: &str = "MG0123456789abcdef0123456789abcdef";
const TEMPLATE: &str = "HX0123456789abcdef0123456789abcdef";

fn error(status: u16, code: u32, message: &str) -> Answer {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    Answer::json(status, &json!({"code": code, "message": message, "more_info": more, "status": status}))
}

/// A form's fields.
fn form(request: &Request) -> BTreeMap<String, String> {
    let text = std::str::from_utf8(&request.body).unwrap_or_default();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn twilio(request: &Request) -> Answer {
    let sent = request.header("Authorization").unwrap_or_default();
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{TOKEN}")));
    if ![basic(ACCOUNT), basic(API_KEY)].contains(&sent.to_owned()) {
        return error(401, 20003, &format!("Authenticate, not {sent}"));
    }
    if request.method != "POST" || request.target != format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json") {
        return error(404, 20404, "The requested resource was not found");
    }
    if request.header("Content-Type") != Some("application/x-www-form-urlencoded") {
        return error(400, 20001, "Unknown content type");
    }
    message(&form(request))
}

fn message(form: &BTreeMap<String, String>) -> Answer {
    let known = [
        "To",
        "From",
        "MessagingServiceSid",
        "Body",
        "MediaUrl",
        "StatusCallback",
        "ContentSid",
        "ContentVariables",
    ];
    if let Some(unknown) = form.keys().find(|name| !known.contains(&name.as_str())) {
        return error(400, 20001, &format!("Unknown parameter {unknown}"));
    }
    match form.get("To").map(String::as_str) {
        None => return error(400, 21604, "A 'To' phone number is required."),
        Some("+15005550001") => {
            return error(400, 21211, &format!("Invalid 'To' Phone Number, {TOKEN}"));
        }
        Some(_) => (),
    }
    if form.contains_key("From") == form.contains_key("MessagingServiceSid") {
        return error(400, 21603, "A 'From' phone number or a messaging service is required.");
    }
    if !["Body", "MediaUrl", "ContentSid"].iter().any(|name| form.contains_key(*name)) {
        return error(400, 21602, "Message body is required.");
    }
    if form.get("Body").is_some_and(|body| body == "costly") {
        let message = r#"{"sid": "SM0124", "body": "costly", "price": 1e999999}"#;
        return Answer::new(201, "application/json", message);
    }
    Answer::json(201, &json!({"sid": "SM0123", "status": "queued", "error_code": null, "echo": TOKEN}))
}

struct Texting {
    client: Client,
    cluster: Cluster,
    web: Web,
}

impl Texting {
    #[track_caller]
    fn start(settings: &[(&str, &str)]) -> Self {
        let web = Web::start(twilio).unwrap();
        let builder = Cluster::builder()
            .set("pg_errand.sms_provider", "twilio")
            .set("pg_errand.twilio_base_url", &web.url())
            .set("pg_errand.twilio_account_sid", ACCOUNT)
            .set("pg_errand.twilio_auth_token", TOKEN)
            .set("pg_errand.twilio_from", FROM)
            .set("pg_errand.concurrency", "1");
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
        let cluster = builder.start();
        let mut client = cluster.connect("postgres");
        prepare(&mut client);
        Self { client, cluster, web }
    }

    #[track_caller]
    fn send(&mut self, sms: &Value) -> i64 {
        let payload = json!({
            "task_type": "sms", "before_handler": "app.build", "success_handler": "app.on_success",
            "error_handler": "app.on_error", "mail": sms,
        });
        queue::enqueue(&mut self.client, "sms", payload)
    }

    /// The form of the message that was sent last, after its task has succeeded.
    #[track_caller]
    fn delivered(&mut self, sms: &Value) -> BTreeMap<String, String> {
        let task_id = self.send(sms);
        queue::wait_status(&mut self.client, task_id, "succeeded");
        form(&self.web.requests().pop().unwrap().request)
    }

    #[track_caller]
    fn error(&mut self, task_id: i64) -> String {
        queue::wait_status(&mut self.client, task_id, "failed");
        let mut errors = queue::errors(&mut self.client, task_id);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0).error_message
    }

    /// All that tables, views and the log show.
    #[track_caller]
    fn shown(&mut self) -> String {
        let sql = "select c.oid::regclass::text from pg_class c
            where c.relnamespace = 'queues'::regnamespace and c.relkind in ('r', 'v')";
        let mut relations: Vec<String> =
            self.client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
        relations.extend(["app.seen", "pg_settings", "pg_stat_activity"].map(str::to_owned));
        let mut text = self.cluster.log();
        for relation in relations {
            let sql = format!("select coalesce(string_agg(r::text, ' '), '') from {relation} r");
            text += &self.client.query_one(&sql, &[]).unwrap().get::<_, String>(0);
        }
        text
    }
}

fn sms(to: &str) -> Value {
    json!({"message_id": 7, "to_number": to, "body": "Grüße & mehr 🦀 +1"})
}

#[test]
fn a_text_message_arrives_as_its_interface_wants_it() {
    let mut texting = Texting::start(&[]);
    let form = texting.delivered(&sms("+4915112345678"));
    let expected = [("Body", "Grüße & mehr 🦀 +1"), ("From", FROM), ("To", "+4915112345678")];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let sql = "select payload -> 'worker_payload' from app.seen where handler = 'success'";
    let told: Value = texting.client.query_one(sql, &[]).unwrap().get(0);
    assert_eq!((&told["sid"], &told["status"]), (&json!("SM0123"), &json!("queued")));
    let sql = "select queues.result(task_id) ->> 'sid' from queues.task";
    assert_eq!(texting.client.query_one(sql, &[]).unwrap().get::<_, String>(0), "SM0123");
    let body = String::from_utf8(texting.web.requests()[0].request.body.clone()).unwrap();
    let expected = "To=%2B4915112345678&Body=Gr%C3%BC%C3%9Fe+%26+mehr+%F0%9F%A6%80+%2B1&From=%2B15005550006";
    assert_eq!(body, expected);
}

#[test]
fn the_number_of_a_message_is_kept_if_the_rest_of_the_response_cannot_be() {
    let mut texting = Texting::start(&[]);
    texting.delivered(&json!({"message_id": 7, "to_number": "+4915112345678", "body": "costly"}));
    let sql = "select queues.result(task_id) from queues.task";
    let result: Value = texting.client.query_one(sql, &[]).unwrap().get(0);
    assert!(result["body"].as_str().is_some_and(|body| body.contains("SM0124")), "{result}");
    assert!(
        result["warning"].as_str().is_some_and(|warning| warning.contains("cannot be stored")),
        "{result}"
    );
}

#[test]
fn a_messaging_service_or_another_number_can_send_it() {
    let mut texting = Texting::start(&[]);
    let mut message = sms("+4915112345678");
    message["from_number"] = json!(SERVICE);
    let form = texting.delivered(&message);
    assert_eq!(form.get("MessagingServiceSid").map(String::as_str), Some(SERVICE));
    message["from_number"] = json!("+15005550007");
    assert_eq!(texting.delivered(&message).get("From").map(String::as_str), Some("+15005550007"));
}

#[test]
fn a_name_that_begins_like_a_messaging_service_is_a_sender() {
    let mut texting = Texting::start(&[("pg_errand.twilio_from", "MGMotor")]);
    let form = texting.delivered(&sms("+4915112345678"));
    assert_eq!(
        (form.get("From").map(String::as_str), form.get("MessagingServiceSid")),
        (Some("MGMotor"), None)
    );
}

#[test]
fn an_api_key_speaks_for_its_account() {
    let mut texting = Texting::start(&[("pg_errand.twilio_api_key_sid", API_KEY)]);
    let sent_as = |texting: &Texting| {
        let request = texting.web.requests().pop().unwrap().request;
        let basic = request.header("Authorization").unwrap().strip_prefix("Basic ").unwrap().to_owned();
        String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap()
    };
    texting.delivered(&sms("+4915112345678"));
    assert_eq!(sent_as(&texting), format!("{API_KEY}:{TOKEN}"));

    // Of a row's own, with the account of the settings or its own.
    texting.cluster.set(&[
        ("pg_errand.twilio_api_key_sid", ""),
        ("pg_errand.secrets", &json!({"key": TOKEN}).to_string()),
    ]);
    for (n, auth_name) in [API_KEY.to_owned(), format!("{ACCOUNT}/{API_KEY}")].iter().enumerate() {
        let fields =
            at(&texting.web, json!({"interface": "twilio", "secret": "key", "auth_name": auth_name}));
        register(&mut texting.client, &format!("keyed{n}"), &fields).unwrap();
        let payload = json!({"before_handler": "app.build", "mail": sms("+4915112345678")});
        let task_id = queue::enqueue(&mut texting.client, &format!("keyed{n}"), payload);
        queue::wait_status(&mut texting.client, task_id, "succeeded");
        assert_eq!(sent_as(&texting), format!("{API_KEY}:{TOKEN}"));
    }
}

#[test]
fn a_template_goes_out_with_its_variables() {
    let mut texting = Texting::start(&[("pg_errand.twilio_from", SERVICE)]);
    let message = json!({
        "message_id": 7, "to_number": "+4915112345678", "content_sid": TEMPLATE,
        "content_variables": {"1": "Ann", "2": "Ü & Ö"},
    });
    let form = texting.delivered(&message);
    assert_eq!(form.get("ContentSid").map(String::as_str), Some(TEMPLATE));
    let variables: Value = serde_json::from_str(&form["ContentVariables"]).unwrap();
    assert_eq!((variables, form.get("Body")), (message["content_variables"].clone(), None));
}

#[test]
fn a_refusal_carries_twilio_s_code_and_words() {
    let mut texting = Texting::start(&[]);
    let task_id = texting.send(&sms("+15005550001"));
    let message = texting.error(task_id);
    for part in ["HTTP 400 21211: Invalid 'To' Phone Number", "https://www.twilio.com/docs/errors/21211"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert_eq!(texting.web.requests().len(), 1);
}

#[test]
fn what_is_missing_is_named_and_nothing_is_sent() {
    let mut texting = Texting::start(&[("pg_errand.twilio_from", "")]);
    let task_id = texting.send(&sms("+4915112345678"));
    assert!(texting.error(task_id).contains("pg_errand.twilio_from"));
    for field in ["to_number", "body"] {
        let mut message = sms("+4915112345678");
        message[field] = Value::Null;
        let task_id = texting.send(&message);
        assert!(texting.error(task_id).contains(field));
    }
    assert!(texting.web.requests().is_empty());
    let mut texting = Texting::start(&[("pg_errand.twilio_auth_token", "")]);
    let task_id = texting.send(&sms("+4915112345678"));
    let message = texting.error(task_id);
    assert!(message.contains("TWILIO_AUTH_TOKEN"), "{message}");
}

#[test]
fn the_token_is_found_nowhere_even_if_it_comes_back() {
    let mut texting = Texting::start(&[("pg_errand.log_level", "debug"), ("log_min_messages", "debug1")]);
    texting.delivered(&sms("+4915112345678"));
    let task_id = texting.send(&sms("+15005550001"));
    texting.error(task_id);
    // A wrong token, which the refusal repeats.
    texting.cluster.set(&[("pg_errand.twilio_account_sid", "AC9123456789abcdef0123456789abcdef")]);
    eventually("a message is refused", || {
        let task_id = texting.send(&sms("+4915112345678"));
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(&mut texting.client, task_id).as_str())
        });
        texting.web.requests().last().is_some_and(|exchange| exchange.status == Some(401))
    });
    let shown = texting.shown();
    let basic = STANDARD.encode(format!("AC9123456789abcdef0123456789abcdef:{TOKEN}"));
    for secret in ["Zx9yW8vUq", &basic, &STANDARD.encode(format!("{ACCOUNT}:{TOKEN}"))] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
    assert!(shown.contains("Authenticate, not"));
}

#[test]
fn the_token_of_the_setting_goes_nowhere_else() {
    let mut texting = Texting::start(&[]);
    let elsewhere = Web::start(twilio).unwrap();
    let fields = at(&elsewhere, json!({"interface": "twilio"}));
    register(&mut texting.client, "theirs", &fields).unwrap();
    let payload = json!({"before_handler": "app.build", "mail": sms("+4915112345678")});
    let task_id = queue::enqueue(&mut texting.client, "theirs", payload);
    texting.error(task_id);
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_message_cut_off_by_the_end_of_its_worker_is_not_sent_twice() {
    let mut texting = Texting::start(&[("pg_errand.call_timeout", "10min")]);
    texting.web.hold();
    let task_id = texting.send(&sms("+4915112345678"));
    eventually("the request has come", || texting.web.held() == 1);
    let pid = queue::workers(&mut texting.client)[0].pid;
    texting.cluster.crash(pid, libc::SIGKILL);
    texting.client = texting.cluster.connect("postgres");
    let message = texting.error(task_id);
    assert!(message.contains("outcome unknown"), "{message}");
    texting.web.release();
    texting.delivered(&sms("+4915112345679"));
    assert_eq!(texting.web.requests().len(), 2);
}

#[test]
fn a_message_whose_answer_is_waited_for_is_not_sent_twice_when_its_worker_is_terminated() {
    let mut texting = Texting::start(&[("pg_errand.call_timeout", "10min")]);
    texting.web.hold();
    let task_id = texting.send(&sms("+4915112345678"));
    eventually("the request has come", || texting.web.held() == 1);
    let pid = queue::workers(&mut texting.client)[0].pid;
    texting.client.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    let message = texting.error(task_id);
    assert!(message.contains("outcome unknown"), "{message}");
    assert_eq!(texting.web.requests().len(), 1);
}

#[test]
fn a_message_that_twilio_refused_for_now_is_sent_later() {
    let web = Web::start({
        let mut refused = false;
        move |request| match std::mem::replace(&mut refused, true) {
            false => error(429, 20429, "Too Many Requests").with("Retry-After", "1"),
            true => twilio(request),
        }
    });
    let web = web.unwrap();
    let mut texting = Texting::start(&[("pg_errand.twilio_base_url", &web.url())]);
    let task_id = texting.send(&sms("+4915112345678"));
    queue::wait_status(&mut texting.client, task_id, "succeeded");
    assert_eq!(web.requests().len(), 2);
}

#[test]
fn a_message_that_twilio_may_have_taken_is_not_sent_again() {
    let web = Web::start(|_| error(503, 20503, "Service unavailable").with("Retry-After", "1")).unwrap();
    let mut texting = Texting::start(&[("pg_errand.twilio_base_url", &web.url())]);
    let task_id = texting.send(&sms("+4915112345678"));
    let message = texting.error(task_id);
    assert!(message.contains("HTTP 503 20503"), "{message}");
    assert_eq!(web.requests().len(), 1);
}
