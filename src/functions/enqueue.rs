//! The function of `sql/50_enqueue.sql`.

use crate::enqueue;
use crate::pg::entry::{Call, sql_function};
use crate::pg::spi::Arg;
use pgrx::{IntoDatum, pg_sys};

/// `queues.enqueue(text, jsonb, timestamptz)`.
fn enqueue(call: &Call) -> pg_sys::Datum {
    let args: [Arg; 3] = [0, 1, 2].map(|n| call.argument(n));
    enqueue::enqueue(&args).into_datum().unwrap_or(pg_sys::Datum::null())
}
sql_function!(enqueue);
