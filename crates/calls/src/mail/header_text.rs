//! Encodes headers of a mail (RFC 2047) and folds them to short lines.

use email_encoding::headers::writer::EmailWriter;
use email_encoding::headers::{quoted_string, rfc2047};
use lettre::message::Mailbox;
use lettre::message::header::{HeaderName, HeaderValue};
use std::fmt::{self, Write};

/// The length of a line in bytes that a header is folded to, where that is possible.
const LINE: usize = 76;

/// Builds a header that contains readable text.
///
/// # Errors
/// If the header cannot be written.
pub fn text(name: HeaderName, text: &str) -> Result<HeaderValue, String> {
    // The library encodes each word that is not ASCII on its own, and blanks between two encoded words are lost (RFC
    // 2047, section 6.2).
    if text.is_ascii() || !text.contains("  ") {
        return Ok(HeaderValue::new(name, text.to_owned()));
    }
    written(name, text.to_owned(), |writer| rfc2047::encode(text, writer))
}

/// Builds a header that contains mailboxes.
///
/// # Errors
/// If the header cannot be written.
pub fn mailboxes(name: &'static str, all: &[Mailbox]) -> Result<HeaderValue, String> {
    let name = HeaderName::new_from_ascii_str(name);
    written(name, String::new(), |writer| {
        all.iter().enumerate().try_for_each(|(n, one)| mailbox(writer, n, one))
    })
}

fn written(
    name: HeaderName,
    raw: String,
    write: impl FnOnce(&mut EmailWriter<'_>) -> fmt::Result,
) -> Result<HeaderValue, String> {
    let mut encoded = String::new();
    let start = name.len() + ": ".len();
    let result = write(&mut EmailWriter::new(&mut encoded, start, 0, false));
    result.map_err(|_| format!("the header {name:?} cannot be written"))?;
    Ok(HeaderValue::dangerous_new_pre_encoded(name, raw, encoded))
}

fn mailbox(writer: &mut EmailWriter<'_>, place: usize, mailbox: &Mailbox) -> fmt::Result {
    if place > 0 {
        writer.write_char(',')?;
        writer.space();
    }
    let address: &str = mailbox.email.as_ref();
    let Some(name) = &mailbox.name else { return write_whole(writer, address) };
    // A name may be folded between its words.
    fold_before(writer, name.len().min(LINE / 2))?;
    quoted_string::encode(name, writer)?;
    writer.space();
    write_whole(writer, &format!("<{address}>"))
}

/// Writes a text on a new line, if it does not fit on this one.
fn write_whole(writer: &mut EmailWriter<'_>, text: &str) -> fmt::Result {
    fold_before(writer, text.len())?;
    writer.write_str(text)
}

/// Starts a new line at the pending blank, if `size` bytes do not fit behind it.
fn fold_before(writer: &mut EmailWriter<'_>, size: usize) -> fmt::Result {
    let has_blank = writer.projected_line_len() > writer.line_len();
    if has_blank && writer.projected_line_len() + size > LINE { writer.new_line() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::mailbox::parse;
    use lettre::message::header::Headers;

    #[test]
    fn many_addresses_make_short_lines() {
        let all: Vec<String> = (1..=121)
            .map(|n| match n % 3 {
                0 => format!("n{n}@mail.test"),
                1 => format!("\"Name, {n}\" <n{n}@mail.test>"),
                _ => format!("Ü {n} <n{n}@mail.test>"),
            })
            .collect();
        let mut headers = Headers::new();
        headers.insert_raw(mailboxes("To", &parse(&all.join(",")).unwrap()).unwrap());
        let text = headers.to_string();
        assert!(text.lines().all(|line| line.len() <= 78), "{text}");
        assert!(
            text.lines().skip(1).all(|line| line.starts_with(' ') && line.trim().len() + 1 == line.len()),
            "{text}"
        );
        let unfolded = text.replace("\r\n ", " ");
        let read = parse(unfolded.trim_end().strip_prefix("To: ").unwrap()).unwrap();
        assert_eq!(read.len(), 121);
        assert!(
            read.iter().enumerate().all(|(n, one)| one.email.to_string() == format!("n{}@mail.test", n + 1))
        );
    }
}
