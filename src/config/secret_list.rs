//! The value of `pg_errand.secrets`: a JSON object that maps names to secrets. No message repeats any part of it.

use pg_errand_calls::json;
use pg_errand_calls::secret::is_name;
use serde_json::{Map, Value};

/// # Errors
/// If the text is not a JSON object of strings, or a name is invalid.
pub fn check(text: &str) -> Result<(), String> {
    match parse(text)?.keys().position(|name| !is_name(name)) {
        Some(place) => Err(format!("the name of its secret {} is not valid", place + 1)),
        None => Ok(()),
    }
}

/// All secrets of the list.
///
/// # Errors
/// If the text is not a JSON object of strings.
pub fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let read = json::read(text).map_err(|problem| format!("it is not valid JSON ({})", problem.place))?;
    let Value::Object(all) = read else { return Err("it is not a JSON object".into()) };
    match all.values().position(|secret| !secret.is_string()) {
        Some(place) => Err(format!("its secret {} is not a string", place + 1)),
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for good in [r#"{"a": "x", "b": "y"}"#, "{}"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("s3cret=b", "not valid JSON (line 1, column 1)"),
            ("[\"s3cret\"]", "not a JSON object"),
            (r#"{"a": "x", "b": 53}"#, "secret 2 is not a string"),
            (r#"{"../s3cret": "x"}"#, "name of its secret 1"),
        ] {
            let problem = check(bad).unwrap_err();
            assert!(problem.contains(reason) && !problem.contains("s3cret"), "{bad}: {problem}");
            assert!(!problem.contains("53"), "{problem}");
        }
        let problem = parse("{\"key\": s3cret}").unwrap_err();
        assert!(problem.contains("line 1, column 9"), "{problem}");
        assert!(!problem.contains("s3cret"), "{problem}");
        assert_eq!(parse(r#"{"a": "x"}"#).unwrap()["a"], "x");
    }
}
