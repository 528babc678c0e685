//! Builds a mail (RFC 5322).

#[cfg(test)]
mod tests;

use super::parties::Parties;
use super::{fields, headers, lines, mime};
use crate::request::{MailServer, SmtpRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Builds the mail that a payload describes.
///
/// # Errors
/// If the payload is invalid.
pub fn build(payload: &Value, key: &str, server: MailServer) -> Result<SmtpRequest, String> {
    let fields = fields::read(payload)?;
    if fields.contains_key("scheduled_at") {
        return Err(
            "the interface smtp cannot send a mail later (scheduled_at); enqueue its task with a later \
                    scheduled_at instead"
                .into(),
        );
    }
    let parties = Parties::of(&fields)?;
    let message_id = format!("<{}@{}>", id_left(key), parties.from.email.domain());
    let mut bytes = headers::tags(&fields)?.into_bytes();
    bytes.extend(headers::write(&fields, &parties, &message_id)?.to_string().into_bytes());
    bytes.extend(mime::content(&fields)?);
    lines::check_lines(&bytes)?;
    let Parties { from, to, cc, bcc, .. } = parties;
    let from = from.email.to_string();
    let to: Vec<String> =
        [to, cc, bcc].into_iter().flatten().map(|mailbox| mailbox.email.to_string()).collect();
    to.iter().chain([&from]).try_for_each(|address| lines::check_address(address))?;
    Ok(SmtpRequest { server, from, to, message: STANDARD.encode(bytes), message_id })
}

/// Derives the left part of a `Message-ID` from a key. Characters that a `dot-atom-text` cannot contain (RFC 5322,
/// section 3.2.3) become `%` and two digits. No key contains a `%`, so different keys remain different.
fn id_left(key: &str) -> String {
    let has_place = |at: usize| {
        let is_dot = |at: usize| key.as_bytes().get(at).is_none_or(|byte| *byte == b'.');
        at > 0 && !is_dot(at - 1) && !is_dot(at + 1)
    };
    let mut left = String::new();
    for (at, c) in key.char_indices() {
        match c {
            '.' if has_place(at) => left.push(c),
            '.' | ':' => left.push_str(&format!("%{:02X}", u32::from(c))),
            _ => left.push(c),
        }
    }
    left
}
