//! The sender and the recipients of a mail.

use super::fields::Fields;
use super::mailbox;
use lettre::message::Mailbox;

pub struct Parties {
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    /// Only the envelope contains these.
    pub bcc: Vec<Mailbox>,
    pub reply_to: Vec<Mailbox>,
}

impl Parties {
    pub fn of(fields: &Fields) -> Result<Self, String> {
        let mut from = mailboxes(fields, "from", "from_address")?;
        let to = mailboxes(fields, "to", "to_address")?;
        if to.is_empty() {
            return Err("the payload's to_address is empty".into());
        }
        let from = from
            .pop()
            .filter(|_| from.is_empty())
            .ok_or("the payload's from_address has to be one address")?;
        let others = |name| mailboxes(fields, name, name);
        Ok(Parties { from, to, cc: others("cc")?, bcc: others("bcc")?, reply_to: others("reply_to")? })
    }
}

/// Reads the addresses of a field; `ours` is its name in the payload.
fn mailboxes(fields: &Fields, name: &str, ours: &str) -> Result<Vec<Mailbox>, String> {
    let given =
        fields.get(name).map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
    let mut all = Vec::new();
    for one in given.unwrap_or_default() {
        let parsed = mailbox::parse(one.as_str().unwrap_or_default());
        all.extend(parsed.map_err(|(place, reason)| {
            format!("the payload's {ours} is wrong: address {}: {reason}", all.len() + place + 1)
        })?);
    }
    Ok(all)
}
