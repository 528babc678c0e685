//! Checks that a path cannot lead out of the base URL, however a server or proxy interprets it. Some decode escapes
//! twice, treat "\\" as "/", or drop the text after ";".

/// How many layers of escapes are decoded. A path with more layers is refused.
const MAX_DEPTH: usize = 4;

/// Returns the segments of the path, without the query.
pub fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('?').next().unwrap_or_default().split('/')
}

/// Checks a path, which may have a query.
///
/// # Errors
/// If it is invalid; the message states what is wrong.
pub fn check(path: &str) -> Result<(), String> {
    if path.chars().any(|c| c.is_control() || c == '#')
        || path.split('?').next().unwrap_or_default().contains('\\')
    {
        return Err("the path contains a control character, \"#\" or \"\\\"".into());
    }
    let mut all = segments(path).skip(1).peekable();
    while let Some(segment) = all.next() {
        // The last segment is empty if the path ends with a slash.
        if segment.is_empty() && all.peek().is_some() {
            return Err("the path has an empty segment".into());
        }
        check_segment(segment)?;
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), String> {
    let plain = decoded(segment.as_bytes())
        .ok_or("the path contains \"%\" that does not begin an escape, or too many escapes")?;
    let plain = std::str::from_utf8(&plain).map_err(|_| "the path's escapes are not valid UTF-8")?;
    if plain.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) {
        return Err("a segment of the path contains an escaped \"/\", \"\\\" or control character".into());
    }
    let name = plain.split(';').next().unwrap_or_default().trim();
    if matches!(name, "." | "..") || name.is_empty() && !plain.is_empty() {
        return Err(format!("the path has a segment that some take for a step: {plain:?}"));
    }
    Ok(())
}

/// Undoes all layers of escapes. `None` if there are too many, or a "%" is not part of an escape.
fn decoded(segment: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = undo(segment, true)?;
    for _ in 0..MAX_DEPTH {
        let further = undo(&bytes, false)?;
        if further == bytes {
            return Some(bytes);
        }
        bytes = further;
    }
    None
}

/// Undoes one layer of escapes. `strict` means that each "%" has to begin one.
fn undo(text: &[u8], strict: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let code = if *first == b'%' { escape(after) } else { None };
        if strict && *first == b'%' && code.is_none() {
            return None;
        }
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    Some(bytes)
}

fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |place: usize| char::from(*digits.get(place)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_nowhere_else() {
        for good in [
            "",
            "/",
            "/a",
            "/a/",
            "/a/b?x=//..%2f",
            "?x",
            "/a;v=1/b",
            "/100%25",
            "/%E2%82%AC",
            "/...",
            "/a..b",
            "/..a",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "/..",
            "/.",
            "/a/../b",
            "/%2e%2E/b",
            "/.%2e",
            "/..%2fadmin",
            "/..%5c",
            "/..;/x",
            "/..;a=1/x",
            "/..%3b/x",
            "/%252e%252e/x",
            "/a%252fb",
            "/a%25252525252fb",
            "//x",
            "/a//b",
            "/a\\b",
            "/a#b",
            "/a\tb",
            "/a%00b",
            "/a%0d%0ab",
            "/%c0%ae",
            "/%",
            "/%2",
            "/%u002f",
            "/%20..",
            "/..%20",
            "/;x/b",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
