//! Send: adds the request of a prepared call to a batch, and passes flushed batches to the threads.

use super::batch::{Batch, Member};
use super::credentials::{Equipped, equip};
use super::network;
use super::state::{Calls, SentBatch};
use crate::config;
use crate::processor::OpenBatches;
use crate::provider;
use crate::shared::TaskId;
use crate::task_definition::TaskDefinitions;
use pg_errand_calls::job::Job;
use pg_errand_calls::network::Network;
use pg_errand_calls::prepared::Prepared;
use std::sync::Arc;

impl Calls {
    /// Sends a stored request after it has been flushed.
    pub fn send(&mut self, task_id: TaskId, prepared: Prepared) {
        let Prepared { provider, request, .. } = prepared;
        // If a batch has room, the provider's rate limit was not consulted for this request.
        let admitted = !self.have_room_for(&provider);
        let mut batches = self.unflushed.iter_mut().filter(|batch| batch.admitted);
        let fitting = batches.find_map(|batch| batch.takes(&provider, &request).then_some(batch));
        let member = Member::new(task_id, request);
        match fitting {
            Some(batch) => batch.members.push(member),
            None => self.unflushed.push(Batch { admitted, ..Batch::new(provider, member) }),
        }
        self.note_unflushed();
    }

    /// Passes a flushed batch to a thread.
    pub(super) fn send_flushed(&mut self, mut batch: Batch) {
        match equip(&mut batch) {
            Ok(equipped) => self.start(batch, equipped),
            Err(reason) => {
                let provider = batch.provider.name.clone();
                batch.tasks().for_each(|task_id| {
                    self.add_unstored(task_id, &provider, Err(reason.clone().into()));
                });
            }
        }
    }

    fn start(&mut self, batch: Batch, equipped: Equipped) {
        let Equipped { request, credentials } = equipped;
        let provider = batch.provider.clone();
        let timeout = provider.timeout_of(&request, config::CALL_TIMEOUT.duration());
        let repeatable = batch.is_resumable;
        let lane = TaskDefinitions::known().lane_of_provider(&provider.name);
        let room = self.room_for(lane, &batch);
        let id = batch.id();
        if batch.is_for_a_host() && self.calls_to(batch.account) == 0 {
            self.pace.begin_host(batch.account);
        }
        self.in_flight.insert(id, SentBatch { lane, terms: batch.terms(), batch });
        let job = Job {
            id: id.get(),
            trusted_base: provider::trusted_base_url(&provider),
            provider,
            request,
            credentials: credentials.added,
            timeout,
            network: self.network(),
            client_certificate: credentials.client_certificate,
            repeatable,
        };
        self.pool.start(job, room);
    }

    /// The network settings: those of the last call, unless they have changed.
    fn network(&mut self) -> Arc<Network> {
        let network = network::as_set();
        if *self.network != network {
            self.network = Arc::new(network);
        }
        self.network.clone()
    }
}
