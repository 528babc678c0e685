//! Masking of statements that may hold a secret: every literal, and every value that is set, is replaced by asterisks.
//! The text keeps its length, so that error positions stay right.

use crate::pg::statement::{self, Pieces, Rule, find_byte};
use std::sync::OnceLock;

/// Masks secrets in the statements of all sessions. To be called while the postmaster preloads libraries.
pub fn init() {
    let (secrets, others) = crate::config::names();
    let _ = NAMES.set(Names { secrets, others });
    statement::hide(&Rule { concerns: mentions, mask, mask_message, mask_pieces });
}

/// The prefix of all settings.
const PREFIX: &[u8] = b"pg_errand";
/// A shorter piece of a statement is not looked for in messages: it would be found in any word.
const SHORTEST_FOUND: usize = 4;
/// How many levels of literals within literals are looked into.
const MAX_DEPTH: usize = 3;
/// Bytes before a name in which the prefix of our settings is looked for.
const LOOK_BACK: usize = 256;
/// Bytes of pieces times bytes of a text that are compared at most; else nothing of the text is shown.
const MAX_COMPARED: usize = 1 << 27;

/// Names of the settings.
#[derive(Default)]
struct Names {
    /// Those of secrets, without the prefix.
    secrets: Vec<&'static str>,
    /// All others, without the prefix.
    others: Vec<&'static str>,
}

static NAMES: OnceLock<Names> = OnceLock::new();

fn names() -> &'static Names {
    NAMES.get_or_init(Names::default)
}

/// Bytes that identifiers are made of.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// True if a statement names one of our secrets, or a setting of ours that does not exist: a misspelled secret.
pub fn mentions(text: &[u8]) -> bool {
    let mut found = false;
    let mut from = 0;
    // The underscore of the prefix is rarer than its letters.
    while let Some(place) = find_byte(b'_', &text[from..]) {
        let start = (from + place).checked_sub(2);
        from += place + 1;
        let Some(start) = start else { continue };
        let end = start + PREFIX.len();
        if text.get(start..end).is_some_and(|part| part.eq_ignore_ascii_case(PREFIX)) {
            found = true;
            if name_after(&text[end..]).is_some_and(|(name, is_next)| {
                is_one_of(name, &names().secrets)
                    || is_next && !name.is_empty() && !is_one_of(name, &names().others)
            }) {
                return true;
            }
        }
    }
    // The name may be put together.
    found && text.split(|byte| !is_word(*byte)).any(is_secret_alone)
}

/// What stands behind a dot, where quotes don't count; and whether no blanks are in between.
fn name_after(text: &[u8]) -> Option<(&[u8], bool)> {
    let skip = |text: &[u8]| {
        let is_between = |byte: &u8| *byte == b'"' || byte.is_ascii_whitespace();
        text.iter().position(|byte| !is_between(byte)).unwrap_or(text.len())
    };
    let before = skip(text);
    let rest = text[before..].strip_prefix(b".")?;
    let behind = skip(rest);
    let name = &rest[behind..];
    let end = name.iter().position(|byte| !is_word(*byte)).unwrap_or(name.len());
    let is_next = !text[..before].iter().chain(&rest[..behind]).any(u8::is_ascii_whitespace);
    Some((&name[..end], is_next))
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// True for the name of a secret without its prefix, unless it could as well be any other word.
fn is_secret_alone(name: &[u8]) -> bool {
    name.contains(&b'_') && is_one_of(name, &names().secrets)
}

/// Replaces literals, comments and what is set in `text`; returns what was there.
pub fn mask(text: &mut [u8]) -> Pieces {
    mask_as(text, true)
}

/// [`mask`] of a part of a message, where a double quote may stand around a whole statement.
pub fn mask_message(text: &mut [u8]) -> Pieces {
    mask_as(text, false)
}

fn mask_as(text: &mut [u8], is_statement: bool) -> Pieces {
    let mut pieces = replace_all(text, is_statement);
    // A literal may be a statement itself.
    let mut from = 0;
    for _ in 0..MAX_DEPTH {
        let inner = |piece: &Vec<u8>| replace_all(&mut piece.clone(), is_statement);
        let found: Pieces = pieces[from..].iter().filter(|piece| mentions(piece)).flat_map(inner).collect();
        from = pieces.len();
        pieces.extend(found);
    }
    pieces.retain(|piece| piece.len() >= SHORTEST_FOUND);
    pieces.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    pieces.dedup();
    pieces
}

fn replace_all(text: &mut [u8], is_statement: bool) -> Pieces {
    let mut mask = Mask { text, at: 0, armed: Armed::No, pieces: Pieces::new(), is_statement };
    mask.run();
    mask.pieces
}

/// Replaces each of `pieces` where it is found in `text`; true if any was.
pub fn mask_pieces(text: &mut [u8], pieces: &Pieces) -> bool {
    let size: usize = pieces.iter().map(Vec::len).filter(|size| *size <= text.len()).sum();
    if size.saturating_mul(text.len()) > MAX_COMPARED {
        text.fill(b'*');
        return true;
    }
    let mut any = false;
    for piece in pieces {
        let mut from = 0;
        while let Some(place) = text[from..].windows(piece.len()).position(|part| part == piece) {
            let start = from + place;
            from = start + piece.len();
            text[start..from].fill(b'*');
            any = true;
        }
    }
    any
}

/// Whether what comes is the value of a secret.
#[derive(Clone, Copy, PartialEq)]
enum Armed {
    No,
    /// The name of a secret was read.
    Named,
    /// A part of its value was read.
    Value,
}

struct Mask<'a> {
    text: &'a mut [u8],
    at: usize,
    armed: Armed,
    pieces: Pieces,
    /// Double quotes are around names.
    is_statement: bool,
}

impl Mask<'_> {
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
                (b'"', _) if self.is_statement => self.quoted_name(),
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

    /// Where the comment that begins here ends; comments nest.
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

    /// A literal in single quotes; the name of a setting stays.
    fn literal(&mut self) {
        let start = self.at + 1;
        let before = &self.text[..self.at];
        let escapes = statement::backslash_escapes()
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

    /// A literal in dollar quotes; false if none begins here.
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
            // A value without quotes, whatever it consists of.
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
            // Of several lines of a message.
            (b'\n', Armed::Value) => Armed::No,
            (b';', _) | (b',' | b'(' | b')', Armed::Named) => Armed::No,
            (b'=', Armed::Named) => Armed::Value,
            (_, armed) => armed,
        };
        self.at += 1;
    }

    /// A value in quotes has come.
    fn note_value(&mut self) {
        if self.armed == Armed::Named {
            self.armed = Armed::Value;
        }
    }

    /// True for the name of a secret, or of no setting of ours, behind the prefix.
    fn is_secret(&self, start: usize, end: usize) -> bool {
        let name = &self.text[start..end];
        let before: Vec<u8> = self.text[..start]
            .iter()
            .rev()
            .take(LOOK_BACK)
            .copied()
            .filter(|byte| *byte != b'"' && !byte.is_ascii_whitespace())
            .take(PREFIX.len() + 1)
            .collect();
        let is_ours = before.first() == Some(&b'.')
            && before[1..].iter().rev().copied().collect::<Vec<u8>>().eq_ignore_ascii_case(PREFIX);
        is_secret_alone(name) || is_ours && !is_one_of(name, &names().others)
    }
}

/// True for what looks like the full name of a setting of ours.
fn is_setting(text: &[u8]) -> bool {
    let Some((prefix, name)) = text.split_at_checked(PREFIX.len()) else { return false };
    prefix.eq_ignore_ascii_case(PREFIX)
        && name.strip_prefix(b".").is_some_and(|name| name.iter().all(|byte| is_word(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "s3cret-Value/9+x=";

    /// The settings themselves belong to PostgreSQL, which is not there.
    fn know_names() {
        let _ = NAMES.set(Names {
            secrets: vec!["resend_api_key", "smtp_password", "twilio_auth_token", "secrets"],
            others: vec!["call_timeout", "role", "secrets_dir"],
        });
    }

    #[test]
    fn statements_that_name_a_secret() {
        know_names();
        for text in [
            "alter system set pg_errand.resend_api_key = 'x'",
            "ALTER SYSTEM SET \"PG_Errand\".\"Resend_API_Key\" TO x",
            "set pg_errand . smtp_password = x",
            "select set_config('pg_errand.' || 'twilio_auth_token', 'x', false)",
            "alter system set pg_errand.secrets = '{}'",
            "alter system set pg_errand.resend_apikey = 'x'",
        ] {
            assert!(mentions(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "_",
            "select resend_api_key from mine",
            "alter system set pg_errand.call_timeout = '1s'",
            "alter system set pg_errand.secrets_dir = '/run/secrets'",
            "create extension pg_errand",
            "select secrets from t",
            "select 'This is pg_errand.'",
        ] {
            assert!(!mentions(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_anyone_may_send_takes_little_time_and_stack() {
        know_names();
        let dollars: String = (0..20_000).map(|i| format!("$a{i}$ ")).collect();
        for text in [
            format!("select 1 {} pg_errand.secrets", "-".repeat(1_000_000)),
            format!("select pg_errand.secrets, {}", "\"\" ".repeat(300_000)),
            format!("select 1 {dollars} pg_errand.secrets"),
            format!("select 1 {} pg_errand.secrets", "/* ".repeat(300_000)),
        ] {
            let mut copy = text.clone().into_bytes();
            let length = copy.len();
            let pieces = mask(&mut copy);
            mask_pieces(&mut text.into_bytes(), &pieces);
            assert_eq!(copy.len(), length);
        }
    }

    #[test]
    fn nested_comments_and_quotes_in_messages() {
        know_names();
        let mut text = format!("/* /* */ don't */ set pg_errand.smtp_password = '{VALUE}'").into_bytes();
        mask(&mut text);
        assert!(!String::from_utf8(text).unwrap().contains(VALUE));
        for message in [
            format!("SQL statement \"SELECT set_config('pg_errand.smtp_password','{VALUE}',false)\""),
            format!(
                "SQL statement \"set pg_errand.smtp_password = {VALUE}\"\nPL/pgSQL function \"F\"() line 1"
            ),
            format!("SQL statement \"set \"pg_errand\".\"smtp_password\" = {VALUE}\""),
            format!("{{ \"Query Text\": \"set pg_errand.smtp_password = \\\"{VALUE}\\\"\" }}"),
        ] {
            let mut text = message.into_bytes();
            mask_message(&mut text);
            let shown = String::from_utf8(text).unwrap();
            assert!(!shown.contains(VALUE), "{shown}");
        }
    }

    #[test]
    fn what_is_set_is_replaced_and_everything_else_stays() {
        know_names();
        let shown = |text: &str| {
            let mut copy = text.as_bytes().to_vec();
            mask(&mut copy);
            String::from_utf8(copy).unwrap()
        };
        for text in [
            "alter system set pg_errand.resend_api_key = '@'",
            "alter system set pg_errand.resend_api_key to '@';",
            "alter system set pg_errand.resend_api_key\n = @",
            "alter system set \"pg_errand\".\"resend_api_key\" = \"@\"",
            "alter system set pg_errand . secrets = @",
            "alter system set pg_errand.resend_api_key '@'",
            "alter system set pg_errand.resend_api_key @ x",
            "alter system set pg_errand.resend_api_key = '@",
            "alter system set pg_errand.resend_apikey = @",
            "alter sistem set pg_errand.secrets = E'{\\'@'",
            "set pg_errand.smtp_password = $$@$$",
            "set pg_errand.smtp_password = $a$@$a$",
            "select set_config('pg_errand.smtp_password', '@', false)",
            "do $do$ begin perform set_config('pg_errand.smtp_password', '@', false); end $do$",
            "show pg_errand.smtp_password -- @",
            "show /* @ */ pg_errand.smtp_password",
        ] {
            let text = text.replace('@', VALUE);
            let shown = shown(&text);
            assert!(!shown.contains(VALUE) && shown.len() == text.len(), "{text}: {shown}");
            let pieces = mask(&mut text.as_bytes().to_vec());
            let mut message = format!("near {VALUE}.").into_bytes();
            assert!(mask_pieces(&mut message, &pieces), "{text}");
        }
        let kept = "select set_config('pg_errand.smtp_password', $1, false), a + 1 from pg_errand.role";
        assert_eq!(shown(kept), kept);
        assert_eq!(shown("show pg_errand.smtp_password; select 7"), "show pg_errand.smtp_password; select 7");
    }
}
