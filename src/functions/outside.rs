//! Functions of `sql/56_start_limits.sql` and `sql/60_outside.sql`.

use crate::outside;
use crate::unwritten::{self, Command};
use pgrx::prelude::*;

/// `errand.refuse_unwritten(regclass, boolean)`.
#[pg_extern(sql = false)]
fn refuse_unwritten(table: pg_sys::Oid, inserted: bool) {
    unwritten::refuse(table, if inserted { Command::Insert } else { Command::Update })
}

/// `errand.has_start(text, bigint)`.
#[pg_extern(sql = false)]
fn has_start(task_type: &str, leased: i64) -> bool {
    outside::has_start(task_type, leased)
}

/// `errand.reserve_start(text, bigint)`.
#[pg_extern(sql = false)]
fn reserve_start(task_type: &str, leased: i64) -> bool {
    outside::reserve_start(task_type, leased)
}

/// `errand.tell_of_ended_lease(bigint)`.
#[pg_extern(sql = false)]
fn tell_of_ended_lease(task_id: i64) {
    outside::tell_of_ended_lease(task_id);
}
