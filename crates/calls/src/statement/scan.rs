//! A scanner that replaces the literals, comments and values of a statement.

use super::names::{SettingNames, is_setting, is_word};

/// Texts that were masked.
pub type Pieces = Vec<Vec<u8>>;

/// How a text is read.
#[derive(Clone, Copy)]
pub struct Syntax {
    /// Double quotes enclose names. In a message they may enclose a whole statement.
    pub is_statement: bool,
    /// A backslash escapes in every literal (`standard_conforming_strings = off`).
    pub backslash_escapes: bool,
}

/// Whether the next token is the value of a secret.
#[derive(Clone, Copy, PartialEq)]
enum Armed {
    No,
    /// The name of a secret was read.
    Named,
    /// A part of its value was read.
    Value,
}

/// Masks one text.
pub struct Mask<'a> {
    names: &'a SettingNames,
    syntax: Syntax,
    text: &'a mut [u8],
    at: usize,
    armed: Armed,
    pieces: Pieces,
}

impl<'a> Mask<'a> {
    /// Masks `text` and returns the original texts.
    pub fn replace_all(names: &'a SettingNames, syntax: Syntax, text: &'a mut [u8]) -> Pieces {
        let mut mask = Mask { names, syntax, text, at: 0, armed: Armed::No, pieces: Pieces::new() };
        mask.run();
        mask.pieces
    }

    fn run(&mut self) {
        while let Some(byte) = self.peek(0) {
            match (byte, self.peek(1)) {
                (b'-', Some(b'-')) => {
                    let end = self.find(b"\n", self.at).unwrap_or(self.text.len());
                    self.replace(self.at + 2, end, b'*');
                    self.at = end;
                }
                (b'/', Some(b'*')) => {
                    let end = self.end_of_comment();
                    self.replace(self.at + 2, end, b'x');
                    self.at = (end + 2).min(self.text.len());
                }
                (b'\'', _) => self.literal(),
                (b'"', _) if self.syntax.is_statement => self.quoted_name(),
                (b'$', _) if self.dollar_literal() => {}
                _ if is_word(byte) => self.word(),
                _ => self.other(byte),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn find(&self, what: &[u8], from: usize) -> Option<usize> {
        let rest = self.text.get(from..)?;
        rest.windows(what.len()).position(|part| part == what).map(|place| from + place)
    }

    /// Returns the end of the comment that begins here. Comments nest.
    fn end_of_comment(&self) -> usize {
        let mut depth = 1;
        let mut at = self.at + 2;
        while at < self.text.len() {
            match &self.text[at..] {
                [b'*', b'/', ..] if depth == 1 => return at,
                [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                _ => at += 1,
            }
        }
        at.min(self.text.len())
    }

    fn replace(&mut self, from: usize, to: usize, with: u8) {
        let piece = &mut self.text[from..to];
        if piece.iter().any(|byte| !matches!(*byte, b'*' | b'x')) {
            self.pieces.push(piece.trim_ascii().to_vec());
        }
        piece.fill(with);
    }

    /// Masks a literal in single quotes, unless it is the name of a setting.
    fn literal(&mut self) {
        let start = self.at + 1;
        let before = &self.text[..self.at];
        let escapes = self.syntax.backslash_escapes
            || matches!(before, [.., b'e' | b'E'])
                && !before.get(before.len().wrapping_sub(2)).is_some_and(|byte| is_word(*byte));
        let mut end = start;
        while let Some(byte) = self.text.get(end) {
            match byte {
                b'\\' if escapes => end += 2,
                b'\'' if self.text.get(end + 1) == Some(&b'\'') => end += 2,
                b'\'' => break,
                _ => end += 1,
            }
        }
        let end = end.min(self.text.len());
        if !is_setting(&self.text[start..end]) {
            self.replace(start, end, b'*');
        }
        self.at = (end + 1).min(self.text.len());
        self.note_value();
    }

    /// Masks a literal in dollar quotes. False if none begins here.
    fn dollar_literal(&mut self) -> bool {
        let rest = &self.text[self.at + 1..];
        let tag = rest.iter().position(|byte| *byte == b'$' || !is_word(*byte)).unwrap_or(rest.len());
        let is_tag = rest.get(tag) == Some(&b'$') && !rest.first().is_some_and(u8::is_ascii_digit);
        if !is_tag {
            return false;
        }
        let start = self.at + tag + 2;
        let quote = self.text[self.at..start].to_vec();
        let end = self.find(&quote, start).unwrap_or(self.text.len());
        self.replace(start, end, b'*');
        self.at = (end + quote.len()).min(self.text.len());
        self.note_value();
        true
    }

    fn quoted_name(&mut self) {
        let start = self.at + 1;
        let end = self.find(b"\"", start).unwrap_or(self.text.len());
        let is_ours = self.is_secret(start, end);
        if self.armed != Armed::No && !is_ours {
            self.replace(start, end, b'*');
            self.note_value();
        } else if is_ours {
            self.armed = Armed::Named;
        }
        self.at = (end + 1).min(self.text.len());
    }

    fn word(&mut self) {
        let start = self.at;
        let rest = &self.text[start..];
        let end = start + rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        self.at = end;
        if self.is_secret(start, end) {
            self.armed = Armed::Named;
        } else if self.armed == Armed::Named && self.text[start..end].eq_ignore_ascii_case(b"to") {
            self.armed = Armed::Value;
        } else if self.armed != Armed::No {
            // A value without quotes may contain any characters.
            let rest = &self.text[start..];
            let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(*byte, b';' | b'\'' | b'"');
            let end = start + rest.iter().position(is_end).unwrap_or(rest.len());
            self.replace(start, end, b'x');
            self.at = end;
            self.armed = Armed::Value;
        }
    }

    fn other(&mut self, byte: u8) {
        self.armed = match (byte, self.armed) {
            // In a message, a value ends with its line.
            (b'\n', Armed::Value) => Armed::No,
            (b';', _) | (b',' | b'(' | b')', Armed::Named) => Armed::No,
            (b'=', Armed::Named) => Armed::Value,
            (_, armed) => armed,
        };
        self.at += 1;
    }

    /// Notes that a value in quotes has been read.
    fn note_value(&mut self) {
        if self.armed == Armed::Named {
            self.armed = Armed::Value;
        }
    }

    fn is_secret(&self, start: usize, end: usize) -> bool {
        self.names.is_secret(self.text, start, end)
    }
}
