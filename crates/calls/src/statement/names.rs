//! The names of the extension's settings, and how statements name them.

use memchr::memchr_iter;

/// The prefix of all settings.
const PREFIX: &[u8] = b"pg_errand";
/// Bytes before a name in which the prefix is searched.
const LOOK_BACK: usize = 256;

/// The names without the prefix.
pub struct SettingNames {
    pub secrets: Vec<&'static str>,
    pub others: Vec<&'static str>,
}

impl SettingNames {
    /// True if a statement names one of the secrets, or a setting with the prefix that does not exist, which may be a
    /// misspelled secret.
    pub fn are_concerned(&self, text: &[u8]) -> bool {
        let mut has_prefix = false;
        // The underscore in the prefix is rarer than its letters.
        for place in memchr_iter(b'_', text) {
            let Some(start) = place.checked_sub(2) else { continue };
            let end = start + PREFIX.len();
            if text.get(start..end).is_some_and(|part| part.eq_ignore_ascii_case(PREFIX)) {
                has_prefix = true;
                if name_after(&text[end..]).is_some_and(|(name, is_next)| {
                    is_one_of(name, &self.secrets)
                        || is_next && !name.is_empty() && !is_one_of(name, &self.others)
                }) {
                    return true;
                }
            }
        }
        // The full name may be concatenated at run time.
        has_prefix && words_with_underscores(text).any(|name| is_one_of(name, &self.secrets))
    }

    /// True if the name at `start..end` of a statement is that of a secret, or follows the prefix without being a
    /// setting.
    pub fn is_secret(&self, text: &[u8], start: usize, end: usize) -> bool {
        let name = &text[start..end];
        let before: Vec<u8> = text[..start]
            .iter()
            .rev()
            .take(LOOK_BACK)
            .copied()
            .filter(|byte| *byte != b'"' && !byte.is_ascii_whitespace())
            .take(PREFIX.len() + 1)
            .collect();
        let is_ours = before.first() == Some(&b'.')
            && before[1..].iter().rev().copied().collect::<Vec<u8>>().eq_ignore_ascii_case(PREFIX);
        self.is_secret_alone(name) || is_ours && !is_one_of(name, &self.others)
    }

    /// True for the name of a secret without its prefix, unless it could be any other word.
    fn is_secret_alone(&self, name: &[u8]) -> bool {
        name.contains(&b'_') && is_one_of(name, &self.secrets)
    }
}

/// Returns the name after a dot, regardless of quotation marks, and whether it follows without white space.
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

/// The words of a text that contain an underscore.
fn words_with_underscores(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut end = 0;
    memchr_iter(b'_', text).filter_map(move |place| {
        // The word of the previous underscore may contain this one.
        let before = text.get(end..place)?;
        let start = place - before.iter().rev().take_while(|byte| is_word(**byte)).count();
        end = place + text[place..].iter().take_while(|byte| is_word(**byte)).count();
        Some(&text[start..end])
    })
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// True for a text that has the form of a full name of one of the extension's settings.
pub fn is_setting(text: &[u8]) -> bool {
    let Some((prefix, name)) = text.split_at_checked(PREFIX.len()) else { return false };
    prefix.eq_ignore_ascii_case(PREFIX)
        && name.strip_prefix(b".").is_some_and(|name| name.iter().all(|byte| is_word(*byte)))
}

/// True for a byte that identifiers consist of.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::words_with_underscores;

    #[test]
    fn words_that_contain_underscores_are_found_once() {
        let words = |text| words_with_underscores(text).map(str::from_utf8).collect::<Result<Vec<_>, _>>();
        assert_eq!(words(b"a b_c, d_e_f 'g'||_h i_").unwrap(), ["b_c", "d_e_f", "_h", "i_"]);
        assert_eq!(words("_ ä_ö.x_y".as_bytes()).unwrap(), ["_", "ä_ö", "x_y"]);
        assert!(words(b"").unwrap().is_empty() && words(b"none").unwrap().is_empty());
    }
}
