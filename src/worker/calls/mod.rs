//! Interface calls of this worker, between the step that prepares one and the step that handles its
//! answer. No transaction is open while a provider is asked.

mod cancel;
mod finish;
mod held;
mod interpret;
mod network;
mod parcel;
mod places;
mod settle;
mod take_over;

use super::flow::{self, Pace};
use super::slot::MySlot;
use super::task::Brief;
use super::{process, record};
use crate::call::{ClientCert, Job, Network, Outcome, Pool};
use crate::config::{self, LogLevel};
use crate::error::PgError;
use crate::interface::{Credential, Prepared, Provider, Reply, Request};
use crate::pg::{log, thread};
use crate::processor::Ready;
use crate::secret;
use crate::shared::{Breaker, CallOutcome, Ended, Lane, Terms};
use crate::task_definition::TaskDefinitions;
pub use cancel::cancel_calls;
pub use finish::finish_answered;
use held::Held;
pub use held::{begin_turn, send_held};
use parcel::{Member, Opened, Parcel};
use places::limit;
use serde_json::Value;
pub use settle::settle;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use take_over::take_over;

/// With so many calls under way more will come: what they have to make durable waits for that …
const GROUP_FROM: usize = 16;
/// … at most so long,
const GROUP_TIME: Duration = Duration::from_millis(5);
/// or until there is so much of it.
const GROUP_SIZE: usize = 32;
/// Unless further requests can go out together with it; then so long.
const BATCH_TIME: Duration = Duration::from_millis(100);

/// What nobody else can send is waited for so long by a worker that is to leave.
const SOON: Duration = Duration::from_secs(5);

/// How long a call waits at most for what its provider asks, if the provider's row does not say.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(3600);

/// What the success handler is given, or why there is nothing.
pub type CallResult = Result<Value, CallFailure>;

/// Why a call has failed.
pub struct CallFailure {
    /// Names the provider.
    pub message: String,
    /// The provider's response, if there was one.
    pub response: Option<Value>,
}

impl From<String> for CallFailure {
    fn from(message: String) -> Self {
        CallFailure { message, response: None }
    }
}

/// A call that has been answered: the answer is stored, its handler has still to run.
struct Answered {
    task_id: i64,
    /// The answer, unless it was stored by another worker.
    result: Option<CallResult>,
    not_before: Instant,
    repeats: u32,
    /// Why its task's end could not be written: its handlers are not run again.
    refusal: Option<PgError>,
}

/// A call that is under way.
struct Open {
    lane: Lane,
    terms: Terms,
    parcel: Parcel,
}

pub struct Calls {
    pool: Pool,
    /// As the settings were when the last call was sent.
    network: Arc<Network>,
    /// Requests that are stored, but not known to be durable.
    ready: Vec<Parcel>,
    /// By [`Parcel::id`].
    waiting_for: HashMap<i64, Open>,
    /// Those that wait until they may be sent, in order.
    held: Vec<Held>,
    /// [`crate::shared::Shared::resumes`] as of when they were looked at.
    resumes: u64,
    pace: Pace,
    /// When this turn began.
    looked_at: Instant,
    /// The worker is to leave: what is held is for others.
    retiring: bool,
    /// Whether the worker may run handlers; if not, stored responses are for others, too.
    runs_handlers: bool,
    /// Calls of workers that are gone are locked by others: they are not looked for before.
    no_orphans_before: Option<Instant>,
    /// How calls went that have ended since others were told of it.
    ended: Vec<Ended>,
    /// The providers of `ended`, in the same order; empty where there is no circuit breaker to be logged.
    ended_of: Vec<String>,
    /// Results that could not be stored yet.
    unstored: Vec<(i64, CallResult)>,
    answered: Vec<Answered>,
    to_cancel: Vec<i64>,
    /// Since when there is something to make durable.
    unsettled_since: Option<Instant>,
    /// After a failure to store answers, they are not tried again before.
    store_not_before: Option<Instant>,
}

impl Ready for Calls {
    fn has_room_beside(&self, provider: &Arc<Provider>) -> bool {
        self.ready.iter().any(|parcel| parcel.admitted && parcel.has_room_for(provider))
    }
}

impl Calls {
    pub fn new() -> std::io::Result<Self> {
        let pool = Pool::new(|body| thread::spawn("pg_errand call", body).map(|_| ()))?;
        Ok(Calls {
            pool,
            network: Arc::default(),
            ready: Vec::new(),
            unsettled_since: None,
            waiting_for: HashMap::new(),
            held: Vec::new(),
            resumes: 0,
            pace: Pace::default(),
            looked_at: Instant::now(),
            retiring: false,
            runs_handlers: true,
            no_orphans_before: None,
            ended: Vec::new(),
            ended_of: Vec::new(),
            unstored: Vec::new(),
            answered: Vec::new(),
            to_cancel: Vec::new(),
            store_not_before: None,
        })
    }

    /// Tasks between their two steps.
    pub fn tasks(&self) -> usize {
        self.parcels().map(Parcel::len).sum::<usize>() + self.unstored.len() + self.answered.len()
    }

    /// The same, where one request counts as one task.
    pub fn len(&self) -> usize {
        self.open() + self.held.len() + self.unstored.len() + self.answered.len()
    }

    fn parcels(&self) -> impl Iterator<Item = &Parcel> {
        let under_way = self.waiting_for.values().map(|open| &open.parcel);
        under_way.chain(&self.ready).chain(self.held.iter().map(|held| &held.parcel))
    }

    /// True if all that is left can be done by another worker as well: calls that wait for their provider, and if
    /// no handler may be run here any more, responses that are stored.
    pub fn can_be_left(&self) -> bool {
        let soon = Instant::now() + SOON;
        let is_for_others = |held: &Held| held.parcel.is_resumable || held.not_before > soon;
        self.waiting_for.values().all(|open| open.parcel.len() == 0)
            && self.ready.is_empty()
            && self.unstored.is_empty()
            && (self.answered.is_empty() || !self.runs_handlers)
            && self.held.iter().all(is_for_others)
    }

    /// True if somebody has to look for what this worker leaves.
    pub fn leave_orphans(&self) -> bool {
        self.waits_for_orphans() || !self.answered.is_empty()
    }

    /// True if it is not sent here any more.
    fn is_for_others(&self, held: &Held) -> bool {
        self.retiring && held.parcel.is_resumable
    }

    /// True if calls that others have locked are to be looked for again.
    pub fn waits_for_orphans(&self) -> bool {
        self.no_orphans_before.is_some()
    }

    /// Calls that are under way or about to be.
    fn open(&self) -> usize {
        self.waiting_for.len() + self.ready.len()
    }

    /// From here on the worker runs no handler; false if that was so before.
    pub fn run_no_handlers(&mut self) -> bool {
        std::mem::take(&mut self.runs_handlers)
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
        let settling = self.unsettled_since.map(|since| since + self.group().1).max(self.store_not_before);
        let settling = settling.filter(|_| self.unsettled() > 0);
        let held = self.held.iter().filter(|held| !self.is_for_others(held)).map(|held| held.not_before);
        let hosts = self.waiting_for.values().filter(|open| open.parcel.is_for_a_host());
        let silent = hosts.filter_map(|open| self.pace.silent_at(open.parcel.account));
        let later = silent.chain(self.no_orphans_before).filter(|time| *time > self.looked_at);
        let answered =
            self.answered.iter().filter(|_| self.runs_handlers).map(|answered| answered.not_before);
        let next = answered.chain(settling).chain(held).chain(later).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// How often the last step of a task has been repeated.
    pub fn repeats(&self, task_id: i64) -> u32 {
        self.answered.iter().find(|a| a.task_id == task_id).map_or(0, |answered| answered.repeats)
    }

    /// Sends a request that has been stored, when it is durable.
    pub fn send(&mut self, task_id: i64, prepared: Prepared) {
        let Prepared { provider, request, .. } = prepared;
        // Then the provider was not asked for this one.
        let admitted = !self.has_room_beside(&provider);
        let mut admitted_ones = self.ready.iter_mut().filter(|parcel| parcel.admitted);
        let fitting = admitted_ones.find_map(|parcel| parcel.takes(&provider, &request).then_some(parcel));
        let member = Member::new(task_id, request);
        match fitting {
            Some(parcel) => parcel.members.push(member),
            None => self.ready.push(Parcel { admitted, ..Parcel::new(provider, member) }),
        }
        self.note_unsettled();
    }

    fn note_unsettled(&mut self) {
        self.unsettled_since.get_or_insert_with(Instant::now);
    }

    /// What is to be made durable.
    fn unsettled(&self) -> usize {
        self.ready.iter().map(Parcel::len).sum::<usize>() + self.unstored.len()
    }

    /// How much is made durable at once, and how long that waits at most.
    fn group(&self) -> (usize, Duration) {
        if self.ready.iter().any(|parcel| parcel.has_room_for(&parcel.provider)) {
            (usize::MAX, BATCH_TIME)
        } else {
            (GROUP_SIZE, GROUP_TIME)
        }
    }

    /// Whether it is time for that. `idle`: there is nothing else to do.
    fn is_time_to_settle(&self, idle: bool) -> bool {
        let Some(since) = self.unsettled_since.filter(|_| self.unsettled() > 0) else { return false };
        if self.store_not_before.is_some_and(|time| time > Instant::now()) {
            return false;
        }
        let (size, time) = self.group();
        self.unsettled() >= size
            || since.elapsed() >= time
            || idle && self.waiting_for.len() + self.held.len() + self.answered.len() < GROUP_FROM
    }

    fn send_stored(&mut self, mut parcel: Parcel) {
        match prove(&mut parcel) {
            Ok(Proven { request, credentials, client_certificate }) => {
                let provider = parcel.provider.clone();
                let timeout = provider.timeout_of(&request, config::CALL_TIMEOUT.duration());
                let repeatable = parcel.is_resumable;
                let lane = TaskDefinitions::known().lane_of_provider(&provider.name);
                let room = self.room_for(lane, &parcel);
                let id = parcel.id();
                if parcel.is_for_a_host() && self.calls_to(parcel.account) == 0 {
                    self.pace.begin_host(parcel.account);
                }
                self.waiting_for.insert(id, Open { lane, terms: parcel.terms(), parcel });
                let job = Job {
                    id,
                    trusted_base: provider.trusted_base_url(),
                    provider,
                    request,
                    credentials,
                    timeout,
                    network: self.network(),
                    client_certificate,
                    repeatable,
                };
                self.pool.start(job, room);
            }
            Err(reason) => {
                parcel.tasks().for_each(|task_id| self.add_unstored(task_id, Err(reason.clone().into())));
            }
        }
    }

    /// The same as for the call before, unless the settings have changed.
    fn network(&mut self) -> Arc<Network> {
        let network = network::as_set();
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
        let under_way = self.waiting_for.len();
        self.collect_outcomes(slot);
        if self.waiting_for.len() < under_way {
            held::look_again(&mut self.held);
        }
    }

    fn collect_outcomes(&mut self, slot: MySlot) {
        while let Some(outcome) = self.pool.outcome() {
            if let Some(open) = self.waiting_for.remove(&outcome.id) {
                self.note_end(&open, &outcome);
                let parcel = open.parcel;
                // Only this status says that nothing was done (RFC 6585, section 4).
                let nothing_done = outcome.reply.as_ref().is_ok_and(|reply| reply.status == 429);
                match pause(&outcome, &parcel) {
                    Some(pause) if parcel.may_be_repeated(pause, nothing_done) => {
                        self.hold(slot, parcel, pause, nothing_done);
                    }
                    Some(pause) => {
                        slot.pause(parcel.account, pause);
                        self.take_in(parcel.open(&outcome));
                    }
                    None => self.take_in(parcel.open(&outcome)),
                }
            }
        }
    }

    fn take_in(&mut self, opened: Opened) {
        match opened {
            Opened::Results(results) => {
                results.into_iter().for_each(|(task_id, result)| self.add_unstored(task_id, result));
            }
            // That has to be durable, too, or a crash would have them sent together again.
            Opened::Refused(parcel) => {
                self.ready.extend(parcel.separate());
                self.note_unsettled();
            }
        }
    }

    fn note_end(&mut self, open: &Open, outcome: &Outcome) {
        // A dead host is not its lane's fault.
        let is_for_a_host = open.parcel.is_for_a_host();
        let answered = outcome.reply.as_ref().is_ok_and(Reply::is_complete);
        self.pace.note(open.lane, answered || is_for_a_host, limit());
        if is_for_a_host {
            self.pace.note_host(open.terms.account, answered, limit());
        }
        let went = match &outcome.reply {
            Ok(reply) if flow::asked_to_wait(reply).is_some() => CallOutcome::Refused,
            Ok(reply)
                if answered && reply.status < 500 || matches!(*open.parcel.request(), Request::Smtp(_)) =>
            {
                CallOutcome::Well
            }
            _ => CallOutcome::Badly,
        };
        self.ended.push(Ended { terms: open.terms, went, breaker: None });
        let is_to_be_told = open.terms.breaker_threshold > 0;
        self.ended_of.push(if is_to_be_told { open.parcel.provider() } else { String::new() });
    }

    /// The provider has asked us to wait: all its requests do, this one in order to be sent again. `nothing_done`: the
    /// provider said so.
    fn hold(&mut self, slot: MySlot, mut parcel: Parcel, pause: Duration, nothing_done: bool) {
        slot.pause(parcel.account, pause);
        if !nothing_done {
            parcel.note_sent();
        }
        let refused = parcel.recognized_until.is_none();
        if parcel.len() == 0 {
            return;
        }
        for task_id in parcel.tasks() {
            log::event(
                LogLevel::Info,
                format!(
                    "call postponed task_id={task_id} provider={} pause_ms={}",
                    parcel.provider.name,
                    pause.as_millis()
                ),
            );
        }
        self.add_held(Held { not_before: Instant::now() + pause, refused, ..Held::new(parcel) });
        self.separate_incomplete();
    }

    fn add_held(&mut self, held: Held) {
        let place = self.held.partition_point(|other| other.parcel.id() < held.parcel.id());
        self.held.insert(place, held);
    }

    fn knows(&self, task_id: i64) -> bool {
        self.parcels().any(|parcel| parcel.holds(task_id))
            || self.unstored.iter().any(|(id, _)| *id == task_id)
            || self.answered.iter().any(|answered| answered.task_id == task_id)
    }

    fn forget(&mut self, task_id: i64) {
        // Its thread is busy with it all the same.
        for open in self.waiting_for.values_mut() {
            open.parcel.give_up(task_id);
        }
        self.ready.retain_mut(|parcel| parcel.give_up(task_id));
        self.held.retain_mut(|held| held.parcel.give_up(task_id));
        self.separate_incomplete();
        self.unstored.retain(|(id, _)| *id != task_id);
        self.forget_answered(task_id);
    }

    /// What was refused can as well be sent without those that have ended.
    fn separate_incomplete(&mut self) {
        let separate =
            |held: &mut Held| held.refused && held.parcel.key.is_some() && held.parcel.is_incomplete();
        let incomplete: Vec<Held> = self.held.extract_if(.., separate).collect();
        incomplete.into_iter().for_each(|held| self.take_in(Opened::Refused(held.parcel)));
    }

    fn forget_answered(&mut self, task_id: i64) {
        self.answered.retain(|answered| answered.task_id != task_id);
    }

    fn add_answered(&mut self, task_id: i64, result: Option<CallResult>) {
        self.answered.push(Answered {
            task_id,
            result,
            not_before: Instant::now(),
            repeats: 0,
            refusal: None,
        });
    }

    /// Leaves the last step of a task alone for a while, longer each time.
    fn postpone(&mut self, task_id: i64) {
        if let Some(answered) = self.answered.iter_mut().find(|a| a.task_id == task_id) {
            answered.repeats += 1;
            answered.not_before = Instant::now() + super::repeat_pause(answered.repeats);
        }
    }

    fn refuse(&mut self, task_id: i64, error: PgError) {
        if let Some(answered) = self.answered.iter_mut().find(|a| a.task_id == task_id) {
            answered.refusal = Some(error);
        }
    }

    fn refusal(&self, task_id: i64) -> Option<&PgError> {
        self.answered.iter().find(|answered| answered.task_id == task_id)?.refusal.as_ref()
    }

    fn may_repeat(&self, task_id: i64, error: &PgError) -> bool {
        error.is_transient() && self.repeats(task_id) < process::MAX_RUNS as u32
    }

    fn result(&self, task_id: i64) -> Option<&CallResult> {
        self.answered.iter().find(|answered| answered.task_id == task_id)?.result.as_ref()
    }

    fn next_answered(&self) -> Option<i64> {
        if !self.runs_handlers {
            return None;
        }
        let now = Instant::now();
        self.answered.iter().find(|answered| answered.not_before <= now).map(|a| a.task_id)
    }
}

/// A request with the credentials that it is sent with.
struct Proven {
    request: Arc<Request>,
    credentials: Vec<Credential>,
    client_certificate: Option<ClientCert>,
}

/// Adds the current credentials of its provider to a stored request, unless the request was made for another base URL:
/// credentials must not be sent to a former host.
///
/// # Errors
/// What has changed, or which secret is missing; that a request which may have been taken would not be recognized.
fn prove(parcel: &mut Parcel) -> Result<Proven, String> {
    parcel.follow(&TaskDefinitions::known())?;
    parcel.check_recognized()?;
    let (provider, request) = (&parcel.provider, parcel.request());
    provider.check_destination(&request)?;
    let credentials = provider.interface.credentials(provider, &request)?;
    let client_certificate = certificate(provider)?;
    Ok(Proven { request, credentials, client_certificate })
}

/// The certificate that a provider wants to see.
fn certificate(provider: &Provider) -> Result<Option<ClientCert>, String> {
    let pem = provider.client_certificate.as_deref().map(secret::find).transpose()?;
    Ok(pem.map(|pem| ClientCert { pem }))
}

/// How long the provider asks to wait, if a call may take so long.
fn pause(outcome: &Outcome, parcel: &Parcel) -> Option<Duration> {
    let wait = flow::asked_to_wait(outcome.reply.as_ref().ok()?)?;
    let limit = parcel.provider.limits.max_wait.unwrap_or(DEFAULT_MAX_WAIT);
    (parcel.since.elapsed().saturating_add(wait) <= limit).then_some(wait)
}

/// Bytes of a message that is not sent which the log shows.
const MAX_LOGGED_MESSAGE: usize = 4096;

/// What the log shows of a task whose call starts.
pub fn log_start(brief: &Brief, prepared: &Prepared) {
    let provider = &prepared.provider.name;
    if let Request::Local { message: Some(message), .. } = &prepared.request
        && log::is_wanted(LogLevel::Info)
    {
        // Who develops with it reads here what would have been sent.
        let message = message.to_string();
        log::event(
            LogLevel::Info,
            format!(
                "not sent, only logged task_id={} task_type={} provider={provider} message={}",
                brief.id,
                brief.task_type,
                log::excerpt(&message, MAX_LOGGED_MESSAGE)
            ),
        );
    }
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

/// Tells that a circuit breaker has opened or closed.
pub fn log_breaker(provider: &str, breaker: Breaker, failures: u32) {
    match breaker {
        Breaker::Opened(until) => log::event_with_hint(
            LogLevel::Warning,
            format!(
                "circuit breaker opened provider={provider:?} until={:?}: calls that failed in a row: {failures}",
                crate::pg::time::time_text(until)
            ),
            "A change of its row in queues.provider closes the circuit breaker at once.".into(),
        ),
        Breaker::Closed => {
            log::event(LogLevel::Info, format!("circuit breaker closed provider={provider:?}"));
        }
    }
}
