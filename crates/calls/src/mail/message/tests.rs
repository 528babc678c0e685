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

/// Returns a header as mail programs show it: unfolded and decoded (RFC 2047).
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
