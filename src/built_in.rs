//! Built-in rows and triggers, on which every task depends: see `sql/49_built_in.sql`.

use crate::pg::spi::Statement;
use crate::pg::{catalog, session};
use pg_errand_calls::task_type::{EMAIL, HTTP, SMS};

static RESTORE_TRIGGERS: Statement = Statement::new(include_str!("../sql/runtime/restore_triggers.sql"), &[]);

/// The built-in task types.
pub const TASK_TYPES: [&str; 4] = ["db_function", EMAIL, HTTP, SMS];

/// The hint for built-in rows that are missing.
pub const REMEDY: &str = "To restore what is built in, run: SELECT queues.restore_built_in();";

/// Sets the triggers of the extension to ENABLE ALWAYS again, after a command that has enabled or disabled all triggers of
/// one of its tables.
pub fn restore_triggers() {
    let Some(owner) = catalog::owner_of(c"queues", c"task") else { return };
    session::as_owner(owner, || RESTORE_TRIGGERS.run(&[]));
}
