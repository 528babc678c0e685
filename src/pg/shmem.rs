//! The single piece of shared memory and its lock.

use super::journal;
use super::latch::LatchRef;
use pg_errand_queue::{Journal, Phase};
use pgrx::{AssertPGRXSharedMemory, PgLwLock, pg_guard, pg_shmem_init, pg_sys};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

/// The contents of shared memory.
pub type Shared = pg_errand_queue::Shared<LatchRef>;
/// The slot of a worker process in shared memory.
pub type Slot = pg_errand_queue::Slot<LatchRef>;

/// The postmaster builds it on its stack.
const _: () = assert!(size_of::<Shared>() < 2 * 1024 * 1024);

// SAFETY: the only lock of this name.
static SHARED: PgLwLock<AssertPGRXSharedMemory<Shared>> = unsafe { PgLwLock::new(c"pg_errand") };
static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Reserves the memory; while the postmaster preloads libraries.
pub fn init() {
    journal::init();
    // SAFETY: Shared is plain data without pointers into one process's memory. The postmaster builds it at its start, and again
    // after a crash.
    pg_shmem_init!(
        SHARED = {
            journal::recover();
            // SAFETY: Shared is plain data without pointers into one process's memory.
            unsafe { AssertPGRXSharedMemory::new(Shared::new(super::backend::now())) }
        }
    );
    PRELOADED.store(true, Relaxed);
}

/// The phase of this process's slot.
static PHASE: AtomicPtr<Phase> = AtomicPtr::new(std::ptr::null_mut());

/// Makes the slot with this phase the slot of this process.
pub fn mine(phase: &Phase) {
    PHASE.store(std::ptr::from_ref(phase).cast_mut(), Relaxed);
}

/// The phase of this process's slot. The process must have one.
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
