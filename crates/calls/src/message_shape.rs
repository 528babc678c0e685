//! The shape of an error message: what messages of the same cause have in common. What varies from task to task is replaced by
//! a placeholder.

/// The number of characters of a message that its shape depends on.
const EXAMINED: usize = 500;
/// The number of hexadecimal digits from which a word with a digit counts as hexadecimal.
const MIN_HEX: usize = 8;

/// The shape of a message: numbers, quoted texts, UUIDs, hexadecimal numbers, e-mail addresses and times are replaced, and
/// white space is one space.
pub fn of(message: &str) -> String {
    let mut shape = String::with_capacity(message.len().min(EXAMINED));
    write(message, &mut shape);
    shape
}

/// Appends the shape of a message to an empty text.
pub fn write(message: &str, shape: &mut String) {
    let (text, is_cut) = cut(message);
    let mut rest = text;
    let mut previous = None;
    while let Some(next) = rest.chars().next() {
        let found = if next.is_whitespace() { Some(space(rest)) } else { find(rest, previous) };
        let (length, placeholder) = found.unwrap_or_else(|| (plain(rest).max(next.len_utf8()), ""));
        let (taken, remaining) = rest.split_at(length);
        shape.push_str(if found.is_some() { placeholder } else { taken });
        previous = taken.chars().next_back();
        rest = remaining;
    }
    shape.truncate(shape.trim_end().len());
    if is_cut {
        shape.push('…');
    }
}

/// The length of the letters at the start, none of which begins something that varies after the first.
fn plain(rest: &str) -> usize {
    run(rest.as_bytes(), u8::is_ascii_alphabetic)
}

/// The part of a message that is examined, and whether it is not all.
fn cut(message: &str) -> (&str, bool) {
    let text = message.trim();
    if text.len() <= EXAMINED {
        return (text, false);
    }
    match text.char_indices().nth(EXAMINED) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

fn space(rest: &str) -> (usize, &'static str) {
    (rest.len() - rest.trim_start().len(), " ")
}

/// The length of what varies at the start of `rest`, and what replaces it. `previous` is the character before.
fn find(rest: &str, previous: Option<char>) -> Option<(usize, &'static str)> {
    let starts_word = previous.is_none_or(|before| !before.is_alphanumeric());
    let first = rest.as_bytes()[0];
    if starts_word && let Some(length) = quoted(rest) {
        return Some((length, "\"…\""));
    }
    if !first.is_ascii_alphanumeric() {
        return None;
    }
    if starts_word {
        let word = [
            (time(rest.as_bytes()), "<time>"),
            (uuid(rest.as_bytes()), "<uuid>"),
            (hex(rest.as_bytes()), "<hex>"),
            (email(rest), "<email>"),
        ];
        if let Some((length, placeholder)) = word.into_iter().find_map(|(length, name)| Some((length?, name)))
        {
            return Some((length, placeholder));
        }
    }
    first.is_ascii_digit().then(|| (number(rest.as_bytes()), "<n>"))
}

/// The length of a text in quotes. A quote between letters is an apostrophe.
fn quoted(rest: &str) -> Option<usize> {
    let open = rest.chars().next()?;
    let close = match open {
        '"' | '\'' | '`' => open,
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    let inner = &rest[open.len_utf8()..];
    let ends = |at: usize| {
        let after = inner[at + close.len_utf8()..].chars().next();
        after.is_none_or(|after| !after.is_alphanumeric() && after != close)
    };
    let (at, _) = inner.match_indices(close).find(|(at, _)| ends(*at))?;
    Some(open.len_utf8() + at + close.len_utf8())
}

/// The length of a run of bytes at the start.
fn run(bytes: &[u8], is_part: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_part(byte)).count()
}

fn ends_word(bytes: &[u8], length: usize) -> bool {
    bytes.get(length).is_none_or(|after| !after.is_ascii_alphanumeric())
}

fn digits(bytes: &[u8]) -> usize {
    run(bytes, u8::is_ascii_digit)
}

/// The length of a pattern in which `9` is a digit, `f` a hexadecimal digit, and all else stands for itself.
fn pattern(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    let fits = |(byte, wanted): (&u8, &u8)| match wanted {
        b'9' => byte.is_ascii_digit(),
        b'f' => byte.is_ascii_hexdigit(),
        _ => byte == wanted,
    };
    (bytes.len() >= pattern.len() && bytes.iter().zip(pattern).all(fits)).then_some(pattern.len())
}

/// The length of a date, a time of day, or both, with fraction and time zone.
fn time(bytes: &[u8]) -> Option<usize> {
    let Some(date) = pattern(bytes, b"9999-99-99") else {
        return clock(bytes).filter(|length| ends_word(bytes, *length));
    };
    let clock_begins = matches!(bytes.get(date), Some(b' ' | b'T' | b't'));
    let length = match clock_begins.then(|| clock(&bytes[date + 1..])).flatten() {
        Some(clock) => date + 1 + clock,
        None => date,
    };
    ends_word(bytes, length).then_some(length)
}

fn clock(bytes: &[u8]) -> Option<usize> {
    let mut length = pattern(bytes, b"99:99")?;
    length += pattern(&bytes[length..], b":99").unwrap_or(0);
    if matches!(bytes.get(length), Some(b'.' | b',')) {
        let fraction = digits(&bytes[length + 1..]);
        length += if fraction > 0 { fraction + 1 } else { 0 };
    }
    Some(length + zone(&bytes[length..]))
}

fn zone(bytes: &[u8]) -> usize {
    let signed = |text: &[u8]| {
        pattern(text, b"99:99").or_else(|| pattern(text, b"9999")).or_else(|| pattern(text, b"99"))
    };
    match bytes.first() {
        Some(b'Z' | b'z') if ends_word(bytes, 1) => 1,
        Some(b'+' | b'-') => signed(&bytes[1..])
            .filter(|length| ends_word(&bytes[1..], *length))
            .map_or(0, |length| length + 1),
        _ => 0,
    }
}

fn uuid(bytes: &[u8]) -> Option<usize> {
    pattern(bytes, b"ffffffff-ffff-ffff-ffff-ffffffffffff").filter(|length| ends_word(bytes, *length))
}

/// The length of a number with 0x, or of a long word of hexadecimal digits.
fn hex(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"0x") || bytes.starts_with(b"0X") {
        let length = run(&bytes[2..], u8::is_ascii_hexdigit);
        return (length > 0 && ends_word(bytes, length + 2)).then_some(length + 2);
    }
    let length = run(bytes, u8::is_ascii_hexdigit);
    let digits = bytes[..length].iter().filter(|byte| byte.is_ascii_digit()).count();
    // Digits alone are a number.
    (length >= MIN_HEX && digits > 0 && digits < length && ends_word(bytes, length)).then_some(length)
}

fn email(rest: &str) -> Option<usize> {
    let local = rest.find(|c: char| !(c.is_alphanumeric() || "._%+-".contains(c)))?;
    let domain = rest[local..].strip_prefix('@')?;
    let length = domain.find(|c: char| !(c.is_alphanumeric() || ".-".contains(c))).unwrap_or(domain.len());
    // A full stop after the address belongs to the sentence.
    let length = domain[..length].trim_end_matches(['.', '-']).len();
    (local > 0 && length > 0).then_some(local + 1 + length)
}

/// The length of a number with decimal points and separators, or of an IP address.
fn number(bytes: &[u8]) -> usize {
    let mut length = digits(bytes);
    while let Some(b'.' | b',') = bytes.get(length) {
        match digits(&bytes[length + 1..]) {
            0 => break,
            more => length += 1 + more,
        }
    }
    length
}

#[cfg(test)]
mod tests;
