//! Flush: writes requests to disk before they are sent, and responses before they are processed.

use super::admit::send_queued;
use super::batch::Batch;
use super::cancel::cancel_calls;
use super::queued::QueuedCall;
use super::result::{CallResult, response_mut};
use super::rows::{self, StoredResponse};
use super::state::Calls;
use super::storable::keep_as_text;
use crate::config::LogLevel;
use crate::error::PgError;
use crate::inject;
use crate::line::Line;
use crate::pg::{interrupt, log, transaction};
use crate::shared::TaskId;
use crate::task_definition::TaskDefinitions;
use serde_json::json;
use std::time::{Duration, Instant};

/// The number of open calls from which on a flush waits for further calls.
const GROUP_FROM: usize = 16;
/// The time that a flush waits for further calls.
const GROUP_TIME: Duration = Duration::from_millis(5);
/// The number of calls that are flushed without waiting for more.
const GROUP_SIZE: usize = 32;
/// The time that a flush waits while other requests can join a batch.
const BATCH_TIME: Duration = Duration::from_millis(100);
/// The pause after results could not be stored.
const STORE_PAUSE: Duration = Duration::from_secs(1);

impl Calls {
    /// The number of calls that have to be flushed.
    pub(super) fn unflushed_len(&self) -> usize {
        self.unflushed.iter().map(Batch::len).sum::<usize>() + self.unstored.len()
    }

    /// The latest time at which they are flushed.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.unflushed_since.map(|since| since + self.group().1).max(self.store_not_before)
    }

    /// How many calls are flushed together, and the maximum time that the flush waits for them.
    fn group(&self) -> (usize, Duration) {
        if self.unflushed.iter().any(|batch| batch.has_room_for(&batch.provider)) {
            (usize::MAX, BATCH_TIME)
        } else {
            (GROUP_SIZE, GROUP_TIME)
        }
    }

    /// True if it is time to flush. `is_idle`: the worker has nothing else to do.
    fn is_time_to_flush(&self, is_idle: bool) -> bool {
        let Some(since) = self.unflushed_since.filter(|_| self.unflushed_len() > 0) else { return false };
        if self.store_not_before.is_some_and(|time| time > Instant::now()) {
            return false;
        }
        let (size, time) = self.group();
        self.unflushed_len() >= size
            || since.elapsed() >= time
            || is_idle && self.in_flight.len() + self.queued.len() + self.answered.len() < GROUP_FROM
    }
}

/// Stores the results that have arrived and flushes them together with the stored requests, with one commit and one
/// flush of WAL for all of them. Then sends the requests and marks the calls with results as answered. True if anything
/// was flushed. `is_idle`: the worker has nothing else to do.
pub fn flush(calls: &mut Calls, is_idle: bool) -> Result<bool, PgError> {
    calls.collect();
    if !calls.is_time_to_flush(is_idle) {
        return Ok(false);
    }
    let is_stored = store_results(calls);
    let is_joined = join_batches(calls);
    transaction::wait_until_durable();
    // If this process is about to exit, the flush may have been interrupted. Another worker then continues the calls.
    interrupt::check();
    // Calls may have been cancelled during the flush.
    cancel_calls(calls, true)?;
    inject::point("durable");
    if !calls.unflushed.is_empty() {
        inject::point("call_stored");
    }
    if !calls.unstored.is_empty() {
        inject::point("answer_stored");
    }
    calls.unflushed_since = None;
    if is_stored {
        // Results are moved before requests are sent: a request that cannot be sent has its result at once.
        for (task_id, result) in std::mem::take(&mut calls.unstored) {
            calls.answered.add(task_id, Some(result));
        }
    } else {
        calls.unflushed_since = Some(Instant::now());
    }
    if !calls.unflushed.is_empty() {
        // A provider that was paused meanwhile gets no further request.
        TaskDefinitions::refresh_if_changed()?;
    }
    send_unflushed(calls, is_joined);
    calls.show();
    // Some calls have not been admitted yet, or wait for their host.
    send_queued(calls)?;
    Ok(true)
}

/// Sends the requests that have been flushed, or queues them. `is_joined`: it is stored which calls go out together.
fn send_unflushed(calls: &mut Calls, is_joined: bool) {
    let definitions = TaskDefinitions::known();
    for batch in std::mem::take(&mut calls.unflushed) {
        let is_paused = definitions.provider_pause(&batch.provider.name).is_some();
        let is_to_be_joined = !is_joined || batch.key.is_some() && batch.is_incomplete();
        if is_to_be_joined && batch.is_to_be_joined() {
            calls.unflushed.push(batch);
            calls.note_unflushed();
        } else if batch.admitted && !batch.is_for_a_host() && !is_paused {
            calls.send_flushed(batch);
        } else {
            if batch.admitted && is_paused && !batch.is_for_a_host() {
                calls.slot.give_back(&batch.terms());
            }
            calls.add_queued(QueuedCall::new(batch));
        }
    }
}

/// Stores which calls go out in one request before that request is sent, so that a worker that takes it over sends the
/// same request. Returns false, and keeps the batches, if that fails.
fn join_batches(calls: &mut Calls) -> bool {
    if !calls.unflushed.iter().any(Batch::is_to_be_joined) {
        return true;
    }
    let tables = calls.tables;
    let mut unflushed = std::mem::take(&mut calls.unflushed);
    let joined = transaction::commit_after(|| {
        for batch in unflushed.iter_mut().filter(|batch| batch.is_to_be_joined()) {
            batch.members.retain(|member| !member.given_up);
            batch.members.sort_by_key(|member| member.task_id);
            let tasks: Vec<TaskId> = batch.tasks().collect();
            batch.join(&rows::join(&tables, &tasks, !batch.alone));
        }
        transaction::commit_asynchronously();
    });
    unflushed.retain(|batch| !batch.members.is_empty());
    calls.unflushed = unflushed;
    inject::point("joined");
    if let Err(error) = &joined {
        calls.store_not_before = Some(Instant::now() + STORE_PAUSE);
        calls.faults.log("calls cannot be joined", error);
    }
    joined.is_ok()
}

/// Stores the results that have arrived. Returns false, and keeps the results, if that fails; other tasks can run
/// meanwhile.
fn store_results(calls: &mut Calls) -> bool {
    if calls.unstored.is_empty() {
        return true;
    }
    inject::point("answered");
    let tables = calls.tables;
    let mut unstored = std::mem::take(&mut calls.unstored);
    let stored = transaction::commit_after(|| {
        let responses: Vec<_> =
            unstored.iter_mut().map(|(task_id, result)| storable(*task_id, result)).collect();
        rows::store_responses(&tables, &responses);
        transaction::commit_asynchronously();
    });
    calls.unstored = unstored;
    inject::point("answer_committed");
    if let Err(error) = &stored {
        calls.store_not_before = Some(Instant::now() + STORE_PAUSE);
        calls.faults.log("answers cannot be stored", error);
    }
    stored.is_ok()
}

/// The stored form of a result. A response that jsonb cannot hold, for instance because of a number out of range, does
/// not change the result: its body is kept as a JSON string or, if that is not possible either, only its status is
/// kept.
fn storable(task_id: TaskId, result: &mut CallResult) -> StoredResponse {
    // Handlers and the error table receive the text as it is stored, without U+0000.
    if let Err(failure) = result {
        failure.message = failure.message.replace('\0', "\u{fffd}");
    }
    let try_to_store = |result: &CallResult| transaction::savepoint(|| StoredResponse::new(task_id, result));
    let error = match try_to_store(result) {
        Ok(response) => return response,
        Err(error) => error,
    };
    let warning = format!("the response cannot be stored as it is: {}", error.message);
    let line = Line::new("the response cannot be stored as it is")
        .with_task(task_id)
        .with_text("reason", &error.message)
        .with_hint("The handler is given the response as text.");
    log::line(LogLevel::Warning, line);
    let Some(response) = response_mut(result) else { return StoredResponse::new(task_id, result) };
    keep_as_text(response, &warning);
    try_to_store(result).unwrap_or_else(|_| {
        if let Some(response) = response_mut(result) {
            *response = json!({ "status": response.get("status"), "warning": warning });
        }
        StoredResponse::new(task_id, result)
    })
}
