//! Finds a secret in a text whose characters may be escaped as in URLs, JSON or HTML, also repeatedly.

/// The maximum nesting of escapes of the same type.
const MAX_NESTED: usize = 3;
/// The maximum number of backslashes before a character in nested JSON.
const MAX_BACKSLASHES: usize = 8;
/// From this number of characters on, a secret is found regardless of case, and a beginning of it is redacted, too.
const LONG: usize = 8;

const ENTITIES: &[(&[u8], char)] =
    &[(b"amp;", '&'), (b"lt;", '<'), (b"gt;", '>'), (b"quot;", '"'), (b"apos;", '\'')];

/// The characters of a secret.
pub struct Characters {
    all: Vec<char>,
    /// The number of characters that suffice as a beginning.
    enough: usize,
    ignores_case: bool,
}

impl Characters {
    pub fn of(secret: &str) -> Self {
        let all: Vec<char> = secret.chars().collect();
        let enough = LONG.max(all.len().div_ceil(2)).min(all.len());
        Characters { enough, ignores_case: all.len() >= LONG, all }
    }

    /// Returns the length of the secret, or of a long beginning of it, at the start of `bytes`.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        if !self.may_begin(bytes) {
            return None;
        }
        // All places where the characters so far can end: `%25` is a percent sign, or the start of a nested escape.
        let (mut ends, mut next, mut found) = (vec![0], Vec::new(), 0);
        for expected in &self.all {
            for at in ends.iter().copied() {
                self.steps(&bytes[at..], *expected, |step| {
                    if !next.contains(&(at + step)) {
                        next.push(at + step);
                    }
                });
            }
            if next.is_empty() {
                break;
            }
            std::mem::swap(&mut ends, &mut next);
            next.clear();
            found += 1;
        }
        ends.into_iter().max().filter(|_| found >= self.enough)
    }

    /// Excludes most places cheaply.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        let first = self.all.first().map(|first| first.encode_utf8(&mut [0; 4]).as_bytes()[0]);
        match (bytes.first(), first) {
            (Some(byte), Some(first)) => {
                byte.eq_ignore_ascii_case(&first) || matches!(byte, b'%' | b'\\' | b'&' | b'+')
            }
            _ => false,
        }
    }

    /// Passes to `tell` each length that `expected` can have at the start of `rest`.
    fn steps(&self, rest: &[u8], expected: char, mut tell: impl FnMut(usize)) {
        let mut buffer = [0; 4];
        let plain = expected.encode_utf8(&mut buffer).as_bytes();
        if rest.len() >= plain.len() && plain.iter().zip(rest).all(|(a, b)| self.is_same(*a, u32::from(*b))) {
            tell(plain.len());
        }
        match rest.first() {
            Some(b'+') if expected == ' ' => tell(1),
            Some(b'%') => (0..=MAX_NESTED).filter_map(|n| self.percent(rest, plain, n)).for_each(tell),
            Some(b'\\') => (1..=MAX_BACKSLASHES).filter_map(|n| self.json(rest, expected, n)).for_each(tell),
            Some(b'&') => (0..=MAX_NESTED).filter_map(|n| self.entity(rest, expected, n)).for_each(tell),
            _ => {}
        }
    }

    fn is_same(&self, expected: u8, found: u32) -> bool {
        u8::try_from(found).is_ok_and(|found| {
            found == expected || self.ignores_case && found.eq_ignore_ascii_case(&expected)
        })
    }

    fn is_same_char(&self, expected: char, found: u32) -> bool {
        u32::from(expected) == found
            || expected.is_ascii() && found < 128 && self.is_same(expected as u8, found)
    }

    /// Matches `%41`, and `%2541` if it is nested once.
    fn percent(&self, start: &[u8], plain: &[u8], nested: usize) -> Option<usize> {
        let rest = plain.iter().try_fold(start, |rest, byte| {
            let rest = (0..nested).try_fold(rest.strip_prefix(b"%")?, |rest, _| rest.strip_prefix(b"25"))?;
            let (code, rest) = rest.split_at_checked(2)?;
            self.is_same(*byte, number(code, 16)?).then_some(rest)
        })?;
        Some(start.len() - rest.len())
    }

    /// Matches `\n` and `\u0041`, with more backslashes if it is nested.
    fn json(&self, start: &[u8], expected: char, count: usize) -> Option<usize> {
        let backslashes = |rest| (0..count).try_fold(rest, |rest: &[u8], _| rest.strip_prefix(b"\\"));
        let (kind, rest) = backslashes(start)?.split_first()?;
        if *kind == b'u' {
            let rest = self.units(rest, expected, backslashes)?;
            return Some(start.len() - rest.len());
        }
        let plain = match kind {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => char::from(*other),
        };
        (plain == expected).then_some(start.len() - rest.len())
    }

    /// Returns the rest after the code units of a character, the first one without its `\u`.
    fn units<'a>(
        &self,
        rest: &'a [u8],
        expected: char,
        backslashes: impl Fn(&'a [u8]) -> Option<&'a [u8]>,
    ) -> Option<&'a [u8]> {
        let mut buffer = [0; 2];
        let units = expected.encode_utf16(&mut buffer);
        let is_one = units.len() == 1;
        units.iter().enumerate().try_fold(rest, |rest, (n, unit)| {
            let rest = if n == 0 { rest } else { backslashes(rest)?.strip_prefix(b"u")? };
            let (code, rest) = rest.split_at_checked(4)?;
            let found = number(code, 16)?;
            (found == u32::from(*unit) || is_one && self.is_same_char(expected, found)).then_some(rest)
        })
    }

    /// Matches `&amp;`, `&#65;` and `&#x41;`, and `&amp;amp;` if it is nested once.
    fn entity(&self, start: &[u8], expected: char, nested: usize) -> Option<usize> {
        let rest = (0..nested).try_fold(start.strip_prefix(b"&")?, |rest, _| rest.strip_prefix(b"amp;"))?;
        for (name, plain) in ENTITIES {
            if let Some(rest) = rest.strip_prefix(*name).filter(|_| *plain == expected) {
                return Some(start.len() - rest.len());
            }
        }
        let rest = rest.strip_prefix(b"#")?;
        let (rest, radix) = match rest.strip_prefix(b"x").or_else(|| rest.strip_prefix(b"X")) {
            Some(rest) => (rest, 16),
            None => (rest, 10),
        };
        let size = rest.iter().take(8).position(|byte| *byte == b';')?;
        let found = number(&rest[..size], radix)?;
        self.is_same_char(expected, found).then_some(start.len() - rest.len() + size + 1)
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * radix + char::from(*digit).to_digit(radix)?))
}
