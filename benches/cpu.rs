//! CPU time of processes.

use std::fs;

use crate::result::Result;

/// The CPU time that a process has used, including its threads, in seconds.
///
/// # Errors
/// If there is no such process.
pub fn seconds(pid: i32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may contain any character.
    let fields = stat.rsplit_once(')').ok_or("stat without a name")?.1;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (times.next().ok_or("no utime")??, times.next().ok_or("no stime")??);
    // SAFETY: sysconf() has no preconditions.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok((user + system) as f64 / ticks as f64)
}

/// The CPU time of several processes together.
///
/// # Errors
/// If one of them has ended.
pub fn seconds_of(pids: &[i32]) -> Result<f64> {
    pids.iter().map(|pid| seconds(*pid)).sum()
}
