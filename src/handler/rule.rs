//! Which functions may be handlers: `pg_errand.handlers`.

use crate::config::{self, HandlerRule};
use crate::pg::spi::{Plan, Statement};
use crate::pg::{ident, invalidation, log, session};
use pgrx::pg_sys::BuiltinOid::{OIDOID, TEXTOID};
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};

static HANDLER: Statement = Statement::new(include_str!("../../sql/runtime/handler.sql"), &[OIDOID, TEXTOID]);

/// As of when a function was found to be a handler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    rule: HandlerRule,
    functions: u64,
}

impl Checked {
    /// What counts now.
    pub fn now() -> Checked {
        Checked { rule: config::HANDLERS.get(), functions: invalidation::functions_as_of() }
    }
}

struct Facts {
    /// With its arguments, as GRANT takes it.
    name: String,
    /// The schema, if it is the system's.
    reserved: Option<String>,
    extension: Option<String>,
    is_granted: bool,
    database: String,
}

/// Raises unless what `plan` calls may be a handler of `role`; `owner` is the extension's. Returns the function.
pub fn check(plan: Plan, name: &str, owner: pg_sys::Oid, role: &str) -> pg_sys::Oid {
    let Some(function) = plan.callee() else {
        log::refuse(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{name}\" is not a function"),
            "Name a function that takes one jsonb argument.".into(),
        )
    };
    let rule = config::HANDLERS.get();
    if rule != HandlerRule::Any
        && let Some(facts) = facts(function, owner, role)
    {
        match rule {
            HandlerRule::Granted => require_grant(&facts, role),
            HandlerRule::Users | HandlerRule::Any => require_users(&facts),
        }
    }
    function
}

fn facts(function: pg_sys::Oid, owner: pg_sys::Oid, role: &str) -> Option<Facts> {
    session::as_owner(owner, || {
        HANDLER.row(&[function.into_datum(), role.into_datum()], |row| {
            Some(Facts {
                name: row.get(1)?,
                reserved: row.get(2),
                extension: row.get(3),
                is_granted: row.get(4)?,
                database: row.get(5)?,
            })
        })
    })
    .flatten()
}

fn require_users(facts: &Facts) {
    let reason = match (&facts.reserved, &facts.extension) {
        (Some(schema), _) => format!("it is in the schema \"{schema}\""),
        (None, Some(extension)) => format!("it belongs to the extension \"{extension}\""),
        (None, None) => return,
    };
    let hint = format!(
        "Name a function of your own that calls it. To allow all functions that the role of the workers may \
         execute, run: ALTER DATABASE {} SET pg_errand.handlers = 'any';",
        facts.database
    );
    refuse(facts, &reason, hint)
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
