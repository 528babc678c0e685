//! Parses mailboxes (RFC 5322, section 3.4): `Ann (Sales) <a@x.test>`, `"a..b"@x.test`, `a@x.test (Ann)`.

use idna::domain_to_ascii;
use lettre::Address;
use lettre::message::Mailbox;

/// How many characters of a mailbox an error shows.
const SHOWN: usize = 80;
/// Characters that a name may contain only in quotation marks, besides quotation marks and brackets.
const SPECIALS: &str = "[]:;@\\";

const UNFINISHED: &str = "lacks a quotation mark or bracket at its end";

/// Parses mailboxes that are separated by commas.
///
/// # Errors
/// If a mailbox is invalid: its index, from 0, and what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Mailbox>, (usize, String)> {
    let mut all = Vec::new();
    let mut rest = Some(text.trim());
    while let Some(text) = rest {
        let (part, end) = Part::read(text);
        let shown = || text[..end].trim().chars().take(SHOWN).collect::<String>();
        let mailbox = part.and_then(|part| part.mailbox());
        all.push(mailbox.map_err(|reason| (all.len(), format!("{:?} {reason}", shown())))?);
        rest = text.get(end + 1..);
    }
    Ok(all)
}

/// Rewrites a mailbox without what only some providers support: comments, blanks around it, a domain that is not ASCII.
/// Other texts remain unchanged.
pub fn plain(text: &str) -> String {
    let is_plain = |mailbox: &Mailbox| {
        text == text.trim() && !text.contains('(') && text.contains(mailbox.email.as_ref() as &str)
    };
    match parse(text).as_deref() {
        Ok([mailbox]) if !is_plain(mailbox) => mailbox.to_string(),
        _ => text.to_owned(),
    }
}

/// The parts of a mailbox.
#[derive(Default)]
struct Part {
    /// The text outside of angle brackets, without comments.
    bare: String,
    /// The text outside of angle brackets, read as a name: without quotation marks, with comments.
    name: String,
    /// The text in angle brackets.
    angle: Option<String>,
    /// The last comment.
    comment: String,
    has_special: bool,
}

/// The context of a character.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Outside,
    Quoted,
    Angle,
    QuotedInAngle,
    /// Inside this many brackets.
    Comment(usize),
    /// At the comma that ends the mailbox.
    End,
}

impl Part {
    /// Reads the first mailbox of a text, and returns where it ends.
    fn read(text: &str) -> (Result<Part, &'static str>, usize) {
        let mut part = Part::default();
        let mut place = Place::Outside;
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            let is_escape = c == '\\' && !matches!(place, Place::Outside | Place::Angle);
            let next = if is_escape { chars.next().map(|(_, next)| next) } else { Some(c) };
            place = match part.take(place, c, next) {
                Ok(Place::End) => return (Ok(part), at),
                Ok(place) => place,
                Err(reason) => return (Err(reason), text.len()),
            };
        }
        (if place == Place::Outside { Ok(part) } else { Err(UNFINISHED) }, text.len())
    }

    /// Takes a character. `next` is the character itself, or the one that it escapes.
    fn take(&mut self, place: Place, c: char, next: Option<char>) -> Result<Place, &'static str> {
        let next = next.ok_or(UNFINISHED)?;
        if next.is_control() && next != '\t' {
            return Err("contains a control character");
        }
        match place {
            Place::Outside => self.take_outside(c),
            Place::Angle | Place::QuotedInAngle => self.take_in_angle(place, c, next),
            Place::Quoted => Ok(self.take_quoted(c, next)),
            Place::Comment(depth) => Ok(self.take_in_comment(depth, c, next)),
            Place::End => Ok(Place::End),
        }
    }

    fn take_outside(&mut self, c: char) -> Result<Place, &'static str> {
        match c {
            ',' => return Ok(Place::End),
            '(' => {
                self.comment.clear();
                return Ok(Place::Comment(1));
            }
            ')' | '>' => return Err("has a bracket too many"),
            _ if self.angle.is_some() && c.is_whitespace() => return Ok(Place::Outside),
            _ if self.angle.is_some() => return Err("has something behind its address"),
            '<' => {
                self.angle = Some(String::new());
                return Ok(Place::Angle);
            }
            '"' => {
                self.bare.push(c);
                return Ok(Place::Quoted);
            }
            _ => {}
        }
        self.has_special |= SPECIALS.contains(c);
        self.bare.push(c);
        self.name.push(c);
        Ok(Place::Outside)
    }

    fn take_quoted(&mut self, c: char, next: char) -> Place {
        self.bare.push(c);
        match c {
            '"' => return Place::Outside,
            '\\' => self.bare.push(next),
            _ => {}
        }
        self.name.push(next);
        Place::Quoted
    }

    fn take_in_angle(&mut self, place: Place, c: char, next: char) -> Result<Place, &'static str> {
        let address = self.angle.get_or_insert_default();
        let place = match (place, c) {
            (Place::Angle, '>') => return Ok(Place::Outside),
            (Place::Angle, '<') => return Err("has a bracket too many"),
            (Place::Angle, '"') => Place::QuotedInAngle,
            (Place::QuotedInAngle, '"') => Place::Angle,
            (same, _) => same,
        };
        address.push(c);
        if place == Place::QuotedInAngle && c == '\\' {
            address.push(next);
        }
        Ok(place)
    }

    fn take_in_comment(&mut self, depth: usize, c: char, next: char) -> Place {
        let depth = match c {
            '(' => depth + 1,
            ')' => depth - 1,
            _ => depth,
        };
        if depth == 0 {
            let blank =
                if self.name.is_empty() || self.name.ends_with(char::is_whitespace) { "" } else { " " };
            self.name.push_str(&format!("{blank}({})", self.comment));
            return Place::Outside;
        }
        self.comment.push(next);
        Place::Comment(depth)
    }

    fn mailbox(self) -> Result<Mailbox, &'static str> {
        let (name, address) = match &self.angle {
            Some(_) if self.has_special => return Err("has a name that has to be in quotation marks"),
            Some(address) => (self.name.trim(), address.trim()),
            None => (self.comment.trim(), self.bare.trim()),
        };
        let address = ascii_domain(address).ok_or("is not a mail address")?;
        // A tab counts as a blank (RFC 5322, section 3.2.2).
        let name = name.replace('\t', " ");
        Ok(Mailbox::new(Some(name).filter(|name| !name.is_empty()), address))
    }
}

/// Parses an address and converts its domain to ASCII, which all mail servers understand.
fn ascii_domain(text: &str) -> Option<Address> {
    // Some servers interpret a second "@", which may be quoted, as a route.
    let address: Address = text.parse().ok().filter(|address: &Address| !address.user().contains('@'))?;
    match address.domain().is_ascii() {
        true => Some(address),
        false => Address::new(address.user(), domain_to_ascii(address.domain()).ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the names and addresses of mailboxes.
    fn all(text: &str) -> Vec<(Option<String>, String)> {
        let mailboxes = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error:?}"));
        mailboxes.into_iter().map(|mailbox| (mailbox.name, mailbox.email.to_string())).collect()
    }

    #[test]
    fn what_rfc_5322_allows_is_understood() {
        for (text, name, address) in [
            ("a@x.test", None, "a@x.test"),
            (" <a@x.test>\r\n", None, "a@x.test"),
            ("\"a..b\"@x.test", None, "\"a..b\"@x.test"),
            ("\"a b\"@x.test", None, "\"a b\"@x.test"),
            ("A <\"a\\\",b\"@x.test>", Some("A"), "\"a\\\",b\"@x.test"),
            ("Ann (Sales) <a@x.test>", Some("Ann (Sales)"), "a@x.test"),
            ("Ann <a@x.test> (at (or near) home)", Some("Ann (at (or near) home)"), "a@x.test"),
            ("a@x.test (Ann)", Some("Ann"), "a@x.test"),
            ("a@x.test (Ann\\) B)", Some("Ann) B"), "a@x.test"),
            ("\"Ann, \\\"B\\\"  C\" <a@x.test>", Some("Ann, \"B\"  C"), "a@x.test"),
            ("Ann B. Ó <a@x.test>", Some("Ann B. Ó"), "a@x.test"),
            ("a@bücher.test", None, "a@xn--bcher-kva.test"),
            ("Ü <ü@BÜCHER.test>", Some("Ü"), "ü@xn--bcher-kva.test"),
            ("a@[127.0.0.1]", None, "a@[127.0.0.1]"),
        ] {
            assert_eq!(all(text), [(name.map(str::to_owned), address.to_owned())], "{text:?}");
        }
        let several = all("a@x.test, \"B, C\" <b@x.test>,c@x.test (C, D)");
        assert_eq!(several.len(), 3);
        assert_eq!(several[2], (Some("C, D".into()), "c@x.test".into()));
    }

    #[test]
    fn the_one_that_is_wrong_is_named() {
        for (text, place, named) in [
            ("", 0, "not a mail address"),
            ("nobody", 0, "\"nobody\" is not a mail address"),
            ("a@x.test, b@, c@x.test", 1, "\"b@\" is not a mail address"),
            ("a@x.test,,b@x.test", 1, "not a mail address"),
            ("a@x.test b@x.test", 0, "not a mail address"),
            ("a@x.test;b@x.test", 0, "not a mail address"),
            ("a..b@x.test", 0, "not a mail address"),
            ("\"a@evil.test\"@x.test", 0, "not a mail address"),
            ("Ann <a@x.test", 0, "bracket"),
            ("\"Ann <a@x.test>", 0, "quotation mark"),
            ("Ann (Sales <a@x.test>", 0, "bracket"),
            ("\"Ann\\", 0, "quotation mark"),
            ("Ann) <a@x.test>", 0, "bracket"),
            ("Ann <a@x.test> B", 0, "behind"),
            ("Ann <a@x.test> <b@x.test>", 0, "behind"),
            ("Ann <<a@x.test>>", 0, "bracket"),
            ("b@x.test <a@x.test>", 0, "quotation marks"),
            ("Team: a@x.test;", 0, "not a mail address"),
            ("Müller, Ann <a@x.test>", 0, "\"Müller\""),
            ("\"B\r\nX-Evil: 1\" <b@x.test>", 0, "control character"),
            ("b@x.test>\r\nRCPT TO:<c@x.test", 0, "bracket"),
            ("\"a\\\r\nb\"@x.test", 0, "control character"),
            ("a\0@x.test", 0, "control character"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.0 == place && error.1.contains(named), "{text:?}: {error:?}");
        }
    }

    #[test]
    fn only_what_needs_it_is_written_anew() {
        for (text, plain) in [
            ("Ann <a@x.test>", "Ann <a@x.test>"),
            ("not-an-address\n", "not-an-address\n"),
            ("a@x.test, b@x.test", "a@x.test, b@x.test"),
            ("a@x.test\n", "a@x.test"),
            ("Ann (Sales) <a@x.test>", "\"Ann (Sales)\" <a@x.test>"),
            ("Ó <a@bücher.test>", "Ó <a@xn--bcher-kva.test>"),
        ] {
            assert_eq!(super::plain(text), plain);
        }
    }
}
