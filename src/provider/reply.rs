//! Replies, as handlers are given them.

use super::Reply;
use crate::json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

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
    let kind = reply
        .header("content-type")
        .unwrap_or("")
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let is_json = kind.ends_with("/json") || kind.ends_with("+json");
    let looks_like_it = kind.is_empty() && matches!(reply.body.first(), Some(b'{' | b'['));
    if (is_json || looks_like_it)
        && let Ok(value) = json::read(&reply.body)
    {
        return (value, false);
    }
    let is_binary = ["image/", "audio/", "video/", "font/"].iter().any(|prefix| kind.starts_with(prefix))
        || matches!(
            kind.as_str(),
            "application/octet-stream" | "application/pdf" | "application/zip" | "application/gzip"
        );
    match std::str::from_utf8(&reply.body) {
        Ok(text) if !is_binary && !text.contains('\0') => (text.into(), false),
        _ => (STANDARD.encode(&reply.body).into(), true),
    }
}

/// The beginning of a reply that is not what was expected.
pub fn excerpt(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
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
        json_of(&Reply { status: 200, headers, body: body.into() })
    }

    #[test]
    fn bodies_are_json_text_or_base64() {
        assert_eq!(answer("application/json; charset=utf-8", b"{\"a\":1}")["body"], json!({ "a": 1 }));
        assert_eq!(answer("application/problem+json", b"[1]")["body"], json!([1]));
        assert_eq!(answer("application/json", b"oops")["body"], json!("oops"));
        assert_eq!(answer("", b"{\"a\":1}")["body"], json!({ "a": 1 }));
        assert_eq!(answer("text/plain", b"{\"a\":1}")["body"], json!("{\"a\":1}"));
        assert_eq!(answer("text/plain", b"\xff")["body"], json!("/w=="));
        assert_eq!(answer("image/png", b"abc")["body_encoding"], json!("base64"));
        assert_eq!(answer("text/plain", b"")["body"], Value::Null);
        assert_eq!(answer("text/plain", b"")["headers"]["x"], json!("1, 2"));
    }
}
