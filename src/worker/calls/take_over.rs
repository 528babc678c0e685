//! Take-over: continues orphaned calls, whose workers no longer exist.

use super::batch::{Batch, Member, key_of_batch};
use super::queued::QueuedCall;
use super::rows::{self, Orphan};
use super::state::{Calls, limit};
use crate::error::PgError;
use crate::inject;
use crate::pg::{interrupt, transaction};
use crate::task_definition::TaskDefinitions;
use pg_errand_calls::provider::Provider;
use pg_errand_calls::request::Request;
use std::time::{Duration, Instant};

/// Orphaned calls that other sessions have locked are searched for again after this time.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);

/// Takes over orphaned calls in a worker's first turn and when `wanted`. Answered calls continue with their handlers;
/// for others, the same request is sent again with the same key. True if there were any.
pub fn take_over(calls: &mut Calls, wanted: bool) -> Result<bool, PgError> {
    let room = limit().saturating_sub(calls.load());
    if room == 0 {
        return Ok(false);
    }
    let again = calls.no_orphans_before.is_some_and(|time| time <= Instant::now());
    if !wanted && !again && calls.has_looked_for_orphans {
        return Ok(false);
    }
    let slot = calls.slot;
    let orphanings = slot.begin_take_over();
    let taken = take_over_some(calls, room);
    // The calls that were taken over count from here on.
    calls.show();
    slot.end_take_over(matches!(taken, Ok(Taken { more: false, .. })).then_some(orphanings));
    Ok(taken?.any)
}

/// What a search for orphaned calls has found.
struct Taken {
    any: bool,
    /// Further calls are orphaned.
    more: bool,
}

fn take_over_some(calls: &mut Calls, room: usize) -> Result<Taken, PgError> {
    let (slot, tables) = (calls.slot, calls.tables);
    calls.no_orphans_before = None;
    if !calls.has_looked_for_orphans {
        let last = transaction::commit_after(|| rows::last_owner(&tables))?;
        slot.see_owner(last.unwrap_or_default());
        calls.has_looked_for_orphans = true;
    }
    let found = transaction::commit_after(|| {
        (rows::take_orphans(slot, &tables, room), rows::has_orphans(slot, &tables))
    });
    // Orphaned calls that a session has locked are not available to other workers.
    let are_locked = found.as_ref().is_ok_and(|(orphans, more)| *more && orphans.is_empty());
    if are_locked {
        calls.no_orphans_before = Some(Instant::now() + LOCKED_PAUSE);
    } else if found.as_ref().map_or(true, |(_, more)| *more) {
        slot.change_database(|database| database.orphans = true);
    }
    let (orphans, more) = found?;
    // If this process is about to exit, another worker takes these calls over.
    slot.set_in_flight(calls.tasks() + orphans.len(), &calls.queued_calls(), false);
    interrupt::check();
    let any = !orphans.is_empty();
    for group in groups(orphans) {
        inject::point("taken_over");
        resume(calls, group);
    }
    Ok(Taken { any, more })
}

/// The calls of each batch, in the order of the tasks.
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

/// Continues the calls of a batch.
fn resume(calls: &mut Calls, group: Vec<Orphan>) {
    group.iter().for_each(|orphan| calls.note_type(orphan.task_id, &orphan.task_type, None));
    let (answered, open): (Vec<_>, Vec<_>) = group.into_iter().partition(|orphan| orphan.answered);
    answered.iter().for_each(|orphan| calls.answered.add(orphan.task_id, None));
    let Some(first) = open.first() else { return };
    match batch_of(first, &open) {
        Ok(batch) => calls.add_queued(QueuedCall::new(batch)),
        Err(reason) => {
            open.iter().for_each(|orphan| {
                calls.add_unstored(orphan.task_id, &orphan.provider, Err(reason.clone().into()));
            });
        }
    }
}

/// Builds the batch that is sent again.
///
/// # Errors
/// If the batch cannot be sent again.
fn batch_of(first: &Orphan, open: &[Orphan]) -> Result<Batch, String> {
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
    // The age is negative if the clock was set back.
    let age = Duration::try_from_secs_f64(age).unwrap_or_default();
    let recognized_until = Some(Batch::recognized_until(&provider, age));
    Ok(Batch { recognized_until, ..Batch::stored(provider, members, key) })
}

fn member_of(orphan: &Orphan) -> Result<Member, String> {
    let request = orphan.request.as_deref().map_err(String::clone).and_then(Request::read);
    request.map(|request| Member::new(orphan.task_id, request)).map_err(|reason| {
        format!("outcome unknown: the call was cut off, and its stored request cannot be read: {reason}")
    })
}

/// True if the provider still recognizes the key of a request of this age in seconds. The age is negative if the clock
/// was set back.
fn is_recognized(provider: &Provider, age: f64) -> bool {
    let memory = provider.interface.remembers_keys_for(provider);
    !memory.is_zero() && age <= memory.as_secs_f64()
}
