use super::*;
use crate::response::Flaw;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

const KEY: &str = "sk_Live_0a<b'c\"d&e/f+g-h";

fn credentials() -> [Credential; 1] {
    [Credential::header("Authorization", "Bearer s\"3".into(), vec!["s\"3".into()])]
}

fn masks(secret: &str, echo: &str) -> String {
    text(echo, &[Credential::header("X", secret.into(), vec![secret.into()])])
}

#[test]
fn raw_responses() {
    let echo = Response { status: 401, body: b"bad key s\"3!".to_vec(), ..Response::default() };
    assert_eq!(response(echo, &credentials()).body, b"bad key ********!");
}

#[test]
fn binary_responses() {
    let echo = Response { body: b"\xff\0s\"3\xfe".to_vec(), ..Response::default() };
    assert_eq!(response(echo, &credentials()).body, b"\xff\0********\xfe");
}

#[test]
fn headers() {
    let echo = Response { headers: vec![("location".into(), "/?key=s%223".into())], ..Response::default() };
    assert_eq!(response(echo, &credentials()).header("location"), Some("/?key=********"));
}

#[test]
fn what_is_wrong_with_a_response() {
    let flaw = Flaw { reason: "cut off: s\"3.test hung up".into(), is_limit: false };
    let flaw = response(Response { flaw: Some(flaw), ..Response::default() }, &credentials()).flaw;
    assert_eq!(flaw.unwrap().reason, "cut off: ********.test hung up");
}

#[test]
fn parsed_responses() {
    let echo = json!({ "s\"3": ["key s\"3", 1], "b": { "c": "s\"3s\"3" } });
    let masked = json!({ "********": ["key ********", 1], "b": { "c": "****************" } });
    assert_eq!(value(echo, &credentials()), masked);
    let digits = [Credential::header("X", "4711".into(), vec!["4711".into()])];
    assert_eq!(value(json!([4711, 12]), &digits), json!(["********", 12]));
}

#[test]
fn escaped_secrets() {
    let secret = "a b/\"ü😀%\n";
    for echo in [
        secret,
        "a%20b%2F%22%C3%BC%F0%9F%98%80%25%0A",
        "a+b%2f%22%c3%bc%f0%9f%98%80%25%0a",
        "%61%20b/%22ü😀%25%0A",
        r#"a b/\"ü😀%\n"#,
        r#"a b\/\"\u00fc\ud83d\ude00%\n"#,
        r#"\u0061\u0020b\/\u0022\u00FC\uD83D\uDE00\u0025\u000a"#,
    ] {
        assert_eq!(masks(secret, &format!("<{echo}>")), "<********>", "{echo}");
    }
    assert_eq!(masks("%25x", "%25x %2525x"), "******** ********");
}

#[test]
fn secrets_in_base64() {
    let secret = "sk_live_0?>?>1";
    for before in ["", "a", "ab", "user:"] {
        for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
            let echo = engine.encode(format!("{before}{secret}/after"));
            let masked = masks(secret, &echo);
            assert!(masked.contains(MASK) && masked.len() < echo.len(), "{echo}: {masked}");
        }
    }
}

#[test]
fn short_secrets() {
    assert_eq!(masks("a", "a banana: \"a\", =a; E Q h"), "******** banana: \"********\", =********; E Q h");
    assert_eq!(masks("abc", "xabcx YWJj"), "x********x ********");
}

#[test]
fn a_secret_that_begins_like_another() {
    let both = [Credential::header("X", String::new(), vec!["abc".into(), "abcdef".into()])];
    assert_eq!(text("abcdef abc", &both), "******** ********");
}

#[test]
fn every_promised_form_of_a_secret() {
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let decimal: String = KEY.bytes().map(|byte| format!("&#{byte};")).collect();
    let hexadecimal: String = KEY.bytes().map(|byte| format!("&#x{byte:04X};")).collect();
    let html = KEY.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&#39;");
    let json = json!(KEY).to_string().trim_matches('"').to_owned();
    let json_twice = json!(json).to_string().trim_matches('"').to_owned();
    for echo in [
        KEY.to_owned(),
        KEY.to_uppercase(),
        KEY.to_lowercase(),
        hex.to_uppercase(),
        hex,
        percent.replace('%', "%25"),
        percent.replace('%', "%2525"),
        percent.to_lowercase(),
        percent,
        decimal,
        hexadecimal,
        html.replace('&', "&amp;"),
        html,
        json,
        json_twice,
        json!(KEY.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>())
            .to_string()
            .replace('"', ""),
    ] {
        assert_eq!(masks(KEY, &format!("<{echo}>")), "<********>", "{echo}");
    }
}

#[test]
fn base64_of_base64() {
    for before in ["", "a", "ab", "user:"] {
        let once = BASE64_STANDARD.encode(format!("{before}{KEY}/after"));
        for around in ["", "x", "xy"] {
            let echo = BASE64_STANDARD.encode(format!("{around}{once}"));
            let masked = masks(KEY, &echo);
            // The rest still contains text from around the secret.
            let left = masked.replace(MASK, "").len();
            assert!(masked.contains(MASK) && left + 32 < echo.len(), "{echo}: {masked}");
        }
    }
}

#[test]
fn names_of_headers() {
    let secret = "Sk-Live-0123456789";
    let credentials = [Credential::header("X", secret.into(), vec![secret.into()])];
    let echo = Response {
        headers: vec![(format!("x-{}", secret.to_lowercase()), "1".into())],
        ..Response::default()
    };
    assert_eq!(response(echo, &credentials).headers, [("x-********".to_owned(), "1".to_owned())]);
}

#[test]
fn long_beginnings_of_a_secret_and_no_short_ones() {
    let secret = "sk_live_0123456789abcdef";
    assert_eq!(masks(secret, "your key sk_live_01234…"), "your key ********…");
    assert_eq!(masks(secret, "your key sk_live_0123456789abcde"), "your key ********");
    assert_eq!(masks(secret, "keys begin with sk_live_"), "keys begin with sk_live_");
    assert_eq!(masks("tr0ub4dor&3x", "tr0ub4d tr0ub4do"), "tr0ub4d ********");
    assert_eq!(masks("abcdefg", "abcdef ABCDEFG"), "abcdef ABCDEFG");
    let hex = "736b5f6c6976655f3031323334";
    assert_eq!(masks(secret, &format!("{hex} 736b5f6c6976")), "******** 736b5f6c6976");
}

#[test]
fn a_large_response_takes_no_longer_for_the_secret_s_first_letter() {
    let large = "s%&\\+".repeat(200_000);
    assert_eq!(masks("sk_live_0123456789abcdef", &large), large);
}
