//! Which headers a request may set.

/// Headers that belong to the connection, or delimit the request.
const RESERVED: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "expect",
    "http2-settings",
];

/// Returns why a request cannot have this header. The value is not repeated.
pub fn problem(name: &str, value: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(is_token) {
        return Some(format!("{name:?} is not a valid name of a header"));
    }
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        return Some(format!("the header {name} cannot be set: it belongs to the connection"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Some(format!("the value of the header {name} contains a control character"));
    }
    None
}

/// <https://www.rfc-editor.org/rfc/rfc9110#name-tokens>
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        for (name, value) in [("Content-Type", "text/plain"), ("X-A", ""), ("authorization", "a\tü")] {
            assert_eq!(problem(name, value), None, "{name}");
        }
        for name in
            ["Host", "content-length", "TRANSFER-ENCODING", "Connection", "Proxy-Authorization", "Expect"]
        {
            assert!(problem(name, "x").unwrap().contains(name), "{name}");
        }
        for name in ["", "a b", "a:", "a\r\n", "ü", "a\0"] {
            assert!(problem(name, "x").is_some(), "{name:?}");
        }
        for value in ["a\r\nHost: x", "a\n", "\0", "\u{7f}", "\u{85}"] {
            assert!(!problem("X-A", value).unwrap().contains(value), "{value:?}");
        }
    }
}
