//! Start: gives a slot to a new worker process.

use super::desired::Desired;
use crate::inject;
use crate::pg::{bgworker, shmem};
use crate::shared::ToId;

/// A worker process that this launcher has started.
pub struct Started {
    pub generation: u32,
    pub handle: bgworker::Handle,
}

/// Starts a worker; its slot, or `None` if the server has no place for it.
pub fn start(desired: &Desired, now: i64) -> Option<(usize, Started)> {
    let (slot, generation) = shmem::write(|shared| {
        let slot = shared.allocate(desired.oid.id(), desired.settings, now)?;
        shared.slots[slot].role = desired.role.id();
        shared.slots[slot].stored_settings = desired.stored_settings;
        // Not later: it may have found more work than it can do before this process goes on.
        shared.expect_worker(desired.oid.id(), now);
        Some((slot, shared.slots[slot].generation))
    })?;
    inject::point("allocated");
    let handle = bgworker::start(&bgworker::Registration {
        name: "pg_errand worker",
        kind: "pg_errand worker",
        function: "errand_worker_main",
        argument: slot as i32,
        restart_after: None,
    });
    let Some(handle) = handle else {
        shmem::write(|shared| shared.return_slot(slot));
        return None;
    };
    Some((slot, Started { generation, handle }))
}
