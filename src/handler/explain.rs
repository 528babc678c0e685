//! Explains errors of handlers. PostgreSQL's own messages refer to the statement with which a worker invokes the
//! handler, and which no user has written.

use super::rule;
use crate::config;
use crate::error::PgError;
use crate::pg::spi::{Arg, Statement};
use crate::pg::{catalog, ident, procedure, session, transaction};
use pgrx::{IntoDatum, pg_sys};

static MISSING_GRANTS: Statement = Statement::new(
    include_str!("../../sql/runtime/missing_grants.sql"),
    &[pg_sys::BuiltinOid::TEXTOID, pg_sys::BuiltinOid::TEXTARRAYOID],
);

static SIMILAR_FUNCTIONS: Statement = Statement::new(
    include_str!("../../sql/runtime/similar_functions.sql"),
    &[pg_sys::BuiltinOid::TEXTARRAYOID],
);

/// How many characters of a handler's name a hint shows.
const MAX_NAME: usize = 200;

const RETURNS: &str = "A handler returns jsonb; if it has nothing to say, it returns '{}'.";

/// What is known of an invocation that has failed.
pub(super) struct Explanation<'a> {
    /// The name of the handler, as in the payload.
    pub name: &'a str,
    /// The function, if it was found.
    pub callee: Option<pg_sys::Oid>,
    /// The extension's owner.
    pub owner: pg_sys::Oid,
    /// The database role that handlers run as.
    pub role: &'a str,
    /// The task, if a retry of it would invoke the handler again.
    pub retriable: Option<i64>,
    pub timed_out: bool,
}

impl Explanation<'_> {
    /// Returns the error with texts that explain what was wrong and what to do.
    pub(super) fn explain(&self, error: PgError) -> PgError {
        // If a function that the handler calls has raised the error, the SQLSTATE is not about the handler.
        let is_of_invocation = is_of_invocation(&error);
        match error.sqlstate.as_str() {
            "57014" if self.timed_out => PgError {
                message: format!(
                    "interrupted after pg_errand.handler_timeout ({} ms)",
                    config::HANDLER_TIMEOUT.duration().as_millis()
                ),
                ..with_hint(error, "Have the handler do less at a time, or raise pg_errand.handler_timeout.")
            },
            // The extension's own errors have a hint already.
            "42501" if error.hint.is_none() => self.explain_denial(error, is_of_invocation),
            "42883" | "3F000" if is_of_invocation => with_hint(error, &self.hint_for_missing()),
            // The name is not that of a function.
            "22023" | "42601" | "0A000"
                if is_of_invocation && self.callee.is_none() && error.hint.is_none() =>
            {
                with_hint(error, rule::NAME_A_FUNCTION)
            }
            "42846" if is_of_invocation => with_hint(error, RETURNS),
            "42809" if is_of_invocation && error.hint.as_deref() != Some(rule::NAME_A_FUNCTION) => {
                with_hint(error, "A handler is a function, which may call a procedure (CALL).")
            }
            "22P02" if self.is_about_result(&error) => PgError {
                message: format!("it returned text that is not JSON: {}", error.message),
                ..with_hint(error, RETURNS)
            },
            _ => error,
        }
    }

    fn explain_denial(&self, error: PgError, is_of_invocation: bool) -> PgError {
        let grants = is_of_invocation.then(|| self.advice(&MISSING_GRANTS, true)).flatten();
        if let Some(grants) = grants {
            let message = format!("{}; to allow it, run: {grants}", error.message);
            // PostgreSQL looks at the schema first, so the function may not exist.
            let hint = match self.advice(&SIMILAR_FUNCTIONS, false) {
                Some(_) => grants,
                None => format!("{grants} {}", self.hint_for_none()),
            };
            return PgError { message, ..with_hint(error, &hint) };
        }
        let Some(role) = catalog::role_name(pg_sys::Oid::from(error.raised_as)) else { return error };
        let hint = self.hint_for_denial(&role);
        PgError { message: format!("{} (as role \"{role}\")", error.message), ..with_hint(error, &hint) }
    }

    /// The hint for a privilege that `role` lacks for what the message names. The message may be in any language, so the
    /// object cannot be taken from it.
    fn hint_for_denial(&self, role: &str) -> String {
        let quoted = ident::quote(role);
        let runs = if role == self.role {
            format!("Handlers run as role {quoted} (pg_errand.role).")
        } else {
            format!("A function that is SECURITY DEFINER runs as its owner, here {quoted}.")
        };
        format!(
            "{runs} Grant {quoted} the privilege on what the message names, for example: GRANT SELECT, INSERT ON TABLE … \
             TO {quoted}; The context in queues.error tells where it was denied."
        )
    }

    /// The hint for a function that was not found.
    fn hint_for_missing(&self) -> String {
        let Some(names) = self.advice(&SIMILAR_FUNCTIONS, false) else { return self.hint_for_none() };
        let looked_for = if self.name.contains('.') {
            String::new()
        } else {
            let role = ident::quote(self.role);
            format!(" Without a schema, it is looked for in the search_path of role {role}.")
        };
        format!("A handler takes one jsonb argument.{looked_for} There is: {names}.")
    }

    /// The hint for a name that no function has.
    fn hint_for_none(&self) -> String {
        let name: String = self.name.chars().take(MAX_NAME).collect();
        let there_is_none = format!("There is no function {name} in this database.");
        match self.retriable {
            Some(task_id) => format!(
                "{there_is_none} Create it and run: SELECT queues.retry({task_id}); or enqueue the task again with the \
                 right name."
            ),
            None => format!("{there_is_none} Create it, or enqueue tasks with the right name."),
        }
    }

    /// True if the handler's result could not be cast.
    fn is_about_result(&self, error: &PgError) -> bool {
        let returns_json =
            |function| [pg_sys::JSONBOID, pg_sys::JSONOID].contains(&procedure::result_type(function));
        let context = error.context.as_deref().unwrap_or_default();
        // The context has a line of the statement, and one of the JSON parser.
        self.callee.is_some_and(|callee| !returns_json(callee))
            && context.lines().count() <= 2
            && context.contains(CAST)
    }

    /// Runs a statement that examines the function, for use in a message. If the statement fails, the original error is
    /// reported without it.
    fn advice(&self, statement: &Statement, for_role: bool) -> Option<String> {
        let found = transaction::savepoint(|| {
            let parts = ident::parse(self.name).into_datum();
            let args: Vec<Arg> = if for_role { vec![self.role.into_datum(), parts] } else { vec![parts] };
            session::as_owner(self.owner, || statement.row(&args, |row| row.get::<String>(1)))
        });
        found.ok().flatten().flatten()
    }
}

/// The end of a statement that invokes a handler.
pub(super) const CAST: &str = "($1)::pg_catalog.jsonb";

/// True if the error's context is nothing but the statement that invokes the handler.
fn is_of_invocation(error: &PgError) -> bool {
    let context = error.context.as_deref().unwrap_or_default();
    context.is_empty() || context.lines().count() == 1 && context.contains(CAST)
}

fn with_hint(error: PgError, hint: &str) -> PgError {
    PgError { hint: Some(hint.into()), ..error }
}
