//! Pauses and failures of one account in one database.

use crate::DatabaseId;

/// What has come of a database's calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Account {
    pub database: DatabaseId,
    /// 0: free.
    pub id: u64,
    /// End of the pause that the provider has asked for.
    pub paused_until: i64,
    /// End of the circuit breaker's pause; set when it opens, and cleared when a call has gone well.
    pub broken_until: i64,
    /// After a pause one request has gone out; others wait for what comes of it.
    pub probing: bool,
    pub failures: u32,
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
        used_at: i64::MIN,
    };

    pub fn waits_until(&self) -> i64 {
        self.paused_until.max(self.broken_until)
    }
}
