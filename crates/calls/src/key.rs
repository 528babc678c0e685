//! Idempotency keys. By its key a provider recognizes a request that it has received before.

use serde_json::Value;
use uuid::Uuid;

/// The field in which users give a key of their own, in the result of a `before_handler` or in a request.
pub const FIELD: &str = "idempotency_key";
/// The header for the key, unless the provider's row names one.
pub const DEFAULT_HEADER: &str = "Idempotency-Key";
/// The longest key in characters. Stripe and Resend accept no longer ones.
const MAX_LENGTH: usize = 255;

/// The key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub text: String,
    /// Several tasks may have the same key: the user has chosen it, or a retry has taken it over.
    pub is_own: bool,
}

impl Key {
    /// Returns the given key, or a random one, which cannot be guessed or repeated by accident.
    ///
    /// # Errors
    /// If the given value is not a valid key.
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

/// True for a text that can be part of a header, and of the `Message-ID` of a mail.
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
