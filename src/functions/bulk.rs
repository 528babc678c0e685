//! A function of `sql/71_bulk.sql`.

use crate::steering;
use pgrx::prelude::*;

/// `errand.log_steering(text, text, bigint)`.
#[pg_extern(sql = false)]
fn log_steering(function: &str, arguments: &str, tasks: i64) {
    steering::log(function, arguments, tasks);
}
