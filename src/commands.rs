//! SQL commands that concern workers, in any session: which module handles each, and which are refused.

use crate::built_in;
use crate::launcher::quiesce;
use crate::pg::command::{self, Notice};
use crate::pg::{backend, log};
use crate::task_definition;
use crate::worker::{self, wake};
use pgrx::PgSqlErrorCode;

/// Installs the observer of commands in this process and in those that are forked from it.
pub fn init() {
    command::observe(on_command);
}

fn on_command(notice: Notice) {
    match notice {
        Notice::CommitPrepared => wake::note_prepared(),
        Notice::Members => task_definition::announce_change(),
        Notice::AllTriggers => built_in::restore_triggers(),
        Notice::OwnRole if worker::is_one() => log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "a task cannot change the role that it runs as".into(),
            "Have somebody else run the command, in a session.".into(),
        ),
        Notice::FutureRights if worker::is_one() => log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "a task cannot change the privileges of what is created later".into(),
            "Have somebody else run the command, in a session; or grant on what the task has created.".into(),
        ),
        Notice::Trigger => log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to create a trigger on a table of the extension pg_errand".into(),
            "Only the owner of the extension may, since it would run with the owner's rights. \
             A table of yours that refers to it (REFERENCES) can follow it."
                .into(),
        ),
        Notice::ForeignKey => log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to have a column of this type refer to a table of the extension pg_errand".into(),
            "Its casts would run with the rights of the extension's owner. Give the column the type of the column \
             that it refers to."
                .into(),
        ),
        Notice::NotTheirs => log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the extension pg_errand would be dropped, too, and you are not its owner".into(),
            "Drop what is yours one by one, or have the owner of the extension drop it first.".into(),
        ),
        Notice::Drop if worker::is_one() => quiesce::refuse_task(),
        Notice::Quiesce(database) if worker::is_one() && database == backend::database() => quiesce::refuse_task(),
        other => quiesce::on_command(other),
    }
}
