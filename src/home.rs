//! Which database this is. Tasks carry the origin of the database that they were enqueued in, and only
//! those of this one are run here (`sql/15_home.sql`).

use crate::pg::home::{self, Place};
use crate::pg::{backend, shmem};
use crate::shared::{Database, ToId};
use pgrx::pg_sys::Oid;
use std::cell::Cell;

/// The origin of tasks that are enqueued here.
#[derive(Clone, Copy)]
pub struct Origin {
    pub value: i64,
    /// `queues.home` says otherwise so far: this is a copy.
    pub unsettled: bool,
}

thread_local! {
    /// The origin that was found in which transaction, and in which table.
    static FOUND: Cell<(i64, Oid, Option<i64>)> = const { Cell::new((0, Oid::INVALID, None)) };
}

/// The origin of tasks that are enqueued here; `None` with tables that know no origins.
pub fn origin() -> Option<i64> {
    // Once for all rows of a transaction.
    let (transaction, table) = (home::transaction(), home::table()?);
    let (at, of, found) = FOUND.get();
    if (at, of) == (transaction, table) {
        return found;
    }
    let found = known(table).or_else(|| look().map(|origin| origin.value));
    FOUND.set((transaction, table, found));
    found
}

/// Looks at `queues.home`; `None` if there is no such table.
pub fn look() -> Option<Origin> {
    let (table, here) = (home::table()?, home::here());
    let rows = home::rows(table);
    let own = rows.iter().find(|(_, place)| counts_in(*place, here));
    Some(match own {
        Some((value, _)) => Origin { value: *value, unsettled: false },
        // Somebody has emptied the table.
        None if rows.is_empty() => {
            Origin { value: known(table).unwrap_or_else(|| of(here)), unsettled: true }
        }
        None => Origin { value: of(here), unsettled: true },
    })
}

/// What a worker of this database has found in `table`, and settled.
fn known(table: Oid) -> Option<i64> {
    if !shmem::available() {
        return None;
    }
    // The extension may have been dropped and created anew since.
    let database = backend::database();
    let is_it = |entry: &&Database| entry.id == database.id() && entry.home == table.id();
    shmem::read(|shared| shared.databases.iter().find(is_it)?.origin)
}

/// A directory that is no copy holds whatever it held before, also as a standby: it is promoted.
fn counts_in(place: Place, here: Place) -> bool {
    place.system == here.system
        && place.database == here.database
        && (here.directory == 0 || place.directory == here.directory)
}

/// The origin of a copy, the same for all its processes until it is settled.
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
