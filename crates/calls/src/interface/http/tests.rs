use super::*;
use crate::provider_row::{Auth, HeaderValues};
use crate::settings::TestSettings;
use serde_json::json;

fn provider() -> ProviderRow {
    ProviderRow { base_url: Some("https://api.test".into()), ..ProviderRow::default() }
}

fn request(provider: &ProviderRow, payload: Value) -> Result<HttpRequest, String> {
    match Http.request(provider, &TestSettings::default(), &payload, "key")? {
        Request::Http(request) => Ok(request),
        _ => unreachable!(),
    }
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn bodies() {
    for (body, text, kind) in [
        (json!({ "json": { "a": 1 } }), r#"{"a":1}"#, "application/json"),
        (json!({ "a": 1 }), r#"{"a":1}"#, "application/json"),
        (json!({ "text": "ü" }), "ü", "text/plain; charset=utf-8"),
        (json!("t"), "t", "text/plain; charset=utf-8"),
        (
            json!({ "form": { "a": ["x", 1], "b": "ü&" } }),
            "a=x&a=1&b=%C3%BC%26",
            "application/x-www-form-urlencoded",
        ),
    ] {
        let request = request(&provider(), json!({ "body": body })).unwrap();
        assert_eq!(header(&request, "Content-Type"), Some(kind));
        assert_eq!((request.body, request.method.as_str()), (Body::Text(text.into()), "POST"));
    }
    let parts = request(&provider(), json!({ "body": { "multipart": { "a": "ü" } } })).unwrap();
    assert!(header(&parts, "Content-Type").unwrap().starts_with("multipart/form-data; boundary=errand-"));
    assert!(matches!(&parts.body, Body::Text(text) if text.contains("name=\"a\"\r\n\r\nü\r\n")));
    let binary = json!({ "body": { "multipart": { "a": { "base64": "/w==" } } } });
    assert!(matches!(request(&provider(), binary).unwrap().body, Body::Binary { .. }));
    let binary = request(&provider(), json!({ "body": { "base64": "/w ==" } })).unwrap();
    assert_eq!(binary.body.bytes().unwrap(), [0xff]);
    assert!(request(&provider(), json!({ "body": { "base64": "?" } })).is_err());
    assert!(request(&provider(), json!({ "body": { "form": 1 } })).is_err());
}

#[test]
fn what_is_unknown_or_not_allowed_is_named() {
    for (payload, named) in [
        (json!({ "uri": "/x" }), "uri"),
        (json!({ "method": "CONNECT" }), "method"),
        (json!({ "headers": { "Host": "x" } }), "Host"),
        (json!({ "headers": { "X": "a\r\nY: b" } }), "X"),
        (json!({ "headers": { "X": {} } }), "X"),
        (json!({ "timeout": "soon" }), "timeout"),
        (json!({ "timeout": -1 }), "timeout"),
        (json!({ "expect": "ok" }), "expect"),
        (json!({ "redirects": "some" }), "redirects"),
    ] {
        let error = request(&provider(), payload.clone()).unwrap_err();
        assert!(error.contains(named), "{payload}: {error}");
    }
    let with_auth = ProviderRow { auth: Auth::Bearer, ..provider() };
    assert!(request(&with_auth, json!({ "headers": { "authorization": "x" } })).is_err());
}

#[test]
fn keys_go_with_what_changes_something() {
    let with = |provider: &ProviderRow, payload| {
        let request = request(provider, payload).unwrap();
        header(&request, "Idempotency-Key").map(str::to_owned)
    };
    assert_eq!(with(&provider(), json!({ "method": "GET" })), None);
    assert_eq!(with(&provider(), json!({ "method": "put" })).as_deref(), Some("key"));
    let none = ProviderRow { idempotency_header: Some(String::new()), ..provider() };
    assert_eq!(with(&none, json!({ "body": 1 })), None);
}

#[test]
fn a_key_of_the_user_s_own_is_sent_with_every_method() {
    let own = json!({ "method": "GET", "idempotency_key": "order-7" });
    assert_eq!(header(&request(&provider(), own.clone()).unwrap(), "Idempotency-Key"), Some("key"));
    let none = ProviderRow { idempotency_header: Some(String::new()), ..provider() };
    assert!(request(&none, own).unwrap_err().contains("knows no idempotency keys"));
    let template = json!({ "idempotency_key": "order-{{order}}" });
    let with_template = ProviderRow { request: Some(template), ..provider() };
    assert_eq!(Http.own_key(&with_template, &json!({ "order": 7 })), Ok(Some(json!("order-7"))));
}

#[test]
fn a_header_can_have_several_values() {
    let fields = json!({ "headers": { "X-A": ["1", 2], "X-B": [] } });
    let all = HeaderValues(vec!["row".into(), "too".into()]);
    let of_row = [("x-a".to_owned(), all.clone()), ("x-c".to_owned(), all)];
    let provider = ProviderRow { headers: of_row.into(), ..provider() };
    let sent = request(&provider, fields).unwrap().headers;
    let expected = [("X-A", "1"), ("X-A", "2"), ("x-c", "row"), ("x-c", "too")];
    assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for bad in [json!({ "X-A": [["1"]] }), json!({ "X-A": ["1", "2\r\nX: y"] })] {
        assert!(request(&provider, json!({ "headers": bad })).unwrap_err().contains("X-A"));
    }
}

#[test]
fn a_template_makes_the_request() {
    let template = json!({
        "method": "POST", "path": "/channels/{{channel}}/messages", "query": { "thread": "{{thread}}" },
        "headers": { "X-Who": "{{who}}" }, "body": { "json": { "text": "Hi {{who}}", "tags": "{{tags}}" } },
    });
    let provider = ProviderRow { request: Some(template), ..provider() };
    let payload = json!({ "channel": "a b?c", "who": "Ann", "tags": [1] });
    let made = request(&provider, payload).unwrap();
    assert_eq!(made.url, "https://api.test/channels/a%20b%3Fc/messages");
    assert_eq!(made.body, Body::Text(r#"{"text":"Hi Ann","tags":[1]}"#.into()));
    let injected = json!({ "channel": "c", "who": "x\r\nEvil: 1", "tags": [] });
    assert!(request(&provider, injected).unwrap_err().contains("X-Who"));
}

#[test]
fn successes_and_failures() {
    let provider = ProviderRow {
        expect: Some(json!({ "body": { "ok": true } })),
        answer: Some(json!({ "ts": "{{body.ts}}" })),
        failure: Some(json!("{{body.error}}")),
        ..provider()
    };
    let judge = |status, body: &str| {
        let response = Response { status, body: body.into(), ..Response::default() };
        Http.judge(&provider, &Request::Http(HttpRequest::default()), &response)
    };
    assert_eq!(judge(200, r#"{"ok":true,"ts":"1"}"#), Ok(Success::Value(json!({ "ts": "1" }))));
    assert_eq!(judge(200, r#"{"ok":false,"error":"no_channel"}"#), Err("HTTP 200: no_channel".into()));
    assert_eq!(judge(502, "<html> Bad"), Err("HTTP 502: <html> Bad".into()));
}
