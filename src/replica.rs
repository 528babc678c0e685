//! Numbers on a logical replica. PostgreSQL replicates no sequences, so new tasks and errors would get numbers that
//! replicated ones have, or will have.

use crate::pg::session;
use crate::pg::spi::Statement;
use crate::pg::{backend, catalog};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::INT8OID;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// How far numbers that are given here are beyond those that come from the publisher,
const GAP: i64 = 1_000_000_000_000;
/// and how near those may come before the gap is made anew.
const NEAR: i64 = GAP / 2;

static LEAVE_GAP: Statement =
    Statement::new(include_str!("../sql/runtime/leave_gap.sql"), &[INT8OID, INT8OID, INT8OID]);

/// Replicated tasks up to this number are far enough from those that are enqueued here, as this process knows.
static FAR_ENOUGH: AtomicI64 = AtomicI64::new(i64::MIN);

/// A task of another database has come, with this number. If that is by replication, its numbers and those of the tasks
/// and errors of this database are kept apart.
pub fn note_task(task_id: i64) {
    if !backend::replicates() || task_id <= FAR_ENOUGH.load(Relaxed) {
        return;
    }
    let Some(owner) = catalog::owner_of(c"queues", c"task") else { return };
    session::as_owner(owner, || {
        LEAVE_GAP.run(&[task_id.into_datum(), NEAR.into_datum(), GAP.into_datum()]);
    });
    // The row itself may come later in this transaction, and be rolled back: numbers stay.
    FAR_ENOUGH.store(task_id.saturating_add(NEAR / 2), Relaxed);
}
