//! A provider that sends nothing: for development and tests. The template for a new one.

use super::{Answer, Credential, Interface, Provider, Reply, Request, sms};
use crate::json;
use serde_json::{Value, json};
use std::time::Duration;

pub struct Simulated;

impl Interface for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn request(&self, _provider: &Provider, payload: &Value, _key: &str) -> Result<Request, String> {
        let fields = sms::fields(payload)?;
        let message_id = match fields.get("message_id") {
            Some(Value::String(id)) => id.clone(),
            Some(id @ Value::Number(_)) => id.to_string(),
            _ => return Err("the payload's message_id has to be a number or a string".into()),
        };
        let answer = json!({ "message_id": format!("sms_{message_id}"), "status": "sent" });
        Ok(Request::Local { answer, message: Some(Value::Object(fields)) })
    }

    fn credentials(&self, _provider: &Provider, _request: &Request) -> Result<Vec<Credential>, String> {
        Ok(Vec::new())
    }

    fn answer(&self, _provider: &Provider, _request: &Request, reply: &Reply) -> Result<Answer, String> {
        json::read(&reply.body).map(Answer::Value).map_err(String::from)
    }

    fn remembers_keys_for(&self, _provider: &Provider) -> Duration {
        Duration::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_the_message_id() {
        let payload = json!({ "message_id": 7, "to_number": "+491", "body": "hi" });
        let Request::Local { answer, message } =
            Simulated.request(&Provider::plain(&Simulated), &payload, "k").unwrap()
        else {
            panic!()
        };
        assert_eq!(answer, json!({ "message_id": "sms_7", "status": "sent" }));
        assert_eq!(message, Some(payload));
    }

    #[test]
    fn says_which_field_is_wrong() {
        let error = Simulated.request(
            &Provider::plain(&Simulated),
            &json!({ "message_id": 7, "to_number": 1, "body": "" }),
            "k",
        );
        assert!(error.unwrap_err().contains("to_number"));
    }
}
