//! Collect: receives the outcomes of calls from the threads.

use super::batch::Batch;
use super::count;
use super::interpret::{BatchResult, interpret};
use super::logged;
use super::queued::QueuedCall;
use super::state::{Calls, SentBatch, limit};
use crate::shared::{CallOutcome, EndedCall, TaskId};
use crate::worker::pace::asked_to_wait;
use pg_errand_calls::job::Outcome;
use pg_errand_calls::request::Request;
use pg_errand_calls::response::Response;
use pg_errand_stats::Counter;
use std::time::{Duration, Instant};

/// The maximum time that a call waits at its provider's request, if the provider's row sets no limit.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(3600);

impl Calls {
    /// Receives all outcomes that are available.
    pub(super) fn collect(&mut self) {
        let before = self.in_flight.len();
        while let Some(outcome) = self.pool.outcome() {
            if let Some(sent) = self.in_flight.remove(&TaskId::new(outcome.id)) {
                self.take_in(sent, &outcome);
            }
        }
        if self.in_flight.len() < before {
            // Calls that wait for other calls to end may have a place now.
            let now = Instant::now();
            let crowded = self.queued.iter_mut().filter(|queued| queued.is_crowded);
            crowded.for_each(|queued| queued.not_before = now);
        }
    }

    fn take_in(&mut self, sent: SentBatch, outcome: &Outcome) {
        self.note_end(&sent, outcome);
        count::ended(&self.types, &sent.batch, outcome);
        let batch = sent.batch;
        // Only this status states that the request was not carried out (RFC 6585, section 4).
        let nothing_done = outcome.response.as_ref().is_ok_and(|response| response.status == 429);
        if let Some(pause) = pause(outcome, &batch) {
            self.slot.pause(batch.account, pause);
            if batch.may_be_repeated(pause, nothing_done) {
                return self.queue_again(batch, pause, nothing_done);
            }
        }
        let provider = batch.provider.clone();
        match interpret(batch, outcome) {
            BatchResult::Results(results) => {
                for (task_id, result) in results {
                    self.add_unstored(task_id, &provider.name, result);
                }
            }
            BatchResult::Refused(batch) => self.separate(batch),
        }
    }

    /// Notes how a call ended, for the pace of its lane and the circuit breaker of its provider.
    fn note_end(&mut self, sent: &SentBatch, outcome: &Outcome) {
        let is_for_a_host = sent.batch.is_for_a_host();
        let is_answered = outcome.response.as_ref().is_ok_and(Response::is_complete);
        // A host that does not respond does not slow down the other hosts of its lane.
        self.pace.note(sent.lane, is_answered || is_for_a_host, limit());
        if is_for_a_host {
            self.pace.note_host(sent.terms.account, is_answered, limit());
        }
        let call_outcome = match &outcome.response {
            Ok(response) if asked_to_wait(response).is_some() => CallOutcome::Refused,
            Ok(response)
                if is_answered && response.status < 500
                    || matches!(*sent.batch.request(), Request::Smtp(_)) =>
            {
                CallOutcome::Well
            }
            _ => CallOutcome::Badly,
        };
        let status = outcome.response.as_ref().map_or(0, |response| response.status);
        self.ended.push(EndedCall {
            terms: sent.terms,
            outcome: call_outcome,
            // The account of a host is not that of the provider.
            status: (!is_for_a_host).then_some(status),
            breaker: None,
        });
        let has_breaker = sent.terms.breaker_threshold > 0;
        self.ended_of.push(if has_breaker { sent.batch.provider_name() } else { String::new() });
    }

    /// Queues a batch whose provider requests a pause. `nothing_done`: the provider reported that it has not carried
    /// the request out.
    fn queue_again(&mut self, mut batch: Batch, pause: Duration, nothing_done: bool) {
        if !nothing_done {
            batch.note_sent();
        }
        let is_refused = batch.recognized_until.is_none();
        if batch.len() == 0 {
            return;
        }
        for task_id in batch.tasks() {
            logged::log_postponed(task_id, &batch.provider.name, pause);
            count::continued(&self.types, task_id, &batch.provider.name, Counter::Deferred);
        }
        let not_before = Instant::now() + pause;
        self.add_queued(QueuedCall { not_before, is_refused, ..QueuedCall::new(batch) });
        self.separate_incomplete();
    }
}

/// The pause that the provider requests, if a call may wait that long.
fn pause(outcome: &Outcome, batch: &Batch) -> Option<Duration> {
    let wait = asked_to_wait(outcome.response.as_ref().ok()?)?;
    let limit = batch.provider.limits.max_wait.unwrap_or(DEFAULT_MAX_WAIT);
    let waited = batch.since.elapsed().saturating_sub(batch.paused_for);
    (waited.saturating_add(wait) <= limit).then_some(wait)
}
