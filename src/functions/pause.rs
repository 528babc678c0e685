//! Functions of `sql/65_pause.sql` and `sql/66_drain.sql`.

use crate::drain;
use crate::pg::entry::{Call, sql_function};
use crate::pg::{backend, shmem};
use crate::shared::ToId;
use crate::steering;
use crate::task_definition::{self, TaskDefinitions};
use crate::worker::wake;
use pgrx::prelude::*;

/// `errand.paused_types(text[])`.
#[pg_extern(sql = false)]
fn paused_types(task_types: Vec<Option<String>>) -> Vec<String> {
    let (definitions, now) = (TaskDefinitions::now(), backend::now());
    let has_all = is_drained() || definitions.database_pause().is_some_and(|pause| pause.until > now);
    let is_paused = |task_type: &String| {
        has_all || definitions.pause_of_type(task_type).is_some_and(|pause| pause.until > now)
    };
    task_types.into_iter().flatten().filter(is_paused).collect()
}

/// `errand.paused_after_change()`.
fn paused_after_change(_call: &Call) -> pg_sys::Datum {
    task_definition::announce_change();
    wake::note_pauses();
    pg_sys::Datum::null()
}
sql_function!(paused_after_change);

/// True while a session drains this database.
fn is_drained() -> bool {
    shmem::available() && {
        let id = backend::database().id();
        shmem::read(|shared| {
            let database = shared.databases.iter().find(|database| database.id == id);
            database.is_some_and(|database| database.drained_by().is_some())
        })
    }
}

/// `errand.tell(text)`.
#[pg_extern(sql = false)]
fn tell(message: &str) {
    steering::tell(message);
}

/// `errand.begin_drain()`.
#[pg_extern(sql = false)]
fn begin_drain() {
    drain::begin();
}

/// `errand.left_to_drain()`.
#[pg_extern(sql = false)]
fn left_to_drain()
-> TableIterator<'static, (name!(what, String), name!(task_id, i64), name!(pid, Option<i32>))> {
    TableIterator::new(drain::left().into_iter().map(|left| (left.what, left.task_id, left.pid)))
}
