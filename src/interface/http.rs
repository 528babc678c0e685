//! Any interface by HTTP, as the payload or the row of `queues.provider` describes it.

use super::provider::Auth;
use super::reply::{self, json_of};
use super::{Answer, Body, Credential, HttpRequest, Interface, Provider, Redirects, Reply, Request};
use super::{auth, expect, fields, key, multipart, target, template};
use crate::interface::header::header_problem;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::time::Duration;

pub struct Http;

const FIELDS: &[&str] =
    &["method", "url", "path", "headers", "query", "body", "timeout", "expect", "redirects", key::FIELD];
const BODIES: &[&str] = &["json", "text", "base64", "form", "multipart"];
/// How long an idempotency key is taken to be recognized, if the provider's row does not say.
const KEY_MEMORY: Duration = Duration::from_secs(24 * 3600);
pub const DEFAULT_KEY_HEADER: &str = "Idempotency-Key";

impl Interface for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn request(&self, provider: &Provider, payload: &Value, key: &str) -> Result<Request, String> {
        let fields = described(provider, payload)?;
        fields::check("the request", &fields, FIELDS, &[])?;
        let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let (body, content_type) =
            given("body").map_or(Ok((Body::default(), None)), |given| body(given, key))?;
        let has_body = given("body").is_some();
        let method = method(given("method"), has_body)?;
        let mut headers = headers(provider, given("headers"))?;
        let key_header = provider.idempotency_header.as_deref().unwrap_or(DEFAULT_KEY_HEADER);
        let has_own_key = self.own_key(provider, payload)?.is_some_and(|key| !key.is_null());
        if let Some((name, _)) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(key_header))
            && has_own_key
        {
            return Err(format!(
                "the request has an idempotency key twice, in {} and in the header {name}; give one of the two",
                key::FIELD
            ));
        }
        if let Some(content_type) = content_type {
            add_header(&mut headers, "Content-Type", vec![content_type]);
        }
        let wants_key = has_own_key || !matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS");
        if !key_header.is_empty() && wants_key {
            add_header(&mut headers, key_header, vec![key.to_owned()]);
        }
        if key_header.is_empty() && has_own_key && provider.auth != Auth::Webhook {
            return Err("the provider knows no idempotency keys: its idempotency_header is ''".into());
        }
        headers.extend(auth::stored_headers(provider, key)?);
        given("expect").map_or(Ok(()), expect::check)?;
        Ok(Request::Http(HttpRequest {
            method,
            url: target::url(provider, given("url"), given("path"), given("query"))?,
            headers,
            body,
            timeout: given("timeout").map(timeout).transpose()?,
            redirects: given("redirects").map_or(Ok(Redirects::default()), Redirects::of_field)?,
            expect: given("expect").cloned(),
            ..HttpRequest::default()
        }))
    }

    fn credentials(&self, provider: &Provider, request: &Request) -> Result<Vec<Credential>, String> {
        auth::credentials(provider, request)
    }

    fn answer(&self, provider: &Provider, request: &Request, reply: &Reply) -> Result<Answer, String> {
        let wanted = match request {
            Request::Http(HttpRequest { expect: Some(expect), .. }) => Some(expect),
            _ => provider.expect.as_ref(),
        };
        let answer = json_of(reply);
        if expect::is_met(wanted, reply.status, &answer["body"]) {
            return Ok(match provider.answer.as_ref().map(|answer_as| template::fill(answer_as, &answer)) {
                None => Answer::Value(answer),
                Some(Ok(filled)) => Answer::Value(filled),
                Some(Err(reason)) => {
                    Answer::Flawed(format!("the response does not fit the provider's answer: {reason}"))
                }
            });
        }
        let said = provider.failure.as_ref().and_then(|failure| template::fill(failure, &answer).ok());
        Err(match said {
            None | Some(Value::Null) => reply::described(reply, true),
            Some(Value::String(said)) => format!("HTTP {}: {said}", reply.status),
            Some(said) => format!("HTTP {}: {said}", reply.status),
        })
    }

    fn own_key(&self, provider: &Provider, payload: &Value) -> Result<Option<Value>, String> {
        match provider.request.as_ref().and_then(|request| request.get(key::FIELD)) {
            Some(template) => template::fill(template, payload).map(Some),
            None => Ok(payload.get(key::FIELD).cloned()),
        }
    }

    fn remembers_keys_for(&self, provider: &Provider) -> Duration {
        // A key that is not sent is not recognized.
        let sent = provider.idempotency_header.as_deref() != Some("");
        provider.idempotency_key_ttl.unwrap_or(if sent { KEY_MEMORY } else { Duration::ZERO })
    }

    fn takes_request_from_payload(&self) -> bool {
        true
    }
}

/// The fields of the request: what the payload holds, or the provider's template makes of it.
fn described(provider: &Provider, payload: &Value) -> Result<Map<String, Value>, String> {
    let described = match &provider.request {
        None => payload.clone(),
        Some(Value::Object(fields)) => {
            let mut rest = fields.clone();
            // A value that is inserted into a path is one segment of it, and changes no host.
            let path = rest.shift_remove("path");
            let mut filled = template::fill(&Value::Object(rest), payload)?;
            if let Some(Value::String(path)) = path {
                filled["path"] = target::fill_path(&path, payload)?.into();
            }
            if let Some(Value::String(url)) = fields.get("url")
                && let Some(url) = target::fill_url(url, payload)?
            {
                filled["url"] = url.into();
            }
            filled
        }
        Some(_) => return Err("the provider's request has to be an object".into()),
    };
    match described {
        Value::Object(fields) => Ok(fields),
        _ => Err("the request has to be an object with method, url, headers, query, body …".into()),
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

/// The body, and its type.
fn body(given: &Value, key: &str) -> Result<(Body, Option<String>), String> {
    let only = given.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    let (kind, content) = match (only, given) {
        (Some((kind, content)), _) if BODIES.contains(&kind.as_str()) => (kind.as_str(), content),
        (_, Value::String(_)) => ("text", given),
        _ => ("json", given),
    };
    let text = || content.as_str().ok_or_else(|| format!("the body's {kind} has to be a string"));
    let of_type = |body, content_type: &str| (body, Some(content_type.to_owned()));
    Ok(match kind {
        "text" => of_type(Body::Text(text()?.into()), "text/plain; charset=utf-8"),
        "base64" => {
            let content: String = text()?.split_ascii_whitespace().collect();
            STANDARD.decode(&content).map_err(|_| "the body's base64 cannot be decoded")?;
            of_type(Body::Binary { base64: content }, "application/octet-stream")
        }
        "form" => of_type(Body::Text(target::form(content, "form")?), "application/x-www-form-urlencoded"),
        "multipart" => {
            let (bytes, content_type) = multipart::body(content, key)?;
            of_type(Body::of_bytes(bytes), &content_type)
        }
        _ => of_type(Body::Text(content.to_string()), "application/json"),
    })
}

/// The payload's headers, and the provider's where the payload has none.
fn headers(provider: &Provider, given: Option<&Value>) -> Result<Vec<(String, String)>, String> {
    let mut headers = Vec::new();
    if let Some(given) = given {
        let fields = given.as_object().ok_or("headers has to be an object")?;
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let values = header_values(value)
                .ok_or_else(|| format!("the header {name} has to be a string or an array of strings"))?;
            if let Some(problem) = values.iter().find_map(|value| header_problem(name, value)) {
                return Err(problem);
            }
            if auth::owns_header(provider, name) {
                return Err(format!("the header {name} is the provider's own"));
            }
            add_header(&mut headers, name, values);
        }
    }
    provider.headers.iter().for_each(|(name, values)| add_header(&mut headers, name, values.0.clone()));
    Ok(headers)
}

/// The values of a header; each goes out in a line of its own.
fn header_values(given: &Value) -> Option<Vec<String>> {
    match given {
        Value::Array(all) => all.iter().map(target::text_of).collect(),
        one => target::text_of(one).map(|value| vec![value]),
    }
}

/// Adds a header, unless it is there.
fn add_header(headers: &mut Vec<(String, String)>, name: &str, values: Vec<String>) {
    if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
        headers.extend(values.into_iter().map(|value| (name.to_owned(), value)));
    }
}

/// Milliseconds: seconds as a number, or a text with a unit.
fn timeout(given: &Value) -> Result<u64, String> {
    let wrong =
        || "timeout has to be seconds as a number, or a text such as '500ms', '10s' or '2min'".to_owned();
    let millis = match given {
        Value::Number(seconds) => seconds.as_f64().map(|seconds| seconds * 1000.0),
        Value::String(text) => {
            let digits =
                text.trim().find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.trim().len());
            let (number, unit) = text.trim().split_at(digits);
            let unit = match unit.trim() {
                "ms" => 1.0,
                "" | "s" => 1000.0,
                "min" => 60_000.0,
                _ => return Err(wrong()),
            };
            number.parse::<f64>().ok().map(|number| number * unit)
        }
        _ => None,
    };
    millis.filter(|millis| *millis >= 1.0 && *millis < 1e9).map(|millis| millis as u64).ok_or_else(wrong)
}

/// The check of a row's templates.
pub fn check(provider: &Provider) -> Result<(), String> {
    provider.expect.as_ref().map_or(Ok(()), expect::check)?;
    let proves = provider.auth != Auth::None || provider.client_certificate.is_some();
    if proves && provider.base_url.is_none() && provider.interface.takes_request_from_payload() {
        return Err("auth needs a base_url: otherwise each payload says where the secret goes".into());
    }
    let mut headers =
        provider.headers.iter().flat_map(|(name, all)| all.0.iter().map(move |value| (name, value)));
    if let Some(problem) = headers.find_map(|(name, value)| header_problem(name, value)) {
        return Err(problem);
    }
    let Some(request) = &provider.request else { return Ok(()) };
    let fields = request.as_object().ok_or("request has to be an object")?;
    fields::check("request", fields, FIELDS, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::provider::Values;
    use crate::interface::simulated::Simulated;
    use serde_json::json;

    fn provider() -> Provider {
        Provider { base_url: Some("https://api.test".into()), ..Provider::plain(&Simulated) }
    }

    fn request(provider: &Provider, payload: Value) -> Result<HttpRequest, String> {
        match Http.request(provider, &payload, "key")? {
            Request::Http(request) => Ok(request),
            _ => unreachable!(),
        }
    }

    fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
        request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn bodies() {
        for (body, text, kind) in [
            (json!({ "json": { "a": 1 } }), r#"{"a":1}"#, "application/json"),
            (json!({ "a": 1 }), r#"{"a":1}"#, "application/json"),
            (json!({ "text": "ü" }), "ü", "text/plain; charset=utf-8"),
            (json!("t"), "t", "text/plain; charset=utf-8"),
            (
                json!({ "form": { "a": ["x", 1], "b": "ü&" } }),
                "a=x&a=1&b=%C3%BC%26",
                "application/x-www-form-urlencoded",
            ),
        ] {
            let request = request(&provider(), json!({ "body": body })).unwrap();
            assert_eq!(header(&request, "Content-Type"), Some(kind));
            assert_eq!((request.body, request.method.as_str()), (Body::Text(text.into()), "POST"));
        }
        let parts = request(&provider(), json!({ "body": { "multipart": { "a": "ü" } } })).unwrap();
        assert!(header(&parts, "Content-Type").unwrap().starts_with("multipart/form-data; boundary=errand-"));
        assert!(matches!(&parts.body, Body::Text(text) if text.contains("name=\"a\"\r\n\r\nü\r\n")));
        let binary = json!({ "body": { "multipart": { "a": { "base64": "/w==" } } } });
        assert!(matches!(request(&provider(), binary).unwrap().body, Body::Binary { .. }));
        let binary = request(&provider(), json!({ "body": { "base64": "/w ==" } })).unwrap();
        assert_eq!(binary.body.bytes().unwrap(), [0xff]);
        assert!(request(&provider(), json!({ "body": { "base64": "?" } })).is_err());
        assert!(request(&provider(), json!({ "body": { "form": 1 } })).is_err());
    }

    #[test]
    fn what_is_unknown_or_not_allowed_is_named() {
        for (payload, named) in [
            (json!({ "uri": "/x" }), "uri"),
            (json!({ "method": "CONNECT" }), "method"),
            (json!({ "headers": { "Host": "x" } }), "Host"),
            (json!({ "headers": { "X": "a\r\nY: b" } }), "X"),
            (json!({ "headers": { "X": {} } }), "X"),
            (json!({ "timeout": "soon" }), "timeout"),
            (json!({ "timeout": -1 }), "timeout"),
            (json!({ "expect": "ok" }), "expect"),
            (json!({ "redirects": "some" }), "redirects"),
        ] {
            let error = request(&provider(), payload.clone()).unwrap_err();
            assert!(error.contains(named), "{payload}: {error}");
        }
        let with_auth = Provider { auth: Auth::Bearer, ..provider() };
        assert!(request(&with_auth, json!({ "headers": { "authorization": "x" } })).is_err());
    }

    #[test]
    fn keys_go_with_what_changes_something() {
        let with = |provider: &Provider, payload| {
            let request = request(provider, payload).unwrap();
            header(&request, "Idempotency-Key").map(str::to_owned)
        };
        assert_eq!(with(&provider(), json!({ "method": "GET" })), None);
        assert_eq!(with(&provider(), json!({ "method": "put" })).as_deref(), Some("key"));
        let none = Provider { idempotency_header: Some(String::new()), ..provider() };
        assert_eq!(with(&none, json!({ "body": 1 })), None);
    }

    #[test]
    fn a_key_of_the_user_s_own_is_sent_with_every_method() {
        let own = json!({ "method": "GET", "idempotency_key": "order-7" });
        assert_eq!(header(&request(&provider(), own.clone()).unwrap(), "Idempotency-Key"), Some("key"));
        let none = Provider { idempotency_header: Some(String::new()), ..provider() };
        assert!(request(&none, own).unwrap_err().contains("knows no idempotency keys"));
        let template = json!({ "idempotency_key": "order-{{order}}" });
        let with_template = Provider { request: Some(template), ..provider() };
        assert_eq!(Http.own_key(&with_template, &json!({ "order": 7 })), Ok(Some(json!("order-7"))));
    }

    #[test]
    fn a_header_can_have_several_values() {
        let fields = json!({ "headers": { "X-A": ["1", 2], "X-B": [] } });
        let all = Values(vec!["row".into(), "too".into()]);
        let of_row = [("x-a".to_owned(), all.clone()), ("x-c".to_owned(), all)];
        let provider = Provider { headers: of_row.into(), ..provider() };
        let sent = request(&provider, fields).unwrap().headers;
        let expected = [("X-A", "1"), ("X-A", "2"), ("x-c", "row"), ("x-c", "too")];
        assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for bad in [json!({ "X-A": [["1"]] }), json!({ "X-A": ["1", "2\r\nX: y"] })] {
            assert!(request(&provider, json!({ "headers": bad })).unwrap_err().contains("X-A"));
        }
    }

    #[test]
    fn a_template_makes_the_request() {
        let template = json!({
            "method": "POST", "path": "/channels/{{channel}}/messages", "query": { "thread": "{{thread}}" },
            "headers": { "X-Who": "{{who}}" }, "body": { "json": { "text": "Hi {{who}}", "tags": "{{tags}}" } },
        });
        let provider = Provider { request: Some(template), ..provider() };
        let payload = json!({ "channel": "a b?c", "who": "Ann", "tags": [1] });
        let made = request(&provider, payload).unwrap();
        assert_eq!(made.url, "https://api.test/channels/a%20b%3Fc/messages");
        assert_eq!(made.body, Body::Text(r#"{"text":"Hi Ann","tags":[1]}"#.into()));
        let injected = json!({ "channel": "c", "who": "x\r\nEvil: 1", "tags": [] });
        assert!(request(&provider, injected).unwrap_err().contains("X-Who"));
    }

    #[test]
    fn answers_and_failures() {
        let provider = Provider {
            expect: Some(json!({ "body": { "ok": true } })),
            answer: Some(json!({ "ts": "{{body.ts}}" })),
            failure: Some(json!("{{body.error}}")),
            ..provider()
        };
        let answer = |status, body: &str| {
            let reply = Reply { status, body: body.into(), ..Reply::default() };
            Http.answer(&provider, &Request::Http(HttpRequest::default()), &reply)
        };
        assert_eq!(answer(200, r#"{"ok":true,"ts":"1"}"#), Ok(Answer::Value(json!({ "ts": "1" }))));
        assert_eq!(answer(200, r#"{"ok":false,"error":"no_channel"}"#), Err("HTTP 200: no_channel".into()));
        assert_eq!(answer(502, "<html> Bad"), Err("HTTP 502: <html> Bad".into()));
    }

    #[test]
    fn timeouts() {
        for (given, millis) in
            [(json!(2), 2000), (json!(0.5), 500), (json!("250ms"), 250), (json!("2 min"), 120_000)]
        {
            assert_eq!(timeout(&given), Ok(millis));
        }
    }
}
