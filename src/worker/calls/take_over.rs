//! Calls whose worker is gone.

use super::held::Held;
use super::parcel::{Member, Parcel, key_of_batch};
use super::places::limit;
use crate::error::PgError;
use crate::inject;
use crate::pg::{interrupt, transaction};
use crate::task_definition::TaskDefinitions;
use crate::worker::Worker;
use crate::worker::claim::{self, Orphan};
use pg_errand_calls::provider::Provider;
use pg_errand_calls::request::Request;
use std::time::{Duration, Instant};

/// Calls that others have locked are looked for again after this time.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);

/// Takes over the calls of workers that are gone, at first and when it is `wanted`: what was answered goes on to its handler, what
/// was not is sent again, the same request with the same key.
pub fn take_over(worker: &mut Worker, wanted: bool) -> Result<bool, PgError> {
    let room = limit().saturating_sub(worker.calls.load());
    if room == 0 {
        return Ok(false);
    }
    let again = worker.calls.no_orphans_before.is_some_and(|time| time <= Instant::now());
    if !wanted && !again && worker.looked_for_orphans {
        return Ok(false);
    }
    worker.calls.no_orphans_before = None;
    worker.slot.change_database(|database| database.orphans = false);
    if !worker.looked_for_orphans {
        let last = transaction::commit_after(|| claim::last_owner(worker))?;
        worker.slot.see_owner(last.unwrap_or_default());
        worker.looked_for_orphans = true;
    }
    let found = transaction::commit_after(|| (claim::orphans(worker, room), claim::has_orphans(worker)));
    // Those that somebody has locked are no work for others.
    let locked = found.as_ref().is_ok_and(|(orphans, more)| *more && orphans.is_empty());
    if locked {
        worker.calls.no_orphans_before = Some(Instant::now() + LOCKED_PAUSE);
    } else if found.as_ref().map_or(true, |(_, more)| *more) {
        worker.slot.change_database(|database| database.orphans = true);
    }
    let (orphans, _) = found?;
    // If this process is to end, another one takes them over: see the first sending.
    worker.slot.set_in_flight(worker.calls.tasks() + orphans.len(), false);
    interrupt::check();
    let any = !orphans.is_empty();
    for group in groups(orphans) {
        inject::point("taken_over");
        adopt(worker, group);
    }
    Ok(any)
}

/// Those that went out together, in the order of the tasks.
fn groups(mut orphans: Vec<Orphan>) -> Vec<Vec<Orphan>> {
    orphans.sort_by_key(|orphan| (orphan.batch.unwrap_or(orphan.task_id), orphan.task_id));
    let mut groups: Vec<Vec<Orphan>> = Vec::new();
    for orphan in orphans {
        match groups.last_mut().filter(|group| orphan.batch.is_some() && group[0].batch == orphan.batch) {
            Some(group) => group.push(orphan),
            None => groups.push(vec![orphan]),
        }
    }
    groups
}

/// Goes on with calls that go out in one request.
fn adopt(worker: &mut Worker, group: Vec<Orphan>) {
    let (answered, open): (Vec<_>, Vec<_>) = group.into_iter().partition(|orphan| orphan.answered);
    answered.iter().for_each(|orphan| worker.calls.add_answered(orphan.task_id, None));
    let Some(first) = open.first() else { return };
    match parcel_of(first, &open) {
        Ok(parcel) => worker.calls.add_held(Held::new(parcel)),
        Err(reason) => {
            open.iter()
                .for_each(|orphan| worker.calls.add_unstored(orphan.task_id, Err(reason.clone().into())));
        }
    }
}

/// The request that is to be sent again.
///
/// # Errors
/// Why it is not.
fn parcel_of(first: &Orphan, open: &[Orphan]) -> Result<Parcel, String> {
    let nobody = || {
        format!(
            "outcome unknown: the call was cut off, and no provider {} here can send its stored request again",
            first.provider
        )
    };
    let provider = TaskDefinitions::known().provider(&first.provider).map_err(|_| nobody())?;
    let age = open.iter().map(|orphan| orphan.age).fold(first.age, f64::max);
    if !is_recognized(&provider, age) {
        return Err(format!(
            "outcome unknown: the call was cut off {age:.0} s ago, and {} does not (or no longer) recognize its idempotency key",
            provider.name
        ));
    }
    if open.len() != first.batch_size {
        return Err(format!(
            "outcome unknown: the call was cut off together with others of the same request to {}, of which some have \
             ended since; without them it is another request",
            provider.name
        ));
    }
    let members = open.iter().map(member_of).collect::<Result<Vec<_>, _>>()?;
    if first.batch.is_some() && provider.interface.batching().is_none() {
        return Err(nobody());
    }
    let key = first.batch.map(|_| key_of_batch(&first.key));
    // It may be negative, if the clock was set back.
    let age = Duration::try_from_secs_f64(age).unwrap_or_default();
    let recognized_until = Some(Parcel::recognized_until(&provider, age));
    Ok(Parcel { recognized_until, ..Parcel::stored(provider, members, key) })
}

fn member_of(orphan: &Orphan) -> Result<Member, String> {
    let request = orphan.request.as_deref().map_err(String::clone).and_then(Request::read);
    request.map(|request| Member::new(orphan.task_id, request)).map_err(|reason| {
        format!("outcome unknown: the call was cut off, and its stored request cannot be read: {reason}")
    })
}

/// True if the provider still knows the key of a request of this age in seconds. It may be negative, if the clock was
/// set back.
fn is_recognized(provider: &Provider, age: f64) -> bool {
    let memory = provider.interface.remembers_keys_for(provider);
    !memory.is_zero() && age <= memory.as_secs_f64()
}
