//! Which of several names somebody may have meant.

use strsim::damerau_levenshtein;

/// Changes of a name that count as a misspelling.
const MAX_CHANGES: usize = 2;
/// Longer names are nobody's misspelling.
const MAX_LENGTH: usize = 64;

/// The one of `known` that differs from `name` only by case, separators (`replyTo`, `reply-to`) or a misspelling.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_LENGTH {
        return None;
    }
    let letters = letters(name);
    let changes = |other: &&str| damerau_levenshtein(&letters, &self::letters(other));
    let (changes, nearest) =
        known.into_iter().map(|other| (changes(&other), other)).min_by_key(|(changes, _)| *changes)?;
    // Of a short name, two changes leave nothing.
    (changes <= MAX_CHANGES && changes * 3 <= letters.len()).then_some(nearest)
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_right() {
        let known = ["reply_to", "to_address", "html", "text", "cc", "bcc", "subject"];
        for (name, meant) in [
            ("replyTo", Some("reply_to")),
            ("Reply-To", Some("reply_to")),
            ("to_adress", Some("to_address")),
            ("HTML", Some("html")),
            ("sujbect", Some("subject")),
            ("txt", Some("text")),
            ("CC", Some("cc")),
            ("send_at", None),
            ("xy", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
    }
}
