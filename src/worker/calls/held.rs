//! Calls that wait until their provider lets them pass.

use super::parcel::Parcel;
use crate::pg::backend;
use crate::shared::{Admission, Terms};
use crate::worker::Worker;
use std::time::{Duration, Instant};

/// A call that waits for the end of others is tried again so often.
const FULL_LOOK: Duration = Duration::from_millis(100);

/// A request that is to be sent (again) when its provider lets it.
pub struct Held {
    pub parcel: Parcel,
    pub not_before: Instant,
}

/// Sends what was held, in order, as far as the providers let it. True if anything was sent.
pub fn send_held(worker: &mut Worker) -> bool {
    let now = Instant::now();
    if worker.calls.held.iter().all(|held| held.not_before > now) {
        return false;
    }
    let mut refused: Vec<(u64, Instant)> = Vec::new();
    let mut sent = false;
    for mut held in std::mem::take(&mut worker.calls.held) {
        let account = held.parcel.account();
        if let Some((_, until)) = refused.iter().find(|(known, _)| *known == account) {
            held.not_before = *until;
        } else if held.not_before <= now {
            let terms = Terms { account, ..held.parcel.service.terms() };
            match not_before(worker.slot.admit(&terms), now) {
                None => {
                    worker.calls.send_stored(held.parcel);
                    sent = true;
                    continue;
                }
                Some(until) => {
                    held.not_before = until;
                    refused.push((account, until));
                }
            }
        }
        worker.calls.held.push(held);
    }
    worker.show_calls();
    sent
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
