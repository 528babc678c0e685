//! Reading the server's log.

use std::fs;
use std::path::Path;

/// Returns the log from a byte offset on, or nothing if there is no log yet. Invalid UTF-8 is replaced.
pub fn since(path: &Path, mark: u64) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let from = usize::try_from(mark).unwrap_or(usize::MAX).min(bytes.len());
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// Returns the length of the log in bytes.
pub fn mark(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Returns the last lines of the log.
pub fn tail(path: &Path, lines: usize) -> String {
    let log = since(path, 0);
    let all: Vec<_> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
