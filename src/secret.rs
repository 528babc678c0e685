//! Secrets by name: from the hidden setting `pg_errand.secrets`, a file in `pg_errand.secrets_dir`, or the server's
//! environment. They are read for each use, so that changes take effect immediately.

use crate::config::{self, secret_list};
use pg_errand_calls::secret::is_name;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The maximum size of a secret in bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// The secret of that name.
///
/// # Errors
/// If there is no such secret, or its file cannot be read.
pub fn find(name: &str) -> Result<String, String> {
    if !is_name(name) {
        return Err(format!(
            "\"{name}\" is not a valid name of a secret: letters, digits, \"_\", \"-\" and \".\" are allowed"
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
    let directory = config::SECRETS_DIR.get();
    let found = match set {
        Some(secret) => Some(secret),
        None => of_directory(&directory, name)?,
    };
    found.or_else(|| std::env::var(variable(name)).ok()).filter(|secret| !secret.is_empty()).ok_or_else(|| {
        format!(
            "there is no secret \"{name}\": put it into a file of that name in pg_errand.secrets_dir{}, into \
             pg_errand.secrets, or into the server's environment variable {}",
            if directory.is_empty() { " (which is not set)" } else { "" },
            variable(name)
        )
    })
}

fn of_setting(text: &str, name: &str) -> Result<Option<String>, String> {
    let mut all = secret_list::parse(text)?;
    Ok(all.remove(name).and_then(|secret| Some(secret.as_str()?.to_owned())))
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
    // Reading anything other than a regular file might block.
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
    fn a_secret_is_looked_up_in_an_environment_variable_of_its_own() {
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
}
