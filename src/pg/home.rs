//! The row of `errand.home`, and what it is compared with, for every backend that enqueues.
//!
//! It is read without SQL, since a statement would be subject to the settings of the session.

use super::{backend, catalog, directory};
use pgrx::{FromDatum, IntoDatum, pg_sys};

/// A database in which tasks are enqueued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The server (`pg_control_system()`).
    pub system: i64,
    pub database: pg_sys::Oid,
    /// See [`directory::identity`].
    pub directory: i64,
}

/// The database of this process.
pub fn here() -> Place {
    // SAFETY: read from the control file when the server started.
    let system = unsafe { pg_sys::GetSystemIdentifier() } as i64;
    Place { system, database: backend::database(), directory: directory::identity() }
}

/// The table `errand.home`, if there is one.
pub fn table() -> Option<pg_sys::Oid> {
    catalog::relation(c"errand", c"home")
}

/// The origins in `errand.home`, each with the database where it counts. Replication of all tables copies the row of
/// the original.
pub fn rows(table: pg_sys::Oid) -> Vec<(i64, Place)> {
    let rows = catalog::scan(table, |tuple, shape| {
        // SAFETY: the columns of the table's definition, in their order.
        unsafe {
            let place = Place {
                system: column(tuple, shape, 2)?,
                database: column(tuple, shape, 3)?,
                directory: column(tuple, shape, 4)?,
            };
            Some((column(tuple, shape, 1)?, place))
        }
    });
    rows.into_iter().flatten().collect()
}

/// A column's value; `None` for null or if the column is of another type.
unsafe fn column<T: FromDatum + IntoDatum>(
    tuple: pg_sys::HeapTuple,
    shape: pg_sys::TupleDesc,
    number: i32,
) -> Option<T> {
    // SAFETY: on the caller's promise.
    unsafe {
        if number > (*shape).natts || pg_sys::SPI_gettypeid(shape, number) != T::type_oid() {
            return None;
        }
        let mut null = false;
        let datum = pg_sys::heap_getattr(tuple, number, shape, &mut null);
        T::from_datum(datum, null)
    }
}

/// A digest that is the same in all processes and releases (PostgreSQL's hash of text).
pub fn digest(text: &str) -> i64 {
    unsafe extern "C" {
        // common/hashfn.h, not among pgrx's bindings
        fn hash_bytes_extended(bytes: *const u8, length: i32, seed: u64) -> u64;
    }
    // SAFETY: reads that many bytes.
    unsafe { hash_bytes_extended(text.as_ptr(), text.len() as i32, 0) as i64 }
}

/// Distinguishes the transactions of this process.
pub fn transaction() -> i64 {
    // SAFETY: a plain value of this process.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}
