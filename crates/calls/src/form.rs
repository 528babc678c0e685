//! Parameters in a query or a form, and JSON scalars as text.

use serde_json::Value;
use url::form_urlencoded::Serializer;

/// Encodes an object as `name=value&…`. An array stands for several values of a name, null for none. Nested values have
/// names such as `a[b]` (deepObject in OpenAPI) and, in arrays of objects, `a[0][b]`.
///
/// # Errors
/// If `fields` is not an object.
pub fn form(fields: &Value, what: &str) -> Result<String, String> {
    let fields = fields.as_object().ok_or_else(|| format!("{what} has to be an object"))?;
    let mut encoded = Serializer::new(String::new());
    fields.iter().for_each(|(name, value)| append(&mut encoded, name, value));
    Ok(encoded.finish())
}

fn append(encoded: &mut Serializer<String>, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            fields.iter().for_each(|(field, value)| append(encoded, &format!("{name}[{field}]"), value));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            let places = items.iter().enumerate();
            places.for_each(|(place, item)| append(encoded, &format!("{name}[{place}]"), item));
        }
        Value::Array(items) => items.iter().for_each(|item| append(encoded, name, item)),
        scalar => drop(encoded.append_pair(name, &text_of(scalar).unwrap_or_default())),
    }
}

/// Returns a string, number or boolean as text.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_values_have_names_in_brackets() {
        let nested =
            json!({ "a": { "b": { "c": 1 }, "d": ["x", "y"] }, "e": [{ "f": true }, { "g": null }] });
        assert_eq!(
            form(&nested, "form").unwrap(),
            "a%5Bb%5D%5Bc%5D=1&a%5Bd%5D=x&a%5Bd%5D=y&e%5B0%5D%5Bf%5D=true"
        );
    }
}
