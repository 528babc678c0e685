//! URLs whose query gives access to something: a signed link, a token for resetting a password.

use super::MASK;

/// Where a URL in a text ends.
const ENDS: &[char] = &['"', '\'', '<', '>', '\\', '`', '|', '{', '}'];

/// A text in which the query and the fragment of each URL are masked.
pub fn urls(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, url) = rest.split_at(start);
        let end = url.find(|c: char| c.is_whitespace() || ENDS.contains(&c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        masked.push_str(before);
        match url.find(['?', '#']) {
            Some(place) => masked.extend([&url[..=place], MASK]),
            None => masked.push_str(url),
        }
        rest = after;
    }
    masked + rest
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
            ("https://a.test?x=https://b.test?y", "https://a.test?********"),
        ] {
            assert_eq!(urls(text), masked);
        }
    }
}
