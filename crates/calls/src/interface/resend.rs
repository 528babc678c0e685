//! Resend, for e-mail. API: <https://resend.com/docs/api-reference/emails/send-email>, for batches
//! <https://resend.com/docs/api-reference/emails/send-batch-emails>.

use super::contract::{BatchResponse, Batching, Interface, Success};
use crate::credential::Credential;
use crate::error_text::error_text;
use crate::mail::{fields, mailbox};
use crate::provider_row::ProviderRow;
use crate::redirect::Redirects;
use crate::request::{Body, HttpRequest, Request};
use crate::response::{Flaw, Response};
use crate::settings::{SecretSetting, Settings};
use crate::{auth, content, json};
use serde_json::Value;
use std::time::Duration;

pub struct Resend;

/// How long Resend keeps idempotency keys:
/// <https://resend.com/docs/dashboard/emails/idempotency-keys>.
const KEY_TTL: Duration = Duration::from_secs(24 * 3600);

/// Fields that contain addresses.
const ADDRESSES: [&str; 5] = ["from", "to", "cc", "bcc", "reply_to"];

impl Interface for Resend {
    fn name(&self) -> &'static str {
        "resend"
    }

    fn check_secret(&self, provider: &ProviderRow, settings: &dyn Settings) -> Result<(), String> {
        api_key(provider, settings).map(drop)
    }

    fn request(
        &self,
        provider: &ProviderRow,
        settings: &dyn Settings,
        payload: &Value,
        key: &str,
    ) -> Result<Request, String> {
        let mut body = fields::read(payload)?;
        for (_, addresses) in body.iter_mut().filter(|(name, _)| ADDRESSES.contains(&name.as_str())) {
            write_plainly(addresses);
        }
        let base = provider.base_url.clone().unwrap_or_else(|| settings.resend().base_url);
        Ok(post(format!("{}/emails", base.trim_end_matches('/')), Value::Object(body).to_string(), key))
    }

    fn credentials(
        &self,
        provider: &ProviderRow,
        settings: &dyn Settings,
        _request: &Request,
    ) -> Result<Vec<Credential>, String> {
        let secret = api_key(provider, settings)?;
        Ok(vec![Credential::header("Authorization", format!("Bearer {secret}"), vec![secret])])
    }

    fn judge(
        &self,
        _provider: &ProviderRow,
        _request: &Request,
        response: &Response,
    ) -> Result<Success, String> {
        match (response.status, content::parsed(response)) {
            (200..=299, Some(answer @ Value::Object(_))) => Ok(Success::Value(answer)),
            (200..=299, _) => Ok(Success::Flawed("the response is not a JSON object".into())),
            (status, Some(error)) if error.get("message").is_some() => {
                let field = |name| error_text(&error[name]);
                let name =
                    Some(field("name")).filter(|name| !name.is_empty()).unwrap_or_else(|| "error".into());
                Err(format!("HTTP {status} {name}: {}", field("message")))
            }
            _ => Err(content::describe(response, false)),
        }
    }

    fn is_in_progress(&self, response: &Response) -> bool {
        response.status == 409
            && content::parsed(response)
                .is_some_and(|error| error["name"] == "concurrent_idempotent_requests")
    }

    fn batching(&self) -> Option<&'static dyn Batching> {
        Some(&Resend)
    }

    fn base_url_of_superuser(&self, settings: &dyn Settings) -> Option<String> {
        Some(settings.resend().base_url)
    }

    fn remembers_keys_for(&self, _provider: &ProviderRow) -> Duration {
        KEY_TTL
    }
}

fn api_key(provider: &ProviderRow, settings: &dyn Settings) -> Result<String, String> {
    auth::secret_or_setting(
        provider,
        settings,
        SecretSetting::ResendApiKey,
        "no API key for Resend: set pg_errand.resend_api_key, or RESEND_API_KEY in the server's environment",
    )
}

/// Rewrites addresses: Resend accepts domains in ASCII only, and neither comments nor blanks around an address.
fn write_plainly(addresses: &mut Value) {
    match addresses {
        Value::String(one) => *one = mailbox::plain(one),
        Value::Array(many) => many.iter_mut().for_each(write_plainly),
        _ => {}
    }
}

fn post(url: String, body: String, key: &str) -> Request {
    Request::Http(HttpRequest {
        method: "POST".into(),
        url,
        headers: vec![
            ("Content-Type".into(), "application/json".into()),
            ("Idempotency-Key".into(), key.into()),
        ],
        body: Body::Text(body),
        // The API has no redirects. The response of another page would not refer to the mail.
        redirects: Redirects::None,
        ..HttpRequest::default()
    })
}

/// Fields that a mail in a batch cannot have.
const ONLY_ALONE: [&str; 2] = ["attachments", "scheduled_at"];

impl Batching for Resend {
    fn max_size(&self) -> u32 {
        100
    }

    fn takes(&self, request: &Request) -> bool {
        let Request::Http(HttpRequest { body: Body::Text(body), .. }) = request else { return false };
        json::read(body).is_ok_and(|fields| ONLY_ALONE.iter().all(|name| fields.get(name).is_none()))
    }

    fn request(&self, requests: &[&Request], key: &str) -> Request {
        let mails = requests.iter().filter_map(|request| match request {
            Request::Http(HttpRequest { url, body: Body::Text(body), .. }) => Some((url, body.as_str())),
            _ => None,
        });
        let (urls, bodies): (Vec<&String>, Vec<&str>) = mails.unzip();
        let url = urls.first().map_or("", |url| url.as_str());
        post(format!("{url}/batch"), format!("[{}]", bodies.join(",")), key)
    }

    fn split(&self, response: &Response, requests: usize) -> BatchResponse {
        match response.status {
            200..=299 => BatchResponse::Each(each_response(response, requests)),
            // If one mail is refused, Resend refuses the batch and sends nothing.
            400 | 404 | 405 | 413 | 415 | 422 | 451 => BatchResponse::Refused,
            // One cause is that the domain of one sender is not verified.
            403 if !concerns_the_key(response) => BatchResponse::Refused,
            _ => BatchResponse::Each(vec![response.clone(); requests]),
        }
    }
}

/// True if the API key is the cause, so that no mail can be sent.
fn concerns_the_key(response: &Response) -> bool {
    let error = content::parsed(response);
    error.is_some_and(|error| error["name"].as_str().is_some_and(|name| name.ends_with("api_key")))
}

/// Splits `{"data": [{"id": …}, …]}`, which has an entry for each mail.
fn each_response(response: &Response, requests: usize) -> Vec<Response> {
    let parsed = content::parsed(response).unwrap_or_default();
    match parsed.get("data").and_then(Value::as_array).filter(|data| data.len() == requests) {
        Some(data) => {
            let alone = |entry: &Value| Response { body: entry.to_string().into_bytes(), ..response.clone() };
            data.iter().map(alone).collect()
        }
        // The batch was accepted or refused as a whole.
        None => {
            let reason = || format!("the response does not tell the numbers of {requests} mails");
            let flaw = || Flaw { reason: reason(), is_limit: false };
            let flaw = Some(response.flaw.clone().unwrap_or_else(flaw));
            vec![Response { flaw, ..response.clone() }; requests]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response { status, body: body.into(), ..Response::default() }
    }

    fn judge(response: &Response) -> Result<Value, String> {
        let request = Request::Local { response: Value::Null, message: None };
        match Resend.judge(&ProviderRow::default(), &request, response)? {
            Success::Value(value) if response.flaw.is_none() => Ok(value),
            _ => Ok(Value::Null),
        }
    }

    #[test]
    fn responses() {
        assert_eq!(judge(&response(200, r#"{"id":"x"}"#)).unwrap()["id"], "x");
        let error = r#"{"statusCode":422,"name":"validation_error","message":"Invalid `to` field."}"#;
        assert_eq!(
            judge(&response(422, error)).unwrap_err(),
            "HTTP 422 validation_error: Invalid `to` field."
        );
        assert_eq!(
            judge(&response(502, "<html>\n  Bad gateway")).unwrap_err(),
            "HTTP 502: <html> Bad gateway"
        );
        // The mail was sent, even if the response cannot be read.
        assert_eq!(judge(&response(200, "ok")), Ok(Value::Null));
        assert_eq!(judge(&response(200, "\u{feff}{\"id\":\"x\"}")).unwrap()["id"], "x");
        assert!(Resend.is_in_progress(&response(409, r#"{"name":"concurrent_idempotent_requests"}"#)));
    }

    #[test]
    fn a_batch_is_one_request() {
        let mail = |body: &str| post("https://api.test/emails".into(), body.into(), "k");
        let (a, b) = (mail(r#"{"to":"a"}"#), mail(r#"{"to":"b"}"#));
        let both = post("https://api.test/emails/batch".into(), r#"[{"to":"a"},{"to":"b"}]"#.into(), "key");
        assert_eq!(Batching::request(&Resend, &[&a, &b], "key"), both);
        assert!(Resend.takes(&a));
        assert!(!Resend.takes(&mail(r#"{"to":"a","attachments":[]}"#)));
        assert!(!Resend.takes(&mail(r#"{"to":"a","scheduled_at":"2030-01-01"}"#)));
    }

    #[test]
    fn the_response_to_a_batch() {
        let split = |status, body| match Resend.split(&response(status, body), 2) {
            BatchResponse::Refused => None,
            BatchResponse::Each(responses) => Some(responses.iter().map(judge).collect::<Vec<_>>()),
        };
        let ids = split(200, r#"{"data":[{"id":"x"},{"id":"y"}]}"#).unwrap();
        assert_eq!(ids[0].as_ref().unwrap()["id"], "x");
        assert_eq!(ids[1].as_ref().unwrap()["id"], "y");
        let unclear = split(200, r#"{"data":[{"id":"x"}]}"#).unwrap();
        assert_eq!(unclear, [Ok(Value::Null), Ok(Value::Null)]);
        assert!(split(422, r#"{"name":"validation_error"}"#).is_none());
        assert!(split(403, r#"{"name":"validation_error"}"#).is_none());
        assert!(split(403, r#"{"name":"invalid_api_key"}"#).is_some());
        let unavailable = split(503, "try later").unwrap();
        assert_eq!(unavailable, vec![Err("HTTP 503: try later".to_owned()); 2]);
    }
}
