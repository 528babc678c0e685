//! Ids on a logical replica. PostgreSQL does not replicate sequences, so new tasks and errors would get ids that
//! replicated rows have, or will have.

use crate::pg::session;
use crate::pg::spi::Statement;
use crate::pg::{backend, catalog};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The distance by which ids that are assigned here exceed those from the publisher.
const GAP: i64 = 1_000_000_000_000;
/// A new gap is left when the distance is smaller than this.
const NEAR: i64 = GAP / 2;

static LEAVE_GAP: Statement =
    Statement::new(include_str!("../sql/runtime/leave_gap.sql"), &[INT8OID, INT8OID, INT8OID]);

/// The largest id of a replicated task that is known to be far enough from the ids that are assigned here.
static FAR_ENOUGH: AtomicI64 = AtomicI64::new(i64::MIN);

/// Keeps the ids of this database apart from those of its publisher. It is invoked when a task with this id has arrived
/// from another database.
pub fn note_task(task_id: i64) {
    if !backend::replicates() || task_id <= FAR_ENOUGH.load(Relaxed) {
        return;
    }
    let Some(owner) = catalog::owner_of(c"queues", c"task") else { return };
    session::as_owner(owner, || {
        LEAVE_GAP.run(&[task_id.into_datum(), NEAR.into_datum(), GAP.into_datum()]);
    });
    // The gap stays even if the transaction rolls back: sequences are not transactional.
    FAR_ENOUGH.store(task_id.saturating_add(NEAR / 2), Relaxed);
}
