//! Ends the pauses whose time has come.

use super::tables::Tables;
use super::wake;
use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::spi::{Statement, timestamp};
use crate::pg::{backend, log, transaction};
use crate::slot::MySlot;
use crate::task_definition;
use pgrx::pg_sys::BuiltinOid::TIMESTAMPTZOID;

static END: Statement = Statement::new(include_str!("../../sql/runtime/end_pauses.sql"), &[TIMESTAMPTZOID]);

/// Ends the pauses that are over, unless another worker does. The commit lets all processes read the pauses again, also
/// if a user's trigger keeps the rows.
pub fn end_over(slot: MySlot, tables: &Tables) -> Result<(), PgError> {
    let now = backend::now();
    if slot.change_database(|database| database.take_pause_end(now)) != Some(true) {
        return Ok(());
    }
    let ended = transaction::commit_after(|| {
        let ended = tables.as_owner(|| END.rows(&[timestamp(now)], |row| row.get::<String>(1)));
        task_definition::announce_change();
        wake::note_pauses();
        ended
    })?;
    for what in ended.into_iter().flatten() {
        log::event(LogLevel::Info, format!("the pause of {what} is over"));
    }
    Ok(())
}
