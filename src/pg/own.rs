//! Records whether the open transaction is one of the worker's own.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static OWN: AtomicBool = AtomicBool::new(false);

/// Notes that a worker opens or closes a transaction of its own.
pub(super) fn set(is_own: bool) {
    OWN.store(is_own, Relaxed);
}

/// True while a worker's own transaction is open.
pub fn is_own() -> bool {
    OWN.load(Relaxed)
}
