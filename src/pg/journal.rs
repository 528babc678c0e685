//! The journal's memory. The postmaster maps it, shares it with all its processes and keeps it over crash restarts.
//! From one postmaster to the next, a file keeps the journal.

use super::{directory, log};
use pg_errand_queue::{Interrupted, Journal, MAX_SLOTS};
use pgrx::pg_sys;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// The file in the data directory. Base backups leave out files with such names (basebackup.c: PG_TEMP_FILE_PREFIX).
const FILE: &str = "pgsql_tmp.pg_errand.runs";

/// Stands for a process without a slot.
const NONE: usize = usize::MAX;

struct Memory {
    journal: Journal,
    /// The slots whose processes the postmaster ended, because of a crash of another process or to shut down.
    spared: [AtomicBool; MAX_SLOTS],
}

static MEMORY: AtomicPtr<Memory> = AtomicPtr::new(std::ptr::null_mut());
static MINE: AtomicUsize = AtomicUsize::new(NONE);

/// Maps the memory. Called in the postmaster while it preloads libraries.
pub fn init() {
    // SAFETY: a new mapping of the right size, aligned to a page, that no other process uses yet. The callback is a
    // static function; children drop it (on_exit_reset).
    unsafe {
        let memory = libc::mmap(
            std::ptr::null_mut(),
            size_of::<Memory>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(memory, libc::MAP_FAILED, "no memory: {}", std::io::Error::last_os_error());
        let memory = memory.cast::<Memory>();
        memory.write(Memory { journal: Journal::EMPTY, spared: [const { AtomicBool::new(false) }; _] });
        (*memory).journal.restore(&load());
        MEMORY.store(memory, Relaxed);
        pg_sys::on_proc_exit(Some(save), pg_sys::Datum::null());
    }
}

/// The journal.
///
/// # Safety
/// The caller holds the lock on shared memory exclusively, or is the only process.
pub(super) unsafe fn get() -> &'static mut Journal {
    // SAFETY: mapped before any process was forked, and never unmapped; the caller holds the lock.
    unsafe { &mut (*MEMORY.load(Relaxed)).journal }
}

/// The journal, to read it.
///
/// # Safety
/// The caller holds the lock on shared memory.
pub(super) unsafe fn look() -> &'static Journal {
    // SAFETY: mapped before any process was forked, and never unmapped; the caller holds the lock.
    unsafe { &(*MEMORY.load(Relaxed)).journal }
}

/// Called in the postmaster after a crash, before it starts processes again.
pub fn recover() {
    // SAFETY: no other process exists.
    unsafe { get() }.recover(|slot| spared()[slot].swap(false, Relaxed));
}

fn spared() -> &'static [AtomicBool; MAX_SLOTS] {
    // SAFETY: mapped for good; a reference to the atomics alone.
    unsafe { &(*MEMORY.load(Relaxed)).spared }
}

/// Notes that this process owns the slot.
pub fn mine(slot: usize) {
    spared()[slot].store(false, Relaxed);
    MINE.store(slot, Relaxed);
}

/// Notes that this process owns no slot any more.
pub fn mine_no_more() {
    MINE.store(NONE, Relaxed);
}

/// Notes that the postmaster ends this process. It may be called in a signal handler.
pub(super) fn spare_me() {
    let slot = MINE.load(Relaxed);
    if slot != NONE {
        spared()[slot].store(true, Relaxed);
    }
}

fn path() -> PathBuf {
    directory::path().join(FILE)
}

/// Reads and removes what an earlier postmaster has stored.
fn load() -> Vec<(u32, Interrupted)> {
    let Ok(text) = std::fs::read(path()) else { return Vec::new() };
    let _ = std::fs::remove_file(path());
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        log::event(
            log::LogLevel::Warning,
            format!("the runs that an earlier server noted cannot be read: {error}"),
        );
        Vec::new()
    })
}

/// Invoked when the postmaster exits, after all its child processes.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn save(_code: i32, _arg: pg_sys::Datum) {
    // SAFETY: no other process exists, as in `recover`.
    let kept = unsafe { get() }.at_end(|slot| spared()[slot].load(Relaxed));
    if !kept.is_empty()
        && let Ok(text) = serde_json::to_vec(&kept)
    {
        // If the file cannot be written, some runs are not counted.
        let _ = std::fs::write(path(), text);
    }
}
