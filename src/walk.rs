//! Walks: remove rows in the order of the primary key, in small portions, so that no index on their age has to be
//! maintained.

use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::spi::{Arg, Row, Statement};
use crate::pg::{log, session, transaction, trigger};
use pgrx::{IntoDatum, pg_sys};

/// How the rows of a table are walked over and removed.
pub struct Walk {
    /// Removes rows among the next ones. $1 after this row, $2 number of rows to visit; further parameters are passed on.
    /// Returns `last`, the last row visited; `has_more`, whether to continue; `visited` and `removed`, numbers of rows;
    /// and `next_at`, when the first one of those that are kept may be removed.
    pub remove: Statement,
    /// Finds the next row, to skip a row that cannot be removed.
    pub next: Statement,
    pub what: &'static str,
    /// What removes the rows, for messages.
    pub on_behalf_of: &'static str,
}

/// What has become of some rows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Portion {
    /// The last row visited; `None` if there was none.
    pub last: Option<i64>,
    pub has_more: bool,
    /// The number of rows visited, and of those that were removed.
    pub visited: i64,
    pub removed: i64,
    /// When the first one of those that were kept may be removed, as far as is known.
    pub next_at: Option<i64>,
}

impl Portion {
    /// Where to continue, if there is more.
    pub fn rest(&self) -> Option<i64> {
        self.last.filter(|_| self.has_more)
    }

    fn and(self, next: Portion) -> Portion {
        Portion {
            last: next.last.or(self.last),
            has_more: next.has_more,
            visited: self.visited + next.visited,
            removed: self.removed + next.removed,
            next_at: self.next_at.into_iter().chain(next.next_at).min(),
        }
    }
}

impl Walk {
    /// Removes rows among the next `limit` ones. If one of them cannot be removed, for instance because of a user's foreign
    /// key, the rows are removed one by one and that one is kept.
    ///
    /// # Errors
    /// If the operation was cancelled.
    pub fn portion(
        &self,
        owner: pg_sys::Oid,
        after: i64,
        limit: i32,
        further: &[Arg],
    ) -> Result<Portion, PgError> {
        match transaction::attempt(|| self.remove(owner, after, limit, further)) {
            Err(error) if is_cancellation(&error) => Err(error),
            Ok(portion) => Ok(portion),
            Err(_) => self.one_by_one(owner, after, limit, further),
        }
    }

    fn one_by_one(
        &self,
        owner: pg_sys::Oid,
        after: i64,
        limit: i32,
        further: &[Arg],
    ) -> Result<Portion, PgError> {
        let mut all = Portion { last: Some(after), has_more: true, ..Portion::default() };
        for _ in 0..limit {
            let Some(after) = all.rest() else { break };
            let one = match transaction::attempt(|| self.remove(owner, after, 1, further)) {
                Ok(one) => one,
                Err(error) if is_cancellation(&error) => return Err(error),
                Err(error) => self.skip(owner, after, &error),
            };
            all = all.and(one);
        }
        Ok(all)
    }

    /// Passes over a row that cannot be removed.
    fn skip(&self, owner: pg_sys::Oid, after: i64, error: &PgError) -> Portion {
        let next = || self.next.row(&[after.into_datum()], |row| row.get::<i64>(1));
        let stuck = session::as_owner(owner, next).flatten();
        if let Some(stuck) = stuck {
            log::event_with_hint(
                LogLevel::Warning,
                format!("{} {stuck} cannot be removed ({}): {}", self.what, self.on_behalf_of, error.message),
                "It stays, and others are removed. Look for foreign keys and triggers that refer to the row."
                    .into(),
            );
        }
        Portion { last: stuck, has_more: stuck.is_some(), visited: 1, ..Portion::default() }
    }

    /// Triggers and foreign keys of users' tables act with the privileges of the current user.
    fn remove(&self, owner: pg_sys::Oid, after: i64, limit: i32, further: &[Arg]) -> Portion {
        let args = [&[after.into_datum(), limit.into_datum()], further].concat();
        let statement = || self.remove.row_leaving_triggers(&args, portion);
        trigger::fire_afterwards(|| session::as_owner(owner, statement)).unwrap_or_default()
    }
}

fn portion(row: &Row) -> Portion {
    Portion {
        last: row.get(c"last"),
        has_more: row.get(c"has_more") == Some(true),
        visited: row.get(c"visited").unwrap_or_default(),
        removed: row.get(c"removed").unwrap_or_default(),
        next_at: row.get::<pgrx::datum::TimestampWithTimeZone>(c"next_at").map(i64::from),
    }
}

/// True if somebody has interrupted the operation: no row is at fault.
fn is_cancellation(error: &PgError) -> bool {
    error.sqlstate.starts_with("57")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_add_up() {
        let first = Portion { last: Some(3), has_more: true, visited: 3, removed: 2, next_at: Some(50) };
        let second = Portion { last: Some(7), has_more: true, visited: 4, removed: 1, next_at: Some(40) };
        let both = first.and(second);
        assert_eq!(
            both,
            Portion { last: Some(7), has_more: true, visited: 7, removed: 3, next_at: Some(40) }
        );
        assert_eq!(both.rest(), Some(7));
        let end = both.and(Portion::default());
        assert_eq!((end.last, end.rest(), end.removed, end.next_at), (Some(7), None, 3, Some(40)));
    }
}
