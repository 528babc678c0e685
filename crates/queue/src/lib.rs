//! The state that the launcher, the workers and every backend that enqueues share.
//!
//! This is plain data for shared memory, and the decisions that are made under its lock. No code here allocates or
//! fails, since part of it runs in the middle of commits. The crate does not depend on PostgreSQL: its user defines the
//! type of latches, and the sizes of the tables and windows.
//!
//! All of it is a hint, or derived from live processes. Rows and row locks alone decide which worker may run a task and
//! whether the task has ended. A lost or stale entry delays a task, but never loses it.

mod address;
mod ageing;
mod announcement;
mod cancels;
mod database;
mod flow;
mod hand_out;
mod held;
mod ids;
mod journal;
mod key_line;
mod key_rates;
mod keys;
mod lane;
mod latch;
mod limiter;
mod limits;
mod line;
mod numbers;
mod obstacle;
mod outside;
mod pause;
mod phase;
mod position;
mod queue;
mod reason;
mod retained;
mod service;
mod shared;
mod sizes;
mod slot;
mod sources;
mod staff;
mod starts;
mod text;
mod waking;

pub use address::Address;
pub use ageing::{Ageing, TypeAgeing};
pub use announcement::{Announcement, MAX_SINGLE};
pub use database::Database;
pub use flow::EndedCall;
pub use hand_out::Unavailable;
pub use held::QueuedCalls;
pub use ids::{DatabaseId, RoleId, TableId};
pub use journal::{Interrupted, Journal, MAX_REMEMBERED, RunEnd};
pub use key_line::{Key, KeyEntry, KeyLine, KeyPlace, ReadKeys, ShownKey};
pub use lane::{LANES, Lane, LaneSet, TYPE_LANES};
pub use latch::Latch;
pub use limiter::{
    Admission, Breaker, BreakerState, CallOutcome, InFlight, MAX_ACCOUNTS, ProviderState, Refusal, Terms,
};
pub use limits::{StartLimits, Starts, type_account};
#[cfg(feature = "inspect")]
pub use line::{Known, Line, NOBODY};
pub use numbers::{NEVER, Owner, TaskId};
pub use obstacle::{Bound, Busy, KeyOf, Obstacle, Ready};
pub use outside::Outside;
pub use phase::Phase;
pub use position::{Candidate, Class, Position};
pub use queue::sweep::Sweep;
pub use queue::{CALL_WINDOW, Next, Queue, Read, WINDOW};
pub use reason::{CallState, Paused, Reason, Surroundings, TaskState};
pub use retained::{Aging, Retained, Settled};
pub use service::{Hindrance, Service, SetFor};
pub use shared::{Rest, Shared};
pub use sizes::{MAX_CANCELS, MAX_DATABASES, MAX_QUIESCERS, MAX_RECENT, MAX_SLOTS};
pub use slot::{CancelReply, Over, Slot, SlotState};
pub use sources::{Sources, TypeLimits};
pub use text::Text;

#[cfg(test)]
mod tests;
