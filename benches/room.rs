//! The directory of one run of this program: a template, and a directory per server.
//!
//! It is removed when the program ends, also by a signal. If the program is killed, its next run removes the directory.

use std::fs::{self, Permissions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};
use std::{io, process, thread};

use crate::programs::{give_to_server_user, output, server};
use crate::result::Result;

/// The prefix of directory names, followed by the process id. It is short, since socket paths are limited to 107 bytes.
const PREFIX: &str = "pgeb-";

static ROOM: OnceLock<PathBuf> = OnceLock::new();
static TEMPLATE: LazyLock<std::result::Result<PathBuf, String>> =
    LazyLock::new(|| init_template().map_err(|error| error.to_string()));

/// Whether no further directories may be created.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// The descriptor that the signal handler writes to.
static SIGNALLED: AtomicI32 = AtomicI32::new(-1);

/// Holds the directory; removes it when dropped.
pub struct Guard;

impl Guard {
    /// Creates the directory, and lets SIGINT, SIGTERM and SIGHUP remove it.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn new() -> Result<Self> {
        let parent = std::env::temp_dir().canonicalize()?;
        sweep(&parent);
        let path = parent.join(format!("{PREFIX}{}", process::id()));
        // An earlier run had the same process id.
        remove(&path);
        create_private(&path)?;
        let _ = ROOM.set(path);
        remove_on_signal()?;
        Ok(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        remove_mine();
    }
}

/// Creates an empty directory with a unique name that belongs to the server's user.
///
/// # Errors
/// If the directory cannot be created.
pub fn new_directory() -> Result<PathBuf> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let room = ROOM.get().ok_or("there is no directory yet")?;
    if CLOSED.load(Relaxed) {
        return Err("this is about to end".into());
    }
    let path = room.join(COUNT.fetch_add(1, Relaxed).to_string());
    create_private(&path)?;
    Ok(path)
}

/// A new data directory that can be copied.
///
/// # Errors
/// If `initdb` fails.
pub fn template() -> Result<&'static Path> {
    match &*TEMPLATE {
        Ok(path) => Ok(path),
        Err(error) => Err(error.clone().into()),
    }
}

fn init_template() -> Result<PathBuf> {
    let home = new_directory()?;
    let path = home.join("data");
    let mut initdb = server("initdb");
    initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]);
    output(initdb.arg(&path).current_dir(&home))?;
    Ok(path)
}

fn create_private(path: &Path) -> Result<()> {
    fs::create_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    give_to_server_user(path)
}

/// A thread that is about to start a server may do so once more meanwhile.
fn remove_mine() {
    CLOSED.store(true, Relaxed);
    let Some(path) = ROOM.get() else { return };
    for _ in 0..20 {
        remove(path);
        if !path.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Removes the directories of runs that have ended.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let owner =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<i32>().ok());
        if owner.is_some_and(|pid| !is_alive(pid)) {
            remove(&entry.path());
        }
    }
}

/// Removes the directory of a run, after ending the servers that still use it.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        end_server(&entry.path().join("data"));
    }
    // Another run may be removing the same directory.
    let _ = fs::remove_dir_all(path);
}

/// Ends the server of a data directory, if it runs.
pub fn end_server(data_dir: &Path) {
    let Some(pid) = postmaster(data_dir) else { return };
    let patience = Instant::now();
    send(pid, libc::SIGQUIT);
    while is_alive(pid) && patience.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(10));
    }
}

/// The postmaster that serves a data directory, if it runs.
fn postmaster(data_dir: &Path) -> Option<i32> {
    let pid = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?.lines().next()?.parse().ok()?;
    let at_home = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data_dir);
    (at_home && is_alive(pid)).then_some(pid)
}

fn is_alive(pid: i32) -> bool {
    send(pid, 0)
}

fn send(pid: i32, signal: i32) -> bool {
    // SAFETY: kill() has no preconditions on memory; the caller intends to signal this process.
    unsafe { libc::kill(pid, signal) == 0 }
}

fn remove_on_signal() -> io::Result<()> {
    let (mut told, teller) = UnixStream::pair()?;
    SIGNALLED.store(teller.as_raw_fd(), Relaxed);
    // The socket remains open as long as the process exists.
    std::mem::forget(teller);
    thread::spawn(move || {
        let mut signal = [0];
        if io::Read::read_exact(&mut told, &mut signal).is_ok() {
            eprintln!("bench: ends by a signal");
            remove_mine();
            process::exit(128 + i32::from(signal[0]));
        }
    });
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only writes a byte to an open descriptor, which is allowed in a signal handler.
        unsafe { libc::signal(signal, tell as *const () as libc::sighandler_t) };
    }
    Ok(())
}

extern "C" fn tell(signal: i32) {
    let byte = [u8::try_from(signal).unwrap_or(0)];
    let fd: RawFd = SIGNALLED.load(Relaxed);
    // SAFETY: the buffer has one byte, and write() may be called in a signal handler.
    unsafe { libc::write(fd, byte.as_ptr().cast(), 1) };
}
