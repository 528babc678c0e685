//! Injection points, for tests only (feature `injection`): points at which a process can be held, so that a test can
//! act exactly between two steps. Without the feature they do nothing.
//!
//! A point NAME is active while the file `pg_errand_points/NAME` is in the data directory. A process that
//! reaches it makes `pg_errand_points/NAME.PID` and waits until NAME is removed.

/// Holds this process while the point is active. It neither allocates nor fails if the point is not active.
#[cfg(not(feature = "injection"))]
#[inline(always)]
pub fn point(_name: &str) {}

/// Holds this process while the point is active.
#[cfg(feature = "injection")]
pub fn point(name: &str) {
    let directory = crate::pg::directory::path().join("pg_errand_points");
    let active = directory.join(name);
    if !active.exists() {
        return;
    }
    let reached = directory.join(format!("{name}.{}", std::process::id()));
    let _ = std::fs::write(&reached, "");
    while active.exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = std::fs::remove_file(&reached);
}
