//! Unadopted tasks come from another database. A copy gets an origin of its own, and reports how many of them wait.

use super::tables::Tables;
use crate::config::LogLevel;
use crate::error::PgError;
use crate::home;
use crate::pg::home::{Place, here, table as home_table};
use crate::pg::spi::Statement;
use crate::pg::{log, session, transaction};
use crate::shared::ToId;
use crate::slot::MySlot;
use crate::unwritten::{self, Command, Means};
use pgrx::IntoDatum;
use pgrx::pg_sys::{
    self,
    BuiltinOid::{INT8OID, OIDOID},
};

/// The maximum number up to which unadopted tasks are counted.
const COUNTED: i64 = 100_000;

static LOCK_HOME: Statement = Statement::new(include_str!("../../sql/runtime/home_lock.sql"), &[]);
static MAKE_HOME: Statement =
    Statement::new(include_str!("../../sql/runtime/settle_home.sql"), &[INT8OID, INT8OID, OIDOID, INT8OID]);
static COUNT_UNADOPTED: Statement =
    Statement::new(include_str!("../../sql/runtime/count_unadopted.sql"), &[INT8OID, INT8OID]);

/// pg_upgrade does not preserve this dependency.
static DEPEND: Statement = Statement::new(include_str!("../../sql/runtime/depend_on_internal.sql"), &[]);

/// The origin of the tasks that run here, which is stored first if this database is a copy. `None` if the extension was
/// dropped meanwhile.
pub fn make_home(slot: MySlot, owner: pg_sys::Oid) -> Result<Option<i64>, PgError> {
    let found = transaction::commit_after(|| {
        let (table, mut origin) = (home_table()?, home::look()?);
        if origin.unsettled {
            session::as_owner(owner, || LOCK_HOME.run(&[]));
            // Another worker may have stored it.
            origin = home::look()?;
        }
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
                || session::as_owner(owner, || MAKE_HOME.run(&args)),
                || home::look().is_some_and(|origin| !origin.unsettled),
            );
            session::as_owner(owner, || DEPEND.run(&[]));
        }
        Some((table, origin.value))
    })?;
    let Some((table, origin)) = found else { return Ok(None) };
    slot.change_database(|database| {
        database.unadopted_to_report |= database.home != table.id();
        database.origin = Some(origin);
        database.home = table.id();
    });
    Ok(Some(origin))
}

/// Logs once that there are unadopted tasks.
pub fn report(slot: MySlot, tables: &Tables) -> Result<(), PgError> {
    let was_reported = slot.change_database(|database| {
        database.unadopted_to_report = false;
        database.reported_unadopted
    });
    // After the first report, it only matters whether there are any.
    let limit = if was_reported == Some(true) { 1 } else { COUNTED };
    let count: i64 = transaction::commit_after(|| {
        tables.as_owner(|| {
            COUNT_UNADOPTED.row(&[tables.origin.into_datum(), limit.into_datum()], |row| row.get(1)).flatten()
        })
    })?
    .unwrap_or_default();
    if slot.is_news(|database| &mut database.reported_unadopted, count > 0) && count > 0 {
        let number = if count < COUNTED { count.to_string() } else { format!("at least {COUNTED}") };
        log::event_with_hint(
            LogLevel::Warning,
            format!("{number} unfinished tasks came from another database, of which this one is a copy, and wait to be adopted"),
            "See queues.unadopted. Run: select queues.adopt(); to have them run here, once the original will not run them; or delete them.".into(),
        );
    }
    Ok(())
}
