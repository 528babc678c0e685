//! The directory of one test run: the template cluster and a directory per cluster.
//!
//! It is removed when the run ends. If the run was killed, the next one kills its servers and removes it.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::process::{is_alive, stop_immediately};
use super::programs::{as_server_user, give_to_server_user, output, server};

/// Directories are named with this prefix and the process id of their run. It is short, because the path of a Unix
/// socket has at most 107 bytes.
const PREFIX: &str = "pge-";

/// What the clusters of three tests take at most, in bytes.
const ROOM: u64 = 8 << 30;

static RUN_DIR: LazyLock<PathBuf> = LazyLock::new(create);
static TEMPLATE: LazyLock<PathBuf> = LazyLock::new(init_template);

/// Creates an empty directory that belongs to the server's user.
pub fn new_directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let path = RUN_DIR.join(COUNT.fetch_add(1, Relaxed).to_string());
    create_private(&path);
    path
}

/// Returns a directory with the library that has injection points, which the server's user can read.
///
/// # Panics
/// `make test` has not built it.
pub fn injection_dir() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../injection/pg_errand.so");
        let dir = RUN_DIR.join("injection");
        create_private(&dir);
        let copy = dir.join("pg_errand.so");
        fs::copy(&built, &copy)
            .unwrap_or_else(|error| panic!("{}: {error}; dev/test builds it", built.display()));
        give_to_server_user(&copy);
        dir
    });
    &DIR
}

/// Copies the template cluster, which the first call makes.
pub fn copy_template(data_dir: &Path) {
    let copy = &mut as_server_user(Path::new("cp"));
    output(copy.arg("-a").arg("--reflink=auto").arg(&*TEMPLATE).arg(data_dir));
}

fn create() -> PathBuf {
    let parent = parent().canonicalize().expect("the directory of temporary files");
    sweep(&parent);
    let path = parent.join(format!("{PREFIX}{}", std::process::id()));
    // An earlier run may have had the same process id.
    remove(&path);
    create_private(&path);
    // SAFETY: the function is safe to call at any time and does not unwind out of C code (it is `extern "C"`).
    let registered = unsafe { libc::atexit(remove_at_exit) };
    assert_eq!(registered, 0, "atexit");
    path
}

/// The directory of temporary files, or memory if there is enough: a file system on disk takes longer to create the thousand
/// files of a cluster than the server takes to run a test. `TMPDIR` decides if it is set.
fn parent() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if std::env::var_os("TMPDIR").is_none() && has_room(memory) && available_memory() >= 2 * ROOM {
        return memory.to_owned();
    }
    std::env::temp_dir()
}

/// Whether clusters fit into a directory, and libraries can be loaded from it.
fn has_room(directory: &Path) -> bool {
    let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else { return false };
    // SAFETY: plain numbers.
    let mut state: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a terminated path, and memory for the result.
    let is_known = unsafe { libc::statvfs(path.as_ptr(), &raw mut state) } == 0;
    is_known && state.f_flag & libc::ST_NOEXEC == 0 && state.f_bavail * state.f_frsize >= ROOM
}

/// In bytes; 0 if it is not known.
fn available_memory() -> u64 {
    let known = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = known.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn create_private(path: &Path) {
    fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::set_permissions(path, Permissions::from_mode(0o700)).expect("permissions");
    give_to_server_user(path);
}

extern "C" fn remove_at_exit() {
    remove(&RUN_DIR);
}

/// Removes the directories of runs that have ended.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
        let owner =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<i32>().ok());
        if owner.is_some_and(|pid| !is_alive(pid)) {
            remove(&entry.path());
        }
    }
}

/// Removes a run's directory, and first kills the servers that still use it.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().filter_map(Result::ok) {
        if let Some(pid) = postmaster(&entry.path().join("data")) {
            stop_immediately(pid);
        }
    }
    // Another run may be sweeping the same directory.
    let _ = fs::remove_dir_all(path);
}

/// Returns the process id of the postmaster of a data directory, if it runs.
fn postmaster(data_dir: &Path) -> Option<i32> {
    let pid = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?.lines().next()?.parse().ok()?;
    let at_home = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data_dir);
    (at_home && is_alive(pid)).then_some(pid)
}

fn init_template() -> PathBuf {
    let path = new_directory().join("data");
    let initdb = &mut server("initdb");
    initdb.args([
        "--no-sync",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--username=postgres",
        "--pgdata",
    ]);
    output(initdb.arg(&path));
    path
}
