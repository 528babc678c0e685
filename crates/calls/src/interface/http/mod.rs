//! The interface for any HTTP API that the payload or the row of `queues.provider` describes.

mod body;
mod description;
mod headers;
mod multipart;
mod path;
#[cfg(test)]
mod tests;
mod timeout;
mod url;

use super::contract::{Interface, Success};
use crate::content::{self, json_of};
use crate::credential::Credential;
use crate::provider_row::ProviderRow;
use crate::redirect::Redirects;
use crate::request::{Body, HTTP_FIELDS, HttpRequest, Request};
use crate::response::Response;
use crate::settings::Settings;
use crate::{auth, expect, fields, key, template};
use serde_json::Value;
use std::time::Duration;

pub struct Http;

/// How long a provider is assumed to recognize idempotency keys, if its row does not specify it.
const DEFAULT_KEY_TTL: Duration = Duration::from_secs(24 * 3600);

impl Interface for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn check_secret(&self, provider: &ProviderRow, settings: &dyn Settings) -> Result<(), String> {
        auth::secret_name(provider).map_or(Ok(()), |name| settings.named_secret(name).map(drop))
    }

    fn request(
        &self,
        provider: &ProviderRow,
        _settings: &dyn Settings,
        payload: &Value,
        key: &str,
    ) -> Result<Request, String> {
        let fields = description::read(provider, payload)?;
        fields::check("the request", &fields, HTTP_FIELDS, &[])?;
        let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let (body, content_type) =
            given("body").map_or(Ok((Body::default(), None)), |given| body::read(given, key))?;
        let has_body = given("body").is_some();
        let method = method(given("method"), has_body)?;
        let mut headers = headers::read(provider, given("headers"))?;
        if let Some(content_type) = content_type {
            headers::add(&mut headers, "Content-Type", vec![content_type]);
        }
        let has_own_key = self.own_key(provider, payload)?.is_some_and(|key| !key.is_null());
        headers::add_key(&mut headers, provider, &method, key, has_own_key)?;
        headers.extend(auth::stored_headers(provider, key)?);
        given("expect").map_or(Ok(()), expect::check)?;
        Ok(Request::Http(HttpRequest {
            method,
            url: url::of_request(provider, given("url"), given("path"), given("query"))?,
            headers,
            body,
            timeout: given("timeout").map(timeout::millis).transpose()?,
            redirects: given("redirects").map_or(Ok(Redirects::default()), Redirects::of_field)?,
            expect: given("expect").cloned(),
            ..HttpRequest::default()
        }))
    }

    fn credentials(
        &self,
        provider: &ProviderRow,
        settings: &dyn Settings,
        request: &Request,
    ) -> Result<Vec<Credential>, String> {
        auth::credentials(provider, settings, request)
    }

    fn judge(
        &self,
        provider: &ProviderRow,
        request: &Request,
        response: &Response,
    ) -> Result<Success, String> {
        let wanted = match request {
            Request::Http(HttpRequest { expect: Some(expect), .. }) => Some(expect),
            _ => provider.expect.as_ref(),
        };
        let content = json_of(response);
        if expect::is_met(wanted, response.status, &content["body"]) {
            return Ok(match provider.answer.as_ref().map(|template| template::fill(template, &content)) {
                None => Success::Value(content),
                Some(Ok(filled)) => Success::Value(filled),
                Some(Err(reason)) => {
                    Success::Flawed(format!("the response does not fit the provider's answer: {reason}"))
                }
            });
        }
        Err(failure_text(provider, &content).map_or_else(
            || content::describe(response, true),
            |text| format!("HTTP {}: {text}", response.status),
        ))
    }

    fn own_key(&self, provider: &ProviderRow, payload: &Value) -> Result<Option<Value>, String> {
        match provider.request.as_ref().and_then(|request| request.get(key::FIELD)) {
            Some(template) => template::fill(template, payload).map(Some),
            None => Ok(payload.get(key::FIELD).cloned()),
        }
    }

    fn remembers_keys_for(&self, provider: &ProviderRow) -> Duration {
        // A key that is not sent cannot be recognized.
        let sent = provider.idempotency_header.as_deref() != Some("");
        provider.idempotency_key_ttl.unwrap_or(if sent { DEFAULT_KEY_TTL } else { Duration::ZERO })
    }

    fn takes_request_from_payload(&self) -> bool {
        true
    }
}

/// The reason for a failure, if the provider's row has a template for it.
fn failure_text(provider: &ProviderRow, content: &Value) -> Option<String> {
    match template::fill(provider.failure.as_ref()?, content).ok()? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn method(given: Option<&Value>, has_body: bool) -> Result<String, String> {
    let Some(given) = given else { return Ok(if has_body { "POST" } else { "GET" }.into()) };
    let method = given.as_str().unwrap_or_default().to_ascii_uppercase();
    let allowed = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if !allowed.contains(&method.as_str()) {
        return Err(format!("the method has to be one of {}", allowed.join(", ")));
    }
    if has_body && method == "HEAD" {
        return Err("a HEAD request has no body".into());
    }
    Ok(method)
}
