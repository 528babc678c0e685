//! Resend: e-mail. Interface: <https://resend.com/docs/api-reference/emails/send-email>.

use super::{Body, Credential, HttpRequest, Provider, Redirects, Reply, Request, Service};
use super::{auth, mail, reply};
use crate::config::{RESEND_API_KEY, RESEND_BASE_URL};
use serde_json::Value;
use std::time::Duration;

pub struct Resend;

/// How long Resend keeps idempotency keys:
/// <https://resend.com/docs/dashboard/emails/idempotency-keys>.
const KEY_MEMORY: Duration = Duration::from_secs(24 * 3600);

impl Provider for Resend {
    fn name(&self) -> &'static str {
        "resend"
    }

    fn request(&self, service: &Service, payload: &Value, key: &str) -> Result<Request, String> {
        let body = mail::fields(payload)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::simulated::Simulated;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.into(), ..Reply::default() }
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
