//! Starts worker processes.

use super::desired::Desired;
use crate::inject;
use crate::pg::{bgworker, shmem};
use crate::shared::ToId;

/// A worker process that the launcher has started and that may not have attached to its slot yet.
pub struct Started {
    pub generation: u32,
    pub handle: bgworker::Handle,
}

/// Starts a worker and returns its slot; `None` if no slot is free or `max_worker_processes` is reached.
pub fn start(desired: &Desired, now: i64) -> Option<(usize, Started)> {
    let (slot, generation) = shmem::write(|shared| {
        let slot = shared.allocate(desired.oid.id(), desired.settings, now)?;
        shared.slots[slot].role = desired.role.id();
        shared.slots[slot].stored_settings = desired.stored_settings;
        // This precedes the start, since the worker may find more tasks than it can process before the launcher
        // continues.
        shared.expect_worker(desired.oid.id(), now);
        Some((slot, shared.slots[slot].generation))
    })?;
    inject::point("allocated");
    let handle = bgworker::start(&bgworker::Registration {
        name: "pg_errand worker",
        kind: "pg_errand worker",
        function: "pg_errand_worker_main",
        argument: slot as i32,
        restart_after: None,
    });
    let Some(handle) = handle else {
        shmem::write(|shared| shared.return_slot(slot));
        return None;
    };
    Some((slot, Started { generation, handle }))
}
