//! Responses in the form that handlers receive.

use crate::response::Response;
use crate::{charset, json, redact, unfollowed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Headers that grant access to something.
const PERSONAL: &[&str] = &[
    "set-cookie",
    "set-cookie2",
    "cookie",
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "proxy-authentication-info",
];

/// Returns [`json_of`] with a warning that names the flaw.
pub fn flawed(response: &Response, flaw: &str) -> Value {
    let mut answer = json_of(response);
    answer["warning"] = flaw.into();
    answer
}

/// Returns what is kept of a response that means failure. Headers that grant access to something are left out, since
/// they are not needed.
pub fn refused(response: &Response) -> Value {
    let may_be_kept = |(name, _): &&(String, String)| !PERSONAL.contains(&name.as_str());
    let headers = response.headers.iter().filter(may_be_kept).cloned().collect();
    let kept = Response { headers, ..response.clone() };
    response.flaw.as_ref().map_or_else(|| json_of(&kept), |flaw| flawed(&kept, &flaw.reason))
}

/// Returns `{status, headers, body}`. JSON and text are kept as they are; other bodies become base64, with a note.
pub fn json_of(response: &Response) -> Value {
    let (body, is_base64) = body_of(response);
    let mut answer = json!({ "status": response.status, "headers": headers_of(response), "body": body });
    if is_base64 {
        answer["body_encoding"] = "base64".into();
    }
    answer
}

/// Joins repeated headers by commas, except for cookies (RFC 9110, section 5.3).
fn headers_of(response: &Response) -> Value {
    let mut headers = Map::new();
    for (name, value) in &response.headers {
        match headers.get_mut(name) {
            None if name == "set-cookie" => drop(headers.insert(name.clone(), json!([value]))),
            None => drop(headers.insert(name.clone(), value.as_str().into())),
            Some(Value::Array(all)) => all.push(value.as_str().into()),
            Some(known) => *known = format!("{}, {value}", known.as_str().unwrap_or_default()).into(),
        }
    }
    Value::Object(headers)
}

fn body_of(response: &Response) -> (Value, bool) {
    if response.body.is_empty() {
        return (Value::Null, false);
    }
    let (media_type, charset) = content_type(response);
    if (media_type.ends_with("/json") || media_type.ends_with("+json"))
        && let Some(value) = parsed(response)
    {
        return (value, false);
    }
    let text = text_of(response, &media_type, charset.as_deref(), &response.body);
    // Many providers send JSON as HTML or as plain text.
    let looks_like_json = text.as_deref().is_some_and(|text| text.trim_start().starts_with(['{', '[']));
    if (media_type.is_empty() || media_type.starts_with("text/"))
        && looks_like_json
        && let Some(value) = parsed(response)
    {
        return (value, false);
    }
    match text {
        Some(text) => (text.into(), false),
        None => (STANDARD.encode(&response.body).into(), true),
    }
}

/// Parses the body as JSON. A byte order mark at its start is ignored (RFC 8259, section 8.1).
pub fn parsed(response: &Response) -> Option<Value> {
    let body = response.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&response.body);
    json::read(body).ok().or_else(|| {
        let (media_type, charset) = content_type(response);
        json::read(text_of(response, &media_type, charset.as_deref(), body)?).ok()
    })
}

/// Returns the received part of the body as text.
fn text_of(response: &Response, media_type: &str, charset: Option<&str>, body: &[u8]) -> Option<String> {
    charset::text(media_type, charset, body, response.flaw.is_some())
}

/// Returns the media type in lower case, and its charset.
fn content_type(response: &Response) -> (String, Option<String>) {
    let text = response.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_owned();
    let charset = parts.find_map(|part| part.strip_prefix("charset"));
    let charset = charset.and_then(|rest| rest.trim_start().strip_prefix('='));
    (media_type, charset.map(|charset| charset.trim().trim_matches('"').to_owned()))
}

/// Describes an unexpected response: its status, and its redirect target or the beginning of its body, with the queries
/// of URLs masked. `may_choose` means that the request has a field that says which redirects are followed.
pub fn describe(response: &Response, may_choose: bool) -> String {
    let said = unfollowed::describe(response, may_choose);
    let said = said.unwrap_or_else(|| beginning(&redact::urls(&body_text(response))));
    format!("HTTP {}: {said}", response.status)
}

/// Returns the beginning of a body without any masking.
pub fn excerpt(response: &Response) -> String {
    beginning(&body_text(response))
}

/// Returns a body as text, with replacement characters where it cannot be decoded.
fn body_text(response: &Response) -> String {
    let (media_type, charset) = content_type(response);
    text_of(response, &media_type, charset.as_deref(), &response.body)
        .unwrap_or_else(|| String::from_utf8_lossy(&response.body).into_owned())
}

/// Returns the beginning of a text as one line.
fn beginning(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None if line.is_empty() => "(empty)".into(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(media_type: &str, body: &[u8]) -> Value {
        let headers = vec![
            ("content-type".into(), media_type.into()),
            ("x".into(), "1".into()),
            ("x".into(), "2".into()),
        ];
        json_of(&Response { status: 200, headers, body: body.into(), ..Response::default() })
    }

    #[test]
    fn bodies_are_json_text_or_base64() {
        assert_eq!(answer("application/json; charset=utf-8", b"{\"a\":1}")["body"], json!({ "a": 1 }));
        assert_eq!(answer("application/problem+json", b"[1]")["body"], json!([1]));
        assert_eq!(answer("application/json", b"oops")["body"], json!("oops"));
        assert_eq!(answer("", b"{\"a\":1}")["body"], json!({ "a": 1 }));
        assert_eq!(answer("text/plain", b" {\"a\":1}")["body"], json!({ "a": 1 }));
        assert_eq!(answer("text/html; charset=utf-8", b"[1]")["body"], json!([1]));
        assert_eq!(answer("text/plain", b"{\"a\":1} b")["body"], json!("{\"a\":1} b"));
        assert_eq!(answer("text/plain", b"1")["body"], json!("1"));
        assert_eq!(answer("text/plain; Charset=\"ISO-8859-1\"", b"\xfc")["body"], json!("\u{fc}"));
        assert_eq!(answer("application/json; charset=iso-8859-1", b"\"\xfc\"")["body"], json!("\u{fc}"));
        assert_eq!(answer("application/json", b"\xef\xbb\xbf{\"a\":1}")["body"], json!({ "a": 1 }));
        assert_eq!(answer("text/plain", b"\xff\x01")["body"], json!("/wE="));
        assert_eq!(answer("image/png", b"abc")["body_encoding"], json!("base64"));
        assert_eq!(answer("text/plain", b"")["body"], Value::Null);
        assert_eq!(answer("text/plain", b"")["headers"]["x"], json!("1, 2"));
    }
}
