//! The single piece of shared memory and its lock.

use super::journal;
use super::latch::LatchRef;
use pg_errand_queue::{Journal, Phase};
use pgrx::shmem::PgSharedMemoryInitialization;
use pgrx::{AssertPGRXSharedMemory, PgLwLock, pg_guard, pg_shmem_init, pg_sys};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

/// The contents of shared memory.
pub type Shared = pg_errand_queue::Shared<LatchRef>;
/// The slot of a worker process in shared memory.
pub type Slot = pg_errand_queue::Slot<LatchRef>;

/// Shared memory, and the lock that has its address. It is initialized where it is: it is too large for the stack.
struct Memory(PgLwLock<AssertPGRXSharedMemory<*mut Shared>>);

// SAFETY: the only lock of this name.
static SHARED: Memory = Memory(unsafe { PgLwLock::new(c"pg_errand") });
static PRELOADED: AtomicBool = AtomicBool::new(false);

impl PgSharedMemoryInitialization for Memory {
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: in the hook for it, as the caller promises.
        unsafe {
            pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
            self.0.on_shmem_request();
        }
    }

    /// Initializes the memory: at the start of the postmaster, and again after a crash.
    unsafe fn on_shmem_startup(&'static self, (): ()) {
        // SAFETY: in the hook for it, as the caller promises, in the postmaster alone. All bits of a Shared may be 0: it
        // consists of numbers, flags, null pointers, and enums whose first variant is 0. The address is the same in all
        // processes.
        unsafe {
            let mut is_found = false;
            let place =
                pg_sys::ShmemInitStruct(c"pg_errand data".as_ptr(), size_of::<Shared>(), &mut is_found);
            let shared = place.cast::<Shared>();
            assert!(shared.is_aligned(), "shared memory is not aligned");
            if !is_found {
                shared.write_bytes(0, 1);
                (*shared).reset(super::backend::now());
            }
            self.0.on_shmem_startup(AssertPGRXSharedMemory::new(shared));
        }
    }
}

/// Reserves the memory; while the postmaster preloads libraries.
pub fn init() {
    journal::init();
    // SAFETY: Shared is plain data without pointers into one process's memory.
    pg_shmem_init!(SHARED = journal::recover());
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
    let shared = SHARED.0.share();
    // SAFETY: under the lock.
    body(unsafe { &***shared })
}

/// Reads shared state and the journal. `body` is short and calls nothing that can raise.
pub fn read_journal<R>(body: impl FnOnce(&Shared, &Journal) -> R) -> R {
    let shared = SHARED.0.share();
    // SAFETY: under the lock.
    unsafe { body(&***shared, journal::look()) }
}

/// Changes shared state and the journal. `body` is short and calls nothing that can raise.
pub fn write_journal<R>(body: impl FnOnce(&mut Shared, &mut Journal) -> R) -> R {
    let mut shared = SHARED.0.exclusive();
    // SAFETY: under the lock.
    unsafe { body(&mut ***shared, journal::get()) }
}

/// Changes shared state. `body` is short and calls nothing that can raise.
pub fn write<R>(body: impl FnOnce(&mut Shared) -> R) -> R {
    let mut shared = SHARED.0.exclusive();
    // SAFETY: under the lock.
    body(unsafe { &mut ***shared })
}
