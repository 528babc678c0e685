//! Queued calls: stored requests that wait until their provider admits them.

use super::batch::Batch;
use std::time::Instant;

/// The number of requests to hosts of a common lane that wait without delaying other calls.
pub const MAX_FOR_HOSTS: usize = 1000;
/// Size limit of those requests, in bytes.
pub const MAX_BYTES_FOR_HOSTS: usize = 64 * 1024 * 1024;

/// A request that is sent, for the first time or again, when its provider admits it.
pub struct QueuedCall {
    pub batch: Batch,
    pub not_before: Instant,
    /// The request waits for other calls to end.
    pub is_crowded: bool,
    /// The provider has refused the request for now, so the request has not been carried out.
    pub is_refused: bool,
    /// Since when a pause of the provider in `queues.paused` keeps the request from being sent.
    pub paused_since: Option<Instant>,
}

impl QueuedCall {
    /// A call that is sent as soon as possible.
    pub fn new(batch: Batch) -> QueuedCall {
        QueuedCall {
            batch,
            not_before: Instant::now(),
            is_crowded: false,
            is_refused: false,
            paused_since: None,
        }
    }

    /// Notes whether a pause in `queues.paused` keeps the request from being sent. The time does not count as waiting.
    pub fn note_pause(&mut self, is_paused: bool, now: Instant) {
        if is_paused {
            self.paused_since.get_or_insert(now);
        } else if let Some(since) = self.paused_since.take() {
            self.batch.paused_for += now.saturating_duration_since(since);
        }
    }
}
