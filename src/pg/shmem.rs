//! The one piece of shared memory and its lock.

use super::journal;
use crate::shared::{Journal, Phase, Shared};
use pgrx::{AssertPGRXSharedMemory, PgLwLock, pg_guard, pg_shmem_init, pg_sys};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

// SAFETY: the only lock of this name.
static SHARED: PgLwLock<AssertPGRXSharedMemory<Shared>> = unsafe { PgLwLock::new(c"pg_errand") };
static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Reserves the memory; while the postmaster preloads libraries.
pub fn init() {
    journal::init();
    // This also runs after a crash, which wipes the memory.
    pg_shmem_init!(
        SHARED = {
            journal::recover();
            // SAFETY: Shared is plain data without pointers into one process's memory.
            unsafe { AssertPGRXSharedMemory::new(Shared::new(super::backend::now())) }
        }
    );
    PRELOADED.store(true, Relaxed);
}

/// Of the slot of this process.
static PHASE: AtomicPtr<Phase> = AtomicPtr::new(std::ptr::null_mut());

/// From here on this process is the one of the slot with this phase.
pub fn mine(phase: &Phase) {
    PHASE.store(std::ptr::from_ref(phase).cast_mut(), Relaxed);
}

/// The phase of this process's slot; only for one that has a slot.
pub fn phase() -> &'static Phase {
    let phase = PHASE.load(Relaxed);
    assert!(!phase.is_null(), "this process has no slot");
    // SAFETY: in shared memory, which stays where it is as long as this process lives; an atomic.
    unsafe { &*phase }
}

/// True if the library was loaded by `shared_preload_libraries` and there is shared memory.
pub fn available() -> bool {
    PRELOADED.load(Relaxed)
}

/// Reads shared state. `body` is short and calls nothing that can raise.
pub fn read<R>(body: impl FnOnce(&Shared) -> R) -> R {
    body(&SHARED.share())
}

/// Changes shared state and the journal. `body` is short and calls nothing that can raise.
pub fn write_journal<R>(body: impl FnOnce(&mut Shared, &mut Journal) -> R) -> R {
    let mut shared = SHARED.exclusive();
    // SAFETY: under the lock.
    body(&mut shared, unsafe { journal::get() })
}

/// Changes shared state. `body` is short and calls nothing that can raise.
pub fn write<R>(body: impl FnOnce(&mut Shared) -> R) -> R {
    body(&mut SHARED.exclusive())
}
