//! The memory of the journal. The postmaster maps it and shares it with all its processes. It keeps the memory after a crash of
//! another process, and writes it to a file when it stops.

use super::{directory, log};
use crate::config::LogLevel;
use pg_errand_queue::{Interrupted, Journal, MAX_SLOTS};
use pgrx::pg_sys;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// In the data directory. Base backups leave such names out (basebackup.c: PG_TEMP_FILE_PREFIX).
const FILE: &str = "pgsql_tmp.pg_errand.runs";

/// The value of `MINE` in a process without a slot.
const NONE: usize = usize::MAX;

struct Memory {
    journal: Journal,
    /// The slots whose process the postmaster has ended, because of a crash of another process or to stop.
    spared: [AtomicBool; MAX_SLOTS],
}

static MEMORY: AtomicPtr<Memory> = AtomicPtr::new(std::ptr::null_mut());
static MINE: AtomicUsize = AtomicUsize::new(NONE);

/// Maps the memory. The postmaster calls this while it preloads libraries.
pub fn init() {
    // SAFETY: a new mapping of the right size, aligned to a page, of nobody else yet. The callback is a
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

/// The journal. The caller holds the lock on shared memory exclusively, or is the only process.
pub(super) unsafe fn get() -> &'static mut Journal {
    // SAFETY: mapped before any process was forked, and never unmapped; the caller holds the lock.
    unsafe { &mut (*MEMORY.load(Relaxed)).journal }
}

/// Takes in the end of all processes after a crash. The postmaster calls this before it starts new ones.
pub fn recover() {
    // SAFETY: no other process is there.
    unsafe { get() }.recover(|slot| spared()[slot].swap(false, Relaxed));
}

fn spared() -> &'static [AtomicBool; MAX_SLOTS] {
    // SAFETY: mapped for good; a reference to the atomics alone.
    unsafe { &(*MEMORY.load(Relaxed)).spared }
}

/// Makes `slot` the slot of this process.
pub fn mine(slot: usize) {
    spared()[slot].store(false, Relaxed);
    MINE.store(slot, Relaxed);
}

/// Ends what [`mine`] began: the slot may be given to another process.
pub fn mine_no_more() {
    MINE.store(NONE, Relaxed);
}

/// Notes that the postmaster has ended this process. A signal handler may call this.
pub(super) fn spare_me() {
    let slot = MINE.load(Relaxed);
    if slot != NONE {
        spared()[slot].store(true, Relaxed);
    }
}

fn path() -> PathBuf {
    directory::path().join(FILE)
}

/// Reads and removes the file that an earlier postmaster has left.
fn load() -> Vec<(u32, Interrupted)> {
    let Ok(text) = std::fs::read(path()) else { return Vec::new() };
    let _ = std::fs::remove_file(path());
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        log::event(
            LogLevel::Warning,
            format!("the runs that an earlier server noted cannot be read: {error}"),
        );
        Vec::new()
    })
}

/// Writes the file when the postmaster ends, after all its other processes.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn save(_code: i32, _arg: pg_sys::Datum) {
    // SAFETY: alone, as in `recover`.
    let kept = unsafe { get() }.at_end(|slot| spared()[slot].load(Relaxed));
    if !kept.is_empty()
        && let Ok(text) = serde_json::to_vec(&kept)
    {
        // If it cannot be written, some runs go uncounted.
        let _ = std::fs::write(path(), text);
    }
}
