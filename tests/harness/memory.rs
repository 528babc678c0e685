//! The memory of a process, as `/proc` shows it.

use std::fs;

/// Returns the bytes of a process's own memory, without shared memory.
///
/// # Panics
/// There is no such process.
#[track_caller]
pub fn own(pid: i32) -> u64 {
    field(pid, "RssAnon:")
}

/// Returns the peak of a process's memory since [`forget_peak`], with shared memory.
///
/// # Panics
/// There is no such process.
#[track_caller]
pub fn peak(pid: i32) -> u64 {
    field(pid, "VmHWM:")
}

/// Resets the peak that [`peak`] returns.
///
/// # Panics
/// There is no such process.
#[track_caller]
pub fn forget_peak(pid: i32) {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").unwrap_or_else(|error| panic!("{path}: {error}"));
}

#[track_caller]
fn field(pid: i32, name: &str) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}
