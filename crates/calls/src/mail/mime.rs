//! The content of a mail: its texts, images and attachments (RFC 2045).

use super::fields::{Fields, list};
use crate::fields;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Attachment, Body, MaybeString, MultiPart, SinglePart};
use serde_json::Value;

const ATTACHMENT: &[&str] = &["filename", "content", "content_type", "content_id"];
/// The longest content ID in bytes, which is Resend's limit.
const MAX_CONTENT_ID: usize = 127;

enum Part {
    Single(SinglePart),
    Multi(MultiPart),
}

impl Part {
    fn put_into(self, parts: MultiPart) -> MultiPart {
        match self {
            Part::Single(part) => parts.singlepart(part),
            Part::Multi(part) => parts.multipart(part),
        }
    }

    /// Combines this part and `others` into a part of the given type, if there are others.
    fn beside(self, others: Vec<SinglePart>, kind: MultiPart) -> Part {
        if others.is_empty() {
            return self;
        }
        Part::Multi(others.into_iter().fold(self.put_into(kind), MultiPart::singlepart))
    }

    fn formatted(&self) -> Vec<u8> {
        match self {
            Part::Single(part) => part.formatted(),
            Part::Multi(part) => part.formatted(),
        }
    }
}

/// Returns the headers and bodies of all parts.
///
/// # Errors
/// If an attachment is invalid.
pub fn content(fields: &Fields) -> Result<Vec<u8>, String> {
    let given = |name: &str| fields.get(name).and_then(Value::as_str);
    let html = given("html").map(|text| Part::Single(SinglePart::html(body(text))));
    // Some programs would show a blank part instead of the HTML part.
    let text = given("text").filter(|text| html.is_none() || !text.trim().is_empty());
    let (mut images, mut attached) = (Vec::new(), Vec::new());
    for given in list(fields, "attachments") {
        let is_shown = html.is_some() && !given["content_id"].is_null();
        if is_shown { &mut images } else { &mut attached }.push(attachment(given)?);
    }
    let html = html.map(|html| html.beside(images, MultiPart::related().build()));
    let text = text.map(|text| SinglePart::plain(body(text)));
    let shown = match (text, html) {
        (Some(text), Some(html)) => Part::Multi(html.put_into(MultiPart::alternative().singlepart(text))),
        (None, Some(html)) => html,
        (text, None) => Part::Single(text.unwrap_or_else(|| SinglePart::plain(body("")))),
    };
    Ok(shown.beside(attached, MultiPart::mixed().build()).formatted())
}

/// Encodes a text in quoted-printable or base64, whichever is shorter. Both encode line breaks and long lines.
fn body(text: &str) -> Body {
    let short = Body::new(text.to_owned());
    match short.encoding() {
        ContentTransferEncoding::Base64 | ContentTransferEncoding::QuotedPrintable => short,
        _ => encoded(text.to_owned(), ContentTransferEncoding::QuotedPrintable),
    }
}

/// Encodes content. The given encodings can represent any content.
fn encoded(content: impl Into<MaybeString>, encoding: ContentTransferEncoding) -> Body {
    Body::new_with_encoding(content, encoding).unwrap_or_else(Body::new)
}

fn attachment(given: &Value) -> Result<SinglePart, String> {
    let problem = |what: &str| format!("an attachment {what}");
    let fields = given.as_object().ok_or_else(|| problem("has to be an object"))?;
    fields::check("an attachment of a mail by SMTP", fields, ATTACHMENT, &[])?;
    let name =
        given["filename"].as_str().filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
    let name = name.ok_or_else(|| problem("needs a filename"))?;
    let content = given["content"].as_str().ok_or_else(|| problem("needs its content by base64"))?;
    let content: String = content.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(content).map_err(|_| problem("has content that is not valid base64"))?;
    let kind = content_type(&given["content_type"]).ok_or_else(|| problem("has an invalid content_type"))?;
    let part = match &given["content_id"] {
        Value::Null => Attachment::new(name.into()),
        id => {
            let id = content_id(id).ok_or_else(|| problem("has an invalid content_id"))?;
            Attachment::new_inline_with_name(id.into(), name.into())
        }
    };
    Ok(part.body(encoded(bytes, ContentTransferEncoding::Base64), kind))
}

fn content_type(given: &Value) -> Option<ContentType> {
    let kind = if given.is_null() { "application/octet-stream" } else { given.as_str()? };
    let is_plain = kind.chars().all(|c| c.is_ascii() && !c.is_control());
    ContentType::parse(kind).ok().filter(|_| is_plain)
}

/// Returns the ID by which HTML refers to the part (`cid:…`), which may be given in angle brackets (RFC 2392).
fn content_id(given: &Value) -> Option<&str> {
    let id = given.as_str()?;
    let id = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    let fits = (1..=MAX_CONTENT_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"()\\".contains(&byte));
    fits.then_some(id)
}
