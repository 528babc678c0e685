//! The data directory: whether it was made by a base backup, to be a server of its own.
//!
//! At its first start such a directory holds a backup label and no standby signal. From then on a file
//! says so: an identity of the directory, which a base backup of it leaves out.

use pgrx::pg_sys;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Base backups leave such names out (basebackup.c: PG_TEMP_FILE_PREFIX).
const FILE: &str = "pgsql_tmp.pg_errand.directory";

/// Not made by a base backup, or by one for a standby.
const ORIGINAL: i64 = 0;

static IDENTITY: AtomicI64 = AtomicI64::new(ORIGINAL);

/// Finds out; in the postmaster, while it preloads libraries, before recovery.
pub fn init() {
    match identify(&path()) {
        Ok(identity) => IDENTITY.store(identity, Relaxed),
        Err(error) => {
            pgrx::warning!("pg_errand cannot tell whether this data directory is a copy: {error}");
        }
    }
}

/// The identity of a data directory that was made by a base backup; otherwise 0.
pub fn identity() -> i64 {
    IDENTITY.load(Relaxed)
}

/// The data directory.
pub fn path() -> PathBuf {
    // SAFETY: set before libraries are preloaded.
    PathBuf::from(unsafe { CStr::from_ptr(pg_sys::DataDir) }.to_string_lossy().into_owned())
}

fn identify(directory: &Path) -> io::Result<i64> {
    let file = directory.join(FILE);
    let is_new_copy = directory.join("backup_label").exists() && !directory.join("standby.signal").exists();
    if is_new_copy {
        let identity = uuid::Uuid::new_v4().as_u64_pair().0 as i64 | 1;
        write(directory, &file, identity)?;
        return Ok(identity);
    }
    match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ORIGINAL),
        Err(error) => Err(error),
    }
}

/// Durably, since the label is gone after recovery.
fn write(directory: &Path, file: &Path, identity: i64) -> io::Result<()> {
    let mut out = File::create(file)?;
    writeln!(out, "{identity}")?;
    out.sync_all()?;
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
        assert_eq!(identify(&directory).unwrap(), ORIGINAL);
        fs::write(&label, "").unwrap();
        fs::write(&signal, "").unwrap();
        assert_eq!(identify(&directory).unwrap(), ORIGINAL);
        fs::remove_file(&signal).unwrap();
        let identity = identify(&directory).unwrap();
        assert_ne!(identity, ORIGINAL);
        fs::remove_file(&label).unwrap();
        assert_eq!(identify(&directory).unwrap(), identity);
        fs::remove_dir_all(&directory).unwrap();
    }
}
