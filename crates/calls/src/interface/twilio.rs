//! Twilio, for text messages. API: <https://www.twilio.com/docs/messaging/api/message-resource>.

use super::contract::{Interface, Success};
use crate::credential::Credential;
use crate::error_text::error_text;
use crate::form::form;
use crate::provider_row::ProviderRow;
use crate::redirect::Redirects;
use crate::request::{Body, HttpRequest, Request};
use crate::response::Response;
use crate::settings::{SecretSetting, Settings, TwilioSettings};
use crate::sms::{self, is_sid};
use crate::{auth, content, key};
use serde_json::{Map, Value};
use std::time::Duration;

pub struct Twilio;

/// The fields of a payload, with Twilio's parameters for them.
const PARAMETERS: &[(&str, &str)] = &[
    ("to_number", "To"),
    ("body", "Body"),
    ("media_url", "MediaUrl"),
    ("status_callback", "StatusCallback"),
    ("content_sid", "ContentSid"),
];

impl Interface for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn check_settings(&self, provider: &ProviderRow, settings: &dyn Settings) -> Result<(), String> {
        customer(provider, &settings.twilio()).map(drop)
    }

    fn check_secret(&self, provider: &ProviderRow, settings: &dyn Settings) -> Result<(), String> {
        token(provider, settings).map(drop)
    }

    fn request(
        &self,
        provider: &ProviderRow,
        settings: &dyn Settings,
        payload: &Value,
        _key: &str,
    ) -> Result<Request, String> {
        let settings = settings.twilio();
        let account = customer(provider, &settings)?.account;
        let parameters = parameters(payload, &settings.from)?;
        let base = provider.base_url.clone().unwrap_or(settings.base_url);
        Ok(Request::Http(HttpRequest {
            method: "POST".into(),
            url: format!("{}/2010-04-01/Accounts/{account}/Messages.json", base.trim_end_matches('/')),
            headers: vec![("Content-Type".into(), "application/x-www-form-urlencoded".into())],
            body: Body::Text(form(&Value::Object(parameters), "the payload")?),
            // The API has no redirects. The response of another page would not refer to the message.
            redirects: Redirects::None,
            ..HttpRequest::default()
        }))
    }

    fn credentials(
        &self,
        provider: &ProviderRow,
        settings: &dyn Settings,
        _request: &Request,
    ) -> Result<Vec<Credential>, String> {
        let token = token(provider, settings)?;
        Ok(vec![auth::basic(&customer(provider, &settings.twilio())?.user, token)])
    }

    fn judge(
        &self,
        _provider: &ProviderRow,
        _request: &Request,
        response: &Response,
    ) -> Result<Success, String> {
        match (response.status, content::parsed(response)) {
            (200..=299, Some(message @ Value::Object(_))) => Ok(Success::Value(message)),
            (200..=299, _) => Ok(Success::Flawed("the response is not a JSON object".into())),
            (status, Some(Value::Object(error))) if error.contains_key("message") => {
                let field = |name| error.get(name).map(error_text).unwrap_or_default();
                let more = Some(field("more_info")).filter(|more| !more.is_empty());
                let more = more.map(|more| format!(" ({more})")).unwrap_or_default();
                Err(format!("HTTP {status} {}: {}{more}", field("code"), field("message")))
            }
            _ => Err(content::describe(response, false)),
        }
    }

    fn own_key(&self, _provider: &ProviderRow, payload: &Value) -> Result<Option<Value>, String> {
        match payload.get(key::FIELD).filter(|key| !key.is_null()) {
            Some(_) => Err(format!("Twilio has no idempotency keys: leave out {}", key::FIELD)),
            None => Ok(None),
        }
    }

    /// The API does not support idempotency keys.
    fn remembers_keys_for(&self, _provider: &ProviderRow) -> Duration {
        Duration::ZERO
    }

    fn account_of_settings(&self, settings: &dyn Settings) -> String {
        let settings = settings.twilio();
        format!("{} {}", settings.base_url, settings.account_sid)
    }

    fn base_url_of_superuser(&self, settings: &dyn Settings) -> Option<String> {
        Some(settings.twilio().base_url)
    }
}

/// The account that sends, and the user who logs in: the account itself, or one of its API keys.
struct Customer {
    account: String,
    user: String,
}

fn token(provider: &ProviderRow, settings: &dyn Settings) -> Result<String, String> {
    auth::secret_or_setting(
        provider,
        settings,
        SecretSetting::TwilioAuthToken,
        "no token for Twilio: set pg_errand.twilio_auth_token, or TWILIO_AUTH_TOKEN in the server's environment",
    )
}

fn customer(provider: &ProviderRow, settings: &TwilioSettings) -> Result<Customer, String> {
    let (account, key) = (&settings.account_sid, &settings.api_key_sid);
    customer_of(provider.auth_name.as_deref(), provider.secret.is_some(), account, key)
}

/// Reads a row's `auth_name`: an account (`AC…`), an API key of the account of the settings (`SK…`), or both
/// (`AC…/SK…`). `has_secret` means that the row has a token of its own, which does not belong to the API key of the
/// settings. Without one, the token of the settings is used, but only for the account and API key of the settings.
fn customer_of(
    auth_name: Option<&str>,
    has_secret: bool,
    set_account: &str,
    set_key: &str,
) -> Result<Customer, String> {
    let usual_key = if has_secret { "" } else { set_key };
    let (account, key) = match auth_name {
        Some(name) if name.starts_with("SK") => (set_account, name),
        Some(name) => name.split_once('/').unwrap_or((name, usual_key)),
        None => (set_account, usual_key),
    };
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if account.is_empty() || !is_name(account) {
        return Err("no account for Twilio: set pg_errand.twilio_account_sid".into());
    }
    if !is_name(key) {
        return Err("auth_name has to be AC… (account), SK… (API key) or AC…/SK…".into());
    }
    if !has_secret && (account, key) != (set_account, set_key) {
        return Err(
            "a provider with an account or API key of its own (auth_name) needs a secret of its own".into()
        );
    }
    let user = if key.is_empty() { account } else { key };
    Ok(Customer { account: account.to_owned(), user: user.to_owned() })
}

/// Builds the parameters. `from` is the number or messaging service that is used if the payload names none.
fn parameters(payload: &Value, from: &str) -> Result<Map<String, Value>, String> {
    let given = sms::fields(payload)?;
    let renamed = PARAMETERS
        .iter()
        .filter_map(|(ours, theirs)| given.get(*ours).map(|value| ((*theirs).to_owned(), value.clone())));
    let mut parameters: Map<String, Value> = renamed.collect();
    if let Some(variables) = given.get("content_variables") {
        // Twilio expects the object as a text.
        parameters.insert("ContentVariables".into(), variables.to_string().into());
    }
    let from = given.get("from_number").and_then(Value::as_str).unwrap_or(from);
    if from.is_empty() {
        return Err("no sender for Twilio: set pg_errand.twilio_from, or give from_number".into());
    }
    // A name of a sender may begin with the same letters.
    let sender = if is_sid("MG", from) { "MessagingServiceSid" } else { "From" };
    parameters.insert(sender.into(), from.into());
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_go_under_their_names() {
        let payload = json!({ "message_id": 1, "to_number": "+491", "body": "Grüße & mehr" });
        let parameters = parameters(&payload, "+492").unwrap();
        assert_eq!(
            form(&Value::Object(parameters), "x").unwrap(),
            "To=%2B491&Body=Gr%C3%BC%C3%9Fe+%26+mehr&From=%2B492"
        );
        let provider = super::parameters(&payload, &format!("MG{}", "0".repeat(32))).unwrap();
        assert!(provider.contains_key("MessagingServiceSid") && !provider.contains_key("From"));
        assert_eq!(super::parameters(&payload, "MGMotor").unwrap()["From"], "MGMotor");
    }

    #[test]
    fn a_missing_sender_is_named() {
        assert!(
            parameters(&json!({ "to_number": "+1", "body": "x" }), "").unwrap_err().contains("twilio_from")
        );
    }

    #[test]
    fn the_token_of_the_settings_goes_with_their_account_and_key_only() {
        let user = |auth_name, has_secret, key| {
            customer_of(auth_name, has_secret, "AC1", key).map(|Customer { account, user }| (account, user))
        };
        for (auth_name, has_secret, key, expected) in [
            (None, false, "", Some(("AC1", "AC1"))),
            (None, false, "SK1", Some(("AC1", "SK1"))),
            (Some("AC1"), false, "", Some(("AC1", "AC1"))),
            (Some("AC1"), false, "SK1", Some(("AC1", "SK1"))),
            (Some("SK1"), false, "SK1", Some(("AC1", "SK1"))),
            (Some("AC1/SK1"), false, "SK1", Some(("AC1", "SK1"))),
            (Some("AC2"), false, "", None),
            (Some("AC2"), false, "SK1", None),
            (Some("SK2"), false, "SK1", None),
            (Some("SK2"), false, "", None),
            (Some("AC1/SK2"), false, "SK1", None),
            (Some("AC1/"), false, "SK1", None),
            (None, true, "SK1", Some(("AC1", "AC1"))),
            (Some("AC2"), true, "SK1", Some(("AC2", "AC2"))),
            (Some("SK2"), true, "SK1", Some(("AC1", "SK2"))),
            (Some("AC2/SK2"), true, "", Some(("AC2", "SK2"))),
        ] {
            let found = user(auth_name, has_secret, key);
            let case = format!("{auth_name:?} {has_secret} {key}: {found:?}");
            match expected {
                Some((account, user)) => assert_eq!(found, Ok((account.into(), user.into())), "{case}"),
                None => assert!(found.is_err_and(|reason| reason.contains("secret of its own")), "{case}"),
            }
        }
        assert!(customer_of(None, false, "", "").is_err_and(|reason| reason.contains("twilio_account_sid")));
    }

    #[test]
    fn errors_carry_twilio_s_code() {
        let body =
            br#"{"code": 21211, "message": "Invalid 'To'", "more_info": "https://x/21211", "status": 400}"#;
        let response = Response { status: 400, body: body.to_vec(), ..Response::default() };
        let error = Twilio.judge(
            &ProviderRow::default(),
            &Request::Local { response: Value::Null, message: None },
            &response,
        );
        assert_eq!(error.unwrap_err(), "HTTP 400 21211: Invalid 'To' (https://x/21211)");
    }
}
