//! The body of a request.

use super::multipart;
use crate::form::form;
use crate::request::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const KINDS: &[&str] = &["json", "text", "base64", "form", "multipart"];

/// Returns the body and its content type.
pub fn read(given: &Value, key: &str) -> Result<(Body, Option<String>), String> {
    let only = given.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    let (kind, content) = match (only, given) {
        (Some((kind, content)), _) if KINDS.contains(&kind.as_str()) => (kind.as_str(), content),
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
        "form" => of_type(Body::Text(form(content, "form")?), "application/x-www-form-urlencoded"),
        "multipart" => {
            let (bytes, content_type) = multipart::body(content, key)?;
            of_type(Body::of_bytes(bytes), &content_type)
        }
        _ => of_type(Body::Text(content.to_string()), "application/json"),
    })
}
