//! Admission: reserves the start of a task whose type has limits.

use super::tables::Tables;
use crate::pg::backend;
use crate::pg::spi::{Row, Statement, timestamp};
use crate::shared::{Admission, Lane, StartLimits};
use crate::slot::MySlot;
use crate::task_definition::TaskDefinitions;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{TEXTOID, TIMESTAMPTZOID};

static COUNT_LEASES: Statement =
    Statement::new(include_str!("../../sql/runtime/count_leases.sql"), &[TEXTOID, TIMESTAMPTZOID]);

/// The pause before a type is tried again whose tasks workers outside have leased, in microseconds.
const LEASES_PAUSE: i64 = 100_000;

/// A start that was refused.
pub struct Refusal {
    pub admission: Admission,
    pub limits: StartLimits,
    /// The lane in which the type waits.
    pub lane: Lane,
}

/// Reserves a start for a task that was claimed, unless that was done when it was taken: a lane with several types has no
/// common limits, and a task may have been in the lane of another type. Returns the refusal if there is one.
pub fn refuse(
    slot: MySlot,
    tables: &Tables,
    definitions: &TaskDefinitions,
    task_type: &str,
) -> Option<Refusal> {
    let (limits, lane) = definitions.limits_of(task_type)?;
    let admission = match slot.start(&limits) {
        Admission::Admitted if is_leased(slot, tables, &limits, task_type) => {
            Admission::Wait(backend::now() + LEASES_PAUSE)
        }
        admission => admission,
    };
    (admission != Admission::Admitted).then_some(Refusal { admission, limits, lane })
}

/// True if tasks that workers outside have leased use up the limit. The start of this worker is reserved before they are
/// counted, and a session outside reserves its start before it counts: so one of both sees the other.
fn is_leased(slot: MySlot, tables: &Tables, limits: &StartLimits, task_type: &str) -> bool {
    let most = limits.terms.max_in_flight;
    if most == 0 {
        return false;
    }
    let Some((running, leasings)) = slot.running_beside_leases(limits) else { return false };
    let args = [task_type.into_datum(), timestamp(backend::now())];
    let count = |row: &Row| {
        (row.get::<i64>(c"of_type").unwrap_or_default(), row.get::<i64>(c"all_types").unwrap_or_default())
    };
    let (of_type, all_types) = tables.as_owner(|| COUNT_LEASES.row(&args, count)).unwrap_or_default();
    if all_types == 0 {
        slot.see_no_leases(leasings);
    }
    i64::from(running) + of_type > i64::from(most)
}
