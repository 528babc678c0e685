//! Processes: their state in `/proc`, and signals to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wait::within;

/// The time limit for an immediate stop, before the server is killed, and for a killed process to disappear.
const LIMIT: Duration = Duration::from_secs(15);

/// Sends a signal; false if there is no such process.
pub fn kill(pid: i32, signal: i32) -> bool {
    assert!(pid > 1, "no process of ours: {pid}");
    // SAFETY: kill() touches no memory of this process.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Returns whether the process runs. A zombie does not, unless one of its threads still does: the process keeps its
/// memory, and what it has attached of the server's, until its last thread has ended.
pub fn is_alive(pid: i32) -> bool {
    let threads = fs::read_dir(of_process(pid).join("task")).into_iter().flatten().filter_map(Result::ok);
    let mut states = threads.filter_map(|thread| state_and_parent(&thread.path()));
    states.any(|(state, _)| state != 'Z' && state != 'X')
}

/// Stops a server immediately, and kills it if it does not stop within the time limit. Never panics.
pub fn stop_immediately(postmaster: i32) {
    kill(postmaster, libc::SIGQUIT);
    if !within(LIMIT, || !is_alive(postmaster)) {
        kill_tree(postmaster);
    }
}

/// Kills a postmaster and all its children at once, as a power failure would, and waits until they are gone.
pub fn kill_tree(postmaster: i32) {
    let mut tree = freeze(postmaster);
    tree.push(postmaster);
    for pid in &tree {
        kill(*pid, libc::SIGKILL);
    }
    within(LIMIT, || !tree.iter().any(|pid| is_alive(*pid)));
}

/// Kills a postmaster and returns the children that it leaves behind.
pub fn kill_parent(postmaster: i32) -> Vec<i32> {
    let orphans = freeze(postmaster);
    kill(postmaster, libc::SIGKILL);
    orphans
}

/// Suspends a postmaster, so that it starts no further child before it is killed, and returns its children.
fn freeze(postmaster: i32) -> Vec<i32> {
    kill(postmaster, libc::SIGSTOP);
    let directory = of_process(postmaster);
    within(LIMIT, || !matches!(state_and_parent(&directory), Some(('R' | 'S' | 'D', _))));
    children(postmaster)
}

/// Returns the living children of a process.
fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| matches!(state_and_parent(&of_process(*pid)), Some((_, of)) if of == parent))
        .filter(|pid| is_alive(*pid))
        .collect()
}

/// Returns the directory of a process.
fn of_process(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// Returns the third and fourth field of the file `stat` of a process or thread: state and parent.
fn state_and_parent(directory: &Path) -> Option<(char, i32)> {
    let stat = fs::read_to_string(directory.join("stat")).ok()?;
    // The second field is the name in parentheses, and may contain any character.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
