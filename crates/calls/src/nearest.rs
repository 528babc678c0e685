//! Suggestions for misspelled names.

use strsim::osa_distance;

/// How many changes of a name count as a misspelling.
const MAX_CHANGES: usize = 2;
/// Longer names are not compared.
const MAX_LENGTH: usize = 64;

/// Returns the one of `known` that differs from `name` only by case, separators (`replyTo`, `reply-to`) or a
/// misspelling.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_LENGTH {
        return None;
    }
    let letters = letters(name);
    let changes = |other: &str| {
        let other = self::letters(other);
        let changes = osa_distance(&letters, &other);
        // Two changes of a short name would leave nothing of it. Other words can be as similar, for example my_function
        // and db_function.
        let is_near = changes * 3 <= letters.len() && (changes < 2 || other.get(..1) == letters.get(..1));
        (changes <= MAX_CHANGES && is_near).then_some(changes)
    };
    let near = known.into_iter().filter_map(|other| Some((changes(other)?, other)));
    near.min_by_key(|(changes, _)| *changes).map(|(_, nearest)| nearest)
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
            ("re_subject", None),
            ("subjekkt", Some("subject")),
            ("xy", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
    }
}
