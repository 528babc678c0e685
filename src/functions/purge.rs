//! The function of `sql/73_purge.sql`.

use crate::pg::entry::{Call, sql_function};
use crate::pg::spi;
use crate::purge;
use pgrx::prelude::*;

/// `queues.purge(interval, text, integer)`.
fn purge(call: &Call) -> pg_sys::Datum {
    let status = call.argument(1).and_then(spi::text);
    let limit = call.argument(2).map(|limit| limit.value() as i32);
    purge::purge(call.argument(0), status.as_deref(), limit).into_datum().unwrap_or(pg_sys::Datum::null())
}
sql_function!(purge);
