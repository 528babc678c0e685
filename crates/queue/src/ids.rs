//! Identifiers of PostgreSQL's objects, with a type for each class of objects.

use std::fmt::{self, Display, Formatter};

/// Defines the type of identifiers of one class. 0 means none, as in PostgreSQL.
macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(u32);

        impl $name {
            pub const NONE: $name = $name(0);

            pub const fn new(oid: u32) -> $name {
                $name(oid)
            }

            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl From<u32> for $name {
            fn from(oid: u32) -> $name {
                $name(oid)
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

object_id! {
    /// A database of the server.
    DatabaseId
}
object_id! {
    /// A role of the server.
    RoleId
}
object_id! {
    /// A table of a database.
    TableId
}
