//! Where an HTTP request goes: URL, path and query.

use super::Service;
use serde_json::Value;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

/// The URL of a request: the payload's, or its path below that of the service.
///
/// # Errors
/// What is wrong with it.
pub fn url(
    service: &Service,
    url: Option<&Value>,
    path: Option<&Value>,
    query: Option<&Value>,
) -> Result<String, String> {
    let text = |value: Option<&Value>, name: &str| match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} has to be a string")),
    };
    let full = match (&service.base_url, text(url, "url")?, text(path, "path")?) {
        (Some(_), Some(_), _) => return Err("the provider has a base URL: give a path, not a url".into()),
        (Some(base), None, path) => below(base, &path.unwrap_or_default())?,
        (None, Some(url), None) => url,
        (None, _, Some(_)) => return Err("the provider has no base URL: give a url, not a path".into()),
        (None, None, None) => return Err("the request has no url".into()),
    };
    let mut parsed = Url::parse(&full).map_err(|error| format!("the url cannot be used: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err("the url has to begin with http:// or https://".into());
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("the url cannot hold a user or password; use a provider with auth".into());
    }
    parsed.set_fragment(None);
    if let Some(query) = query {
        let encoded = form(query, "query")?;
        let all = [parsed.query().unwrap_or(""), &encoded]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join("&");
        parsed.set_query((!all.is_empty()).then_some(&all));
    }
    Ok(parsed.into())
}

/// `path` below a base URL, out of which it cannot lead.
fn below(base: &str, path: &str) -> Result<String, String> {
    let plain = path.split(['?', '#']).next().unwrap_or_default();
    let lower = plain.to_ascii_lowercase().replace("%2e", ".");
    let leads_out = lower.split('/').any(|segment| matches!(segment, "." | ".."));
    let odd = path.chars().any(|c| c.is_control() || c == '\\' || c == '#');
    if !(path.is_empty() || path.starts_with('/') || path.starts_with('?')) || leads_out || odd {
        return Err(
            "the path has to begin with \"/\", without \"..\", \"\\\", \"#\" and control characters".into()
        );
    }
    Ok(format!("{}{path}", base.trim_end_matches('/')))
}

/// A value as one segment of a path.
pub fn segment(value: &str) -> String {
    // Dots alone would be steps of the path.
    if !value.is_empty() && value.chars().all(|c| c == '.') {
        return "%2E".repeat(value.len()).replace("%2E", "%252E");
    }
    byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20")
}

/// An object as `name=value&…`; an array is several values of a name, null none. What is nested has names like
/// `a[b]` (deepObject in OpenAPI) and, in arrays of objects, `a[0][b]`.
///
/// # Errors
/// That it is no object.
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

/// A text, number or boolean as text.
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
    use crate::provider::simulated::Simulated;
    use serde_json::json;

    fn url_of(base: Option<&str>, request: &Value) -> Result<String, String> {
        let service = Service { base_url: base.map(str::to_owned), ..Service::plain(&Simulated) };
        url(&service, request.get("url"), request.get("path"), request.get("query"))
    }

    #[test]
    fn urls_and_queries() {
        let query = json!({ "q": "a b&c", "n": [1, 2], "none": null });
        assert_eq!(
            url_of(None, &json!({ "url": "https://Example.com/x?y=1#f", "query": query })).unwrap(),
            "https://example.com/x?y=1&q=a+b%26c&n=1&n=2"
        );
        let nested =
            json!({ "a": { "b": { "c": 1 }, "d": ["x", "y"] }, "e": [{ "f": true }, { "g": null }] });
        assert_eq!(
            form(&nested, "form").unwrap(),
            "a%5Bb%5D%5Bc%5D=1&a%5Bd%5D=x&a%5Bd%5D=y&e%5B0%5D%5Bf%5D=true"
        );
        for bad in ["ftp://x/", "/x", "https://u@x/", "https://u:p@x/", "file:///etc/passwd", "https://", "x"]
        {
            assert!(url_of(None, &json!({ "url": bad })).is_err(), "{bad}");
        }
        assert!(url_of(None, &json!({})).is_err() && url_of(None, &json!({ "path": "/x" })).is_err());
    }

    #[test]
    fn a_path_does_not_lead_out_of_the_base_url() {
        let below = |path: &str| url_of(Some("https://api.test/v1/"), &json!({ "path": path }));
        assert_eq!(below("/x?y=../z").unwrap(), "https://api.test/v1/x?y=../z");
        assert_eq!(below("").unwrap(), "https://api.test/v1");
        for bad in
            ["@evil.test", "x", "//..", "/a/../b", "/%2e%2E/b", "/.", "/a\\b", "/a#b", "/a\r\nb", "/.%2e"]
        {
            assert!(below(bad).is_err(), "{bad}");
        }
        assert!(below("//evil.test/x").unwrap().starts_with("https://api.test/v1/"));
        assert!(url_of(Some("https://api.test"), &json!({ "url": "https://evil.test" })).is_err());
    }

    #[test]
    fn an_inserted_segment_is_one() {
        assert_eq!(segment("a/b?c d"), "a%2Fb%3Fc%20d");
        for odd in ["..", ".", "../x"] {
            let url = url_of(Some("https://api.test/v1"), &json!({ "path": format!("/x/{}", segment(odd)) }));
            assert!(url.unwrap().starts_with("https://api.test/v1/x/"), "{odd}");
        }
    }
}
