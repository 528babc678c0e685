//! An e-mail as it goes out (RFC 5322).

use super::header::header_problem;
use super::{MailServer, SmtpRequest, mail, outgoing};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::message::header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{
    Attachment, Body, Mailbox, Mailboxes, MaybeString, Message, MessageBuilder, MultiPart, SinglePart,
};
use serde_json::{Map, Value};
use std::str::FromStr;

type Fields = Map<String, Value>;

/// Headers that are made of other fields, or by servers on the way; and `Content-…`.
const OWN_HEADERS: &[&str] = &[
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "return-path",
    "received",
    "x-tag",
];

/// A tag's name and value are no longer.
const MAX_TAG: usize = 256;

/// The mail that a payload describes.
///
/// # Errors
/// What is wrong with the payload.
pub fn build(payload: &Value, key: &str, server: MailServer) -> Result<SmtpRequest, String> {
    let fields = mail::fields(payload)?;
    let from: Mailbox = parsed(&fields["from"], "from_address")?;
    let message_id = format!("<{key}@{}>", from.email.domain());
    let builder = addressed(&fields, from)?.subject(subject(&fields)?).message_id(Some(message_id.clone()));
    let message = content(with_headers(builder, &fields)?, &fields)?;
    let mut bytes = tags(&fields)?.into_bytes();
    bytes.extend(message.formatted());
    outgoing::check_lines(&bytes)?;
    let envelope = message.envelope();
    let from = envelope.from().map(Address::to_string).unwrap_or_default();
    let to: Vec<String> = envelope.to().iter().map(Address::to_string).collect();
    to.iter().chain([&from]).try_for_each(|address| outgoing::check_address(address))?;
    Ok(SmtpRequest { server, from, to, message: STANDARD.encode(bytes), message_id })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn wrong(field: &str, error: impl std::fmt::Display) -> String {
    format!("the payload's {field} is wrong: {error}")
}

/// `ours`: how the payload calls the field.
fn parsed<T: FromStr<Err: std::fmt::Display>>(value: &Value, ours: &str) -> Result<T, String> {
    let text = text(value);
    if text.chars().any(char::is_control) {
        return Err(wrong(ours, "it holds a control character"));
    }
    text.parse().map_err(|error| wrong(ours, error))
}

fn addressed(fields: &Fields, from: Mailbox) -> Result<MessageBuilder, String> {
    let to = mailboxes(fields, "to", "to_address")?.ok_or("the payload's to_address is empty")?;
    let mut builder = Message::builder().from(from).mailbox(header::To::from(to));
    if let Some(cc) = mailboxes(fields, "cc", "cc")? {
        builder = builder.mailbox(header::Cc::from(cc));
    }
    // Only the envelope has them.
    if let Some(bcc) = mailboxes(fields, "bcc", "bcc")? {
        builder = builder.mailbox(header::Bcc::from(bcc));
    }
    if let Some(reply_to) = mailboxes(fields, "reply_to", "reply_to")? {
        builder = builder.mailbox(header::ReplyTo::from(reply_to));
    }
    Ok(builder)
}

/// The addresses of a field; `ours`: how the payload calls it.
fn mailboxes(fields: &Fields, name: &str, ours: &str) -> Result<Option<Mailboxes>, String> {
    let mut all = Mailboxes::new();
    let given =
        fields.get(name).map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
    for one in given.unwrap_or_default() {
        let parsed: Mailboxes = parsed(one, ours)?;
        parsed.into_iter().for_each(|mailbox| all.push(mailbox));
    }
    Ok(Some(all).filter(|all| all.iter().next().is_some()))
}

fn subject(fields: &Fields) -> Result<&str, String> {
    let subject = text(&fields["subject"]);
    match subject.chars().any(char::is_control) {
        true => Err("the payload's subject holds a control character".into()),
        false => Ok(subject),
    }
}

fn with_headers(mut builder: MessageBuilder, fields: &Fields) -> Result<MessageBuilder, String> {
    for (name, value) in fields.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().ok_or_else(|| format!("the header {name} has to be a string"))?;
        if let Some(problem) = header_problem(name, value) {
            return Err(problem);
        }
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("content-") {
            return Err(format!("the header {name} cannot be set: the mail has its own"));
        }
        let name = HeaderName::new_from_ascii(name.clone()).map_err(|error| wrong("headers", error))?;
        builder = builder.raw_header(HeaderValue::new(name, value.into()));
    }
    Ok(builder)
}

/// A header line for each tag.
fn tags(fields: &Fields) -> Result<String, String> {
    let is_plain = |text: &str| {
        (1..=MAX_TAG).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let mut lines = String::new();
    for tag in list(fields, "tags") {
        match (tag["name"].as_str(), tag["value"].as_str()) {
            (Some(name), Some(value)) if is_plain(name) && is_plain(value) => {
                lines.push_str(&format!("X-Tag: {name}={value}\r\n"));
            }
            _ => return Err("a tag has to be {name, value} of ASCII letters, digits, \"_\" and \"-\"".into()),
        }
    }
    Ok(lines)
}

fn list<'a>(fields: &'a Fields, name: &str) -> &'a [Value] {
    fields.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn content(builder: MessageBuilder, fields: &Fields) -> Result<Message, String> {
    let given = |name: &str| fields.get(name).map(|value| body(text(value)));
    let attachments: Vec<SinglePart> =
        list(fields, "attachments").iter().map(attachment).collect::<Result<_, _>>()?;
    let with_rest = |parts: MultiPart| attachments.iter().cloned().fold(parts, MultiPart::singlepart);
    let mixed = MultiPart::mixed();
    let built = match (given("text"), given("html")) {
        (Some(text), Some(html)) => {
            let both = MultiPart::alternative()
                .singlepart(SinglePart::plain(text))
                .singlepart(SinglePart::html(html));
            match attachments.is_empty() {
                true => builder.multipart(both),
                false => builder.multipart(with_rest(mixed.multipart(both))),
            }
        }
        (text, html) => {
            let html = html.map(SinglePart::html);
            let only = html.unwrap_or_else(|| SinglePart::plain(text.unwrap_or_else(|| body(""))));
            match attachments.is_empty() {
                true => builder.singlepart(only),
                false => builder.multipart(with_rest(mixed.singlepart(only))),
            }
        }
    };
    built.map_err(|error| format!("the mail cannot be built: {error}"))
}

/// A text in quoted-printable or base64, whichever is shorter: neither lets line breaks or long lines of the text
/// through.
fn body(text: &str) -> Body {
    let short = Body::new(text.to_owned());
    match short.encoding() {
        ContentTransferEncoding::Base64 | ContentTransferEncoding::QuotedPrintable => short,
        _ => encoded(text.to_owned(), ContentTransferEncoding::QuotedPrintable),
    }
}

/// Only encodings that can hold anything are given.
fn encoded(content: impl Into<MaybeString>, encoding: ContentTransferEncoding) -> Body {
    Body::new_with_encoding(content, encoding).unwrap_or_else(Body::new)
}

fn attachment(given: &Value) -> Result<SinglePart, String> {
    let problem = |what: &str| format!("an attachment {what}");
    let fields = given.as_object().ok_or_else(|| problem("has to be an object"))?;
    if let Some(other) =
        fields.keys().find(|name| !["filename", "content", "content_type"].contains(&name.as_str()))
    {
        return Err(problem(&format!("cannot have {other}; it has filename, content and content_type")));
    }
    let name =
        given["filename"].as_str().filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
    let name = name.ok_or_else(|| problem("needs a filename"))?;
    let content = given["content"].as_str().ok_or_else(|| problem("needs its content by base64"))?;
    let content: String = content.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(content).map_err(|_| problem("has a content that is no base64"))?;
    let kind = match &given["content_type"] {
        Value::Null => "application/octet-stream",
        kind => text(kind),
    };
    if kind.chars().any(|c| c.is_control() || !c.is_ascii()) {
        return Err(problem("has a content_type that is none"));
    }
    let kind = ContentType::parse(kind).map_err(|_| problem("has a content_type that is none"))?;
    Ok(Attachment::new(name.into()).body(encoded(bytes, ContentTransferEncoding::Base64), kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SmtpTls;
    use serde_json::json;

    fn payload() -> Value {
        json!({ "from_address": "Ann <ann@x.test>", "to_address": "b@x.test", "subject": "Grüße", "text": "Hü" })
    }

    fn built(payload: &Value) -> Result<(SmtpRequest, String), String> {
        let server = MailServer { host: "x.test".into(), port: 25, tls: SmtpTls::None };
        let request = build(payload, "key", server)?;
        let text = String::from_utf8(STANDARD.decode(&request.message).unwrap()).unwrap();
        Ok((request, text))
    }

    #[test]
    fn everything_has_its_place() {
        let mut payload = payload();
        payload["html"] = json!("<p>Hü");
        payload["to_address"] = json!(["b@x.test", "C <c@x.test>"]);
        payload["cc"] = json!("d@x.test");
        payload["bcc"] = json!(["e@x.test"]);
        payload["reply_to"] = json!("f@x.test");
        payload["headers"] = json!({ "X-A": "ü", "References": "<1@x.test>" });
        payload["tags"] = json!([{ "name": "n", "value": "v" }, { "name": "m", "value": "w" }]);
        payload["attachments"] =
            json!([{ "filename": "ü.txt", "content": "Zg ==", "content_type": "text/plain" }]);
        let (request, text) = built(&payload).unwrap();
        assert_eq!(request.from, "ann@x.test");
        assert_eq!(request.to, ["b@x.test", "c@x.test", "d@x.test", "e@x.test"]);
        assert_eq!(request.message_id, "<key@x.test>");
        for line in [
            "X-Tag: n=v",
            "X-Tag: m=w",
            "From: Ann <ann@x.test>",
            "To: b@x.test, C <c@x.test>",
            "Cc: d@x.test",
            "Reply-To: f@x.test",
            "Message-ID: <key@x.test>",
            "References: <1@x.test>",
            "X-A: =?utf-8?b?w7w=?=",
            "Subject: =?utf-8?b?R3LDvMOfZQ==?=",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line}: {text}");
        }
        for part in
            ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "Date: ", "attachment;"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("e@x.test") && text.is_ascii());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (field, value, named) in [
            ("from_address", json!("nobody"), "from_address"),
            ("from_address", json!("a@x.test\r\nBcc: b@x.test"), "from_address"),
            ("to_address", json!([]), "to_address"),
            ("to_address", json!(["b@x.test", "<c@"]), "to_address"),
            ("to_address", json!("b@x.test>\r\nRCPT TO:<c@x.test"), "to_address"),
            ("cc", json!("?"), "cc"),
            ("subject", json!("a\r\nBcc: b@x.test"), "subject"),
            ("headers", json!({ "Bcc": "b@x.test" }), "Bcc"),
            ("headers", json!({ "Content-Type": "text/html" }), "Content-Type"),
            ("headers", json!({ "X-A": "a\r\nBcc: b@x.test" }), "X-A"),
            ("headers", json!({ "X-A": 1 }), "X-A"),
            ("tags", json!([{ "name": "a b", "value": "c" }]), "tag"),
            ("tags", json!(["a"]), "tag"),
            ("attachments", json!([{ "filename": "f" }]), "content"),
            ("attachments", json!([{ "content": "" }]), "filename"),
            ("attachments", json!([{ "filename": "f", "content": "?" }]), "base64"),
            ("attachments", json!([{ "filename": "f", "path": "https://x" }]), "path"),
            ("attachments", json!([{ "filename": "f", "content": "", "content_type": "x" }]), "content_type"),
            (
                "attachments",
                json!([{ "filename": "f", "content": "", "content_type": "a/b;c=\"\r\n\"" }]),
                "content_type",
            ),
            ("attachments", json!([{ "filename": "f\r\n", "content": "" }]), "filename"),
        ] {
            let mut payload = payload();
            payload[field] = value;
            let error = built(&payload).unwrap_err();
            assert!(error.contains(named), "{payload}: {error}");
        }
    }

    #[test]
    fn attachments_go_by_base64_and_texts_by_what_can_hold_any_line() {
        let mut payload = payload();
        payload["text"] = json!(".\r\nx\n.\ry\n");
        payload["html"] = json!("ü".repeat(1000));
        payload["attachments"] =
            json!([{ "filename": "f", "content": STANDARD.encode("x\n.\r\nMAIL FROM:<a@x.test>\n") }]);
        let (request, text) = built(&payload).unwrap();
        assert_eq!(text.matches("Content-Transfer-Encoding: base64").count(), 2, "{text}");
        assert_eq!(text.matches("Content-Transfer-Encoding: quoted-printable").count(), 1, "{text}");
        assert!(text.contains("\r\n.\r\nx\r\n.=0Dy\r\n") && !text.contains("MAIL FROM"), "{text}");
        assert_eq!(outgoing::check_lines(&STANDARD.decode(request.message).unwrap()), Ok(()));
    }

    #[test]
    fn lines_that_cannot_be_folded_are_refused() {
        let long = "x".repeat(1000);
        for (field, value) in [
            ("subject", json!(long)),
            ("headers", json!({ "X-A": long })),
            ("to_address", json!(format!("{long} <b@x.test>"))),
        ] {
            let mut payload = payload();
            payload[field] = value;
            let error = built(&payload).unwrap_err();
            assert!(error.contains("998 at most"), "{field}: {error}");
        }
    }

    #[test]
    fn names_with_line_breaks_are_refused() {
        for field in ["from_address", "to_address", "cc", "bcc", "reply_to"] {
            let mut payload = payload();
            payload[field] = json!("\"B\r\nX-Evil: 1\" <b@x.test>");
            let error = built(&payload).unwrap_err();
            assert!(error.contains(field) && error.contains("control character"), "{error}");
        }
    }
}
