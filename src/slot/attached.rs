//! The slot of this process, if it is a worker.

use super::MySlot;
use crate::pg::callbacks;
use std::sync::OnceLock;

/// The slot that is released when this process ends.
static ATTACHED: OnceLock<MySlot> = OnceLock::new();

/// Attaches this process to a slot until it ends; `None` if the launcher has freed the slot meanwhile. This is called
/// before the process connects to its database, so that the slot is released only after the transaction of a dying
/// worker has been rolled back.
pub fn attach(slot: usize) -> Option<MySlot> {
    let slot = MySlot::attach(slot)?;
    let _ = ATTACHED.set(slot);
    callbacks::on_exit(detach);
    Some(slot)
}

fn detach() {
    if let Some(slot) = ATTACHED.get() {
        slot.detach();
    }
}

/// True in the process of the worker with this identity.
pub fn is_me(owner: i64) -> bool {
    ATTACHED.get().is_some_and(|slot| slot.owner.get() == owner)
}

/// True in a worker process.
pub fn is_one() -> bool {
    ATTACHED.get().is_some()
}
