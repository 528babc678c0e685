//! The headers of a request.

use crate::form::text_of;
use crate::provider_row::{Auth, ProviderRow};
use crate::{auth, header, key};
use serde_json::Value;

/// Returns the payload's headers, and the provider's where the payload has none.
pub fn read(provider: &ProviderRow, given: Option<&Value>) -> Result<Vec<(String, String)>, String> {
    let mut headers = Vec::new();
    if let Some(given) = given {
        let fields = given.as_object().ok_or("headers has to be an object")?;
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let values = header_values(value)
                .ok_or_else(|| format!("the header {name} has to be a string or an array of strings"))?;
            if let Some(problem) = values.iter().find_map(|value| header::problem(name, value)) {
                return Err(problem);
            }
            if auth::owns_header(provider, name) {
                return Err(format!("the header {name} is the provider's own"));
            }
            add(&mut headers, name, values);
        }
    }
    provider.headers.iter().for_each(|(name, values)| add(&mut headers, name, values.0.clone()));
    Ok(headers)
}

/// Returns the values of a header. Each is sent as a header line of its own.
fn header_values(given: &Value) -> Option<Vec<String>> {
    match given {
        Value::Array(all) => all.iter().map(text_of).collect(),
        one => text_of(one).map(|value| vec![value]),
    }
}

/// Adds a header, unless there is one of that name.
pub fn add(headers: &mut Vec<(String, String)>, name: &str, values: Vec<String>) {
    if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
        headers.extend(values.into_iter().map(|value| (name.to_owned(), value)));
    }
}

/// Adds the idempotency key. `has_own_key` means that the user has chosen it; then it is sent with every method.
///
/// # Errors
/// If the request sets the header itself, or the provider does not support keys.
pub fn add_key(
    headers: &mut Vec<(String, String)>,
    provider: &ProviderRow,
    method: &str,
    key: &str,
    has_own_key: bool,
) -> Result<(), String> {
    let key_header = provider.idempotency_header.as_deref().unwrap_or(key::DEFAULT_HEADER);
    let given = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(key_header));
    if let Some((name, _)) = given
        && has_own_key
    {
        return Err(format!(
            "the request has an idempotency key twice, in {} and in the header {name}; give one of the two",
            key::FIELD
        ));
    }
    if key_header.is_empty() && has_own_key && provider.auth != Auth::Webhook {
        return Err("the provider knows no idempotency keys: its idempotency_header is ''".into());
    }
    let wants_key = has_own_key || !matches!(method, "GET" | "HEAD" | "OPTIONS");
    if !key_header.is_empty() && wants_key {
        add(headers, key_header, vec![key.to_owned()]);
    }
    Ok(())
}
