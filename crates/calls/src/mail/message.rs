//! An e-mail as it goes out (RFC 5322).

use super::fields::{self, Fields};
use super::{header as encoded, lines, mailbox, mime};
use crate::header::problem as header_problem;
use crate::request::{MailServer, SmtpRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::Mailbox;
use lettre::message::header::{self, HeaderName, Headers};
use serde_json::Value;
use std::time::SystemTime;

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
    let fields = fields::read(payload)?;
    if fields.contains_key("scheduled_at") {
        return Err(
            "the interface smtp cannot send a mail later (scheduled_at); enqueue its task with a later \
                    scheduled_at instead"
                .into(),
        );
    }
    let parties = Parties::of(&fields)?;
    let message_id = format!("<{}@{}>", id_left(key), parties.from.email.domain());
    let mut bytes = tags(&fields)?.into_bytes();
    bytes.extend(headers(&fields, &parties, &message_id)?.to_string().into_bytes());
    bytes.extend(mime::content(&fields)?);
    lines::check_lines(&bytes)?;
    let Parties { from, to, cc, bcc, .. } = parties;
    let from = from.email.to_string();
    let to: Vec<String> =
        [to, cc, bcc].into_iter().flatten().map(|mailbox| mailbox.email.to_string()).collect();
    to.iter().chain([&from]).try_for_each(|address| lines::check_address(address))?;
    Ok(SmtpRequest { server, from, to, message: STANDARD.encode(bytes), message_id })
}

/// What stands before the `@` of a `Message-ID`: a key, in which all that no `dot-atom-text` can hold (RFC 5322, section
/// 3.2.3) is written as `%` and two digits. No key holds a `%`, so different keys stay different.
fn id_left(key: &str) -> String {
    let has_place = |at: usize| {
        let is_dot = |at: usize| key.as_bytes().get(at).is_none_or(|byte| *byte == b'.');
        at > 0 && !is_dot(at - 1) && !is_dot(at + 1)
    };
    let mut left = String::new();
    for (at, c) in key.char_indices() {
        match c {
            '.' if has_place(at) => left.push(c),
            '.' | ':' => left.push_str(&format!("%{:02X}", u32::from(c))),
            _ => left.push(c),
        }
    }
    left
}

/// Whom a mail is from and goes to.
struct Parties {
    from: Mailbox,
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    /// Only the envelope has them.
    bcc: Vec<Mailbox>,
    reply_to: Vec<Mailbox>,
}

impl Parties {
    fn of(fields: &Fields) -> Result<Self, String> {
        let mut from = mailboxes(fields, "from", "from_address")?;
        let to = mailboxes(fields, "to", "to_address")?;
        if to.is_empty() {
            return Err("the payload's to_address is empty".into());
        }
        let from = from
            .pop()
            .filter(|_| from.is_empty())
            .ok_or("the payload's from_address has to be one address")?;
        let others = |name| mailboxes(fields, name, name);
        Ok(Parties { from, to, cc: others("cc")?, bcc: others("bcc")?, reply_to: others("reply_to")? })
    }
}

/// The addresses of a field; `ours`: how the payload calls it.
fn mailboxes(fields: &Fields, name: &str, ours: &str) -> Result<Vec<Mailbox>, String> {
    let given =
        fields.get(name).map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
    let mut all = Vec::new();
    for one in given.unwrap_or_default() {
        let parsed = mailbox::parse(text(one));
        all.extend(parsed.map_err(|(place, reason)| {
            format!("the payload's {ours} is wrong: address {}: {reason}", all.len() + place + 1)
        })?);
    }
    Ok(all)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn headers(fields: &Fields, parties: &Parties, message_id: &str) -> Result<Headers, String> {
    let mut headers = Headers::new();
    let lists = [("From", std::slice::from_ref(&parties.from)), ("To", &parties.to)];
    let others = [("Cc", parties.cc.as_slice()), ("Reply-To", &parties.reply_to)];
    for (name, mailboxes) in lists.into_iter().chain(others).filter(|(_, mailboxes)| !mailboxes.is_empty()) {
        headers.insert_raw(encoded::mailboxes(name, mailboxes)?);
    }
    headers.insert_raw(encoded::text(HeaderName::new_from_ascii_str("Subject"), subject(fields)?)?);
    headers.set(header::MessageId::from(message_id.to_owned()));
    headers.set(header::Date::from(SystemTime::now()));
    add_own(&mut headers, fields)?;
    headers.set(header::MIME_VERSION_1_0);
    Ok(headers)
}

fn subject(fields: &Fields) -> Result<&str, String> {
    let subject = text(&fields["subject"]);
    match subject.chars().any(char::is_control) {
        true => Err("the payload's subject holds a control character".into()),
        false => Ok(subject),
    }
}

/// The headers that the payload has as such.
fn add_own(headers: &mut Headers, fields: &Fields) -> Result<(), String> {
    for (name, value) in fields.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().ok_or_else(|| format!("the header {name} has to be a string"))?;
        if let Some(problem) = header_problem(name, value) {
            return Err(problem);
        }
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("content-") {
            return Err(format!("the header {name} cannot be set: the mail has its own"));
        }
        let name = HeaderName::new_from_ascii(name.clone())
            .map_err(|error| format!("the payload's headers is wrong: {error}"))?;
        headers.insert_raw(encoded::text(name, value)?);
    }
    Ok(())
}

/// A header line for each tag.
fn tags(fields: &Fields) -> Result<String, String> {
    let is_plain = |text: &str| {
        (1..=MAX_TAG).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let mut lines = String::new();
    for tag in mime::list(fields, "tags") {
        match (tag["name"].as_str(), tag["value"].as_str()) {
            (Some(name), Some(value)) if is_plain(name) && is_plain(value) => {
                lines.push_str(&format!("X-Tag: {name}={value}\r\n"));
            }
            _ => return Err("a tag has to be {name, value} of ASCII letters, digits, \"_\" and \"-\"".into()),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::SmtpTls;
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

    /// A header as mail programs show it: unfolded, encoded words decoded (RFC 2047).
    fn shown(text: &str, name: &str) -> String {
        let unfolded = text.replace("\r\n ", " ");
        let line = unfolded.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        let decoded = |word: &str| {
            let base64 = word.strip_prefix("=?utf-8?b?")?.strip_suffix("?=")?;
            String::from_utf8(STANDARD.decode(base64).unwrap()).ok()
        };
        let (mut shown, mut blanks, mut was_encoded) = (String::new(), String::new(), true);
        for word in line.split_inclusive(' ') {
            let bare = word.trim_end_matches(' ');
            if bare.is_empty() {
                blanks.push_str(word);
                continue;
            }
            if !(was_encoded && decoded(bare).is_some()) {
                shown.push_str(&blanks);
            }
            was_encoded = decoded(bare).is_some();
            shown.push_str(&decoded(bare).unwrap_or_else(|| bare.to_owned()));
            blanks = " ".repeat(word.len() - bare.len());
        }
        shown
    }

    #[test]
    fn blanks_of_texts_are_kept() {
        for subject in
            ["Grüße  schöne   Welt", "Ü a  b ü", "a  b", "Grüße schöne", &"ü  ".repeat(100), "x  ü y  ü z"]
        {
            let subject = subject.trim_end();
            let mut payload = payload();
            payload["subject"] = json!(subject);
            payload["headers"] = json!({ "X-A": subject });
            payload["from_address"] = json!(format!("\"{subject}\" <a@x.test>"));
            let (_, text) = built(&payload).unwrap();
            for name in ["Subject", "X-A"] {
                assert_eq!(shown(&text, name), subject, "{text}");
            }
            let from = shown(&text, "From");
            assert_eq!(from.trim_end_matches(" <a@x.test>").trim_matches('"'), subject, "{text}");
        }
    }

    #[test]
    fn every_key_makes_a_message_id_that_is_one() {
        for (key, id) in [
            ("order-7/mail+2=~_", "order-7/mail+2=~_"),
            ("order:7.mail", "order%3A7.mail"),
            (".a..b.", "%2Ea%2E%2Eb%2E"),
            (".", "%2E"),
        ] {
            let server = MailServer { host: "x.test".into(), port: 25, tls: SmtpTls::None };
            assert_eq!(build(&payload(), key, server).unwrap().message_id, format!("<{id}@x.test>"));
        }
    }

    #[test]
    fn an_html_or_text_that_is_blank_is_no_part_of_the_mail() {
        let both = |html: &str, text: &str| {
            let mut payload = payload();
            payload["html"] = json!(html);
            payload["text"] = json!(text);
            built(&payload).unwrap().1
        };
        let (only_text, only_html) = (both("", "Hello"), both("<p>Hello", " "));
        assert!(only_text.contains("text/plain") && !only_text.contains("text/html"), "{only_text}");
        assert!(!only_html.contains("text/plain") && only_html.contains("text/html"), "{only_html}");
        assert!(both("<p>Hello", "Hello").contains("multipart/alternative"));
    }

    #[test]
    fn an_address_of_a_domain_that_is_not_ascii_is_written_in_ascii() {
        let mut payload = payload();
        payload["from_address"] = json!("Ü <a@bücher.test>");
        payload["to_address"] = json!(["b@bücher.test", "\"c..d\"@x.test", "Ann (Sales) <e@x.test>\n"]);
        let (request, text) = built(&payload).unwrap();
        assert_eq!(request.from, "a@xn--bcher-kva.test");
        assert_eq!(request.message_id, "<key@xn--bcher-kva.test>");
        assert_eq!(request.to, ["b@xn--bcher-kva.test", "\"c..d\"@x.test", "e@x.test"]);
        assert!(text.is_ascii() && text.contains("Message-ID: <key@xn--bcher-kva.test>"), "{text}");
        assert!(text.contains("b@xn--bcher-kva.test, \"c..d\"@x.test"), "{text}");
    }

    #[test]
    fn an_image_is_shown_where_its_content_id_stands() {
        let mut payload = payload();
        payload["html"] = json!("<img src=\"cid:logo\">");
        payload["attachments"] = json!([
            { "filename": "logo.png", "content": "Zg==", "content_type": "image/png", "content_id": "<logo>" },
            { "filename": "a.txt", "content": "Zg==" },
        ]);
        let (_, text) = built(&payload).unwrap();
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        let order = [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "Content-ID: <logo>",
            "filename=\"a.txt\"",
        ]
        .map(place);
        assert!(order.is_sorted(), "{text}");
        assert!(text.contains("inline; filename=\"logo.png\""), "{text}");
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
            ("to_address", json!(["b@x.test", "c@x.test, nobody"]), "address 3: \"nobody\""),
            ("from_address", json!("a@x.test, b@x.test"), "one address"),
            ("scheduled_at", json!("2030-01-01"), "scheduled_at"),
            ("attachments", json!([{ "filename": "f", "content": "", "content_id": "a b" }]), "content_id"),
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
        assert_eq!(lines::check_lines(&STANDARD.decode(request.message).unwrap()), Ok(()));
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
