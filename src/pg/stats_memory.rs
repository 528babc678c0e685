//! The shared memory of the statistics, and its lock. A clean stop of the server saves the statistics in a file, which the
//! next start reads and removes. After a crash they start empty.

use super::{directory, log};
use pg_errand_queue::MAX_SLOTS;
use pg_errand_stats::{Buffer, Saved, Table};
use pgrx::shmem::PgSharedMemoryInitialization;
use pgrx::{AssertPGRXSharedMemory, PgLwLock, pg_guard, pg_shmem_init, pg_sys};
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// The file in the data directory. Base backups leave out files with such names (basebackup.c: PG_TEMP_FILE_PREFIX).
const FILE: &str = "pgsql_tmp.pg_errand.stats";

/// The contents of the memory.
struct Contents {
    table: Table,
    /// One for each slot of a worker.
    buffers: [Buffer; MAX_SLOTS],
}

struct Memory(PgLwLock<AssertPGRXSharedMemory<*mut Contents>>);

// SAFETY: the only lock of this name.
static LOCK: Memory = Memory(unsafe { PgLwLock::new(c"pg_errand statistics") });
/// Their address is the same in all processes.
static CONTENTS: AtomicPtr<Contents> = AtomicPtr::new(std::ptr::null_mut());

impl PgSharedMemoryInitialization for Memory {
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: in the hook for it, as the caller promises.
        unsafe {
            pg_sys::RequestAddinShmemSpace(size_of::<Contents>());
            self.0.on_shmem_request();
        }
    }

    /// Initializes the memory: at the start of the postmaster, and again after a crash.
    unsafe fn on_shmem_startup(&'static self, (): ()) {
        // SAFETY: in the hook for it, as the caller promises, in the postmaster alone. The contents are atomic
        // integers, all of which may be 0. The callback is a static function; children drop it (on_exit_reset).
        unsafe {
            let mut is_found = false;
            let name = c"pg_errand statistics data";
            let place = pg_sys::ShmemInitStruct(name.as_ptr(), size_of::<Contents>(), &mut is_found);
            let contents = place.cast::<Contents>();
            assert!(contents.is_aligned(), "shared memory is not aligned");
            if !is_found {
                contents.write_bytes(0, 1);
                load(&(*contents).table);
                pg_sys::on_shmem_exit(Some(save), pg_sys::Datum::null());
            }
            CONTENTS.store(contents, Relaxed);
            self.0.on_shmem_startup(AssertPGRXSharedMemory::new(contents));
        }
    }
}

/// Reserves the memory; while the postmaster preloads libraries.
pub fn init() {
    // SAFETY: the contents are plain data without pointers into one process's memory.
    pg_shmem_init!(LOCK = ());
}

/// The table, to count without its lock; `None` if the library was not preloaded.
pub fn table() -> Option<&'static Table> {
    contents().map(|contents| &contents.table)
}

/// The buffer of a slot, with the table.
pub fn buffer(slot: usize) -> Option<(&'static Buffer, &'static Table)> {
    contents().and_then(|contents| Some((contents.buffers.get(slot)?, &contents.table)))
}

fn contents() -> Option<&'static Contents> {
    // SAFETY: initialized before any process was forked, and never unmapped. The contents are atomics.
    unsafe { CONTENTS.load(Relaxed).as_ref() }
}

/// Counts what workers have collected.
fn collect(contents: &Contents) {
    contents.buffers.iter().for_each(|buffer| {
        buffer.count(&contents.table);
    });
}

/// Reads the table while no entry is added, replaced or reset.
pub fn read<R>(body: impl FnOnce(&Table) -> R) -> Option<R> {
    let contents = contents()?;
    let _lock = LOCK.0.share();
    collect(contents);
    Some(body(&contents.table))
}

/// Adds, replaces or resets entries.
pub fn change<R>(body: impl FnOnce(&Table) -> R) -> Option<R> {
    let table = table()?;
    let _lock = LOCK.0.exclusive();
    Some(body(table))
}

fn path() -> PathBuf {
    directory::path().join(FILE)
}

/// Reads and removes what an earlier server has saved.
fn load(table: &Table) {
    let Ok(file) = std::fs::read(path()) else { return };
    let _ = std::fs::remove_file(path());
    match pg_errand_stats::read(&file) {
        Ok(saved) => saved.restore(table),
        Err(reason) => {
            log::event(log::LogLevel::Warning, format!("the saved statistics are ignored: {reason}"));
        }
    }
}

/// Invoked when the postmaster exits, after all its child processes, and before a restart after a crash.
#[pg_guard]
unsafe extern "C-unwind" fn save(code: i32, _arg: pg_sys::Datum) {
    if code != 0 {
        return;
    }
    let Some(contents) = contents() else { return };
    collect(contents);
    if let Some(saved) = Saved::of(&contents.table)
        && let Some(file) = pg_errand_stats::write(&saved)
        && let Err(error) = std::fs::write(path(), file)
    {
        log::event(log::LogLevel::Warning, format!("the statistics cannot be saved: {error}"));
    }
}
