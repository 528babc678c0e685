//! The type `queues.grantee`: a role or public, to which a task type is granted. It is stored as an OID, and its text form
//! is a name; see `sql/48_provider.sql`.

use crate::pg::{catalog, log};
use pgrx::pg_sys::Oid;

/// The OID of a role, or one of the constants below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grantee(Oid);

const PUBLIC: Grantee = Grantee(Oid::from_u32(0));
/// Stands for a role that does not exist.
const NOBODY: Grantee = Grantee(Oid::from_u32(u32::MAX));

/// No role can have these names.
const PUBLIC_NAME: &str = "public";
const NOBODY_NAME: &str = "none";

impl Grantee {
    /// The role of this name; `None` if there is none.
    pub fn named(name: &str) -> Option<Grantee> {
        match name {
            PUBLIC_NAME => Some(PUBLIC),
            NOBODY_NAME => Some(NOBODY),
            _ => catalog::role(name).map(|role| Grantee(role.oid)),
        }
    }

    /// The role of this name. Warns if there is none.
    pub fn read(name: &str) -> Grantee {
        Grantee::named(name).unwrap_or_else(|| {
            log::warn(
                format!("role \"{name}\" does not exist, nothing is granted to it"),
                "Create the role, and write it to granted_to again.".into(),
            );
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

    /// The current name of the role.
    pub fn name(self) -> String {
        match self {
            PUBLIC => PUBLIC_NAME.to_owned(),
            Grantee(role) => catalog::role_name(role).unwrap_or_else(|| NOBODY_NAME.to_owned()),
        }
    }

    /// True if the current user has the privileges of this grantee.
    pub fn is_current_user(self) -> bool {
        match self {
            PUBLIC => true,
            NOBODY => false,
            Grantee(role) => catalog::has_rights_of(role),
        }
    }
}
