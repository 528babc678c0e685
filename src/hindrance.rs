//! What is said about a database in which no worker can run.

use crate::pg::ident;
use crate::shared::{Hindrance, SetFor};

/// A message about a hindrance in a database, whose workers connect as `role`, and a hint.
pub fn describe(hindrance: Hindrance, database: &str, role: &str) -> (String, String) {
    let (name, quoted) = (ident::quote(database), ident::quote(role));
    match hindrance {
        Hindrance::NoRole => (
            format!(
                "role \"{role}\" (pg_errand.role) does not exist, so tasks of database \"{database}\" wait"
            ),
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
        Hindrance::ReadOnly(set_for) => (
            format!(
                "database \"{database}\" is read-only for the role \"{role}\" (default_transaction_read_only), so its tasks wait"
            ),
            turn_off(set_for, &name, &quoted),
        ),
    }
}

/// How `default_transaction_read_only` is turned off; the names are quoted.
fn turn_off(set_for: SetFor, database: &str, role: &str) -> String {
    const NAME: &str = "default_transaction_read_only";
    // Sessions in which a statement that changes the catalogs is refused have to turn the setting off first.
    let elsewhere = format!("Run from another database, or after SET {NAME} = off:");
    match set_for {
        SetFor::RoleInDatabase => format!("Run: ALTER ROLE {role} IN DATABASE {database} RESET {NAME};"),
        SetFor::Role => format!("Run: ALTER ROLE {role} RESET {NAME};"),
        SetFor::Database => format!("{elsewhere} ALTER DATABASE {database} RESET {NAME};"),
        SetFor::AllRoles => format!("Run after SET {NAME} = off: ALTER ROLE ALL RESET {NAME};"),
        SetFor::Server => format!("Run: ALTER SYSTEM SET {NAME} = off; SELECT pg_reload_conf();"),
    }
}
