//! Checks which fields a request, a mail or a text message may have.

use crate::nearest::nearest;
use serde_json::{Map, Value};

/// How many characters of a name an error shows.
const SHOWN: usize = 60;

/// A provider's name for a field, and the name that payloads use.
pub type Alias = (&'static str, &'static str);

/// Refuses fields that are not `known`, since they would be ignored. A field that is null counts as absent.
///
/// # Errors
/// If `what` has an unknown field; the message suggests the one that was probably meant.
pub fn check(
    what: &str,
    given: &Map<String, Value>,
    known: &[&str],
    aliases: &[Alias],
) -> Result<(), String> {
    let is_unknown = |name: &&String| !known.contains(&name.as_str()) && !given[*name].is_null();
    given.keys().find(is_unknown).map_or(Ok(()), |name| Err(unknown(what, name, known, aliases)))
}

/// Returns the message that `what` has no field `name`.
pub fn unknown(what: &str, name: &str, known: &[&str], aliases: &[Alias]) -> String {
    let shown: String = name.chars().take(SHOWN).collect();
    let names = known.iter().map(|ours| (*ours, *ours)).chain(aliases.iter().copied());
    let meant = nearest(name, names.clone().map(|(name, _)| name));
    let all = known.join(", ");
    match meant.and_then(|meant| names.into_iter().find(|(name, _)| *name == meant)) {
        Some((_, ours)) => format!("{what} has no field {shown}; did you mean {ours}? (it may have {all})"),
        None => format!("{what} has no field {shown}; it may have {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_reads_is_refused_with_the_right_name() {
        let check = |given: Value| {
            check(
                "the mail",
                given.as_object().unwrap(),
                &["from_address", "html"],
                &[("from", "from_address")],
            )
        };
        assert_eq!(check(json!({ "html": 1, "cc": null })), Ok(()));
        for (name, rest) in [
            ("fromAddress", "did you mean from_address? (it may have from_address, html)"),
            ("From", "did you mean from_address? (it may have from_address, html)"),
            ("cc", "it may have from_address, html"),
        ] {
            let expected = format!("the mail has no field {name}; {rest}");
            assert_eq!(check(json!({ name: 1 })), Err(expected));
        }
    }
}
