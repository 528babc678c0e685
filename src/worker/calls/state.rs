//! The calls of a worker, each in the container of its state.

use super::answered::AnsweredCalls;
use super::batch::Batch;
use super::count;
use super::queued::QueuedCall;
use super::result::CallResult;
use super::types_of_calls::TypesOfCalls;
use crate::config;
use crate::pg::thread;
use crate::shared::{EndedCall, Lane, TaskId, Terms};
use crate::slot::MySlot;
use crate::worker::faults::Faults;
use crate::worker::pace::Pace;
use crate::worker::tables::Tables;
use pg_errand_calls::network::Network;
use pg_errand_calls::pool::Pool;
use pg_errand_stats::Counter;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time that a worker which has to exit waits for calls that no other worker can send.
const LEAVING_TIME: Duration = Duration::from_secs(5);

/// A batch whose request has been sent.
pub(super) struct SentBatch {
    pub lane: Lane,
    pub terms: Terms,
    pub batch: Batch,
}

/// The provider calls of a worker.
pub struct Calls {
    pub(super) slot: MySlot,
    pub(super) tables: Tables,
    pub(super) faults: Faults,
    pub(super) pool: Pool,
    /// The network settings of the last call.
    pub(super) network: Arc<Network>,

    /// Requests that are stored, but may not have been flushed yet.
    pub(super) unflushed: Vec<Batch>,
    /// Calls that wait until their provider admits them. Invariant: in the order of [`Batch::id`].
    pub(super) queued: Vec<QueuedCall>,
    /// Calls that were sent and have no response yet, by [`Batch::id`].
    pub(super) in_flight: HashMap<TaskId, SentBatch>,
    /// Results that are not stored yet.
    pub(super) unstored: Vec<(TaskId, CallResult)>,
    /// Calls whose results are stored, and whose last steps have not run yet.
    pub(super) answered: AnsweredCalls,
    /// The tasks of calls that have to be cancelled.
    pub(super) to_cancel: Vec<TaskId>,

    pub(super) types: TypesOfCalls,
    /// Since when requests or results have to be flushed.
    pub(super) unflushed_since: Option<Instant>,
    /// The time before which storing results is not tried again after a failure.
    pub(super) store_not_before: Option<Instant>,
    /// Orphaned calls that other sessions have locked are not searched for before this time.
    pub(super) no_orphans_before: Option<Instant>,
    /// Orphaned calls have been searched for.
    pub(super) has_looked_for_orphans: bool,

    pub(super) pace: Pace,
    /// The value of `Shared::resumes` as of the last turn.
    resumes: u64,
    /// When this turn of the worker began.
    turn_began_at: Instant,
    /// The worker has to exit. Other workers send the queued calls.
    is_retiring: bool,
    /// Whether the worker may invoke handlers. If not, other workers continue answered calls, too.
    runs_handlers: bool,
    /// How calls have ended that have not been reported to other processes yet.
    pub(super) ended: Vec<EndedCall>,
    /// The providers of `ended`, in the same order; empty where no circuit breaker has to be logged.
    pub(super) ended_of: Vec<String>,
}

impl Calls {
    /// # Errors If the system has no file descriptors left.
    pub fn new(slot: MySlot, tables: Tables) -> std::io::Result<Self> {
        let pool = Pool::new(|body| thread::spawn("pg_errand call", body).map(|_| ()))?;
        Ok(Calls {
            slot,
            tables,
            faults: Faults::default(),
            pool,
            network: Arc::default(),
            unflushed: Vec::new(),
            queued: Vec::new(),
            in_flight: HashMap::new(),
            unstored: Vec::new(),
            answered: AnsweredCalls::default(),
            to_cancel: Vec::new(),
            types: TypesOfCalls::default(),
            unflushed_since: None,
            store_not_before: None,
            no_orphans_before: None,
            has_looked_for_orphans: false,
            pace: Pace::default(),
            resumes: 0,
            turn_began_at: Instant::now(),
            is_retiring: false,
            runs_handlers: true,
            ended: Vec::new(),
            ended_of: Vec::new(),
        })
    }

    /// Begins a turn of the worker. `resumes` counts the ends of providers' pauses; `is_retiring`: the worker has to
    /// exit.
    pub fn begin_turn(&mut self, resumes: u64, is_retiring: bool) {
        let now = Instant::now();
        self.turn_began_at = now;
        self.is_retiring = is_retiring;
        if std::mem::replace(&mut self.resumes, resumes) != resumes {
            self.queued.iter_mut().for_each(|queued| queued.not_before = now);
        }
    }

    /// The number of tasks between their two steps.
    pub fn tasks(&self) -> usize {
        self.batches().map(Batch::len).sum::<usize>() + self.unstored.len() + self.answered.len()
    }

    /// The same number as [`Calls::tasks`], but with a batch counted as one task.
    pub fn len(&self) -> usize {
        self.open() + self.queued.len() + self.unstored.len() + self.answered.len()
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        let in_flight = self.in_flight.values().map(|sent| &sent.batch);
        in_flight.chain(&self.unflushed).chain(self.queued.iter().map(|queued| &queued.batch))
    }

    /// The number of calls that are in flight or about to be.
    pub(super) fn open(&self) -> usize {
        self.in_flight.len() + self.unflushed.len()
    }

    /// True if other workers can continue all remaining calls: queued calls and, if this worker may invoke no further
    /// handler, answered calls.
    pub fn can_be_left(&self) -> bool {
        let soon = Instant::now() + LEAVING_TIME;
        let is_for_others = |queued: &QueuedCall| queued.batch.is_resumable || queued.not_before > soon;
        self.in_flight.values().all(|sent| sent.batch.len() == 0)
            && self.unflushed.is_empty()
            && self.unstored.is_empty()
            && (self.answered.is_empty() || !self.runs_handlers)
            && self.queued.iter().all(is_for_others)
    }

    /// True if other workers have to search for calls that this worker leaves behind.
    pub fn leaves_orphans(&self) -> bool {
        self.waits_for_orphans() || !self.answered.is_empty()
    }

    /// True if orphaned calls that other sessions have locked have to be searched for again.
    pub fn waits_for_orphans(&self) -> bool {
        self.no_orphans_before.is_some()
    }

    /// True if another worker has to send a queued call.
    pub(super) fn is_for_others(&self, queued: &QueuedCall) -> bool {
        self.is_retiring && queued.batch.is_resumable
    }

    /// Lets the worker invoke no further handler; false if that was so before.
    pub fn stop_handlers(&mut self) -> bool {
        std::mem::take(&mut self.runs_handlers)
    }

    /// The next task whose last step can run.
    pub(super) fn next_answered(&self) -> Option<TaskId> {
        if self.runs_handlers { self.answered.next() } else { None }
    }

    /// How often the last step of a task has been repeated.
    pub fn repeats(&self, task_id: TaskId) -> u32 {
        self.answered.repeats(task_id)
    }

    /// Resets [`Calls::readable`] after a wait for it.
    pub fn clear(&self) {
        self.pool.clear();
    }

    /// A descriptor that becomes readable when a call has ended.
    pub fn readable(&self) -> RawFd {
        self.pool.readable()
    }

    /// The time until something has to be done for which no other process wakes this worker.
    pub fn next_repeat(&self) -> Option<Duration> {
        let flush = self.flush_at().filter(|_| self.unflushed_len() > 0);
        let queued =
            self.queued.iter().filter(|queued| !self.is_for_others(queued)).map(|queued| queued.not_before);
        let hosts = self.in_flight.values().filter(|sent| sent.batch.is_for_a_host());
        let silent = hosts.filter_map(|sent| self.pace.silent_at(sent.batch.account));
        let later = silent.chain(self.no_orphans_before).filter(|time| *time > self.turn_began_at);
        let answered = self.answered.times().filter(|_| self.runs_handlers);
        let next = answered.chain(flush).chain(queued).chain(later).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    pub(super) fn add_queued(&mut self, queued: QueuedCall) {
        let index = self.queued.partition_point(|other| other.batch.id() < queued.batch.id());
        self.queued.insert(index, queued);
    }

    /// Adds the result of a call to `provider`, and counts a failure, also of a call that was not sent.
    pub(super) fn add_unstored(&mut self, task_id: TaskId, provider: &str, result: CallResult) {
        if result.is_err() {
            count::continued(&self.types, task_id, provider, Counter::FailedCalls);
        }
        self.unstored.push((task_id, result));
        self.note_unflushed();
    }

    pub(super) fn note_unflushed(&mut self) {
        self.unflushed_since.get_or_insert_with(Instant::now);
    }

    pub(super) fn holds(&self, task_id: TaskId) -> bool {
        self.batches().any(|batch| batch.holds(task_id))
            || self.unstored.iter().any(|(id, _)| *id == task_id)
            || self.answered.holds(task_id)
    }

    /// Drops the call of a task that has ended.
    pub(super) fn forget(&mut self, task_id: TaskId) {
        // The thread continues the call nevertheless.
        for sent in self.in_flight.values_mut() {
            sent.batch.give_up(task_id);
        }
        self.unflushed.retain_mut(|batch| batch.give_up(task_id));
        self.queued.retain_mut(|queued| queued.batch.give_up(task_id));
        self.separate_incomplete();
        self.unstored.retain(|(id, _)| *id != task_id);
        self.answered.remove(task_id);
    }

    /// Splits batches of which a task has ended, if the provider has not carried them out: the other calls can be sent
    /// without it.
    pub(super) fn separate_incomplete(&mut self) {
        let is_separable = |queued: &mut QueuedCall| {
            queued.is_refused && queued.batch.key.is_some() && queued.batch.is_incomplete()
        };
        let incomplete: Vec<QueuedCall> = self.queued.extract_if(.., is_separable).collect();
        incomplete.into_iter().for_each(|queued| self.separate(queued.batch));
    }

    /// Splits a batch. It has to be flushed first that its calls go out alone; otherwise they would be sent together
    /// again after a crash.
    pub(super) fn separate(&mut self, batch: Batch) {
        self.unflushed.extend(batch.separate());
        self.note_unflushed();
    }
}

/// The number of provider calls of this worker that may be in flight.
pub(super) fn limit() -> usize {
    config::MAX_IN_FLIGHT.get() as usize
}
