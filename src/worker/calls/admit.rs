//! Admit: sends queued calls as their providers admit them.

use super::queued::QueuedCall;
use super::state::Calls;
use crate::error::PgError;
use crate::pg::backend;
use crate::shared::{Admission, Terms};
use crate::task_definition::TaskDefinitions;
use std::time::{Duration, Instant};

/// A call that waits for other calls to end is tried again after this pause.
const CROWDED_PAUSE: Duration = Duration::from_millis(100);
/// A call whose provider is paused in `queues.paused` is tried again after this pause at the latest. The end of the pause is
/// announced.
const PAUSED_PAUSE: Duration = Duration::from_secs(3600);

/// Sends the queued calls that their providers admit, in order. True if any was sent.
///
/// # Errors
/// If the providers' rows cannot be read.
pub fn send_queued(calls: &mut Calls) -> Result<bool, PgError> {
    let now = Instant::now();
    if calls.queued.iter().all(|queued| queued.not_before > now || calls.is_for_others(queued)) {
        return Ok(false);
    }
    // The requests may have waited for long. Invalidation messages are processed when a transaction starts.
    TaskDefinitions::refresh()?;
    let definitions = TaskDefinitions::known();
    let before = calls.queued.len();
    let mut refused: Vec<(u64, Wait)> = Vec::new();
    let mut index = 0;
    while let Some(queued) = calls.queued.get_mut(index) {
        // The current row of the provider applies. A request that can no longer be sent fails at once.
        let is_lost = queued.batch.follow(&definitions).is_err();
        let is_paused = definitions.provider_pause(&queued.batch.provider.name).is_some();
        queued.note_pause(is_paused, now);
        let queued = &calls.queued[index];
        let account = queued.batch.account;
        // Another provider with the same account is not paused.
        let paused = is_paused.then_some(Wait { until: now + PAUSED_PAUSE, is_crowded: false });
        let known = refused.iter().find(|(known, _)| *known == account).map(|(_, wait)| *wait);
        let wait = paused.or(known).or_else(|| wait_of(calls, queued, now));
        match wait.filter(|_| !is_lost) {
            None => {
                let queued = calls.queued.remove(index);
                calls.send_flushed(queued.batch);
            }
            Some(wait) => {
                if known.is_none() && paused.is_none() {
                    refused.push((account, wait));
                }
                let queued = &mut calls.queued[index];
                (queued.not_before, queued.is_crowded) = (wait.until, wait.is_crowded);
                index += 1;
            }
        }
    }
    calls.show();
    Ok(calls.queued.len() < before)
}

#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    /// The request waits for other calls to end.
    is_crowded: bool,
}

/// How long a request has to wait; `None` if it is admitted, which counts towards the limits of its provider.
fn wait_of(calls: &Calls, queued: &QueuedCall, now: Instant) -> Option<Wait> {
    let batch = &queued.batch;
    if queued.not_before > now || calls.is_for_others(queued) {
        return Some(Wait { until: queued.not_before, is_crowded: queued.is_crowded });
    }
    let crowded = Wait { until: now + CROWDED_PAUSE, is_crowded: true };
    if batch.is_for_a_host() && !calls.host_has_room(batch.account) {
        return Some(crowded);
    }
    if let Some(until) = not_before(calls.slot.admit(&batch.terms()), now) {
        return Some(Wait { until, is_crowded: false });
    }
    // The provider's rate limit admitted the request when the request was prepared.
    let place = Terms { interval: 0, ..batch.provider_terms };
    let has_place =
        !batch.is_for_a_host() || place.max_in_flight == 0 || calls.slot.admit(&place) == Admission::Admitted;
    (!has_place).then_some(crowded)
}

/// When to request admission again; `None` if the request is admitted.
fn not_before(admission: Admission, now: Instant) -> Option<Instant> {
    match admission {
        Admission::Admitted => None,
        Admission::Wait(until) => {
            let wait = until.saturating_sub(backend::now()).max(0) as u64;
            Some(now + Duration::from_micros(wait))
        }
        Admission::Full => Some(now + CROWDED_PAUSE),
    }
}
