//! Binds the crate `pg_errand-queue` to PostgreSQL's latches and object identifiers.

pub use crate::pg::shmem::{Shared, Slot};
pub use pg_errand_queue::{
    Admission, Ageing, Aging, Announcement, Bound, Breaker, BreakerState, Busy, CallOutcome, CallState,
    CancelReply, Candidate, Class, Database, DatabaseId, EndedCall, Hindrance, InFlight, Interrupted, Key,
    KeyEntry, KeyOf, KeyPlace, LANES, Lane, LaneSet, Latch, MAX_CANCELS, MAX_SLOTS, NEVER, Next, Obstacle,
    Outside, Over, Owner, Paused, Position, ProviderState, QueuedCalls, Read, ReadKeys, Ready, Reason,
    Refusal, Rest, RoleId, Service, SetFor, Settled, SlotState, Sources, StartLimits, Starts, Surroundings,
    Sweep, TYPE_LANES, TaskId, TaskState, Terms, TypeAgeing, TypeLimits, Unavailable, type_account,
};
use pgrx::pg_sys::Oid;

pub type Queue = pg_errand_queue::Queue;

/// A number of the crate that is an object identifier in PostgreSQL.
pub trait ToOid {
    fn oid(self) -> Oid;
}

impl ToOid for DatabaseId {
    fn oid(self) -> Oid {
        Oid::from_u32(self.get())
    }
}

impl ToOid for RoleId {
    fn oid(self) -> Oid {
        Oid::from_u32(self.get())
    }
}

/// An object identifier in the form that the crate uses.
pub trait ToId {
    fn id<T: From<u32>>(self) -> T;
}

impl ToId for Oid {
    fn id<T: From<u32>>(self) -> T {
        T::from(self.to_u32())
    }
}
