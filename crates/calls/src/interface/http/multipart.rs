//! Bodies in multipart/form-data (RFC 7578).

use crate::fields;
use crate::form::text_of;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The fields of a part that is given as an object.
const PART_FIELDS: &[&str] = &["text", "json", "base64", "filename", "content_type"];

/// Returns the body and its content type. The same idempotency key always gives the same body.
///
/// # Errors
/// If a part is invalid.
pub fn body(fields: &Value, key: &str) -> Result<(Vec<u8>, String), String> {
    let boundary = boundary(fields, key);
    Ok((parts(fields, &boundary)?, format!("multipart/form-data; boundary={boundary}")))
}

/// Returns a boundary that does not occur in the parts, because it contains a hash of them.
fn boundary(fields: &Value, key: &str) -> String {
    let hash = Sha256::new().chain_update(key).chain_update(fields.to_string()).finalize();
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("errand-{digits}")
}

fn parts(fields: &Value, boundary: &str) -> Result<Vec<u8>, String> {
    let fields = fields.as_object().ok_or("the body's multipart has to be an object of parts")?;
    let mut body = Vec::new();
    for (name, value) in fields {
        // An array stands for several parts of one name, as in a form, and null for none.
        let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in all.iter().filter(|value| !value.is_null()) {
            append(&mut body, boundary, name, value)?;
        }
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(body)
}

fn append(body: &mut Vec<u8>, boundary: &str, name: &str, value: &Value) -> Result<(), String> {
    let which = format!("the part \"{name}\" of the body");
    let wrong = |what: &str| format!("{which} {what}");
    let part = match value {
        Value::Object(fields) => {
            fields::check(&which, fields, PART_FIELDS, &[])?;
            described(fields).map_err(|what| wrong(&what))?
        }
        scalar => {
            let text = text_of(scalar).ok_or_else(|| wrong("has to be a text, number, boolean or object"))?;
            Part { content: text.into_bytes(), ..Part::default() }
        }
    };
    let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(name));
    if let Some(filename) = part.filename {
        head += &format!("; filename=\"{}\"", quoted(&filename));
    }
    if let Some(content_type) = part.content_type {
        if content_type.chars().any(char::is_control) {
            return Err(wrong("has a content_type with a control character"));
        }
        head += &format!("\r\nContent-Type: {content_type}");
    }
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(b"\r\n\r\n");
    body.extend_from_slice(&part.content);
    body.extend_from_slice(b"\r\n");
    Ok(())
}

#[derive(Default)]
struct Part {
    content: Vec<u8>,
    filename: Option<String>,
    content_type: Option<String>,
}

fn described(fields: &Map<String, Value>) -> Result<Part, String> {
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("has a {name} that is not a string")),
    };
    let (filename, given_type) = (text("filename")?, text("content_type")?);
    let (text, base64) = (text("text")?, text("base64")?);
    // A null beside other content means that there is no JSON.
    let is_json = |json: &&Value| !json.is_null() || text.is_none() && base64.is_none();
    let json = fields.get("json").filter(is_json);
    let (content, usual_type) = match (text, json, base64) {
        // A file has a content type; a field of a form has none.
        (Some(text), None, None) => {
            (text.into_bytes(), filename.is_some().then_some("text/plain; charset=utf-8"))
        }
        (None, Some(json), None) => (json.to_string().into_bytes(), Some("application/json")),
        (None, None, Some(encoded)) => {
            let encoded: String = encoded.split_ascii_whitespace().collect();
            let content = STANDARD.decode(encoded).map_err(|_| "has base64 that cannot be decoded")?;
            (content, Some("application/octet-stream"))
        }
        _ => return Err("has to have one of text, json and base64".into()),
    };
    let content_type = given_type.or_else(|| usual_type.map(str::to_owned));
    Ok(Part { content, filename, content_type })
}

/// Escapes a name as browsers do, so that it ends neither the quotation nor the line.
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_written_as_the_standard_has_it() {
        let fields = json!({
            "title": "Grüße", "count": 2, "none": null, "tags": ["a", "b"],
            "file": { "filename": "a\"b\r\n.pdf", "content_type": "application/pdf", "base64": "AP8 B" },
            "meta": { "json": { "a": 1 } },
            "note": { "text": "x", "filename": "n.txt", "json": null, "file": null },
            "empty": { "json": null, "text": null },
        });
        let body = parts(&fields, "b0").unwrap();
        let expected = [
            "--b0\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nGrüße\r\n".as_bytes(),
            b"--b0\r\nContent-Disposition: form-data; name=\"count\"\r\n\r\n2\r\n",
            b"--b0\r\nContent-Disposition: form-data; name=\"tags\"\r\n\r\na\r\n",
            b"--b0\r\nContent-Disposition: form-data; name=\"tags\"\r\n\r\nb\r\n",
            b"--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22b%0D%0A.pdf\"\r\n",
            b"Content-Type: application/pdf\r\n\r\n\x00\xff\x01\r\n",
            b"--b0\r\nContent-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n",
            b"--b0\r\nContent-Disposition: form-data; name=\"note\"; filename=\"n.txt\"\r\n",
            b"Content-Type: text/plain; charset=utf-8\r\n\r\nx\r\n",
            b"--b0\r\nContent-Disposition: form-data; name=\"empty\"\r\nContent-Type: application/json\r\n\r\nnull\r\n",
            b"--b0--\r\n",
        ];
        assert_eq!(body, expected.concat());
    }

    #[test]
    fn the_same_key_and_parts_make_the_same_body() {
        let (one, other) = (json!({ "a": "x" }), json!({ "a": "y" }));
        let (_, content_type) = body(&one, "key").unwrap();
        assert_eq!(body(&one, "key").unwrap().1, content_type);
        assert!(
            body(&one, "other").unwrap().1 != content_type && body(&other, "key").unwrap().1 != content_type
        );
        assert!(content_type.starts_with("multipart/form-data; boundary=errand-") && content_type.len() < 80);
    }

    #[test]
    fn what_is_wrong_with_a_part_is_named() {
        for (fields, named) in [
            (json!(1), "object of parts"),
            (json!({ "a": { "file": "x" } }), "\"a\" of the body has no field file"),
            (json!({ "a": { "fileName": "x", "text": "y" } }), "did you mean filename?"),
            (json!({ "a": ["x", ["y"]] }), "\"a\" of the body has to be a text"),
            (json!({ "a": [[]] }), "\"a\" of the body has to be a text"),
            (json!({ "a": { "text": "x", "json": 1, "base64": null } }), "one of text, json and base64"),
            (json!({ "a": { "text": "x", "base64": "eA==" } }), "one of text, json and base64"),
            (json!({ "a": { "filename": "x" } }), "one of text, json and base64"),
            (json!({ "a": { "base64": "?" } }), "cannot be decoded"),
            (json!({ "a": { "text": 1 } }), "text that is not a string"),
            (json!({ "a": { "text": "x", "content_type": "a\r\nb" } }), "control character"),
        ] {
            let problem = parts(&fields, "b0").unwrap_err();
            assert!(problem.contains(named), "{fields}: {problem}");
        }
    }
}
