//! What an entry counts.

/// What an entry counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing: the entry tells until when the history of a database was written.
    Database = 0,
    /// The tasks of a type.
    Tasks = 1,
    /// The invocations of a handler by tasks of a type.
    Handler = 2,
    /// The calls of tasks of a type to a provider.
    Calls = 3,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Database, Kind::Tasks, Kind::Handler, Kind::Calls];
}

/// As which handler of a task a function is invoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    DbFunction = 0,
    BeforeHandler = 1,
    SuccessHandler = 2,
    ErrorHandler = 3,
}

impl Role {
    pub const ALL: [Role; 4] =
        [Role::DbFunction, Role::BeforeHandler, Role::SuccessHandler, Role::ErrorHandler];

    /// The key of the payload that names the handler.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::DbFunction => "db_function",
            Role::BeforeHandler => "before_handler",
            Role::SuccessHandler => "success_handler",
            Role::ErrorHandler => "error_handler",
        }
    }

    pub fn named(name: &str) -> Option<Role> {
        match name {
            "db_function" => Some(Role::DbFunction),
            "before_handler" => Some(Role::BeforeHandler),
            "success_handler" => Some(Role::SuccessHandler),
            "error_handler" => Some(Role::ErrorHandler),
            _ => None,
        }
    }
}

/// What identifies an entry.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub database: u32,
    pub kind: Kind,
    pub task_type: &'a str,
    /// The name of the handler or of the provider.
    pub name: &'a str,
    pub role: Role,
}

impl<'a> Key<'a> {
    pub const fn of_database(database: u32) -> Self {
        Key { database, kind: Kind::Database, task_type: "", name: "", role: Role::DbFunction }
    }

    pub const fn of_tasks(database: u32, task_type: &'a str) -> Self {
        Key { database, kind: Kind::Tasks, task_type, name: "", role: Role::DbFunction }
    }

    pub const fn of_handler(database: u32, task_type: &'a str, role: Role, name: &'a str) -> Self {
        Key { database, kind: Kind::Handler, task_type, name, role }
    }

    pub const fn of_calls(database: u32, task_type: &'a str, provider: &'a str) -> Self {
        Key { database, kind: Kind::Calls, task_type, name: provider, role: Role::DbFunction }
    }

    /// The number that stands for the key; never 0. The names count in full, although an entry shows only their beginning.
    pub fn digest(&self) -> u64 {
        let start = 0xcbf2_9ce4_8422_2325 ^ u64::from(self.database);
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let kind = [self.kind as u8, self.role as u8];
        let bytes = kind.into_iter().chain(self.task_type.bytes()).chain([0]).chain(self.name.bytes());
        bytes.fold(start, step).max(1)
    }
}

/// The digest of a text, to find out whether it is damaged.
pub fn digest_of(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_key_counts() {
        let keys = [
            Key::of_database(1),
            Key::of_database(2),
            Key::of_tasks(1, "a"),
            Key::of_tasks(1, "ab"),
            Key::of_calls(1, "a", "b"),
            Key::of_handler(1, "a", Role::DbFunction, "b"),
            Key::of_handler(1, "a", Role::ErrorHandler, "b"),
            Key::of_handler(1, "", Role::ErrorHandler, "ab"),
        ];
        let mut digests: Vec<u64> = keys.iter().map(Key::digest).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), keys.len());
    }

    #[test]
    fn roles_have_the_names_of_payloads() {
        assert!(Role::ALL.into_iter().all(|role| Role::named(role.as_str()) == Some(role)));
        assert_eq!(Role::named("handler"), None);
    }
}
