//! Replies, as handlers are given them.

use super::{Reply, charset, redirect};
use crate::call::redact;
use crate::json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Headers that give access to something.
const PERSONAL: &[&str] = &[
    "set-cookie",
    "set-cookie2",
    "cookie",
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "proxy-authentication-info",
];

/// [`json_of`], with a warning that says what is wrong with it.
pub fn flawed(reply: &Reply, flaw: &str) -> Value {
    let mut answer = json_of(reply);
    answer["warning"] = flaw.into();
    answer
}

/// What is kept of a reply that is a failure: without what gives access to something, since nobody needs that.
pub fn refused(reply: &Reply) -> Value {
    let may_be_kept = |(name, _): &&(String, String)| !PERSONAL.contains(&name.as_str());
    let headers = reply.headers.iter().filter(may_be_kept).cloned().collect();
    let kept = Reply { headers, ..reply.clone() };
    reply.flaw.as_ref().map_or_else(|| json_of(&kept), |flaw| flawed(&kept, &flaw.reason))
}

/// `{status, headers, body}`: JSON as it is, text as text, and anything else by base64, with a note.
pub fn json_of(reply: &Reply) -> Value {
    let (body, is_base64) = body_of(reply);
    let mut answer = json!({ "status": reply.status, "headers": headers_of(reply), "body": body });
    if is_base64 {
        answer["body_encoding"] = "base64".into();
    }
    answer
}

/// Repeated headers are joined by commas, except for cookies (RFC 9110, section 5.3).
fn headers_of(reply: &Reply) -> Value {
    let mut headers = Map::new();
    for (name, value) in &reply.headers {
        match headers.get_mut(name) {
            None if name == "set-cookie" => drop(headers.insert(name.clone(), json!([value]))),
            None => drop(headers.insert(name.clone(), value.as_str().into())),
            Some(Value::Array(all)) => all.push(value.as_str().into()),
            Some(known) => *known = format!("{}, {value}", known.as_str().unwrap_or_default()).into(),
        }
    }
    Value::Object(headers)
}

fn body_of(reply: &Reply) -> (Value, bool) {
    if reply.body.is_empty() {
        return (Value::Null, false);
    }
    let (kind, charset) = content_type(reply);
    if (kind.ends_with("/json") || kind.ends_with("+json"))
        && let Some(value) = parsed(reply)
    {
        return (value, false);
    }
    let text = text_of(reply, &kind, charset.as_deref(), &reply.body);
    // Many providers send JSON as a page or as plain text.
    let looks_like_json = text.as_deref().is_some_and(|text| text.trim_start().starts_with(['{', '[']));
    if (kind.is_empty() || kind.starts_with("text/"))
        && looks_like_json
        && let Some(value) = parsed(reply)
    {
        return (value, false);
    }
    match text {
        Some(text) => (text.into(), false),
        None => (STANDARD.encode(&reply.body).into(), true),
    }
}

/// The JSON that the body is, if it is JSON. A byte order mark at its start is no part of it (RFC 8259, section 8.1).
pub fn parsed(reply: &Reply) -> Option<Value> {
    let body = reply.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&reply.body);
    json::read(body).ok().or_else(|| {
        let (kind, charset) = content_type(reply);
        json::read(text_of(reply, &kind, charset.as_deref(), body)?).ok()
    })
}

/// The reply's body, or what is left of it, as text.
fn text_of(reply: &Reply, kind: &str, charset: Option<&str>, body: &[u8]) -> Option<String> {
    charset::text(kind, charset, body, reply.flaw.is_some())
}

/// The media type, in lower case, and its charset.
fn content_type(reply: &Reply) -> (String, Option<String>) {
    let text = reply.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_owned();
    let charset = parts.find_map(|part| part.strip_prefix("charset"));
    let charset = charset.and_then(|rest| rest.trim_start().strip_prefix('='));
    (kind, charset.map(|charset| charset.trim().trim_matches('"').to_owned()))
}

/// What a reply says that is not what was expected: its status, and where it redirects to, or the beginning of its
/// body, with the query of URLs masked. `may_choose`: the request has a field that says which redirects are followed.
pub fn described(reply: &Reply, may_choose: bool) -> String {
    let said = redirect::not_followed(reply, may_choose);
    let said = said.unwrap_or_else(|| beginning(&redact::urls(&body_text(reply))));
    format!("HTTP {}: {said}", reply.status)
}

/// The beginning of a body as it is.
pub fn excerpt(reply: &Reply) -> String {
    beginning(&body_text(reply))
}

/// A body as text, if need be with replacements.
fn body_text(reply: &Reply) -> String {
    let (kind, charset) = content_type(reply);
    text_of(reply, &kind, charset.as_deref(), &reply.body)
        .unwrap_or_else(|| String::from_utf8_lossy(&reply.body).into_owned())
}

/// The beginning of a text, in one line.
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

    fn answer(kind: &str, body: &[u8]) -> Value {
        let headers =
            vec![("content-type".into(), kind.into()), ("x".into(), "1".into()), ("x".into(), "2".into())];
        json_of(&Reply { status: 200, headers, body: body.into(), ..Reply::default() })
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
