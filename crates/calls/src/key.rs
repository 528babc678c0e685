//! Idempotency keys: by its key a provider recognizes a request that it has got before.

use serde_json::Value;
use uuid::Uuid;

/// The field of what a `before_handler` builds, or of a request, in which users give a key of their own.
pub const FIELD: &str = "idempotency_key";
/// The header for the key, if the provider's row names none.
pub const DEFAULT_HEADER: &str = "Idempotency-Key";
/// Characters of a key; Stripe and Resend take no more.
const MAX_LENGTH: usize = 255;

/// The key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub text: String,
    /// The user has chosen it, so that other tasks can have the same.
    pub is_own: bool,
}

impl Key {
    /// The one that is given, or a random one that nobody can guess or repeat by accident.
    ///
    /// # Errors
    /// What a key may be.
    pub fn of(given: Option<&Value>) -> Result<Key, String> {
        match given.filter(|given| !given.is_null()) {
            None => Ok(Key { text: Uuid::new_v4().to_string(), is_own: false }),
            Some(Value::String(text)) if is_valid(text) => Ok(Key { text: text.clone(), is_own: true }),
            Some(_) => Err(format!(
                "{FIELD} has to be a string of 1 to {MAX_LENGTH} letters, digits and characters of -_.:~+/="
            )),
        }
    }
}

/// It stands in headers, of mails also as a part of their `Message-ID`.
fn is_valid(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:~+/=".contains(c);
    (1..=MAX_LENGTH).contains(&text.len()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_is_the_user_s_own_or_random() {
        for given in [None, Some(&json!(null))] {
            let (one, other) = (Key::of(given).unwrap(), Key::of(given).unwrap());
            assert!(one != other && !one.is_own && one.text.len() == 36);
        }
        for good in ["a", "order-7:mail/2+x=~_.", &"x".repeat(255)] {
            let own = Key::of(Some(&json!(good))).unwrap();
            assert_eq!(own, Key { text: good.into(), is_own: true });
        }
        let long = "x".repeat(256);
        for bad in
            [json!(""), json!(7), json!("a b"), json!("a\r\nb"), json!("ü"), json!("<a@b>"), json!(long)]
        {
            let problem = Key::of(Some(&bad)).unwrap_err();
            assert!(problem.contains("idempotency_key") && problem.contains("1 to 255"), "{bad}: {problem}");
        }
    }
}
