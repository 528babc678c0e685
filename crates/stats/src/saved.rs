//! Saves a table over a restart of the server.

use crate::key::{Key, Kind, Role, digest_of};
use crate::snapshot::Snapshot;
use crate::table::Table;
use serde::{Deserialize, Serialize};

/// The first line of what is saved, without the digest of the rest. A change of the format is a change of the number.
const HEADER: &str = "pg_errand statistics 1";

#[derive(Serialize, Deserialize)]
pub struct Saved {
    replaced: u64,
    uncounted: u64,
    entries: Vec<SavedEntry>,
}

#[derive(Serialize, Deserialize)]
struct SavedEntry {
    digest: u64,
    database: u32,
    kind: u8,
    role: u8,
    task_type: String,
    name: String,
    since: i64,
    used_at: i64,
    counts: Snapshot,
    noted: Snapshot,
    ended: Vec<i64>,
    failed: Vec<i64>,
}

impl Saved {
    /// What has to be saved of a table; `None` if it is empty.
    pub fn of<const N: usize>(table: &Table<N>) -> Option<Saved> {
        let entries: Vec<SavedEntry> = table
            .all()
            .filter(|(.., entry)| entry.kind() != Kind::Database)
            .map(|(digest, _, entry)| SavedEntry {
                digest,
                database: entry.database(),
                kind: entry.kind() as u8,
                role: entry.role() as u8,
                task_type: entry.task_type(),
                name: entry.name(),
                since: entry.since(),
                used_at: entry.used_at(),
                counts: entry.counts(),
                noted: entry.noted(),
                ended: entry.last_ended(false),
                failed: entry.last_ended(true),
            })
            .collect();
        (!entries.is_empty()).then(|| Saved {
            replaced: table.replaced(),
            uncounted: table.uncounted(),
            entries,
        })
    }

    /// Fills an empty table.
    pub fn restore<const N: usize>(&self, table: &Table<N>) {
        for saved in &self.entries {
            let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == saved.kind);
            let role = Role::ALL.into_iter().find(|role| *role as u8 == saved.role);
            let Some((kind, role)) = kind.zip(role) else { continue };
            let key =
                Key { database: saved.database, kind, role, task_type: &saved.task_type, name: &saved.name };
            let handle = table.find_or_give(saved.digest.max(1), &key, saved.since);
            if let Some(entry) = handle.and_then(|handle| table.get(handle)) {
                let tasks = [saved.ended.as_slice(), saved.failed.as_slice()];
                entry.restore(saved.since, saved.used_at, &saved.counts, &saved.noted, tasks);
            }
        }
        table.restore_lost(self.replaced, self.uncounted);
    }
}

/// What is saved, as the contents of a file.
pub fn write(saved: &Saved) -> Option<Vec<u8>> {
    let rest = serde_json::to_vec(saved).ok()?;
    let mut file = format!("{HEADER} {}\n", digest_of(&rest)).into_bytes();
    file.extend(rest);
    Some(file)
}

/// # Errors
/// The contents of the file are damaged, or of another version.
pub fn read(file: &[u8]) -> Result<Saved, String> {
    let (first, rest) = file
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|end| (&file[..end], &file[end + 1..]))
        .ok_or("the file is damaged")?;
    let first = String::from_utf8_lossy(first);
    let Some(digest) = first.strip_prefix(HEADER) else {
        return Err("the file is of another version".into());
    };
    if digest.trim().parse() != Ok(digest_of(rest)) {
        return Err("the file is damaged".into());
    }
    serde_json::from_slice(rest).map_err(|error| error.to_string())
}
