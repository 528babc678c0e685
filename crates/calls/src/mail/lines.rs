//! Checks mails and addresses before they are sent. Every server has to recognize the same end of a mail, so each line
//! ends with CRLF, and CR and LF occur nowhere else (RFC 5321, sections 2.3.8 and 4.5.3.1.6).

use lettre::Address;

/// The longest line in bytes, without its end.
const MAX_LINE: usize = 998;
/// How many characters of a line an error shows.
const SHOWN: usize = 40;

/// Checks the lines of a mail.
///
/// # Errors
/// If a line is too long, or contains a CR or LF that does not end it.
pub fn check_lines(mail: &[u8]) -> Result<(), String> {
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let start = || String::from_utf8_lossy(text).chars().take(SHOWN).collect::<String>();
        if text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            let start = start();
            return Err(format!(
                "the mail cannot be sent: a line contains a CR, LF or NUL that does not end it: {start:?}"
            ));
        }
        if text.len() > MAX_LINE {
            let (start, size) = (start(), text.len());
            return Err(format!(
                "the mail cannot be sent: a line has {size} bytes, {MAX_LINE} at most are allowed: {start:?} …"
            ));
        }
    }
    Ok(())
}

/// Checks an address of the envelope.
///
/// # Errors
/// If the text is not an address that can be part of a command.
pub fn check_address(text: &str) -> Result<(), String> {
    let is_plain = !text.chars().any(|c| c.is_control() || matches!(c, '<' | '>'));
    if is_plain && text.parse::<Address>().is_ok() {
        return Ok(());
    }
    Err(format!("{text:?} is not an address that mail can be sent to or from"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_crlf_and_only_there() {
        for good in ["", "a", "a\r\n", "a\r\n\r\n.\r\nb", &"x".repeat(998)] {
            assert_eq!(check_lines(good.as_bytes()), Ok(()), "{good:?}");
        }
        for bad in ["a\n", "a\rb", "\r", "\n", "a\r\r\n", "a\r\n.\n\r\n", "a\0", &"x".repeat(999)] {
            assert!(check_lines(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let long = check_lines(format!("To: x\r\nSubject: {}\r\n", "x".repeat(1000)).as_bytes());
        assert!(long.is_err_and(|error| error.contains("Subject") && error.contains("1009 bytes")));
    }

    #[test]
    fn addresses() {
        for good in ["a@x.test", "\"a b\"@x.test", "ü@x.test", "a@[127.0.0.1]"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in
            ["", "a", "a@x.test>\r\nRCPT TO:<b@x.test", "<a@x.test>", "\"a>b\"@x.test", "\"a\n\"@x.test"]
        {
            assert!(check_address(bad).is_err(), "{bad:?}");
        }
    }
}
