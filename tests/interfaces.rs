//! Providers registered in SQL, against stand-ins that refuse what the published interfaces refuse.

use serde_json::{Value, json};
use standin::{Answer, Request};

use crate::harness::calling::{Calling, at, register};

const SECRETS: (&str, &str) =
    ("pg_errand.secrets", r#"{"openai": "sk-openai", "stripe": "sk_test_stripe", "slack": "xoxb-slack"}"#);

/// How a field has to be.
type Is = fn(&Value) -> bool;

/// An operation of a published interface.
struct Operation {
    target: &'static str,
    content_type: &'static str,
    token: &'static str,
    required: &'static [(&'static str, Is)],
    optional: &'static [(&'static str, Is)],
}

impl Operation {
    /// The fields of a request that the interface takes.
    ///
    /// # Errors
    /// What it refuses.
    fn check(&self, request: &Request, fields: Value) -> Result<Value, String> {
        if request.method != "POST" || request.target != self.target {
            return Err(format!("Unrecognized request URL ({}: {})", request.method, request.target));
        }
        if request.header("Authorization") != Some(&format!("Bearer {}", self.token)) {
            return Err("Invalid API Key provided".into());
        }
        if request.header("Content-Type") != Some(self.content_type) {
            return Err(format!("Unsupported content type {:?}", request.header("Content-Type")));
        }
        let given = fields.as_object().ok_or("the body is no object")?;
        if let Some((missing, _)) = self.required.iter().find(|(name, _)| !given.contains_key(*name)) {
            return Err(format!("Missing required param: {missing}."));
        }
        for (name, value) in given {
            let known = self.required.iter().chain(self.optional).find(|(known, _)| known == name);
            let (_, is_right) = known.ok_or_else(|| format!("Received unknown parameter: {name}"))?;
            if !is_right(value) {
                return Err(format!("Invalid {name}: {value}"));
            }
        }
        Ok(fields)
    }
}

fn text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn whole_number(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<u64>().is_ok())
}

/// <https://platform.openai.com/docs/api-reference/chat/create>
const CHAT: Operation = Operation {
    target: "/v1/chat/completions",
    content_type: "application/json",
    token: "sk-openai",
    required: &[("model", text), ("messages", messages)],
    optional: &[("temperature", Value::is_number), ("max_completion_tokens", Value::is_u64), ("user", text)],
};

fn messages(value: &Value) -> bool {
    let role = |message: &Value| {
        matches!(message["role"].as_str(), Some("system" | "user" | "assistant" | "developer"))
    };
    value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|m| role(m) && text(&m["content"])))
}

fn openai(request: &Request) -> Answer {
    let body = request.json().cloned().unwrap_or_default();
    match CHAT.check(request, body) {
        Ok(body) => Answer::json(
            200,
            &json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": body["model"],
                "choices": [{
                    "index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": format!("You said: {}", body["messages"][1]["content"])},
                }],
                "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
            }),
        ),
        Err(message) => Answer::json(
            400,
            &json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}}),
        ),
    }
}

#[test]
fn openai_s_chat_interface() {
    let mut calling = Calling::start(&[SECRETS], openai);
    let mut fields = at(
        &calling.web,
        json!({
            "auth": "bearer", "secret": "openai", "timeout": "1 minute", "requests_per_second": 100,
            "request": {"path": "/chat/completions", "body": {"json": {
                "model": "gpt-4o-mini", "temperature": "{{temperature}}", "max_completion_tokens": "{{limit}}",
                "messages": [
                    {"role": "system", "content": "Answer in {{language}}."},
                    {"role": "user", "content": "{{question}}"},
                ],
            }}},
            "answer": {"text": "{{body.choices.0.message.content}}", "tokens": "{{body.usage.total_tokens}}"},
            "failure": "{{body.error.message}}",
        }),
    );
    fields["base_url"] = format!("{}/v1", calling.web.url()).into();
    register(&mut calling.client, "openai", &fields).unwrap();
    let asked = json!({"language": "English", "question": "Why \"SQL\"?", "temperature": 0.2});
    let task_id = calling.succeed("openai", asked);
    let result = calling.result(task_id).unwrap();
    assert_eq!(result, json!({"text": "You said: \"Why \\\"SQL\\\"?\"", "tokens": 21}));
    let error = calling.fail("openai", json!({"language": "English", "question": "x", "temperature": "hot"}));
    assert!(error.contains("HTTP 400: Invalid temperature"), "{error}");
}

/// <https://docs.stripe.com/api/payment_intents/create>
const PAYMENT: Operation = Operation {
    target: "/v1/payment_intents",
    content_type: "application/x-www-form-urlencoded",
    token: "sk_test_stripe",
    required: &[("amount", whole_number), ("currency", text)],
    optional: &[
        ("metadata[order]", text),
        ("automatic_payment_methods[enabled]", text),
        ("description", text),
        ("payment_method_types[0]", text),
        ("shipping[address][city]", text),
        ("shipping[name]", text),
    ],
};

fn stripe(request: &Request) -> Answer {
    let refuse = |message: &str| {
        Answer::json(400, &json!({"error": {"type": "invalid_request_error", "message": message}}))
    };
    if !request.header("Idempotency-Key").is_some_and(|key| (1..=255).contains(&key.len())) {
        return refuse("Idempotency-Key has to have 1 to 255 characters.");
    }
    let pairs = url_decoded(&String::from_utf8_lossy(&request.body));
    match PAYMENT.check(request, Value::Object(pairs.into_iter().collect())) {
        Ok(fields) => Answer::json(
            200,
            &json!({
                "id": "pi_1", "object": "payment_intent", "status": "requires_payment_method",
                "amount": fields["amount"].as_str().unwrap().parse::<u64>().unwrap(),
                "metadata": {"order": fields["metadata[order]"]},
            }),
        ),
        Err(message) => refuse(&message),
    }
}

/// `a%5Bb%5D=c+d&…`
fn url_decoded(form: &str) -> Vec<(String, Value)> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).unwrap_or(b'?')
                }
                other => other,
            });
        }
        String::from_utf8(bytes).unwrap_or_default()
    };
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), Value::String(decode(value)))).collect()
}

#[test]
fn stripe_s_forms() {
    let mut calling = Calling::start(&[SECRETS], stripe);
    calling.register(
        "stripe",
        json!({
            "auth": "bearer", "secret": "stripe", "headers": {"Stripe-Version": "2025-03-31.basil"},
            "request": {"path": "/v1/payment_intents", "body": {"form": {
                "amount": "{{amount}}", "currency": "eur", "metadata": {"order": "{{order}}"},
                "automatic_payment_methods": {"enabled": true},
                "shipping": {"name": "{{name}}", "address": {"city": "{{city}}"}},
            }}},
            "answer": {"intent": "{{body.id}}", "amount": "{{body.amount}}", "order": "{{body.metadata.order}}"},
            "failure": "{{body.error.message}}",
        }),
    );
    let payment = json!({"amount": 1999, "order": "A&B=7", "name": "Ann Ó", "city": "Zürich"});
    let task_id = calling.succeed("stripe", payment);
    let result = calling.result(task_id).unwrap();
    assert_eq!(result, json!({"intent": "pi_1", "amount": 1999, "order": "A&B=7"}));
    assert_eq!(calling.last_header("Stripe-Version").as_deref(), Some("2025-03-31.basil"));
    let error = calling.fail("stripe", json!({"order": "8", "name": "x", "city": "y"}));
    assert!(error.contains("HTTP 400: Missing required param: amount."), "{error}");
}

/// <https://api.slack.com/methods/chat.postMessage>
const MESSAGE: Operation = Operation {
    target: "/api/chat.postMessage",
    content_type: "application/json",
    token: "xoxb-slack",
    required: &[("channel", text)],
    optional: &[("text", text), ("blocks", Value::is_array), ("thread_ts", text)],
};

/// Slack says everything with 200, but that it is asked too often.
fn slack(request: &Request, earlier: usize) -> Answer {
    if earlier == 0 {
        return Answer::json(429, &json!({"ok": false, "error": "ratelimited"})).with("Retry-After", "1");
    }
    let body = request.json().cloned().unwrap_or_default();
    match MESSAGE.check(request, body) {
        Err(problem) => Answer::json(200, &json!({"ok": false, "error": problem})),
        Ok(body) if body["channel"] == "C404" => {
            Answer::json(200, &json!({"ok": false, "error": "channel_not_found"}))
        }
        Ok(body) => {
            Answer::json(200, &json!({"ok": true, "channel": body["channel"], "ts": "1503435956.000247"}))
        }
    }
}

#[test]
fn slack_s_answers() {
    let mut earlier = 0;
    let mut calling = Calling::start(&[SECRETS], move |request| {
        earlier += 1;
        slack(request, earlier - 1)
    });
    calling.register(
        "slack",
        json!({
            "auth": "bearer", "secret": "slack", "requests_per_second": 100,
            "request": {"path": "/api/chat.postMessage", "body": {"json": {"channel": "{{channel}}", "text": "{{text}}"}}},
            "expect": {"body": {"ok": true}}, "answer": {"ts": "{{body.ts}}"}, "failure": "{{body.error}}",
        }),
    );
    let task_id = calling.succeed("slack", json!({"channel": "C1", "text": "Grüße"}));
    assert_eq!(calling.result(task_id), Some(json!({"ts": "1503435956.000247"})));
    let error = calling.fail("slack", json!({"channel": "C404", "text": "x"}));
    assert!(error.contains("channel_not_found"), "{error}");
}
