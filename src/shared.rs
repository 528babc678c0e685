//! Binds the crate `pg_errand-queue` to PostgreSQL's latches and object identifiers.

pub use crate::pg::shmem::{Shared, Slot};
pub use pg_errand_queue::{
    Admission, Announcement, Breaker, Busy, CallOutcome, CallState, CancelReply, Candidate, Class, Database,
    DatabaseId, EndedCall, Hindrance, InFlight, Interrupted, LANES, Lane, LaneSet, Latch, MAX_CANCELS,
    MAX_SLOTS, NEVER, Next, Obstacle, Over, Owner, Position, QueuedCalls, Read, Ready, Reason, Refusal, Rest,
    RoleId, Service, SlotState, Sources, Surroundings, Sweep, TaskId, TaskState, Terms, Unavailable,
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
