//! The state that the launcher, the workers and every backend that enqueues share.
//!
//! This is plain data for shared memory, and the decisions that are made under its lock. No code here allocates or
//! fails, since part of it runs in the middle of commits. The crate does not depend on PostgreSQL: its user defines the
//! type of latches, and the sizes of the tables and windows.
//!
//! All of it is a hint, or derived from live processes. Rows and row locks alone decide which worker may run a task and
//! whether the task has ended. A lost or stale entry delays a task, but never loses it.

mod address;
mod announcement;
mod cancels;
mod database;
mod flow;
mod hand_out;
mod held;
mod ids;
mod journal;
mod lane;
mod latch;
mod limiter;
mod line;
mod numbers;
mod obstacle;
mod phase;
mod position;
mod queue;
mod reason;
mod service;
mod shared;
mod sizes;
mod slot;
mod staff;
mod text;
mod waking;

pub use address::Address;
pub use announcement::{Announcement, MAX_SINGLE};
pub use database::Database;
pub use flow::EndedCall;
pub use hand_out::Unavailable;
pub use held::QueuedCalls;
pub use ids::{DatabaseId, RoleId, TableId};
pub use journal::{Interrupted, Journal, MAX_REMEMBERED, RunEnd};
pub use lane::{LANES, Lane, LaneSet, Sources};
pub use latch::Latch;
pub use limiter::{Admission, Breaker, CallOutcome, InFlight, MAX_ACCOUNTS, Refusal, Terms};
#[cfg(feature = "inspect")]
pub use line::{Known, Line, NOBODY};
pub use numbers::{NEVER, Owner, TaskId};
pub use obstacle::{Busy, Obstacle, Ready};
pub use phase::Phase;
pub use position::{Candidate, Class, Position};
pub use queue::sweep::Sweep;
pub use queue::{CALL_WINDOW, Next, Queue, Read, WINDOW};
pub use reason::{CallState, Reason, Surroundings, TaskState};
pub use service::{Hindrance, Service};
pub use shared::{Rest, Shared};
pub use sizes::{MAX_CANCELS, MAX_DATABASES, MAX_QUIESCERS, MAX_RECENT, MAX_SLOTS};
pub use slot::{CancelReply, Over, Slot, SlotState};
pub use text::Text;

#[cfg(test)]
mod tests;
