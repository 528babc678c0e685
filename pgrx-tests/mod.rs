//! Tests inside a server (`#[pg_test]`): what SQL alone shows, in a transaction that is rolled back.
//! Workers are tested from outside, in tests/.

mod enqueue;
mod envelope;
mod outside;
mod registries;
mod run_function;
mod sizes;

use pgrx::prelude::*;

/// SQLSTATE, message and hint of the error that `sql` raises.
fn error_of(sql: &str) -> (String, String, String) {
    let error = crate::pg::transaction::savepoint(|| Spi::run(sql).unwrap())
        .expect_err("the statement should have failed");
    (error.sqlstate, error.message, error.hint.unwrap_or_default().into())
}

fn text(sql: &str) -> Option<String> {
    Spi::get_one::<String>(sql).unwrap()
}
