//! What comes with the extension and tasks cannot do without: see `sql/49_built_in.sql`.

use crate::pg::spi::Statement;
use crate::pg::{catalog, session};
use pg_errand_calls::task_type::{EMAIL, HTTP, SMS};

static HAS_RESTORE: Statement = Statement::new(include_str!("../sql/runtime/has_restore_triggers.sql"), &[]);
static RESTORE_TRIGGERS: Statement = Statement::new(include_str!("../sql/runtime/restore_triggers.sql"), &[]);

/// The task types that are built in.
pub const KINDS: [&str; 4] = ["db_function", EMAIL, HTTP, SMS];

/// What to do if some of it is missing.
pub const REMEDY: &str = "To restore what is built in, run: SELECT queues.restore_built_in();";

/// Enables the triggers again as they have to be, after a command that has enabled or disabled all triggers of one of
/// the tables.
pub fn restore_triggers() {
    let Some(owner) = catalog::owner_of(c"queues", c"task") else { return };
    session::as_owner(owner, || {
        // The tables may be those of an older version.
        if HAS_RESTORE.row(&[], |row| row.get::<bool>(1)).flatten() == Some(true) {
            RESTORE_TRIGGERS.run(&[]);
        }
    });
}
