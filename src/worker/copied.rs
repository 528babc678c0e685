//! What came from another database: a copy makes its home here, and says which tasks it holds.

use super::Worker;
use super::slot::MySlot;
use crate::config::LogLevel;
use crate::error::PgError;
use crate::home;
use crate::pg::home::{Place, here, table as home_table};
use crate::pg::spi::Statement;
use crate::pg::{log, session, transaction};
use crate::unwritten::{self, Command, Means};
use pgrx::IntoDatum;
use pgrx::pg_sys::{
    self,
    BuiltinOid::{INT8OID, OIDOID},
};

/// Unadopted tasks are counted up to this number.
const COUNTED: i64 = 100_000;

static SETTLE: Statement =
    Statement::new(include_str!("../../sql/runtime/settle_home.sql"), &[INT8OID, INT8OID, OIDOID, INT8OID]);
static COUNT_UNADOPTED: Statement =
    Statement::new(include_str!("../../sql/runtime/count_unadopted.sql"), &[INT8OID, INT8OID]);
/// pg_upgrade does not keep this dependency.
static DEPEND: Statement = Statement::new(include_str!("../../sql/runtime/depend_on_internal.sql"), &[]);

/// The origin of the tasks that are run here, made durable if this database is a copy. `None`: the
/// extension has gone meanwhile.
pub fn settle(slot: MySlot, owner: pg_sys::Oid) -> Result<Option<i64>, PgError> {
    let found = transaction::commit_after(|| {
        let (table, origin) = (home_table()?, home::look()?);
        if origin.unsettled {
            let Place { system, database, directory } = here();
            let args = [
                origin.value.into_datum(),
                system.into_datum(),
                database.into_datum(),
                directory.into_datum(),
            ];
            unwritten::write(
                table,
                Command::Update,
                Means::Any,
                || session::as_owner(owner, || SETTLE.run(&args)),
                || home::look().is_some_and(|origin| !origin.unsettled),
            );
            session::as_owner(owner, || DEPEND.run(&[]));
        }
        Some((table, origin.value))
    })?;
    let Some((table, origin)) = found else { return Ok(None) };
    slot.change_database(|database| {
        database.held_to_tell |= database.home != table;
        database.origin = Some(origin);
        database.home = table;
    });
    Ok(Some(origin))
}

/// Says once that tasks are held.
pub fn tell_of_held(worker: &Worker) -> Result<(), PgError> {
    let told = worker.slot.change_database(|database| {
        database.held_to_tell = false;
        database.told_of_held
    });
    // Once it was said, only whether there are any still matters.
    let limit = if told == Some(true) { 1 } else { COUNTED };
    let held: i64 = transaction::commit_after(|| {
        session::as_owner(worker.owner, || {
            COUNT_UNADOPTED.row(&[worker.origin.into_datum(), limit.into_datum()], |row| row.get(1)).flatten()
        })
    })?
    .unwrap_or_default();
    let told =
        worker.slot.change_database(|database| std::mem::replace(&mut database.told_of_held, held > 0));
    if held > 0 && told != Some(true) {
        let number = if held < COUNTED { held.to_string() } else { format!("at least {COUNTED}") };
        log::event_with_hint(
            LogLevel::Warning,
            format!("{number} unfinished tasks came from another database, of which this one is a copy, and are unadopted"),
            "See queues.unadopted. Run: select queues.adopt(); to have them run here, once the original will not run them; or delete them.".into(),
        );
    }
    Ok(())
}
