//! Secrets that a provider echoes are masked before anything else sees them, in the forms in which they
//! could come back. Which these are is promised in docs/security.md.

mod encoded;
mod escaped;
mod urls;

use crate::credential::Credential;
use crate::response::Response;
use encoded::Encoded;
use escaped::Characters;
use serde_json::Value;
pub use urls::urls;

const MASK: &str = "********";
/// Something shorter is part of many words: it is masked only where it stands alone.
const MIN_ANYWHERE: usize = 3;

/// Redacts what came of a call, before anything else sees it.
pub fn outcome(outcome: Result<Response, String>, credentials: &[Credential]) -> Result<Response, String> {
    match outcome {
        Ok(found) => Ok(response(found, credentials)),
        Err(reason) => Err(text(&reason, credentials)),
    }
}

/// Redacts the headers, the raw body and the flaw of a response.
fn response(mut response: Response, credentials: &[Credential]) -> Response {
    let secrets = Secrets::new(credentials);
    if secrets.0.is_empty() {
        return response;
    }
    for (name, value) in &mut response.headers {
        *name = secrets.mask_text(name);
        *value = secrets.mask_text(value);
    }
    if let Some(flaw) = &mut response.flaw {
        flaw.reason = secrets.mask_text(&flaw.reason);
    }
    let body = secrets.mask(response.body);
    Response { body, ..response }
}

/// A text without secrets.
pub fn text(text: &str, credentials: &[Credential]) -> String {
    Secrets::new(credentials).mask_text(text)
}

/// A parsed answer without secrets: JSON can write the same text in many ways.
pub fn value(value: Value, credentials: &[Credential]) -> Value {
    let secrets = Secrets::new(credentials);
    if secrets.0.is_empty() { value } else { secrets.mask_value(value) }
}

/// The longest first, since a shorter one may be part of it.
struct Secrets(Vec<Secret>);

struct Secret {
    is_short: bool,
    plain: Characters,
    encoded: Encoded,
}

impl Secret {
    fn new(plain: &str) -> Self {
        let is_short = plain.len() < MIN_ANYWHERE;
        Secret { is_short, plain: Characters::of(plain), encoded: Encoded::of(plain) }
    }

    /// The length of the secret at the start of `rest`, and whether it counts next to other letters.
    fn find(&self, rest: &[u8]) -> Option<(usize, bool)> {
        let plain = self.plain.find(rest).map(|length| (length, !self.is_short));
        plain.max(self.encoded.find(rest))
    }

    fn mask(&self, bytes: Vec<u8>) -> Vec<u8> {
        let found = |at: usize| {
            let (length, anywhere) = self.find(&bytes[at..])?;
            (anywhere || stands_alone(&bytes[..at], &bytes[at + length..])).then_some(length)
        };
        let Some(first) = (0..bytes.len()).find(|at| found(*at).is_some()) else { return bytes };
        let (mut clean, mut at) = (bytes[..first].to_vec(), first);
        while at < bytes.len() {
            if let Some(length) = found(at) {
                clean.extend_from_slice(MASK.as_bytes());
                at += length;
            } else {
                clean.push(bytes[at]);
                at += 1;
            }
        }
        clean
    }
}

impl Secrets {
    fn new(credentials: &[Credential]) -> Self {
        let all = credentials.iter().flat_map(|credential| &credential.secrets).map(String::as_str);
        let mut all: Vec<_> = all.filter(|secret| !secret.is_empty()).collect();
        all.sort_unstable_by_key(|secret| (std::cmp::Reverse(secret.len()), *secret));
        all.dedup();
        Secrets(all.into_iter().map(Secret::new).collect())
    }

    fn mask(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(bytes, |bytes, secret| secret.mask(bytes))
    }

    /// Only whole characters are taken out.
    fn mask_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.mask(text.into())).into_owned()
    }

    fn mask_value(&self, value: Value) -> Value {
        match value {
            Value::String(found) => Value::String(self.mask_text(&found)),
            Value::Array(items) => items.into_iter().map(|item| self.mask_value(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, field)| (self.mask_text(&key), self.mask_value(field)))
                .collect(),
            Value::Number(number) => {
                let plain = number.to_string();
                let masked = self.mask_text(&plain);
                if plain == masked { Value::Number(number) } else { Value::String(masked) }
            }
            other => other,
        }
    }
}

fn stands_alone(before: &[u8], after: &[u8]) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    !is_part(before.last()) && !is_part(after.first())
}

#[cfg(test)]
mod tests {
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
    fn raw_replies() {
        let echo = Response { status: 401, body: b"bad key s\"3!".to_vec(), ..Response::default() };
        assert_eq!(response(echo, &credentials()).body, b"bad key ********!");
    }

    #[test]
    fn binary_replies() {
        let echo = Response { body: b"\xff\0s\"3\xfe".to_vec(), ..Response::default() };
        assert_eq!(response(echo, &credentials()).body, b"\xff\0********\xfe");
    }

    #[test]
    fn headers() {
        let echo =
            Response { headers: vec![("location".into(), "/?key=s%223".into())], ..Response::default() };
        assert_eq!(response(echo, &credentials()).header("location"), Some("/?key=********"));
    }

    #[test]
    fn what_is_wrong_with_a_reply() {
        let flaw = Flaw { reason: "cut off: s\"3.test hung up".into(), is_limit: false };
        let flaw = response(Response { flaw: Some(flaw), ..Response::default() }, &credentials()).flaw;
        assert_eq!(flaw.unwrap().reason, "cut off: ********.test hung up");
    }

    #[test]
    fn parsed_answers() {
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
        assert_eq!(
            masks("a", "a banana: \"a\", =a; E Q h"),
            "******** banana: \"********\", =********; E Q h"
        );
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
        let html =
            KEY.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&#39;");
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
                // What is left has something of what is around the secret in it.
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
    fn a_large_answer_takes_no_longer_for_the_secret_s_first_letter() {
        let large = "s%&\\+".repeat(200_000);
        assert_eq!(masks("sk_live_0123456789abcdef", &large), large);
    }
}
