//! Resend: e-mail. Interface: <https://resend.com/docs/api-reference/emails/send-email>.

use super::{Body, Credential, HttpRequest, Provider, Redirects, Reply, Request, Service};
use super::{auth, reply};
use crate::config::{RESEND_API_KEY, RESEND_BASE_URL};
use serde_json::{Map, Value};
use std::time::Duration;

pub struct Resend;

/// Our field, Resend's field, and what it may be.
const FIELDS: &[(&str, &str, Shape)] = &[
    ("from_address", "from", Shape::Text),
    ("to_address", "to", Shape::TextOrList),
    ("subject", "subject", Shape::Text),
    ("html", "html", Shape::Text),
    ("text", "text", Shape::Text),
    ("cc", "cc", Shape::TextOrList),
    ("bcc", "bcc", Shape::TextOrList),
    ("reply_to", "reply_to", Shape::TextOrList),
    ("headers", "headers", Shape::Object),
    ("tags", "tags", Shape::List),
    ("attachments", "attachments", Shape::List),
];

const REQUIRED: &[&str] = &["from_address", "to_address", "subject"];

/// How long Resend keeps idempotency keys:
/// <https://resend.com/docs/dashboard/emails/idempotency-keys>.
const KEY_MEMORY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Copy)]
enum Shape {
    Text,
    TextOrList,
    List,
    Object,
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Shape::Text => value.is_string(),
            Shape::TextOrList => {
                value.is_string() || value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
            }
            Shape::List => value.is_array(),
            Shape::Object => value.is_object(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Shape::Text => "a string",
            Shape::TextOrList => "a string or an array of strings",
            Shape::List => "an array",
            Shape::Object => "an object",
        }
    }
}

impl Provider for Resend {
    fn name(&self) -> &'static str {
        "resend"
    }

    fn request(&self, service: &Service, payload: &Value, key: &str) -> Result<Request, String> {
        let body = body(payload)?;
        let base = service.base_url.clone().unwrap_or_else(|| RESEND_BASE_URL.get());
        Ok(Request::Http(HttpRequest {
            method: "POST".into(),
            url: format!("{}/emails", base.trim_end_matches('/')),
            headers: vec![
                ("Content-Type".into(), "application/json".into()),
                ("Idempotency-Key".into(), key.into()),
            ],
            body: Body::Text(Value::Object(body).to_string()),
            // Its interface has none: what another page answers says nothing of the mail.
            redirects: Redirects::None,
            ..HttpRequest::default()
        }))
    }

    fn credentials(&self, service: &Service, _request: &Request) -> Result<Vec<Credential>, String> {
        let secret = auth::secret_or(
            service,
            || RESEND_API_KEY.get(),
            "no API key for Resend: set pg_errand.resend_api_key, or RESEND_API_KEY in the server's environment",
        )?;
        Ok(vec![Credential::header("Authorization", format!("Bearer {secret}"), vec![secret])])
    }

    fn answer(&self, _service: &Service, _request: &Request, reply: &Reply) -> Result<Value, String> {
        let parsed: Option<Value> = serde_json::from_slice(&reply.body).ok();
        match (reply.status, parsed) {
            (200..=299, Some(answer @ Value::Object(_))) => Ok(answer),
            (200..=299, _) => Err(format!(
                "HTTP {}, but the answer is no JSON object: {}",
                reply.status,
                reply::excerpt(reply)
            )),
            (status, Some(error)) if error.get("message").is_some() => {
                let field = |name| error.get(name).and_then(Value::as_str).unwrap_or("error").to_owned();
                Err(format!("HTTP {status} {}: {}", field("name"), field("message")))
            }
            (status, _) => Err(format!("HTTP {status}: {}", reply::excerpt(reply))),
        }
    }

    fn is_in_progress(&self, reply: &Reply) -> bool {
        reply.status == 409
            && serde_json::from_slice::<Value>(&reply.body)
                .is_ok_and(|error| error["name"] == "concurrent_idempotent_requests")
    }

    fn base_url_of_superuser(&self) -> Option<String> {
        Some(RESEND_BASE_URL.get())
    }

    fn remembers_keys_for(&self, _service: &Service) -> Duration {
        KEY_MEMORY
    }
}

fn body(payload: &Value) -> Result<Map<String, Value>, String> {
    let given = |field: &str| payload.get(field).filter(|value| !value.is_null());
    if let Some(missing) = REQUIRED.iter().find(|field| given(field).is_none()) {
        return Err(format!("the payload has no {missing}"));
    }
    if given("html").is_none() && given("text").is_none() {
        return Err("the payload has neither html nor text".into());
    }
    let mut body = Map::new();
    for (ours, theirs, shape) in FIELDS {
        let Some(value) = given(ours) else { continue };
        if !shape.fits(value) {
            return Err(format!("the payload's {ours} has to be {}", shape.name()));
        }
        body.insert((*theirs).to_owned(), value.clone());
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::simulated::Simulated;
    use serde_json::json;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.into(), ..Reply::default() }
    }

    #[test]
    fn all_fields_are_passed_on_under_their_names() {
        let payload = json!({
            "message_id": 1, "from_address": "a@x", "to_address": ["b@x"], "subject": "s", "html": "<p>",
            "text": "t", "cc": "c@x", "bcc": ["d@x"], "reply_to": "e@x", "headers": {"X-A": "1"},
            "tags": [{"name": "n", "value": "v"}], "attachments": [{"filename": "f", "content": "Zg=="}],
            "something_else": true,
        });
        let body = body(&payload).unwrap();
        let names: Vec<&str> = body.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "from",
                "to",
                "subject",
                "html",
                "text",
                "cc",
                "bcc",
                "reply_to",
                "headers",
                "tags",
                "attachments"
            ]
        );
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        let mut payload = json!({ "from_address": "a@x", "to_address": "b@x", "subject": "s", "html": "h" });
        assert!(body(&payload).is_ok());
        payload["cc"] = json!(7);
        assert!(body(&payload).unwrap_err().contains("cc"));
        payload["cc"] = Value::Null;
        payload["html"] = Value::Null;
        assert!(body(&payload).unwrap_err().contains("html"));
        payload["to_address"] = Value::Null;
        assert!(body(&payload).unwrap_err().contains("to_address"));
    }

    fn answer(reply: &Reply) -> Result<Value, String> {
        Resend.answer(&Service::plain(&Simulated), &Request::Local { answer: Value::Null }, reply)
    }

    #[test]
    fn answers() {
        assert_eq!(answer(&reply(200, r#"{"id":"x"}"#)).unwrap()["id"], "x");
        let error = r#"{"statusCode":422,"name":"validation_error","message":"Invalid `to` field."}"#;
        assert_eq!(answer(&reply(422, error)).unwrap_err(), "HTTP 422 validation_error: Invalid `to` field.");
        assert_eq!(answer(&reply(502, "<html>\n  Bad gateway")).unwrap_err(), "HTTP 502: <html> Bad gateway");
        assert!(answer(&reply(200, "ok")).is_err());
        assert!(Resend.is_in_progress(&reply(409, r#"{"name":"concurrent_idempotent_requests"}"#)));
    }
}
