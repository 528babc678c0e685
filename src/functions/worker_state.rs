//! The function of `sql/85_views.sql`.

use super::shown::{require_select, timestamp};
use crate::pg::{backend, shmem};
use crate::shared::ToId;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// `errand.worker_state()`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn worker_state() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(worker_number, i32),
        name!(state, String),
        name!(owner, i64),
        name!(task_id, Option<i64>),
        name!(task_type, Option<String>),
        name!(handler, Option<String>),
        name!(busy_since, Option<TimestampWithTimeZone>),
        name!(in_flight, i32),
        name!(succeeded, i64),
        name!(failed, i64),
        name!(started_at, Option<TimestampWithTimeZone>),
        name!(recent, Vec<i64>),
        name!(runs, i32),
    ),
> {
    require_select(&["worker", "running", "task_status"], "the state of workers");
    let database = backend::database();
    let slots: Vec<_> = if shmem::available() {
        shmem::read(|shared| shared.slots_of(database.id()).filter(|slot| slot.is_live()).copied().collect())
    } else {
        Vec::new()
    };
    TableIterator::new(slots.into_iter().map(|slot| {
        let running = slot.task_id != 0;
        (
            slot.pid,
            slot.number as i32,
            if slot.is_busy() { "busy" } else { "idle" }.to_owned(),
            slot.owner,
            running.then_some(slot.task_id),
            running.then(|| slot.task_type.as_str().to_owned()),
            running.then(|| slot.handler.as_str().to_owned()),
            running.then(|| timestamp(slot.busy_since)).flatten(),
            slot.in_flight as i32,
            slot.succeeded as i64,
            slot.failed as i64,
            timestamp(slot.started_at),
            slot.recent.into_iter().filter(|id| *id != 0).collect(),
            slot.earlier.runs as i32 + 1,
        )
    }))
}
