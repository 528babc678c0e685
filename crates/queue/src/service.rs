//! Whether the launcher lets workers serve a database.

/// What the launcher has decided about a database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Service {
    /// The launcher has not decided since it found the database.
    Undecided,
    /// Up to this many workers; 0 pauses the database.
    Workers(u32),
    /// The database is not one of those that workers serve.
    NotServed,
    Hindered(Hindrance),
}

/// Why no worker can run in a database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hindrance {
    /// The workers' role does not exist.
    NoRole,
    /// The database accepts no connections.
    NoConnections,
    /// The role lacks LOGIN.
    NoLogin,
    /// The role lacks CONNECT on the database.
    NoConnect,
    /// Transactions of the role are read-only by default.
    ReadOnly(SetFor),
}

/// For whom a setting is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SetFor {
    /// ALTER ROLE … IN DATABASE
    RoleInDatabase,
    /// ALTER ROLE
    Role,
    /// ALTER DATABASE
    Database,
    /// ALTER ROLE ALL
    AllRoles,
    /// The configuration of the server.
    Server,
}
