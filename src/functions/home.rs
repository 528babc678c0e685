//! Functions of `sql/10_schemas.sql`, `sql/15_home.sql` and `sql/80_run_function.sql`.

use crate::home;
use crate::pg::{dependency, home::here, shmem};
use pgrx::prelude::*;

/// `errand.preloaded()`.
#[pg_extern(sql = false)]
fn preloaded() -> bool {
    shmem::available()
}

/// `errand.place()`.
#[pg_extern(sql = false)]
fn place() -> TableIterator<'static, (name!(system, i64), name!(database, pg_sys::Oid), name!(directory, i64))>
{
    let here = here();
    TableIterator::once((here.system, here.database, here.directory))
}

/// `errand.queue_origin()`.
#[pg_extern(sql = false)]
fn queue_origin() -> Option<i64> {
    home::origin()
}

/// `errand.depend_on_schema(regnamespace)`.
#[pg_extern(sql = false)]
fn depend_on_schema(schema: pg_sys::Oid) {
    dependency::of_extension_on_schema(c"pg_errand", schema);
}
