//! Twilio: text messages. Interface: <https://www.twilio.com/docs/messaging/api/message-resource>.

use super::{
    Body, Credential, HttpRequest, Provider, Redirects, Reply, Request, Service, auth, reply, target,
};
use crate::config::{TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_BASE_URL, TWILIO_FROM};
use crate::json;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub struct Twilio;

/// Our field, Twilio's parameter.
const FIELDS: &[(&str, &str)] = &[
    ("to_number", "To"),
    ("body", "Body"),
    ("media_url", "MediaUrl"),
    ("status_callback", "StatusCallback"),
];

impl Provider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn request(&self, service: &Service, payload: &Value, _key: &str) -> Result<Request, String> {
        let base = service.base_url.clone().unwrap_or_else(|| TWILIO_BASE_URL.get());
        let account = account(service)?;
        let parameters = parameters(payload, &TWILIO_FROM.get())?;
        Ok(Request::Http(HttpRequest {
            method: "POST".into(),
            url: format!("{}/2010-04-01/Accounts/{account}/Messages.json", base.trim_end_matches('/')),
            headers: vec![("Content-Type".into(), "application/x-www-form-urlencoded".into())],
            body: Body::Text(target::form(&Value::Object(parameters), "the payload")?),
            // Its interface has none: what another page answers says nothing of the message.
            redirects: Redirects::None,
            ..HttpRequest::default()
        }))
    }

    fn credentials(&self, service: &Service, _request: &Request) -> Result<Vec<Credential>, String> {
        let token = auth::secret_or(
            service,
            || TWILIO_AUTH_TOKEN.get(),
            "no token for Twilio: set pg_errand.twilio_auth_token, or TWILIO_AUTH_TOKEN in the server's environment",
        )?;
        Ok(vec![auth::basic(&account(service)?, token)])
    }

    fn answer(&self, _service: &Service, _request: &Request, reply: &Reply) -> Result<Value, String> {
        let parsed = json::read(&reply.body).unwrap_or_default();
        match (reply.status, &parsed) {
            (200..=299, Value::Object(_)) => Ok(parsed),
            (status, Value::Object(error)) if error.contains_key("message") => {
                let field = |name| error.get(name).and_then(target::text_of).unwrap_or_default();
                let more = Some(field("more_info")).filter(|more| !more.is_empty());
                let more = more.map(|more| format!(" ({more})")).unwrap_or_default();
                Err(format!("HTTP {status} {}: {}{more}", field("code"), field("message")))
            }
            (status, _) => Err(format!("HTTP {status}: {}", reply::excerpt(reply))),
        }
    }

    /// The interface knows no such keys: what was cut off is not sent again.
    fn remembers_keys_for(&self, _service: &Service) -> Duration {
        Duration::ZERO
    }

    fn customer_of_settings(&self) -> String {
        format!("{} {}", TWILIO_BASE_URL.get(), TWILIO_ACCOUNT_SID.get())
    }

    fn base_url_of_superuser(&self) -> Option<String> {
        Some(TWILIO_BASE_URL.get())
    }
}

fn account(service: &Service) -> Result<String, String> {
    let account = service.auth_name.clone().unwrap_or_else(|| TWILIO_ACCOUNT_SID.get());
    if account.is_empty() || !account.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err("no account for Twilio: set pg_errand.twilio_account_sid".into());
    }
    Ok(account)
}

/// `from` is the number or messaging service to use where the payload names none.
fn parameters(payload: &Value, from: &str) -> Result<Map<String, Value>, String> {
    let given = |field: &str| payload.get(field).filter(|value| !value.is_null());
    let mut parameters = Map::new();
    for (ours, theirs) in FIELDS {
        if let Some(value) = given(ours) {
            let fits = value.is_string() || *ours == "media_url" && value.is_array();
            if !fits {
                return Err(format!("the payload's {ours} has to be a string"));
            }
            parameters.insert((*theirs).into(), value.clone());
        }
    }
    if !parameters.contains_key("To") {
        return Err("the payload has no to_number".into());
    }
    if !parameters.contains_key("Body") && !parameters.contains_key("MediaUrl") {
        return Err("the payload has neither body nor media_url".into());
    }
    let from = match given("from_number").unwrap_or(&json!(from)) {
        Value::String(from) if !from.is_empty() => from.clone(),
        _ => return Err("nobody to send from: set pg_errand.twilio_from, or give from_number".into()),
    };
    let sender = if from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
    parameters.insert(sender.into(), from.into());
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::simulated::Simulated;

    #[test]
    fn fields_go_under_their_names() {
        let payload = json!({ "message_id": 1, "to_number": "+491", "body": "Grüße & mehr" });
        let parameters = parameters(&payload, "+492").unwrap();
        assert_eq!(
            target::form(&Value::Object(parameters), "x").unwrap(),
            "To=%2B491&Body=Gr%C3%BC%C3%9Fe+%26+mehr&From=%2B492"
        );
        let service = super::parameters(&payload, "MG0").unwrap();
        assert!(service.contains_key("MessagingServiceSid") && !service.contains_key("From"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (payload, named) in [
            (json!({ "body": "x" }), "to_number"),
            (json!({ "to_number": 7, "body": "x" }), "to_number"),
            (json!({ "to_number": "+1" }), "body"),
        ] {
            assert!(parameters(&payload, "+2").unwrap_err().contains(named), "{payload}");
        }
        assert!(
            parameters(&json!({ "to_number": "+1", "body": "x" }), "").unwrap_err().contains("twilio_from")
        );
    }

    #[test]
    fn errors_carry_twilio_s_code() {
        let body =
            br#"{"code": 21211, "message": "Invalid 'To'", "more_info": "https://x/21211", "status": 400}"#;
        let reply = Reply { status: 400, body: body.to_vec(), ..Reply::default() };
        let error =
            Twilio.answer(&Service::plain(&Simulated), &Request::Local { answer: Value::Null }, &reply);
        assert_eq!(error.unwrap_err(), "HTTP 400 21211: Invalid 'To' (https://x/21211)");
    }
}
