//! The pauses and failures of an account in a database.

use crate::ids::DatabaseId;

/// The state of an account in one database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Account {
    pub database: DatabaseId,
    /// The account, or 0 if the entry is free.
    pub id: u64,
    /// The end of the pause that the provider has requested.
    pub paused_until: i64,
    /// The end of the circuit breaker's pause. It is set when the breaker opens, and cleared when a call succeeds.
    pub broken_until: i64,
    /// The first request after a pause is in flight, and others wait for its outcome.
    pub probing: bool,
    pub failures: u32,
    /// The number of calls that have failed since the last one that went well.
    pub failed_in_a_row: u32,
    /// When a call last failed or was refused, or `i64::MIN`.
    pub failed_at: i64,
    /// The status of that response; 0 if there was none.
    pub status: u16,
    pub used_at: i64,
}

impl Account {
    pub const FREE: Account = Account {
        database: DatabaseId::NONE,
        id: 0,
        paused_until: i64::MIN,
        broken_until: i64::MIN,
        probing: false,
        failures: 0,
        failed_in_a_row: 0,
        failed_at: i64::MIN,
        status: 0,
        used_at: i64::MIN,
    };

    pub fn waits_until(&self) -> i64 {
        self.paused_until.max(self.broken_until)
    }
}
