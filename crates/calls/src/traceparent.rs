//! Trace context: the `traceparent` of a payload, which a request carries on (W3C Trace Context, section 3.2).

use crate::request::{Request, TRACEPARENT};

/// The field of a payload.
pub const FIELD: &str = TRACEPARENT;
/// The length of version 00. A later version may be longer.
const LENGTH: usize = 55;
/// The largest length that is accepted, in bytes.
pub const MAX_LENGTH: usize = 256;

/// True if the text is a valid `traceparent`: version, trace id, parent id and flags, in lower-case hexadecimal digits.
pub fn is_valid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        2 | 35 | 52 => byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    };
    let (Some(fixed), true) = (text.get(..LENGTH), text.is_ascii() && text.len() <= MAX_LENGTH) else {
        return false;
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let rest = &text[LENGTH..];
    let has_length = match &fixed[..2] {
        "00" => rest.is_empty(),
        _ => rest.is_empty() || rest.starts_with('-') && rest.bytes().all(|byte| byte.is_ascii_graphic()),
    };
    fixed.bytes().enumerate().all(fits)
        && has_length
        && &fixed[..2] != "ff"
        && !is_zero(&fixed[3..35])
        && !is_zero(&fixed[36..52])
}

/// Adds the header to an HTTP request, unless the request has one of its own.
pub fn add(request: &mut Request, traceparent: &str) {
    if let Request::Http(request) = request
        && !request.has_header(TRACEPARENT)
    {
        request.headers.push((TRACEPARENT.to_owned(), traceparent.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::HttpRequest;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_what_the_standard_allows_is_valid() {
        assert!(is_valid(VALID));
        assert!(is_valid(&VALID.replacen("00", "01", 1)));
        assert!(is_valid(&format!("{}-more", VALID.replacen("00", "cc", 1))));
        for invalid in [
            "",
            "00",
            &VALID[..54],
            &format!("{VALID}-more"),
            &VALID.to_uppercase(),
            &VALID.replacen("00", "ff", 1),
            &VALID.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47\r\n-00f067aa0ba902b7-01",
            &VALID.replacen('4', "ü", 1),
            &format!("{}-{}", VALID.replacen("00", "01", 1), "x".repeat(MAX_LENGTH)),
            &format!("{}-a b", VALID.replacen("00", "01", 1)),
        ] {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }

    #[test]
    fn a_request_keeps_a_header_of_its_own() {
        let mut request = Request::Http(HttpRequest::default());
        add(&mut request, VALID);
        add(&mut request, "other");
        let Request::Http(HttpRequest { headers, .. }) = request else { unreachable!() };
        assert_eq!(headers, [(FIELD.to_owned(), VALID.to_owned())]);
    }
}
