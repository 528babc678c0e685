//! Provider calls of this worker, between the step that prepares one and the step that handles its
//! answer. No transaction is open while a provider is asked.

use super::flow::{self, Held, Pace};
use super::slot::MySlot;
use super::task::Brief;
use super::{Worker, claim, process, record};
use crate::call::{ClientCert, Job, Network, Outcome, Pool, Room, redact};
use crate::config::{self, LogLevel};
use crate::error::{Failure, PgError};
use crate::handler::Stop;
use crate::inject;
use crate::kind::Kinds;
use crate::pg::{backend, interrupt, log, session, thread, transaction};
use crate::provider::{Prepared, Request, Service};
use crate::secret;
use crate::shared::{Admission, InFlight, LANES, Lane, LaneSet, Over, Terms, Went};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// With so many calls under way more will come: what they have to make durable waits for that …
const GROUP_FROM: usize = 16;
/// … at most so long,
const GROUP_TIME: Duration = Duration::from_millis(5);
/// or until there is so much of it.
const GROUP_SIZE: usize = 32;

/// A call that waits for the end of others is tried again so often.
const FULL_LOOK: Duration = Duration::from_millis(100);

/// How long a call waits at most for what its provider asks, if the provider's row does not say.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(3600);

/// Pause after answers could not be stored.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A provider's answer, or a reason that names the provider.
pub type CallResult = Result<Value, String>;

/// A call that has been answered: the answer is stored, its handler has still to run.
struct Answered {
    task_id: i64,
    /// The answer, unless it was stored by another worker.
    result: Option<CallResult>,
    not_before: Instant,
    repeats: u32,
}

/// A call that is under way.
struct Open {
    lane: Lane,
    terms: Terms,
    /// When it was to be sent first.
    since: Instant,
}

pub struct Calls {
    pool: Pool,
    /// As the settings were when the last call was sent.
    network: Arc<Network>,
    /// Requests that are stored, but not known to be durable.
    prepared: Vec<(i64, Prepared)>,
    waiting_for: HashMap<i64, Open>,
    /// Those that wait until they may be sent, in order.
    held: Vec<Held>,
    pace: Pace,
    /// How calls went that have ended since others were told of it.
    ended: Vec<(Terms, Went)>,
    /// Results that could not be stored yet.
    unstored: Vec<(i64, CallResult)>,
    answered: Vec<Answered>,
    to_cancel: Vec<i64>,
    /// Since when there is something to make durable.
    unsettled_since: Option<Instant>,
    /// After a failure to store answers, they are not tried again before.
    store_not_before: Option<Instant>,
}

impl Calls {
    pub fn new() -> std::io::Result<Self> {
        let pool = Pool::new(|body| thread::spawn("pg_errand call", body).map(|_| ()))?;
        Ok(Calls {
            pool,
            network: Arc::default(),
            prepared: Vec::new(),
            unsettled_since: None,
            waiting_for: HashMap::new(),
            held: Vec::new(),
            pace: Pace::default(),
            ended: Vec::new(),
            unstored: Vec::new(),
            answered: Vec::new(),
            to_cancel: Vec::new(),
            store_not_before: None,
        })
    }

    /// Tasks between their two steps.
    pub fn len(&self) -> usize {
        self.open() + self.held.len() + self.unstored.len() + self.answered.len()
    }

    /// True if all that is left are calls that wait for their provider: another worker can send them as well.
    pub fn only_hold(&self) -> bool {
        self.len() == self.held.len()
    }

    /// Tasks whose call is under way or about to be.
    fn open(&self) -> usize {
        self.waiting_for.len() + self.prepared.len()
    }

    /// True if another call of any lane can be prepared. A few more than may be under way are, so that the next
    /// one is sent as soon as one is answered; and not more are answered than can be handled.
    pub fn have_room(&self) -> bool {
        self.have_room_beyond(0)
    }

    fn have_room_beyond(&self, extra: usize) -> bool {
        let limit = limit();
        let ahead = limit.saturating_sub(4) / 4;
        self.open() < limit + ahead + extra && self.len() < 2 * limit + extra
    }

    /// The lanes of `lanes` from which another task can be taken. `waiting`: those in which some wait.
    pub fn lanes(&self, lanes: LaneSet, waiting: LaneSet) -> LaneSet {
        let limit = limit();
        if !self.have_room_beyond(flow::extra(limit)) {
            return LaneSet::LOCAL;
        }
        let mut used = [0; LANES];
        let kinds = Kinds::known();
        let prepared = self.prepared.iter().map(|(_, prepared)| &prepared.service);
        let waiting_to_go = prepared.chain(self.held.iter().map(|held| &held.service));
        let lanes_of_services = waiting_to_go.map(|service| kinds.lane_of_service(&service.name));
        lanes_of_services
            .chain(self.waiting_for.values().map(|open| open.lane))
            .for_each(|lane| used[lane.index()] += 1);
        if self.have_room() {
            flow::open_lanes(lanes, waiting, &self.pace, &used, limit)
        } else {
            flow::lanes_with_few(lanes, &used, limit)
        }
    }

    /// What counts for the limits of providers, and how calls went since this was last asked.
    pub fn take_counts(&mut self) -> (InFlight, Vec<(Terms, Went)>) {
        let mut counts = InFlight::NONE;
        self.waiting_for.values().for_each(|open| counts.add(open.terms.account));
        self.prepared.iter().for_each(|(_, prepared)| counts.add(prepared.service.terms().account));
        (counts, std::mem::take(&mut self.ended))
    }

    /// To be called after a wait.
    pub fn clear(&self) {
        self.pool.clear();
    }

    pub fn readable(&self) -> std::os::fd::RawFd {
        self.pool.readable()
    }

    /// When there is something to do that nobody wakes this worker for.
    pub fn next_repeat(&self) -> Option<Duration> {
        let settling = self.unsettled_since.map(|since| since + GROUP_TIME).max(self.store_not_before);
        let settling = settling.filter(|_| self.unsettled() > 0);
        let held = self.held.iter().map(|held| held.not_before);
        let next =
            self.answered.iter().map(|answered| answered.not_before).chain(settling).chain(held).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// How often the last step of a task has been repeated.
    pub fn repeats(&self, task_id: i64) -> u32 {
        self.answered.iter().find(|a| a.task_id == task_id).map_or(0, |answered| answered.repeats)
    }

    /// Sends a request that has been stored, when it is durable.
    pub fn send(&mut self, task_id: i64, prepared: Prepared) {
        self.prepared.push((task_id, prepared));
        self.note_unsettled();
    }

    fn note_unsettled(&mut self) {
        self.unsettled_since.get_or_insert_with(Instant::now);
    }

    /// What is to be made durable.
    fn unsettled(&self) -> usize {
        self.prepared.len() + self.unstored.len()
    }

    /// Whether it is time for that. `idle`: there is nothing else to do.
    fn is_time_to_settle(&self, idle: bool) -> bool {
        let Some(since) = self.unsettled_since.filter(|_| self.unsettled() > 0) else { return false };
        if self.store_not_before.is_some_and(|time| time > Instant::now()) {
            return false;
        }
        self.unsettled() >= GROUP_SIZE
            || since.elapsed() >= GROUP_TIME
            || idle && self.len() - self.unsettled() < GROUP_FROM
    }

    /// `since`: when it was to be sent first.
    fn send_stored(&mut self, task_id: i64, service: Arc<Service>, request: Request, since: Instant) {
        let proofs = service.provider.credentials(&service, &request);
        match proofs.and_then(|proofs| Ok((proofs, certificate(&service)?))) {
            Ok((credentials, client_certificate)) => {
                let timeout = service.timeout_of(&request, config::HTTP_TIMEOUT.duration());
                let repeatable = !service.provider.remembers_keys_for(&service).is_zero();
                let lane = Kinds::known().lane_of_service(&service.name);
                let room = self.room_for(lane);
                self.waiting_for.insert(task_id, Open { lane, terms: service.terms(), since });
                let job = Job {
                    task_id,
                    trusted_base: service.trusted_base_url(),
                    service,
                    request,
                    credentials,
                    timeout,
                    network: self.network(),
                    client_certificate,
                    repeatable,
                };
                self.pool.start(job, room);
            }
            Err(reason) => self.add_unstored(task_id, Err(reason)),
        }
    }

    /// How many calls may be under way for another one of this lane to start at once.
    fn room_for(&self, lane: Lane) -> Room {
        let limit = limit();
        // Otherwise there is room anyway.
        let is_full = self.waiting_for.len() >= limit;
        let used = || self.waiting_for.values().filter(|open| open.lane == lane).count();
        let extra = if is_full && used() < flow::own(limit) { flow::extra(limit) } else { 0 };
        Room { limit, extra }
    }

    /// The same as for the call before, unless the settings have changed.
    fn network(&mut self) -> Arc<Network> {
        let network = config::network();
        if *self.network != network {
            self.network = Arc::new(network);
        }
        self.network.clone()
    }

    fn add_unstored(&mut self, task_id: i64, result: CallResult) {
        self.unstored.push((task_id, result));
        self.note_unsettled();
    }

    fn collect(&mut self, slot: MySlot) {
        while let Some(outcome) = self.pool.outcome() {
            if let Some(open) = self.waiting_for.remove(&outcome.task_id) {
                self.note_end(&open, &outcome);
                match pause(&outcome, open.since) {
                    Some(pause) => self.hold(slot, outcome, open.since, pause),
                    None => self.add_unstored(outcome.task_id, interpret(&outcome)),
                }
            }
        }
    }

    fn note_end(&mut self, open: &Open, outcome: &Outcome) {
        self.pace.note(open.lane, outcome.reply.is_ok(), limit());
        let went = match &outcome.reply {
            Ok(reply) if flow::asked_to_wait(reply).is_some() => Went::Refused,
            Ok(reply) if reply.status < 500 || matches!(outcome.request, Request::Smtp(_)) => Went::Well,
            _ => Went::Badly,
        };
        self.ended.push((open.terms, went));
    }

    /// The provider has asked us to wait: all its requests do, this one in order to be sent again.
    fn hold(&mut self, slot: MySlot, outcome: Outcome, since: Instant, pause: Duration) {
        let Outcome { task_id, service, request, .. } = outcome;
        slot.pause(service.account_of(&request), pause);
        log::event(
            LogLevel::Info,
            format!(
                "call postponed task_id={task_id} provider={} pause_ms={}",
                service.name,
                pause.as_millis()
            ),
        );
        self.add_held(Held { task_id, service, request, since, not_before: Instant::now() + pause });
    }

    fn add_held(&mut self, held: Held) {
        let place = self.held.partition_point(|other| other.task_id < held.task_id);
        self.held.insert(place, held);
    }

    fn knows(&self, task_id: i64) -> bool {
        self.waiting_for.contains_key(&task_id)
            || self.held.iter().any(|held| held.task_id == task_id)
            || self.prepared.iter().any(|(id, _)| *id == task_id)
            || self.unstored.iter().any(|(id, _)| *id == task_id)
            || self.answered.iter().any(|answered| answered.task_id == task_id)
    }

    fn forget(&mut self, task_id: i64) {
        self.waiting_for.remove(&task_id);
        self.prepared.retain(|(id, _)| *id != task_id);
        self.held.retain(|held| held.task_id != task_id);
        self.unstored.retain(|(id, _)| *id != task_id);
        self.answered.retain(|answered| answered.task_id != task_id);
    }

    fn add_answered(&mut self, task_id: i64, result: Option<CallResult>) {
        self.answered.push(Answered { task_id, result, not_before: Instant::now(), repeats: 0 });
    }

    /// Leaves the last step of a task alone for a while, longer each time.
    fn postpone(&mut self, task_id: i64) {
        if let Some(answered) = self.answered.iter_mut().find(|a| a.task_id == task_id) {
            answered.repeats += 1;
            answered.not_before = Instant::now() + super::repeat_pause(answered.repeats);
        }
    }

    fn may_repeat(&self, task_id: i64, error: &PgError) -> bool {
        error.is_transient() && self.repeats(task_id) < process::MAX_RUNS as u32
    }

    fn result(&self, task_id: i64) -> Option<&CallResult> {
        self.answered.iter().find(|answered| answered.task_id == task_id)?.result.as_ref()
    }

    fn next_answered(&self) -> Option<i64> {
        let now = Instant::now();
        self.answered.iter().find(|answered| answered.not_before <= now).map(|a| a.task_id)
    }
}

/// Provider calls of this worker that may be under way.
fn limit() -> usize {
    config::MAX_IN_FLIGHT.get() as usize
}

/// Stores the answers that have come, makes them and the stored requests durable, and goes on with both: one
/// commit and one wait for the disk for all of them. `idle`: there is nothing else to do.
pub fn settle(worker: &mut Worker, idle: bool) -> Result<bool, PgError> {
    worker.calls.collect(worker.slot);
    if !worker.calls.is_time_to_settle(idle) {
        return Ok(false);
    }
    let stored = store_answers(worker);
    transaction::wait_until_durable();
    // If this process is to end, the wait may have been broken off: another one goes on.
    interrupt::check();
    // It may have been a long one.
    cancel_calls(worker, true)?;
    inject::point("durable");
    if !worker.calls.prepared.is_empty() {
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
    for (task_id, prepared) in std::mem::take(&mut worker.calls.prepared) {
        worker.calls.send_stored(task_id, prepared.service, prepared.request, Instant::now());
    }
    worker.show_calls();
    Ok(true)
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
        let account = held.service.account_of(&held.request);
        if let Some((_, until)) = refused.iter().find(|(known, _)| *known == account) {
            held.not_before = *until;
        } else if held.not_before <= now {
            let terms = Terms { account, ..held.service.terms() };
            match not_before(worker.slot.admit(&terms), now) {
                None => {
                    worker.calls.send_stored(held.task_id, held.service, held.request, held.since);
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

/// One that no jsonb can hold (a number out of range) becomes a failure.
fn storable(task_id: i64, result: &mut CallResult) -> record::Answer {
    // What handlers and the error table get is what is stored: without U+0000.
    if let Err(message) = result {
        *message = message.replace('\0', "\u{fffd}");
    }
    transaction::savepoint(|| record::Answer::new(task_id, result)).unwrap_or_else(|error| {
        *result = Err(format!("the provider's answer cannot be stored: {}", error.message));
        record::Answer::new(task_id, result)
    })
}

/// Runs the last step of one answered task.
pub fn finish_answered(worker: &mut Worker) -> Result<bool, PgError> {
    let Some(task_id) = worker.calls.next_answered() else { return Ok(false) };
    let result = transaction::run(|| {
        let Some(stored) = claim::answered(worker, task_id, worker.calls.result(task_id)) else {
            return transaction::End::Commit(Ok(Resumed::NotNow(claim::is_open(worker, task_id))));
        };
        let brief = stored.task.brief();
        let earlier = worker.slot.begin(&brief);
        let deaths = earlier.map_or(0, |earlier| earlier.deaths);
        let end = process::resume(worker, &stored, deaths).and_then(|end| {
            record::finish(worker, &stored.task, &end);
            inject::point("call_finished");
            worker.close(end)
        });
        match end {
            Ok(end) => transaction::End::Commit(Ok(Resumed::Ended(brief, end))),
            Err(stop) => transaction::End::RollBack(Err(stop)),
        }
    });
    match result {
        Ok(Ok(resumed)) => leave(worker, task_id, resumed),
        Ok(Err(Stop::Cancelled)) => cancel(worker, task_id)?,
        Ok(Err(Stop::Repeat | Stop::Later(..))) => repeat_later(worker, task_id)?,
        Err(error) if error.is_passing() || worker.calls.may_repeat(task_id, &error) => {
            repeat_later(worker, task_id)?;
        }
        Err(error) => end_without_handlers(worker, task_id, error).map_err(|error| {
            worker.calls.postpone(task_id);
            error.of_task(task_id)
        })?,
    }
    Ok(true)
}

/// What came of trying to run the last step of a task.
enum Resumed {
    Ended(Brief, process::End),
    /// True if it has still to be run.
    NotNow(bool),
}

/// Only the commit failed, or a statement of ours: ends the task with what is known, so that it
/// does not come round for ever.
fn end_without_handlers(worker: &mut Worker, task_id: i64, error: PgError) -> Result<(), PgError> {
    if !worker.slot.close() {
        return cancel(worker, task_id);
    }
    let resumed = transaction::commit_after(|| {
        let Some(stored) = claim::answered(worker, task_id, worker.calls.result(task_id)) else {
            return Resumed::NotNow(claim::is_open(worker, task_id));
        };
        let brief = stored.task.brief();
        let failure = Failure::caught(&stored.task.task_type, error);
        let succeeded = stored.failure.is_none();
        let end = process::End { succeeded, outcome: None, failures: vec![failure] };
        record::finish(worker, &stored.task, &end);
        Resumed::Ended(brief, end)
    })?;
    leave(worker, task_id, resumed);
    Ok(())
}

/// What is left to do after the last step of a task.
fn leave(worker: &mut Worker, task_id: i64, resumed: Resumed) {
    match resumed {
        Resumed::Ended(brief, end) => {
            worker.calls.forget(task_id);
            worker.end(Some((brief, end)));
            worker.show_calls();
        }
        // Another session holds the row.
        Resumed::NotNow(true) => {
            worker.slot.end(Over::GivenBack);
            worker.calls.postpone(task_id);
        }
        Resumed::NotNow(false) => {
            worker.slot.end(Over::GivenBack);
            worker.calls.forget(task_id);
        }
    }
}

fn repeat_later(worker: &mut Worker, task_id: i64) -> Result<(), PgError> {
    transaction::commit_after(session::discard_leftovers)?;
    worker.slot.end(Over::GivenBack);
    worker.calls.postpone(task_id);
    Ok(())
}

/// Gives up the calls that were cancelled. `new`: there are such since the last time.
pub fn cancel_calls(worker: &mut Worker, new: bool) -> Result<bool, PgError> {
    if new {
        let new = worker.slot.take_cancels();
        worker.calls.to_cancel.extend(new);
    }
    let mut any = false;
    while let Some(task_id) = worker.calls.to_cancel.last().copied() {
        cancel(worker, task_id)?;
        worker.calls.to_cancel.pop();
        any = true;
    }
    Ok(any)
}

/// Ends the task of a call as cancelled; its answer is not waited for any more.
fn cancel(worker: &mut Worker, task_id: i64) -> Result<(), PgError> {
    let over = if worker.calls.knows(task_id) {
        transaction::commit_after(|| record::cancel(worker, &Brief::of_call(task_id)))?;
        worker.calls.forget(task_id);
        log::event(LogLevel::Info, format!("task cancelled task_id={task_id}"));
        Over::Cancelled
    } else {
        Over::GivenBack
    };
    worker.slot.forget_cancelled(task_id);
    worker.slot.end(over);
    Ok(())
}

/// Takes over the calls of workers that are gone, at first and when it is `wanted`: what was answered goes on to its handler, what
/// was not is sent again, the same request with the same key.
pub fn take_over(worker: &mut Worker, wanted: bool) -> Result<bool, PgError> {
    let room = limit().saturating_sub(worker.calls.len());
    if room == 0 {
        return Ok(false);
    }
    if !wanted && worker.looked_for_orphans {
        return Ok(false);
    }
    worker.slot.change_database(|database| database.orphans = false);
    if !worker.looked_for_orphans {
        let last = transaction::commit_after(|| claim::last_owner(worker))?;
        worker.slot.see_owner(last.unwrap_or_default());
        worker.looked_for_orphans = true;
    }
    let orphans = transaction::commit_after(|| claim::orphans(worker, room));
    if orphans.as_ref().map_or(true, |orphans| orphans.len() == room) {
        // There are more, or it is not known.
        worker.slot.change_database(|database| database.orphans = true);
    }
    let orphans = orphans?;
    // If this process is to end, another one takes them over: see the first sending.
    worker.slot.set_in_flight(worker.calls.len() + orphans.len(), false);
    interrupt::check();
    for orphan in &orphans {
        inject::point("taken_over");
        adopt(worker, orphan);
    }
    Ok(!orphans.is_empty())
}

fn adopt(worker: &mut Worker, orphan: &claim::Orphan) {
    let task_id = orphan.task_id;
    if orphan.answered {
        worker.calls.add_answered(task_id, None);
        return;
    }
    let service = Kinds::known().service(&orphan.provider);
    let request = serde_json::from_str(&orphan.request);
    match (service, request) {
        (Ok(service), _) if !is_recognized(&service, orphan.age) => {
            let reason = format!(
                "outcome unknown: the call was cut off {:.0} s ago, and {} does not (or no longer) recognize its idempotency key",
                orphan.age, service.name
            );
            worker.calls.add_unstored(task_id, Err(reason));
        }
        (Ok(service), Ok(request)) => {
            let now = Instant::now();
            worker.calls.add_held(Held { task_id, service, request, since: now, not_before: now });
        }
        _ => {
            let reason = format!("no provider {} here can send the stored request", orphan.provider);
            worker.calls.add_unstored(task_id, Err(reason));
        }
    }
}

/// True if the service still knows the key of a request of this age in seconds. It may be negative, if the clock was
/// set back.
fn is_recognized(service: &Service, age: f64) -> bool {
    let memory = service.provider.remembers_keys_for(service);
    !memory.is_zero() && age <= memory.as_secs_f64()
}

/// The certificate that a service wants to see.
fn certificate(service: &Service) -> Result<Option<ClientCert>, String> {
    let pem = service.client_certificate.as_deref().map(secret::find).transpose()?;
    Ok(pem.map(|pem| ClientCert { pem }))
}

/// How long a call is to wait before it is sent again, if it is.
fn pause(outcome: &Outcome, since: Instant) -> Option<Duration> {
    let wait = flow::asked_to_wait(outcome.reply.as_ref().ok()?)?;
    let limit = outcome.service.limits.max_wait.unwrap_or(DEFAULT_MAX_WAIT);
    (since.elapsed().saturating_add(wait) <= limit).then_some(wait)
}

/// What a call came to: the provider's answer, or a reason that names the provider.
fn interpret(outcome: &Outcome) -> CallResult {
    let named = |reason: String| format!("{}: {reason}", outcome.service.name);
    let result = outcome
        .reply
        .clone()
        .and_then(|reply| outcome.service.provider.answer(&outcome.service, &outcome.request, &reply))
        .map(|answer| redact::value(answer, &outcome.credentials))
        .map_err(|reason| named(redact::text(&reason, &outcome.credentials)));
    if !log::is_wanted(LogLevel::Info) {
        return result;
    }
    log::event(
        LogLevel::Info,
        format!(
            "call ended task_id={} provider={} duration_ms={} {}",
            outcome.task_id,
            outcome.service.name,
            outcome.took.as_millis(),
            match &result {
                Ok(answer) => format!("answer={}", log::excerpt(&answer.to_string(), 200)),
                Err(reason) => format!("failure={:?}", log::excerpt(reason, 200)),
            }
        ),
    );
    result
}

/// What the log shows of a task whose call starts.
pub fn log_start(brief: &Brief, provider: &str) {
    if !log::is_wanted(LogLevel::Debug) {
        return;
    }
    log::event(
        LogLevel::Debug,
        format!(
            "call started task_id={} task_type={} handler={:?} provider={provider}",
            brief.id,
            brief.task_type,
            log::excerpt(&brief.handler, record::MAX_LOGGED_NAME)
        ),
    );
}
