//! The identity of this database. Tasks carry the origin of the database in which they were enqueued, and run only there
//! (`sql/15_home.sql`).

use crate::pg::home::{self, Place};
use crate::pg::{backend, shmem};
use crate::shared::{Database, ToId};
use pgrx::pg_sys::Oid;
use std::cell::Cell;

/// The origin of tasks that are enqueued in this database.
#[derive(Clone, Copy)]
pub struct Origin {
    pub value: i64,
    /// True if `errand.home` still has another origin: this database is a copy.
    pub unsettled: bool,
}

thread_local! {
    /// The origin that was found last, with the start of the transaction and the table.
    static FOUND: Cell<(i64, Oid, Option<i64>)> = const { Cell::new((0, Oid::INVALID, None)) };
}

/// The origin of tasks that are enqueued here; `None` if `errand.home` does not exist.
pub fn origin() -> Option<i64> {
    // The table is read once in a transaction.
    let (transaction, table) = (home::transaction(), home::table()?);
    let (at, of, found) = FOUND.get();
    if (at, of) == (transaction, table) {
        return found;
    }
    let found = known(table).or_else(|| look().map(|origin| origin.value));
    FOUND.set((transaction, table, found));
    found
}

/// The origin according to `errand.home`; `None` if the table does not exist.
pub fn look() -> Option<Origin> {
    let (table, here) = (home::table()?, home::here());
    let rows = home::rows(table);
    let own = rows.iter().find(|(_, place)| counts_in(*place, here));
    Some(match own {
        Some((value, _)) => Origin { value: *value, unsettled: false },
        // All rows have been deleted.
        None if rows.is_empty() => {
            Origin { value: known(table).unwrap_or_else(|| of(here)), unsettled: true }
        }
        None => Origin { value: of(here), unsettled: true },
    })
}

/// The origin that a worker of this database found in `table`, or stored there.
fn known(table: Oid) -> Option<i64> {
    if !shmem::available() {
        return None;
    }
    // The extension may have been dropped and created again since.
    let database = backend::database();
    let is_it = |entry: &&Database| entry.id == database.id() && entry.home == table.id();
    shmem::read(|shared| shared.databases.iter().find(is_it)?.origin)
}

/// True if a row of `errand.home` with this place is valid here. A data directory that was not created by a base backup
/// keeps its identity when it is promoted.
fn counts_in(place: Place, here: Place) -> bool {
    place.system == here.system
        && place.database == here.database
        && (here.directory == 0 || place.directory == here.directory)
}

/// The origin of a copy: the same in all its processes until a worker has stored it.
fn of(place: Place) -> i64 {
    home::digest(&format!("{} {} {}", place.system, place.database.to_u32(), place.directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_where_it_was_made_and_after_a_promotion() {
        let place = Place { system: 1, database: Oid::from_u32(5), directory: 0 };
        assert!(counts_in(place, place));
        assert!(!counts_in(place, Place { system: 2, ..place }), "restored or upgraded");
        assert!(!counts_in(place, Place { database: Oid::from_u32(6), ..place }), "made from a template");
        let copy = Place { directory: 7, ..place };
        assert!(!counts_in(place, copy), "a base backup");
        assert!(counts_in(copy, copy));
        assert!(counts_in(copy, place), "a standby of a former copy, promoted");
        assert!(!counts_in(copy, Place { directory: 8, ..place }), "a base backup of a copy");
    }
}
