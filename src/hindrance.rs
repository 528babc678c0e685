//! What is said about a database in which no worker can run.

use crate::pg::ident;
use crate::shared::Hindrance;

/// A message about a hindrance in a database, whose workers connect as `role`, and a hint.
pub fn describe(hindrance: Hindrance, database: &str, role: &str) -> (String, String) {
    let (name, quoted) = (ident::quote(database), ident::quote(role));
    match hindrance {
        Hindrance::NoRole => (
            format!("role \"{role}\" (pg_errand.role) does not exist, so tasks of database \"{database}\" wait"),
            match role.starts_with("pg_") {
                // PostgreSQL reserves such names.
                true => "Name another role in pg_errand.role.".into(),
                false => format!("Run: CREATE ROLE {quoted} LOGIN; or name another role in pg_errand.role."),
            },
        ),
        Hindrance::NoConnections => (
            format!("database \"{database}\" accepts no connections, so its tasks wait"),
            format!("Run: ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true;"),
        ),
        Hindrance::NoLogin => (
            format!(
                "role \"{role}\" (pg_errand.role) may not log in, so tasks of database \"{database}\" wait"
            ),
            format!("Run: ALTER ROLE {quoted} LOGIN;"),
        ),
        Hindrance::NoConnect => (
            format!(
                "role \"{role}\" (pg_errand.role) may not connect to database \"{database}\", so its tasks wait"
            ),
            format!("Run: GRANT CONNECT ON DATABASE {name} TO {quoted};"),
        ),
        Hindrance::ReadOnly => (
            format!(
                "database \"{database}\" is read-only for the role \"{role}\" (default_transaction_read_only), so its tasks wait"
            ),
            "Turn default_transaction_read_only off where it is turned on: for the role (ALTER ROLE), for the database \
             (ALTER DATABASE) or for the server (ALTER SYSTEM)."
                .into(),
        ),
    }
}
