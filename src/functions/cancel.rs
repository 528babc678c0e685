//! Functions of `sql/70_cancel.sql`.

use crate::pg::{backend, log, shmem};
use crate::shared::{MAX_CANCELS, Told};
use crate::worker;
use pgrx::prelude::*;

/// `errand.cancel_running(bigint)`.
#[pg_extern(sql = false)]
fn cancel_running(task_id: i64) -> bool {
    if !shmem::available() {
        return false;
    }
    let (database, now) = (backend::database(), backend::now());
    shmem::write_journal(|shared, journal| {
        let pid = shared.cancel_running(journal, database, task_id, now);
        // The lock is held, so that the worker still has this task when the signal is sent.
        if let Some(pid) = pid {
            backend::signal(pid, libc::SIGINT);
        }
        pid.is_some()
    })
}

/// `errand.cancel_call(bigint, bigint)`: null if the request has to be repeated later.
#[pg_extern(sql = false)]
fn cancel_call(owner: i64, task_id: i64) -> Option<bool> {
    if !shmem::available() {
        return Some(false);
    }
    let database = backend::database();
    let told = shmem::write_journal(|shared, journal| shared.cancel_call(journal, database, owner, task_id));
    if told == Some(Told::NotNow) && worker::is_me(owner) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            "a handler cannot cancel itself, nor that many calls of its own worker".into(),
            format!("Cancel at most {} in one task.", MAX_CANCELS),
        );
    }
    match told {
        Some(Told::Marked) => Some(true),
        Some(Told::NotNow) => None,
        None => Some(false),
    }
}
