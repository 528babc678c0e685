//! Texts of users as they are shown: cut, and without characters that change how what follows is shown.

use std::fmt::Write;

/// How much is shown of a name, and of a message.
pub const NAME: usize = 64;
pub const MESSAGE: usize = 300;

/// The beginning of a text: at most `most` characters, of which those beyond ASCII count twice, since they take more space in
/// the page. Control characters are shown as symbols, and those that change the direction of writing, or that no document may
/// contain, as U+FFFD.
pub fn shown(text: &str, most: usize) -> String {
    let mut left = most;
    let mut shown = String::new();
    for character in text.chars() {
        let cost = if character.is_ascii() { 1 } else { 2 };
        let Some(rest) = left.checked_sub(cost) else {
            shown.push('…');
            break;
        };
        left = rest;
        shown.push(visible(character));
    }
    shown
}

fn visible(character: char) -> char {
    match character {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        // The symbols for control characters are in the same order.
        '\0'..='\u{1f}' => {
            char::from_u32(0x2400 + u32::from(character)).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fdd0}'..='\u{fdef}' => char::REPLACEMENT_CHARACTER,
        other if u32::from(other) & 0xfffe == 0xfffe => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

/// A page in ASCII: all other characters as character references.
pub fn ascii(page: &str) -> String {
    let mut ascii = String::with_capacity(page.len() + page.len() / 16);
    for character in page.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let _ = write!(ascii, "&#{};", u32::from(character));
        }
    }
    ascii
}

/// A number of things with its noun: `1 task`, `1,234 tasks`.
pub fn count(number: i64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", crate::number::integer(number))
}
