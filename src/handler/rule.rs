//! Which functions may be handlers: `pg_errand.handlers`.

use crate::config::{self, HandlerRule};
use crate::pg::spi::{Plan, Statement};
use crate::pg::{ident, invalidation, log, procedure, session};
use pgrx::pg_sys::BuiltinOid::{BOOLOID, OIDOID, TEXTOID};
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};

static HANDLER: Statement =
    Statement::new(include_str!("../../sql/runtime/handler.sql"), &[OIDOID, TEXTOID, BOOLOID]);

/// What was in effect when a function was found to be a handler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    rule: HandlerRule,
    functions: u64,
}

impl Checked {
    /// What is in effect now.
    pub fn now() -> Checked {
        Checked { rule: config::HANDLERS.get(), functions: invalidation::functions_as_of() }
    }
}

/// What messages state about a function, and whether it is granted by name.
struct Facts {
    /// The name with its arguments, as GRANT expects it.
    name: String,
    is_granted: bool,
    database: String,
}

/// The hint for a name that does not refer to a function.
pub const NAME_A_FUNCTION: &str = "Name a function that takes one jsonb argument.";

/// Returns the function that `plan` calls, or raises an error if it may not be a handler of `role`. `owner` is the
/// extension's owner.
pub fn check(plan: Plan, name: &str, owner: pg_sys::Oid, role: &str) -> pg_sys::Oid {
    let not_a = |what: &str| {
        log::refuse(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{name}\" is {what}"),
            NAME_A_FUNCTION.into(),
        )
    };
    // A type's name is parsed as a cast.
    let Some(function) = plan.callee() else { not_a("not a function") };
    let facts = |is_users| facts(function, owner, role, is_users);
    match config::HANDLERS.get() {
        HandlerRule::Any => {}
        HandlerRule::Users => {
            if let Some(reason) = why_not_users(function)
                && let Some(facts) = facts(false)
            {
                refuse_others(&facts, &reason);
            }
        }
        HandlerRule::Granted => {
            if let Some(facts) = facts(why_not_users(function).is_none()) {
                require_grant(&facts, role);
            }
        }
    }
    if procedure::is_aggregate(function) {
        not_a("an aggregate, not a function");
    }
    function
}

/// Why a function does not count as a user's function; `None` if it does.
fn why_not_users(function: pg_sys::Oid) -> Option<String> {
    let schema = procedure::schema_of(function)?;
    if schema.starts_with("pg_") || schema == "information_schema" {
        return Some(format!("it is in the schema \"{schema}\""));
    }
    let extension = procedure::extension_of(function)?;
    Some(format!("it belongs to the extension \"{extension}\""))
}

fn facts(function: pg_sys::Oid, owner: pg_sys::Oid, role: &str, is_users: bool) -> Option<Facts> {
    let args = [function.into_datum(), role.into_datum(), is_users.into_datum()];
    session::as_owner(owner, || {
        HANDLER.row(&args, |row| {
            Some(Facts { name: row.get(1)?, is_granted: row.get(2)?, database: row.get(3)? })
        })
    })
    .flatten()
}

fn refuse_others(facts: &Facts, reason: &str) -> ! {
    let hint = format!(
        "Name a function of your own that calls it. To allow all functions that the role of the workers may \
         execute, run: ALTER DATABASE {} SET pg_errand.handlers = 'any';",
        facts.database
    );
    refuse(facts, reason, hint)
}

fn require_grant(facts: &Facts, role: &str) {
    if !facts.is_granted {
        let reason = format!("it is not granted to the role \"{role}\" by name");
        refuse(
            facts,
            &reason,
            format!("Run: GRANT EXECUTE ON FUNCTION {} TO {};", facts.name, ident::quote(role)),
        )
    }
}

fn refuse(facts: &Facts, reason: &str, hint: String) -> ! {
    let message = format!("function {} cannot be a handler: {reason}", facts.name);
    log::refuse(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message, hint)
}
