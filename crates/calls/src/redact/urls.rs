//! Masks the queries of URLs, which may grant access to something: a signed link, or a token to reset a password.

/// Replaces a secret.
pub const MASK: &str = "********";

/// Characters that end a URL in a text.
const ENDS: &[char] = &['"', '\'', '<', '>', '\\', '`', '|', '{', '}'];

/// Masks the query and the fragment of each URL in a text, also where characters are escaped as in strings of JSON.
pub fn urls(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = start(rest) {
        let (before, url) = rest.split_at(start);
        let (url, after) = url.split_at(end(url));
        masked.push_str(before);
        match url.find(['?', '#']) {
            Some(place) => masked.extend([&url[..=place], MASK]),
            None => masked.push_str(url),
        }
        rest = after;
    }
    masked + rest
}

/// Returns the place of the colon in a `://` or `:\/\/`.
fn start(text: &str) -> Option<usize> {
    let after_slash = |rest| unescaped(rest).strip_prefix('/');
    let is_start = |at: &usize| after_slash(&text[at + 1..]).and_then(after_slash).is_some();
    text.match_indices(':').map(|(at, _)| at).find(is_start)
}

/// Returns the length of the URL at the start of a text.
fn end(text: &str) -> usize {
    let mut at = 0;
    while let Some(found) = text[at..].find(|c: char| c.is_whitespace() || ENDS.contains(&c)) {
        let rest = unescaped(&text[at + found..]);
        let next = text.len() - rest.len();
        if next == at + found || !goes_on(rest) {
            return at + found;
        }
        at = next;
    }
    text.len()
}

/// Removes the backslashes at the start of a text; a nested text has several.
fn unescaped(text: &str) -> &str {
    text.trim_start_matches('\\')
}

/// True if a backslash and the text after it stand for a character of a URL: `\/`, `\u0026`.
fn goes_on(rest: &str) -> bool {
    let code = rest.strip_prefix('u').and_then(|rest| rest.as_bytes().first_chunk::<4>());
    rest.starts_with('/') || code.is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_fragments() {
        for (text, masked) in [
            (r#"{"url":"https://x.test/a?sig=b&c","n":1}"#, r#"{"url":"https://x.test/a?********","n":1}"#),
            (
                "see https://x.test/#token, https://y.test/b.",
                "see https://x.test/#******** https://y.test/b.",
            ),
            ("what? http://", "what? http://"),
            (
                r#"{"url":"https:\/\/b.test\/x?sig=c","n":1}"#,
                r#"{"url":"https:\/\/b.test\/x?********","n":1}"#,
            ),
            (
                r#""{\"url\":\"https:\\/\\/b.test\\/x?sig=c\"}""#,
                r#""{\"url\":\"https:\\/\\/b.test\\/x?********\"}""#,
            ),
            (r#"["https://x.test/?a=b\u0026sig=c"]"#, r#"["https://x.test/?********"]"#),
            (r"at https://x.test/a\n is it? a:\/b?c", r"at https://x.test/a\n is it? a:\/b?c"),
            ("https://a.test?x=https://b.test?y", "https://a.test?********"),
        ] {
            assert_eq!(urls(text), masked);
        }
    }
}
