//! Handles the removal of tasks: their errors remain, without a task, and their calls are removed
//! (`sql/45_removal.sql`).

use crate::key_turn;
use crate::pg::spi::Statement;
use crate::pg::trigger::{self, Transition};
use crate::pg::{catalog, session};

static DETACH_ERRORS: Statement = Statement::new(include_str!("../sql/runtime/detach_errors.sql"), &[]);
static REMOVE_CALLS: Statement = Statement::new(include_str!("../sql/runtime/remove_calls.sql"), &[]);
static DETACH_ALL_ERRORS: Statement =
    Statement::new(include_str!("../sql/runtime/detach_all_errors.sql"), &[]);
static REMOVE_ALL_CALLS: Statement = Statement::new(include_str!("../sql/runtime/remove_all_calls.sql"), &[]);

/// Runs after a statement that removed the tasks in `gone`.
pub fn after_delete(gone: &Transition) {
    follow(|| {
        DETACH_ERRORS.run_in_trigger(gone);
        REMOVE_CALLS.run_in_trigger(gone);
        key_turn::announce_removed(gone);
    });
}

/// Runs after all tasks were removed.
pub fn after_truncate(gone: &Transition) {
    follow(|| {
        DETACH_ALL_ERRORS.run_in_trigger(gone);
        REMOVE_ALL_CALLS.run_in_trigger(gone);
    });
}

/// Runs the statements with the privileges of the tables' owner. Triggers that they fire in users' tables run with the
/// privileges of the role that removes the tasks.
fn follow(statements: impl FnOnce()) {
    let Some(owner) = catalog::owner_of(c"queues", c"task") else { return };
    trigger::fire_afterwards(|| session::as_owner(owner, statements));
}
