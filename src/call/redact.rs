//! Secrets that a provider echoes are masked before anything else sees them, in the forms in which they
//! could come back.

use crate::provider::{Credential, Reply};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

const MASK: &str = "********";
/// Something shorter is part of many words: it is masked only where it stands alone.
const MIN_ANYWHERE: usize = 3;
/// The same, if it is what base64 makes of a secret.
const MIN_BASE64: usize = 6;

/// A reply without secrets in its headers and raw body.
pub fn reply(mut reply: Reply, credentials: &[Credential]) -> Reply {
    let secrets = Secrets::new(credentials);
    for (_, value) in &mut reply.headers {
        *value = secrets.mask_text(value);
    }
    let body = secrets.mask(reply.body);
    Reply { body, ..reply }
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
struct Secrets<'a>(Vec<Secret<'a>>);

struct Secret<'a> {
    plain: &'a str,
    /// What is the same of it in any base64 text that holds it.
    base64: Vec<String>,
}

impl<'a> Secrets<'a> {
    fn new(credentials: &'a [Credential]) -> Self {
        let all = credentials.iter().flat_map(|credential| &credential.secrets).map(String::as_str);
        let mut all: Vec<_> = all.filter(|secret| !secret.is_empty()).collect();
        all.sort_unstable_by_key(|secret| (std::cmp::Reverse(secret.len()), *secret));
        all.dedup();
        Secrets(all.into_iter().map(|plain| Secret { plain, base64: base64_forms(plain) }).collect())
    }

    fn mask(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(bytes, |bytes, secret| {
            let anywhere = secret.plain.len() >= MIN_ANYWHERE;
            let bytes = masked(bytes, anywhere, |rest| literal(rest, secret.plain));
            let bytes = secret.base64.iter().fold(bytes, |bytes, form| {
                masked(bytes, form.len() >= MIN_BASE64, |rest| literal(rest, form))
            });
            masked(bytes, anywhere, |rest| escaped(rest, secret.plain))
        })
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

/// Masks each place where `matches` says how many bytes are to go.
fn masked(bytes: Vec<u8>, anywhere: bool, matches: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
    let found = |at: usize| {
        matches(&bytes[at..]).filter(|length| anywhere || stands_alone(&bytes[..at], &bytes[at + length..]))
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

fn stands_alone(before: &[u8], after: &[u8]) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    !is_part(before.last()) && !is_part(after.first())
}

fn literal(rest: &[u8], form: &str) -> Option<usize> {
    rest.starts_with(form.as_bytes()).then_some(form.len())
}

/// In both alphabets, for every place in a group of three bytes where it may begin.
fn base64_forms(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
        for before in 0..3 {
            let whole = [&[0; 2][..before], secret.as_bytes()].concat();
            let (from, to) = ((before * 8).div_ceil(6), whole.len() * 8 / 6);
            forms.push(engine.encode(whole)[from..to].to_owned());
        }
    }
    forms.sort_unstable();
    forms.dedup();
    // Less is part of everything.
    forms.retain(|form| form.len() > MIN_ANYWHERE);
    forms
}

/// The length of the secret at the start of `bytes`, if some of its characters are written as URLs or JSON do it.
fn escaped(bytes: &[u8], secret: &str) -> Option<usize> {
    let mut rest = bytes;
    for expected in secret.chars() {
        rest = after_json(rest, expected)
            .or_else(|| after_percent(rest, expected))
            .or_else(|| rest.strip_prefix(expected.encode_utf8(&mut [0; 4]).as_bytes()))?;
    }
    Some(bytes.len() - rest.len())
}

fn after_percent(bytes: &[u8], expected: char) -> Option<&[u8]> {
    if expected == ' ' && bytes.starts_with(b"+") {
        return Some(&bytes[1..]);
    }
    expected.encode_utf8(&mut [0; 4]).bytes().try_fold(bytes, |rest, byte| {
        let (code, rest) = rest.strip_prefix(b"%")?.split_at_checked(2)?;
        (hex(code)? == u32::from(byte)).then_some(rest)
    })
}

fn after_json(bytes: &[u8], expected: char) -> Option<&[u8]> {
    let (kind, rest) = bytes.strip_prefix(b"\\")?.split_first()?;
    let plain = match kind {
        b'u' => {
            return expected.encode_utf16(&mut [0; 2]).iter().enumerate().try_fold(
                rest,
                |rest, (n, unit)| {
                    let rest = if n == 0 { rest } else { rest.strip_prefix(b"\\u")? };
                    let (code, rest) = rest.split_at_checked(4)?;
                    (hex(code)? == u32::from(*unit)).then_some(rest)
                },
            );
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(*other),
    };
    (plain == expected).then_some(rest)
}

fn hex(code: &[u8]) -> Option<u32> {
    code.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn credentials() -> [Credential; 1] {
        [Credential::header("Authorization", "Bearer s\"3".into(), vec!["s\"3".into()])]
    }

    fn masks(secret: &str, echo: &str) -> String {
        text(echo, &[Credential::header("X", secret.into(), vec![secret.into()])])
    }

    #[test]
    fn raw_replies() {
        let echo = Reply { status: 401, body: b"bad key s\"3!".to_vec(), ..Reply::default() };
        assert_eq!(reply(echo, &credentials()).body, b"bad key ********!");
    }

    #[test]
    fn binary_replies() {
        let echo = Reply { body: b"\xff\0s\"3\xfe".to_vec(), ..Reply::default() };
        assert_eq!(reply(echo, &credentials()).body, b"\xff\0********\xfe");
    }

    #[test]
    fn headers() {
        let echo = Reply { headers: vec![("location".into(), "/?key=s%223".into())], ..Reply::default() };
        assert_eq!(reply(echo, &credentials()).header("location"), Some("/?key=********"));
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
}
