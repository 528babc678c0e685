//! The rows of `queues.call`: all statements of the worker that read or write them.

mod orphans;
mod resume;
mod write;

pub use orphans::{Orphan, exist as has_orphans, last_owner, take as take_orphans};
pub use resume::{StoredCall, is_open, lock_answered};
pub use write::{
    JoinedCall, NewCall, StoredResponse, end, end_directly, join, remove_earlier, store_responses,
};
