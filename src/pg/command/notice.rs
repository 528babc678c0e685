//! What commands mean for workers, and the observer that is notified.

use super::super::catalog;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::sync::OnceLock;

/// What a command means for workers.
pub enum Notice {
    /// The command cannot run while workers are connected to this database.
    Quiesce(pg_sys::Oid),
    /// CREATE EXTENSION in this database.
    Create,
    /// The command removes the extension from this database, whose workers have to leave first.
    Drop,
    /// COMMIT PREPARED of a transaction that another session has prepared.
    CommitPrepared,
    /// The command may change databases, roles or their privileges.
    Changes,
    /// The command may change settings that are stored for databases or roles.
    Settings,
    /// The command adds functions to an extension or removes them from it.
    Members,
    /// The command changes the role of this session: its password, its settings or its members.
    OwnRole,
    /// ALTER DEFAULT PRIVILEGES.
    FutureRights,
    /// The command has enabled or disabled all triggers of a table of the extension.
    AllTriggers,
    /// A role that does not own the extension has created a trigger on a table of the extension.
    Trigger,
    /// A role that does not own the extension has made a column of a user-defined type refer to a table of the
    /// extension.
    ForeignKey,
    /// A role that does not own the extension would remove it along with an object that it depends on.
    NotTheirs,
}

/// The name of the extension.
pub(super) const EXTENSION: &CStr = c"pg_errand";

static OBSERVER: OnceLock<fn(Notice)> = OnceLock::new();

/// Sets the function that is invoked for every command that concerns workers.
pub(super) fn set_observer(observer: fn(Notice)) {
    let _ = OBSERVER.set(observer);
}

/// Invokes the observer, which may raise an error.
pub(super) fn tell(notice: Notice) {
    if let Some(observer) = OBSERVER.get() {
        observer(notice);
    }
}

/// Notifies the observer of what only the owner of the extension may do, if the current user is not the owner.
pub(super) fn tell_unless_owner(notice: Notice) {
    if catalog::owns_extension(EXTENSION) == Some(false) {
        tell(notice);
    }
}

/// True if there is an observer of commands that concern workers.
pub(super) fn has_observer() -> bool {
    OBSERVER.get().is_some()
}
