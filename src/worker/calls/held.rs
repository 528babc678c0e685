//! Calls that wait until their provider lets them pass.

use super::Calls;
use super::parcel::Parcel;
use crate::error::PgError;
use crate::pg::backend;
use crate::shared::{Admission, Terms};
use crate::task_definition::TaskDefinitions;
use crate::worker::Worker;
use std::time::{Duration, Instant};

/// A call that waits for the end of others is tried again so often.
const FULL_LOOK: Duration = Duration::from_millis(100);

/// So many requests to hosts of a common lane wait without holding up others,
pub const MOST: usize = 1000;
/// as long as they have so many bytes.
pub const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A request that is to be sent (again) when its provider lets it.
pub struct Held {
    pub parcel: Parcel,
    pub not_before: Instant,
    /// It waits for the end of other calls.
    pub crowded: bool,
    /// The provider has refused it for now, so it has done nothing.
    pub refused: bool,
}

impl Held {
    /// One that is to be sent as soon as may be.
    pub fn new(parcel: Parcel) -> Held {
        Held { parcel, not_before: Instant::now(), crowded: false, refused: false }
    }
}

/// Calls have ended: there may be room.
pub fn look_again(all: &mut [Held]) {
    let now = Instant::now();
    all.iter_mut().filter(|held| held.crowded).for_each(|held| held.not_before = now);
}

/// A turn of the worker begins. `resumes`: counts the ends of providers' pauses; `retiring`: it is to leave.
pub fn begin_turn(calls: &mut Calls, resumes: u64, retiring: bool) {
    let now = Instant::now();
    calls.looked_at = now;
    calls.retiring = retiring;
    if std::mem::replace(&mut calls.resumes, resumes) != resumes {
        calls.held.iter_mut().for_each(|held| held.not_before = now);
    }
}

/// Sends what was held, in order, as far as the providers let it. True if anything was sent.
///
/// # Errors
/// When the providers' rows cannot be read.
pub fn send_held(worker: &mut Worker) -> Result<bool, PgError> {
    let now = Instant::now();
    let calls = &worker.calls;
    if calls.held.iter().all(|held| held.not_before > now || calls.is_for_others(held)) {
        return Ok(false);
    }
    // The requests may have waited for long. Invalidation messages are processed when a transaction starts.
    TaskDefinitions::refresh()?;
    let kinds = TaskDefinitions::known();
    let before = worker.calls.held.len();
    let mut refused: Vec<(u64, Wait)> = Vec::new();
    let mut place = 0;
    while let Some(held) = worker.calls.held.get_mut(place) {
        // What its row allows now counts. A request that can no longer be sent need not wait to be told so.
        let is_lost = held.parcel.follow(&kinds).is_err();
        let held = &worker.calls.held[place];
        let account = held.parcel.account;
        let known = refused.iter().find(|(known, _)| *known == account).map(|(_, wait)| *wait);
        match known.or_else(|| wait_of(worker, held, now)).filter(|_| !is_lost) {
            None => {
                let held = worker.calls.held.remove(place);
                worker.calls.send_stored(held.parcel);
            }
            Some(wait) => {
                if known.is_none() {
                    refused.push((account, wait));
                }
                let held = &mut worker.calls.held[place];
                (held.not_before, held.crowded) = (wait.until, wait.crowded);
                place += 1;
            }
        }
    }
    worker.show_calls();
    Ok(worker.calls.held.len() < before)
}

#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    /// For the end of other calls.
    crowded: bool,
}

/// How long a request has still to wait; `None`: it may go, and counts.
fn wait_of(worker: &Worker, held: &Held, now: Instant) -> Option<Wait> {
    let parcel = &held.parcel;
    if held.not_before > now || worker.calls.is_for_others(held) {
        return Some(Wait { until: held.not_before, crowded: held.crowded });
    }
    let crowded = Wait { until: now + FULL_LOOK, crowded: true };
    if parcel.is_for_a_host() && !worker.calls.host_has_room(parcel.account) {
        return Some(crowded);
    }
    if let Some(until) = not_before(worker.slot.admit(&parcel.terms()), now) {
        return Some(Wait { until, crowded: false });
    }
    // Its rate was looked at when it was prepared.
    let place = Terms { interval: 0, ..parcel.of_service };
    let has_place = !parcel.is_for_a_host()
        || place.max_in_flight == 0
        || worker.slot.admit(&place) == Admission::Admitted;
    (!has_place).then_some(crowded)
}

/// When to ask again; `None`: it may go.
fn not_before(admission: Admission, now: Instant) -> Option<Instant> {
    match admission {
        Admission::Admitted => None,
        Admission::Wait(until) => {
            let wait = until.saturating_sub(backend::now()).max(0) as u64;
            Some(now + Duration::from_micros(wait))
        }
        Admission::Full => Some(now + FULL_LOOK),
    }
}
