//! Secrets by name: from the hidden setting `pg_errand.secrets`, a file in `pg_errand.secrets_dir`, or the
//! server's environment. Read each time, so that a new one counts at once.

use crate::config;
use pg_errand_calls::json;
use pg_errand_calls::secret::is_name;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// No secret is larger, in bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// The secret of that name.
///
/// # Errors
/// That there is none, or what is wrong with its file.
pub fn find(name: &str) -> Result<String, String> {
    if !is_name(name) {
        return Err(format!(
            "\"{name}\" is no name of a secret: letters, digits, \"_\", \"-\" and \".\" are allowed"
        ));
    }
    // The setting itself is checked when it is set.
    let unusable = |reason: String| {
        format!(
            "the secret \"{name}\" cannot be looked up: pg_errand.secrets, or the server's environment variable {}, cannot be \
             used: {reason}",
            config::SECRETS.environment
        )
    };
    let set = config::SECRETS.get().map_or(Ok(None), |all| of_setting(&all, name)).map_err(unusable)?;
    let found = match set {
        Some(secret) => Some(secret),
        None => of_directory(&config::SECRETS_DIR.get(), name)?,
    };
    found.or_else(|| std::env::var(variable(name)).ok()).filter(|secret| !secret.is_empty()).ok_or_else(|| {
        format!(
            "there is no secret \"{name}\": put it into a file of that name in pg_errand.secrets_dir, into \
             pg_errand.secrets, or into the server's environment variable {}",
            variable(name)
        )
    })
}

/// Checks the text of `pg_errand.secrets`.
///
/// # Errors
/// What is wrong with it; nothing of it is repeated.
pub fn check_setting(text: &str) -> Result<(), String> {
    let all = all_of_setting(text)?;
    match all.keys().position(|name| !is_name(name)) {
        Some(place) => Err(format!("the name of its secret {} is none that a secret can have", place + 1)),
        None => Ok(()),
    }
}

fn of_setting(text: &str, name: &str) -> Result<Option<String>, String> {
    let mut all = all_of_setting(text)?;
    Ok(all.remove(name).and_then(|secret| Some(secret.as_str()?.to_owned())))
}

fn all_of_setting(text: &str) -> Result<Map<String, Value>, String> {
    let read = json::read(text).map_err(|problem| format!("it is no JSON ({})", problem.place))?;
    let Value::Object(all) = read else { return Err("it is no JSON object".into()) };
    match all.values().position(|secret| !secret.is_string()) {
        Some(place) => Err(format!("its secret {} is no text", place + 1)),
        None => Ok(all),
    }
}

fn of_directory(directory: &str, name: &str) -> Result<Option<String>, String> {
    if directory.is_empty() {
        return Ok(None);
    }
    let problem =
        |what: &str| format!("the secret \"{name}\" cannot be read from pg_errand.secrets_dir: {what}");
    let path = Path::new(directory).join(name);
    let kind = match std::fs::metadata(&path) {
        Ok(kind) => kind,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(&error.to_string())),
    };
    // What is no regular file could keep us waiting.
    if !kind.is_file() {
        return Err(problem("it is no regular file"));
    }
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_SIZE + 1).read_to_string(&mut text));
    read.map_err(|error| problem(&error.to_string()))?;
    if text.len() as u64 > MAX_SIZE {
        return Err(problem("it is larger than 64 kB"));
    }
    let line = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text);
    Ok(Some(line.to_owned()))
}

fn variable(name: &str) -> String {
    let upper = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("PG_ERRAND_SECRET_{}", upper.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        assert_eq!(variable("slack.token-1"), "PG_ERRAND_SECRET_SLACK_TOKEN_1");
    }

    #[test]
    fn files_are_read_without_their_line_end() {
        let directory = std::env::temp_dir().join(format!("pg_errand-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let place = directory.to_str().unwrap();
        std::fs::write(directory.join("a"), "one\r\n").unwrap();
        std::fs::write(directory.join("big"), vec![b'x'; MAX_SIZE as usize + 1]).unwrap();
        std::fs::create_dir_all(directory.join("dir")).unwrap();
        assert_eq!(of_directory(place, "a"), Ok(Some("one".into())));
        assert_eq!(of_directory(place, "none"), Ok(None));
        assert!(of_directory(place, "big").unwrap_err().contains("big"));
        assert!(of_directory(place, "dir").unwrap_err().contains("no regular file"));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn settings() {
        for good in [r#"{"a": "x", "b": "y"}"#, "{}"] {
            assert_eq!(check_setting(good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("s3cret=b", "no JSON (line 1, column 1)"),
            ("[\"s3cret\"]", "no JSON object"),
            (r#"{"a": "x", "b": 53}"#, "secret 2 is no text"),
            (r#"{"../s3cret": "x"}"#, "name of its secret 1"),
        ] {
            let problem = check_setting(bad).unwrap_err();
            assert!(problem.contains(reason) && !problem.contains("s3cret"), "{bad}: {problem}");
            assert!(!problem.contains("53"), "{problem}");
        }
        let problem = of_setting("{\"key\": s3cret}", "key").unwrap_err();
        assert!(problem.contains("line 1, column 9"), "{problem}");
        assert!(!problem.contains("s3cret"), "{problem}");
        assert_eq!(of_setting(r#"{"a": "x"}"#, "a"), Ok(Some("x".into())));
    }
}
