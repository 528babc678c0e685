//! What is to be durable before it is sent or handled.

use super::held::{Held, send_held};
use super::parcel::Parcel;
use super::{CallResult, cancel_calls};
use crate::config::LogLevel;
use crate::error::PgError;
use crate::inject;
use crate::pg::{interrupt, log, transaction};
use crate::worker::{Worker, record};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Pause after answers could not be stored.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Stores the answers that have come, makes them and the stored requests durable, and goes on with both: one
/// commit and one wait for the disk for all of them. `idle`: there is nothing else to do.
pub fn settle(worker: &mut Worker, idle: bool) -> Result<bool, PgError> {
    worker.calls.collect(worker.slot);
    if !worker.calls.is_time_to_settle(idle) {
        return Ok(false);
    }
    let stored = store_answers(worker);
    let joined = join_parcels(worker);
    transaction::wait_until_durable();
    // If this process is to end, the wait may have been broken off: another one goes on.
    interrupt::check();
    // It may have been a long one.
    cancel_calls(worker, true)?;
    inject::point("durable");
    if !worker.calls.ready.is_empty() {
        inject::point("call_stored");
    }
    if !worker.calls.unstored.is_empty() {
        inject::point("answer_stored");
    }
    worker.calls.unsettled_since = None;
    if stored {
        // First, since a request that cannot be sent has its answer at once.
        for (task_id, result) in std::mem::take(&mut worker.calls.unstored) {
            worker.calls.add_answered(task_id, Some(result));
        }
    } else {
        worker.calls.unsettled_since = Some(Instant::now());
    }
    for parcel in std::mem::take(&mut worker.calls.ready) {
        let is_to_be_joined = !joined || parcel.key.is_some() && parcel.is_incomplete();
        if is_to_be_joined && parcel.is_to_be_joined() {
            worker.calls.ready.push(parcel);
            worker.calls.note_unsettled();
        } else if parcel.admitted && !parcel.is_for_a_host() {
            worker.calls.send_stored(parcel);
        } else {
            worker.calls.add_held(Held::new(parcel));
        }
    }
    worker.show_calls();
    // What its provider has not been asked for, or its host may not be sent.
    send_held(worker)?;
    Ok(true)
}

/// Stores which requests go out together, before they do: whoever has to send them again sends the same.
/// False if that could not be done; then they are kept.
fn join_parcels(worker: &mut Worker) -> bool {
    if !worker.calls.ready.iter().any(Parcel::is_to_be_joined) {
        return true;
    }
    let mut ready = std::mem::take(&mut worker.calls.ready);
    let joined = transaction::commit_after(|| {
        for parcel in ready.iter_mut().filter(|parcel| parcel.is_to_be_joined()) {
            parcel.members.retain(|member| !member.given_up);
            parcel.members.sort_by_key(|member| member.task_id);
            let tasks: Vec<i64> = parcel.tasks().collect();
            parcel.join(&record::join_calls(worker, &tasks, !parcel.alone));
        }
        transaction::commit_asynchronously();
    });
    ready.retain(|parcel| !parcel.members.is_empty());
    worker.calls.ready = ready;
    inject::point("joined");
    if let Err(error) = &joined {
        worker.calls.store_not_before = Some(Instant::now() + STORE_PAUSE);
        worker.faults.say("calls cannot be joined", error);
    }
    joined.is_ok()
}

/// False if it could not be done; the answers are kept, and meanwhile other tasks can run.
fn store_answers(worker: &mut Worker) -> bool {
    if worker.calls.unstored.is_empty() {
        return true;
    }
    inject::point("answered");
    let mut unstored = std::mem::take(&mut worker.calls.unstored);
    let stored = transaction::commit_after(|| {
        let answers: Vec<_> =
            unstored.iter_mut().map(|(task_id, result)| storable(*task_id, result)).collect();
        record::answers(worker, &answers);
        transaction::commit_asynchronously();
    });
    worker.calls.unstored = unstored;
    inject::point("answer_committed");
    if let Err(error) = &stored {
        worker.calls.store_not_before = Some(Instant::now() + STORE_PAUSE);
        worker.faults.say("answers cannot be stored", error);
    }
    stored.is_ok()
}

/// A response that no jsonb can hold (a number out of range) changes nothing about what was done: its body is kept as a
/// string of JSON; if that is not possible either, only its status is.
fn storable(task_id: i64, result: &mut CallResult) -> record::Answer {
    // What handlers and the error table get is what is stored: without U+0000.
    if let Err(failure) = result {
        failure.message = failure.message.replace('\0', "\u{fffd}");
    }
    let try_to_store = |result: &CallResult| transaction::savepoint(|| record::Answer::new(task_id, result));
    let error = match try_to_store(result) {
        Ok(answer) => return answer,
        Err(error) => error,
    };
    let warning = format!("the response cannot be stored as it is: {}", error.message);
    log::event(LogLevel::Warning, format!("{warning} task_id={task_id}"));
    let Some(response) = response(result) else { return record::Answer::new(task_id, result) };
    record::keep_as_text(response, &warning);
    try_to_store(result).unwrap_or_else(|_| {
        if let Some(response) = self::response(result) {
            *response = json!({ "status": response.get("status"), "warning": warning });
        }
        record::Answer::new(task_id, result)
    })
}

/// The response that is kept.
fn response(result: &mut CallResult) -> Option<&mut Value> {
    match result {
        Ok(answer) => Some(answer),
        Err(failure) => failure.response.as_mut(),
    }
}
