//! Numbers of different types, which the compiler keeps apart, and a time that never comes.

use std::fmt::{self, Display, Formatter};

/// Defines a type of numbers.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(i64);

        impl $name {
            pub const fn new(number: i64) -> $name {
                $name(number)
            }

            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The number of a task, as in `queues.task.task_id`.
    TaskId
}
number! {
    /// The identity of a worker, as in `queues.call.owner`. Identities never repeat.
    Owner
}

/// A time that never comes, in microseconds since 2000-01-01.
pub const NEVER: i64 = i64::MAX;
