//! Functions of `sql/60_outside.sql`.

use crate::outside;
use crate::unwritten::{self, Command};
use pgrx::prelude::*;

/// `errand.refuse_unwritten(regclass, boolean)`.
#[pg_extern(sql = false)]
fn refuse_unwritten(table: pg_sys::Oid, inserted: bool) {
    unwritten::refuse(table, if inserted { Command::Insert } else { Command::Update })
}

/// `errand.tell_of_ended_lease(bigint)`.
#[pg_extern(sql = false)]
fn tell_of_ended_lease(task_id: i64) {
    outside::tell_of_ended_lease(task_id);
}
