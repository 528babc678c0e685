//! The data directory, and whether it is a base backup that became a server of its own.
//!
//! When such a directory is started for the first time, it has a backup label and no standby signal. Then a file is
//! created that holds an identity of the directory. A base backup of the directory leaves this file out.

use super::log;
use pgrx::pg_sys;
use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Base backups leave out files with such names (basebackup.c: PG_TEMP_FILE_PREFIX).
const FILE: &str = "pgsql_tmp.pg_errand.directory";

/// The identity of a directory that is no base backup, or that is one for a standby.
const ORIGINAL: i64 = 0;

static IDENTITY: AtomicI64 = AtomicI64::new(ORIGINAL);

/// Determines the identity. Called in the postmaster while it preloads libraries, before recovery.
pub fn init() {
    let (identity, noted) = identify(&path());
    IDENTITY.store(identity, Relaxed);
    if let Err(error) = noted {
        log::warn(
            format!("pg_errand cannot note whether this data directory is a copy: {error}"),
            "Check the permissions of the data directory, and restart the server.".into(),
        );
    }
}

/// The identity of a data directory that was created by a base backup; otherwise 0.
pub fn identity() -> i64 {
    IDENTITY.load(Relaxed)
}

/// The data directory.
pub fn path() -> PathBuf {
    // SAFETY: set before libraries are preloaded.
    let name = unsafe { CStr::from_ptr(pg_sys::DataDir) };
    PathBuf::from(OsStr::from_bytes(name.to_bytes()))
}

/// The identity, and whether it could be read or stored for later starts. A new identity counts even if it could not be
/// stored, since the first worker in each database records the database's origin.
fn identify(directory: &Path) -> (i64, io::Result<()>) {
    let file = directory.join(FILE);
    if directory.join("standby.signal").exists() {
        // A standby has no identity, whatever was done with the directory before (postgres -C, --single).
        return (ORIGINAL, unless_missing(fs::remove_file(&file)));
    }
    if directory.join("backup_label").exists() {
        let identity = uuid::Uuid::new_v4().as_u64_pair().0 as i64 | 1;
        return (identity, write(directory, &file, identity));
    }
    match fs::read_to_string(&file).and_then(|text| text.trim().parse().map_err(io::Error::other)) {
        Ok(identity) => (identity, Ok(())),
        Err(error) => (ORIGINAL, unless_missing(Err(error))),
    }
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Writes and flushes the file, since the backup label is gone after recovery.
fn write(directory: &Path, file: &Path, identity: i64) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut out = File::create(&new)?;
    writeln!(out, "{identity}")?;
    out.sync_all()?;
    fs::rename(&new, file)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_backup_gets_an_identity_at_its_first_start_unless_it_is_a_standby() {
        let directory = std::env::temp_dir().join(format!("pg_errand-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&directory).unwrap();
        let label = directory.join("backup_label");
        let signal = directory.join("standby.signal");
        assert_eq!(identify(&directory).0, ORIGINAL);
        fs::write(&label, "").unwrap();
        fs::write(&signal, "").unwrap();
        assert_eq!(identify(&directory).0, ORIGINAL);
        fs::remove_file(&signal).unwrap();
        let identity = identify(&directory).0;
        assert_ne!(identity, ORIGINAL);
        fs::remove_file(&label).unwrap();
        assert_eq!(identify(&directory).0, identity);
        // The directory was started before it became a standby.
        fs::write(&signal, "").unwrap();
        assert_eq!(identify(&directory).0, ORIGINAL);
        fs::remove_file(&signal).unwrap();
        assert_eq!(identify(&directory).0, ORIGINAL);
        fs::remove_dir_all(&directory).unwrap();
    }
}
