//! Citus, if it is loaded. It commits its remote transactions in a transaction callback, and uses two-phase commit if
//! that was requested. Its functions are looked up at run time, since the library cannot be linked against Citus.

use super::libraries;
use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary as boundary;
use std::ffi::c_void;
use std::sync::OnceLock;

/// The functions of Citus that are used (13.2: distributed/transaction_management.h, distributed/backend_data.h).
struct Citus {
    in_coordinated_transaction: unsafe extern "C-unwind" fn() -> bool,
    use_2pc: unsafe extern "C-unwind" fn(),
    got_cancelled_due_to_deadlock: unsafe extern "C-unwind" fn(clear_state: bool) -> bool,
    in_progress_transactions: *const pg_sys::dlist_head,
}

// SAFETY: addresses within a library that is never unloaded; only the main thread uses them.
unsafe impl Send for Citus {}
// SAFETY: as above.
unsafe impl Sync for Citus {}

/// What Citus reports about the current transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remote {
    /// Citus is not loaded, or does not take part in the transaction.
    None,
    Open,
    /// Citus is loaded, but its version does not export the necessary functions.
    Unknown,
}

/// True if Citus is loaded and its version does not export the functions that are used here.
pub fn is_unknown() -> bool {
    is_loaded() && citus().is_none()
}

/// Whether the current transaction has open connections to other nodes.
pub fn remote() -> Remote {
    let Some(citus) = citus() else {
        return if is_loaded() { Remote::Unknown } else { Remote::None };
    };
    // SAFETY: within a transaction; the list is empty while it is zero or leads to itself (lib/ilist.h).
    unsafe {
        if !boundary(|| (citus.in_coordinated_transaction)()) {
            return Remote::None;
        }
        let head = citus.in_progress_transactions;
        let next = (*head).head.next;
        if next.is_null() || next.cast_const() == &raw const (*head).head {
            Remote::None
        } else {
            Remote::Open
        }
    }
}

/// Requests that the remote parts of the current transaction are prepared before it commits, and committed after it.
pub fn ask_for_two_phases() {
    if let Some(citus) = citus() {
        // SAFETY: in a coordinated transaction, before Citus's own callback runs.
        unsafe { boundary(|| (citus.use_2pc)()) }
    }
}

/// True if this process was cancelled to resolve a deadlock across nodes since the previous invocation.
pub fn was_deadlock_victim() -> bool {
    // SAFETY: reads and clears a flag of this process.
    citus().is_some_and(|citus| unsafe { boundary(|| (citus.got_cancelled_due_to_deadlock)(true)) })
}

fn is_loaded() -> bool {
    static LOADED: OnceLock<bool> = OnceLock::new();
    *LOADED.get_or_init(|| libraries::any(|name| name == "citus.so"))
}

/// Citus can only be preloaded, so one check per process is enough.
fn citus() -> Option<&'static Citus> {
    static CITUS: OnceLock<Option<Citus>> = OnceLock::new();
    CITUS.get_or_init(|| if is_loaded() { find() } else { None }).as_ref()
}

fn find() -> Option<Citus> {
    let in_coordinated_transaction = libraries::symbol(c"InCoordinatedTransaction")?;
    let use_2pc = libraries::symbol(c"Use2PCForCoordinatedTransaction")?;
    let got_cancelled_due_to_deadlock = libraries::symbol(c"MyBackendGotCancelledDueToDeadlock")?;
    let in_progress_transactions = libraries::symbol(c"InProgressTransactions")?.cast_const().cast();
    // SAFETY: functions of these types in every version that exports them by these names.
    unsafe {
        Some(Citus {
            in_coordinated_transaction: std::mem::transmute::<
                *mut c_void,
                unsafe extern "C-unwind" fn() -> bool,
            >(in_coordinated_transaction),
            use_2pc: std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn()>(use_2pc),
            got_cancelled_due_to_deadlock: std::mem::transmute::<
                *mut c_void,
                unsafe extern "C-unwind" fn(bool) -> bool,
            >(got_cancelled_due_to_deadlock),
            in_progress_transactions,
        })
    }
}
