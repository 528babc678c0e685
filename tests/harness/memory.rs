//! How much memory a process has, as `/proc` knows it.

use std::fs;

/// Bytes of its own, without what it shares with others.
///
/// # Panics
/// There is no such process.
#[track_caller]
pub fn own(pid: i32) -> u64 {
    field(pid, "RssAnon:")
}

/// The most it had since [`forget_peak`], what it shares with others included.
///
/// # Panics
/// There is no such process.
#[track_caller]
pub fn peak(pid: i32) -> u64 {
    field(pid, "VmHWM:")
}

/// Lets [`peak`] count from now.
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
