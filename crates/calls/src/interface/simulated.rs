//! An interface that sends nothing, for development and tests. Copy this file to start a new interface.

use super::contract::{Interface, Success};
use crate::credential::Credential;
use crate::json;
use crate::provider_row::ProviderRow;
use crate::request::Request;
use crate::response::Response;
use crate::settings::Settings;
use crate::sms;
use serde_json::{Value, json};
use std::time::Duration;

pub struct Simulated;

impl Interface for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn check_secret(&self, _provider: &ProviderRow, _settings: &dyn Settings) -> Result<(), String> {
        Ok(())
    }

    fn request(
        &self,
        _provider: &ProviderRow,
        _settings: &dyn Settings,
        payload: &Value,
        _key: &str,
    ) -> Result<Request, String> {
        let fields = sms::fields(payload)?;
        let message_id = match fields.get("message_id") {
            Some(Value::String(id)) => id.clone(),
            Some(id @ Value::Number(_)) => id.to_string(),
            _ => return Err("the payload's message_id has to be a number or a string".into()),
        };
        let response = json!({ "message_id": format!("sms_{message_id}"), "status": "sent" });
        Ok(Request::Local { response, message: Some(Value::Object(fields)) })
    }

    fn credentials(
        &self,
        _provider: &ProviderRow,
        _settings: &dyn Settings,
        _request: &Request,
    ) -> Result<Vec<Credential>, String> {
        Ok(Vec::new())
    }

    fn judge(
        &self,
        _provider: &ProviderRow,
        _request: &Request,
        response: &Response,
    ) -> Result<Success, String> {
        json::read(&response.body).map(Success::Value).map_err(String::from)
    }

    fn remembers_keys_for(&self, _provider: &ProviderRow) -> Duration {
        Duration::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TestSettings;

    fn request(payload: Value) -> Result<Request, String> {
        Simulated.request(&ProviderRow::default(), &TestSettings::default(), &payload, "key")
    }

    fn judge(status: u16, body: &str) -> Result<Success, String> {
        let request = request(json!({ "message_id": 7, "to_number": "+491", "body": "hi" })).unwrap();
        let response = Response { status, body: body.into(), ..Response::default() };
        Simulated.judge(&ProviderRow::default(), &request, &response)
    }

    #[test]
    fn a_payload_becomes_a_request() {
        let payload = json!({ "message_id": 7, "to_number": "+491", "body": "hi" });
        let response = json!({ "message_id": "sms_7", "status": "sent" });
        let expected = Request::Local { response, message: Some(payload.clone()) };
        assert_eq!(request(payload), Ok(expected));
    }

    #[test]
    fn a_wrong_field_is_named() {
        let problem = request(json!({ "message_id": 7, "to_number": 1, "body": "" })).unwrap_err();
        assert!(problem.contains("to_number"), "{problem}");
    }

    #[test]
    fn a_response_becomes_a_value() {
        let sent = json!({ "message_id": "sms_7", "status": "sent" });
        assert_eq!(judge(200, &sent.to_string()), Ok(Success::Value(sent)));
        assert!(judge(200, "no JSON").is_err());
    }
}
