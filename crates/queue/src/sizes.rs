//! The sizes of the tables in shared memory.

/// The number of worker processes of all databases, which is the maximum of `pg_errand.max_workers`.
pub const MAX_SLOTS: usize = 128;
/// The number of databases with the extension that are known at once.
pub const MAX_DATABASES: usize = 512;
/// The number of cancelled calls that can wait for one worker.
pub const MAX_CANCELS: usize = 64;
/// The number of sessions that can quiesce one database at the same time.
pub const MAX_QUIESCERS: usize = 8;
/// The number of last tasks that a slot keeps.
pub const MAX_RECENT: usize = 64;
