//! The limits of task types, and what counts towards them.

use crate::ids::DatabaseId;
use crate::limiter::{InFlight, Terms};

/// The length of a task type in a slot, in bytes.
pub(crate) const SHOWN: usize = 64;

/// The limits of a task type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StartLimits {
    /// The account of the type, its rate and, as `max_in_flight`, the limit of running tasks.
    pub terms: Terms,
    /// True if its tasks are sent to a provider.
    pub calls: bool,
}

/// The account of a task type in a database, which is never 0 (FNV-1a). Only the part of the name counts that a slot
/// shows.
pub fn type_account(database: DatabaseId, task_type: &str) -> u64 {
    let task_type = &task_type[..task_type.floor_char_boundary(SHOWN)];
    let seed = 0xcbf2_9ce4_8422_2325 ^ u64::from(database.get());
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    task_type.bytes().fold(step(seed, 0xff), step).max(1)
}

/// The tasks of a worker that are between the steps of their calls, by the accounts of their types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Starts {
    pub(crate) counts: InFlight,
    /// Tasks of further types, for which there was no room. They count for every type.
    pub(crate) others: u32,
}

impl Starts {
    pub const NONE: Starts = Starts { counts: InFlight::NONE, others: 0 };

    pub fn add(&mut self, account: u64) {
        if !self.counts.try_add(account) {
            self.others += 1;
        }
    }

    pub(crate) fn of(&self, account: u64) -> u32 {
        self.counts.of(account) + self.others
    }
}

/// The number of starts that all sessions can have reserved at once.
pub(crate) const MAX_OUTSIDE: usize = 32;

/// A start that a session has reserved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct OutsideStart {
    pub database: DatabaseId,
    pub account: u64,
    /// The process ID of the session; 0 for a free entry.
    pub session: i32,
}

impl OutsideStart {
    pub const FREE: OutsideStart = OutsideStart { database: DatabaseId::NONE, account: 0, session: 0 };
}
