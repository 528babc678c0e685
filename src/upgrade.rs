//! pg_upgrade: no worker runs, and the role of the workers gets into the new cluster. What pg_upgrade
//! restores there grants rights to that role, but does not create it: pg_dumpall leaves out roles that
//! are named `pg_…`.

use crate::config;
use crate::pg::spi::Statement;
use crate::pg::{backend, catalog, command, session};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::TEXTOID;
use std::ffi::CStr;

static CREATE_ROLE: Statement =
    Statement::new(include_str!("../sql/runtime/create_reserved_role.sql"), &[TEXTOID]);

/// The role that `CREATE EXTENSION` has made if the old cluster named no other.
const DEFAULT_ROLE: &str = "errand_worker";

pub fn init() {
    command::read(before_command);
}

/// Makes the role as soon as a command mentions it. All other roles are there by then, with the numbers
/// that they had.
fn before_command(text: &CStr) {
    for name in [DEFAULT_ROLE, &config::ROLE.get()] {
        let mentioned = name.starts_with("pg_") && mentions(text, name) && backend::in_transaction();
        if mentioned && catalog::role(name).is_none() {
            session::as_owner(backend::SYSTEM, || CREATE_ROLE.run(&[name.into_datum()]));
        }
    }
}

/// pg_upgrade quotes all names.
fn mentions(text: &CStr, name: &str) -> bool {
    let quoted = format!("\"{name}\"");
    text.to_bytes().windows(quoted.len()).any(|part| part == quoted.as_bytes())
}
