//! What is refused, and what is not.

use serde_json::json;

use super::*;

/// A request's first line and headers, and the status and name of the error.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str);

#[test]
fn headers_are_checked_in_resends_order() {
    let standin = start();
    let body = mail().to_string();
    let agent = ("User-Agent", "test/1");
    let json_type = ("Content-Type", "application/json");
    let wrong_key = ("Authorization", "Bearer re_wrong");
    let right_key = ("Authorization", "Bearer re_test_key");
    let long_key = "k".repeat(257);
    let cases: [Case; 9] = [
        ("GET /", &[agent], 404, "not_found"),
        ("POST /emails/", &[agent, right_key], 404, "not_found"),
        ("GET /emails", &[agent], 405, "method_not_allowed"),
        ("POST /emails", &[agent], 401, "missing_api_key"),
        ("POST /emails", &[agent, ("Authorization", KEY)], 401, "missing_api_key"),
        ("POST /emails", &[agent, wrong_key], 403, "invalid_api_key"),
        ("POST /emails", &[agent, right_key], 400, "validation_error"),
        (
            "POST /emails",
            &[agent, right_key, json_type, ("Idempotency-Key", &long_key)],
            400,
            "invalid_idempotency_key",
        ),
        ("POST /emails", &[agent, right_key, right_key, json_type], 400, "validation_error"),
    ];
    let mut client = Client::new(&standin.url());
    for (line, headers, status, name) in cases {
        client.send_raw(&request(line, headers, &body));
        let got = client.answer();
        assert_eq!((got.status, got.name().as_str()), (status, name), "{line} {headers:?}");
        assert_eq!(got.json()["statusCode"], status);
    }
    client.send(&[right_key, json_type], &body);
    assert_eq!(client.answer().body, b"error code: 1010");
    assert_eq!((standin.mails().len(), standin.requests().len(), standin.connections()), (0, 10, 1));
    assert_eq!(standin.requests()[3].status, Some(401));
}

#[test]
fn every_published_field_is_taken() {
    let standin = start();
    let mail = json!({
        "from": "hi@acme.dev", "to": ["a@b.co", "Ann <c@d.co>"], "subject": "", "cc": "a@b.co", "bcc": [], "reply_to": ["a@b.co"],
        "html": "x", "text": "x", "headers": {"X-Entity": "1"}, "scheduled_at": "in 1 min", "topic_id": "t",
        "tags": [{"name": "a_B-1", "value": "v"}],
        "attachments": [{"content": "aGk=", "filename": "f", "content_type": "text/plain", "content_id": "c"}, {"path": "https://x.dev/f"}],
    });
    assert_eq!(post(&standin, &mail).status, 200);
    let template = json!({"from": "hi@acme.dev", "to": "a@b.co", "subject": "s", "template": {"id": "t", "variables": {"n": 1}}});
    assert_eq!(post(&standin, &template).status, 200);
}

#[test]
fn bad_fields_are_refused() {
    let standin = start();
    let cases = [
        ("unknown", json!(1), "validation_error"),
        ("message_id", json!("m"), "validation_error"),
        ("from", json!("nobody"), "invalid_from_address"),
        ("to", json!([]), "validation_error"),
        ("to", json!(vec!["a@b.co"; 51]), "validation_error"),
        ("to", json!("not an address"), "validation_error"),
        ("to", json!(["a@b.co", 1]), "validation_error"),
        ("cc", json!(null), "validation_error"),
        ("subject", json!(1), "validation_error"),
        ("subject", json!("a\nb"), "validation_error"),
        ("html", json!({}), "validation_error"),
        ("headers", json!({"X": 1}), "validation_error"),
        ("headers", json!({"X": "a\r\nBcc: b"}), "validation_error"),
        ("tags", json!([{"name": "a b", "value": "v"}]), "validation_error"),
        ("tags", json!([{"name": "a"}]), "missing_required_field"),
        ("tags", json!([{"name": "a", "value": "v".repeat(257)}]), "validation_error"),
        ("attachments", json!([{"filename": "f"}]), "invalid_attachment"),
        ("attachments", json!([{"content": "no base64!"}]), "validation_error"),
        ("template", json!({"id": "t"}), "validation_error"),
    ];
    for (field, value, name) in cases {
        let mut mail = mail();
        mail[field] = value.clone();
        let got = post(&standin, &mail);
        assert_eq!((got.status, got.name().as_str()), (422, name), "{field} = {value}");
    }
    for field in ["from", "to", "subject", "html"] {
        let mut mail = mail();
        mail.as_object_mut().unwrap().remove(field);
        assert_eq!(post(&standin, &mail).name(), "missing_required_field", "{field}");
    }
    assert_eq!(post(&standin, &json!([])).status, 422);
    assert!(standin.mails().is_empty());
}

#[test]
fn example_domains_are_refused_if_asked_to() {
    let standin = Standin::start(Options { refuse_example_domains: true, ..Options::default() }).unwrap();
    assert_eq!(post(&standin, &mail_to("Ann <ann@example.com>")).status, 422);
    assert_eq!(post(&standin, &mail_to("delivered+x@resend.dev")).status, 200);
}
