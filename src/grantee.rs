//! The type `queues.grantee`: a role, or public, that a task type is granted to. It is stored as an OID, and its text
//! form is a name; see `sql/48_provider.sql`.

use crate::pg::catalog;
use pgrx::pg_sys::Oid;

/// The OID of a role, or one of the constants below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grantee(Oid);

const PUBLIC: Grantee = Grantee(Oid::from_u32(0));
/// The role [`WORKERS_NAME`], whose OID changes with pg_upgrade. Names that begin with `pg_` are reserved, so that no
/// other role can get this name.
const WORKERS: Grantee = Grantee(Oid::from_u32(1));
/// A role that does not exist, or not any more.
const NOBODY: Grantee = Grantee(Oid::from_u32(u32::MAX));

/// No role can have these two names.
const PUBLIC_NAME: &str = "public";
const NOBODY_NAME: &str = "none";
const WORKERS_NAME: &str = "errand_worker";

impl Grantee {
    /// The role that has this name now; `None` if there is none.
    pub fn named(name: &str) -> Option<Grantee> {
        match name {
            PUBLIC_NAME => Some(PUBLIC),
            NOBODY_NAME => Some(NOBODY),
            WORKERS_NAME => Some(WORKERS),
            _ => catalog::role(name).map(|role| Grantee(role.oid)),
        }
    }

    /// As [`Grantee::named`], with a warning if there is no such role.
    pub fn read(name: &str) -> Grantee {
        Grantee::named(name).unwrap_or_else(|| {
            pgrx::warning!("role \"{name}\" does not exist, nothing is granted to it");
            NOBODY
        })
    }

    /// The value that is stored.
    pub fn to_bits(self) -> i32 {
        self.0.to_u32().cast_signed()
    }

    pub fn from_bits(bits: i32) -> Grantee {
        Grantee(Oid::from_u32(bits.cast_unsigned()))
    }

    /// Its name now.
    pub fn name(self) -> String {
        match self {
            PUBLIC => PUBLIC_NAME.to_owned(),
            WORKERS => WORKERS_NAME.to_owned(),
            Grantee(role) => catalog::role_name(role).unwrap_or_else(|| NOBODY_NAME.to_owned()),
        }
    }

    /// True if the current user has what is granted to it.
    pub fn is_current_user(self) -> bool {
        match self {
            PUBLIC => true,
            NOBODY => false,
            WORKERS => catalog::role(WORKERS_NAME).is_some_and(|role| catalog::has_rights_of(role.oid)),
            Grantee(role) => catalog::has_rights_of(role),
        }
    }
}
