//! The URL of a request.

use super::path;
use crate::form::form;
use crate::hosts::{Target, base_url, check_length};
use crate::provider_row::ProviderRow;
use crate::template;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

/// Returns the URL of a request: the payload's URL, or its path below that of the provider.
///
/// # Errors
/// If it is invalid; the message states what is wrong.
pub fn of_request(
    provider: &ProviderRow,
    url: Option<&Value>,
    path: Option<&Value>,
    query: Option<&Value>,
) -> Result<String, String> {
    let text = |value: Option<&Value>, name: &str| match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} has to be a string")),
    };
    let mut target = match (&provider.base_url, text(url, "url")?, text(path, "path")?) {
        (Some(_), Some(_), _) => return Err("the provider has a base URL: give a path, not a url".into()),
        (Some(base), None, path) => below(base, &path.unwrap_or_default())?,
        (None, Some(url), None) => Target::parse(&url)?,
        (None, _, Some(_)) => return Err("the provider has no base URL: give a url, not a path".into()),
        (None, None, None) => return Err("the request has no url".into()),
    };
    if let Some(query) = query {
        target.append_query(&form(query, "query")?);
    }
    check_length(target.url())?;
    Ok(target.url().to_owned())
}

/// Appends `path` to a base URL. The result cannot lead out of it, however a server interprets the path.
fn below(base: &str, path: &str) -> Result<Target, String> {
    if !(path.is_empty() || path.starts_with('/') || path.starts_with('?')) {
        return Err("the path has to begin with \"/\"".into());
    }
    path::check(path)?;
    let base = base_url(base)?;
    // The text of the path was checked; this checks the parsed path.
    let (root, target) = (Target::parse(&base)?, Target::parse(&format!("{base}{path}"))?);
    if target.is_below(&root) { Ok(target) } else { Err("the path leads out of the base URL".into()) }
}

/// Fills in a template of a path. A value remains one segment, or a part of one.
///
/// # Errors
/// If a value is missing or empty.
pub fn fill_path(template: &str, payload: &Value) -> Result<String, String> {
    let path = template::insert(template, payload, &mut |value| segment(&value))?;
    // The segments that result if each value is one letter.
    let shape = template::insert(template, payload, &mut |_| "x".into())?;
    let is_emptied = |(filled, shape): (&str, &str)| filled.is_empty() && !shape.is_empty();
    if path::segments(&path).zip(path::segments(&shape)).any(is_emptied) {
        return Err("a value that is inserted into the path must not be empty".into());
    }
    Ok(path)
}

/// Fills in a template of a whole URL that names a host. Values can change neither the host nor the number of segments.
/// `None` if the host is a value itself.
///
/// # Errors
/// If a value is missing, or leads elsewhere.
pub fn fill_url(template: &str, payload: &Value) -> Result<Option<String>, String> {
    let Some((base, path)) = fixed_host(template) else { return Ok(None) };
    below(base, &fill_path(path, payload)?).map(|target| Some(target.url().to_owned()))
}

/// Splits a URL whose host is not a value into scheme and host, and the path.
fn fixed_host(template: &str) -> Option<(&str, &str)> {
    let (_, rest) = template.split_once("://").filter(|(scheme, _)| !scheme.contains("{{"))?;
    let start = template.len() - rest.len();
    let end = start + rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = &template[start..end];
    (!host.is_empty() && !host.contains("{{")).then(|| template.split_at(end))
}

/// Encodes a value as one segment of a path.
fn segment(value: &str) -> String {
    byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn url_of(base: Option<&str>, request: &Value) -> Result<String, String> {
        let provider = ProviderRow { base_url: base.map(str::to_owned), ..ProviderRow::default() };
        of_request(&provider, request.get("url"), request.get("path"), request.get("query"))
    }

    #[test]
    fn urls_and_queries() {
        let query = json!({ "q": "a b&c", "n": [1, 2], "none": null });
        assert_eq!(
            url_of(None, &json!({ "url": "https://Example.com/x?y=1#f", "query": query })).unwrap(),
            "https://example.com/x?y=1&q=a+b%26c&n=1&n=2"
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
        assert_eq!(below("/x?y=../z//%2f").unwrap(), "https://api.test/v1/x?y=../z//%2f");
        assert_eq!(below("").unwrap(), "https://api.test/v1");
        assert_eq!(below("/a;v=1/b/").unwrap(), "https://api.test/v1/a;v=1/b/");
        for bad in ["@evil.test", "x", "//evil.test/x", "/a//b", "/a\\b", "/a#b", "/a\r\nb", "/.%2e"] {
            assert!(below(bad).is_err(), "{bad}");
        }
        assert!(url_of(Some("https://api.test"), &json!({ "url": "https://evil.test" })).is_err());
    }

    fn filled(template: &str, value: &str) -> Result<String, String> {
        let path = fill_path(template, &json!({ "v": value, "w": "w" }))?;
        url_of(Some("https://api.test/v1"), &json!({ "path": path }))
    }

    #[test]
    fn an_inserted_value_is_one_segment_or_is_refused() {
        assert_eq!(
            filled("/x/{{v}}/y", "b?c d#&é%").unwrap(),
            "https://api.test/v1/x/b%3Fc%20d%23%26%C3%A9%25/y"
        );
        assert_eq!(filled("/x/{{v}}", "...").unwrap(), "https://api.test/v1/x/...");
        assert_eq!(filled("/x/f{{v}}", "").unwrap(), "https://api.test/v1/x/f");
        assert_eq!(filled("/x?q={{v}}&r={{w}}", "a/..&b").unwrap(), "https://api.test/v1/x?q=a%2F..%26b&r=w");
        assert_eq!(filled("/x?q={{v}}", "").unwrap(), "https://api.test/v1/x?q=");
        for bad in [
            "", ".", "..", "a/b", "/", "../x", "a\\b", "%2f", "%252F", "%2e%2E", "..;", "..;x", "a\u{0}",
            "a\nb", ".%2e",
        ] {
            assert!(filled("/x/{{v}}/y", bad).is_err(), "{bad:?}");
        }
        // Two values can form a step together.
        assert!(filled("/x/{{v}}{{v}}", ".").is_err() && filled("/x/.{{v}}", ".").is_err());
        assert!(filled("/x/{{v}}2e.", "%").is_err());
    }

    #[test]
    fn a_url_with_a_host_of_its_own_keeps_it() {
        let filled = |template: &str, value: &str| fill_url(template, &json!({ "v": value }));
        for (template, value, url) in [
            ("https://api.test/u/{{v}}?a=1", "a&b", Some("https://api.test/u/a%26b?a=1")),
            ("https://api.test?a={{v}}", "1&b=2#", Some("https://api.test/?a=1%26b%3D2%23")),
            ("https://{{v}}/x", "a.test:8080", None),
            ("{{v}}/x", "https://a.test", None),
        ] {
            assert_eq!(filled(template, value).unwrap().as_deref(), url, "{template}");
        }
        assert!(filled("https://api.test/u/{{v}}", "../admin").is_err());
    }

    /// Reads a path as the most lenient server would: all escapes undone, "\\" as "/", the text behind ";" dropped,
    /// steps taken.
    fn leniently(path: &str) -> Vec<String> {
        let mut text = path.to_owned();
        for _ in 0..8 {
            text = percent_decoded(&text);
        }
        let mut segments = Vec::new();
        for segment in
            text.replace('\\', "/").split('/').map(|s| s.split(';').next().unwrap_or_default().trim())
        {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                other => segments.push(other.to_owned()),
            }
        }
        segments
    }

    fn percent_decoded(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let code = (*first == b'%').then(|| after.get(..2)).flatten();
            let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
            bytes.push(code.unwrap_or(*first));
            rest = if code.is_some() { &after[2..] } else { after };
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn whatever_the_values_are_the_url_is_below_the_base_by_strict_and_by_lenient_rules() {
        const PIECES: &[&str] = &[
            "..", ".", "/", "\\", "%", "2f", "2F", "5c", "2e", "%2e", "%2f", "%25", "%252f", "%5C", ";", "a",
            "0", "?", "#", "@", ":", "//", "é", " ", "\t", "\r\n", "\u{0}", "%00", "%u002f", "%c0%ae", "＠",
            "．", "{{w}}", "+", "&", "=",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut passed = 0;
        for round in 0..40_000 {
            let value: String = (0..random(6)).map(|_| PIECES[random(PIECES.len())]).collect();
            let template =
                ["/x/{{v}}/y", "/x/{{v}}", "/x/a{{v}}{{v}}/y", "/x/.{{v}}", "/x/%{{v}}"][round % 5];
            let Ok(url) = filled(template, &value) else { continue };
            passed += 1;
            let parsed = url::Url::parse(&url).unwrap();
            let by_uri: ureq::http::Uri = url.parse().unwrap();
            for (host, path) in [(parsed.host_str(), parsed.path()), (by_uri.host(), by_uri.path())] {
                assert_eq!(host, Some("api.test"), "{value:?} {url}");
                let (strict, lenient) = (path.split('/').count(), leniently(path));
                assert_eq!(strict, template.split('/').count() + 1, "{value:?} {url}");
                assert_eq!(lenient.len(), strict - 1, "{value:?} {url}");
                assert_eq!(lenient[..2], ["v1", "x"], "{value:?} {url}");
            }
            assert!(parsed.query().is_none() && parsed.fragment().is_none(), "{value:?} {url}");
        }
        assert!(passed > 1000, "{passed}");
    }
}
