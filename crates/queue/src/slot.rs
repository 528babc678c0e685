//! The slot of a worker process.

use super::database::LONGEST_PAUSE;
use crate::held::{DeferredTasks, QueuedCalls};
use crate::ids::{DatabaseId, RoleId};
use crate::journal::{Interrupted, RunEnd};
use crate::key_line::{Key, ShownKey};
use crate::lane::Lane;
use crate::latch::Latch;
use crate::limiter::InFlight;
use crate::limits::{SHOWN, StartLimits, Starts};
use crate::position::Candidate;
use crate::sizes::{MAX_CANCELS, MAX_RECENT};
use crate::text::Text;

/// The lifetime after which a worker counts as started successfully, in microseconds. It is as long as the longest
/// pause between starts: otherwise workers that always end after a shorter life would be restarted without a pause.
const STEADY_AFTER: i64 = LONGEST_PAUSE;

/// The duration after which a task is not short any more, in microseconds.
const SHORT: i64 = 250;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SlotState {
    Free,
    /// The slot of a process that has not attached yet.
    Starting,
    Working,
    /// The worker waits for work, and can be woken.
    Idle,
    /// The worker is about to exit, and must not be woken.
    Leaving,
}

/// How the step of a task has ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Over {
    Succeeded,
    Failed,
    Cancelled,
    /// The call of the task is stored.
    Calling,
    /// The task is handed out again.
    GivenBack,
}

/// The reply to a request to cancel a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CancelReply {
    Marked,
    /// The worker has too many cancelled calls, or is processing the response.
    NotNow,
}

/// A worker process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot<L> {
    pub state: SlotState,
    /// The number of times that the slot was given to a worker.
    pub generation: u32,
    pub database: DatabaseId,
    /// The role that the worker connects as.
    pub role: RoleId,
    /// N of `pg_errand worker N`.
    pub number: u32,
    /// The digest of all settings with which the worker was started, see `Desired::settings`.
    pub settings: u64,
    /// The digest of stored settings with which the worker was started, see [`Database::settings`](super::Database).
    pub stored_settings: u64,
    pub pid: i32,
    pub latch: L,
    /// The identity of the worker in `queues.call.owner`.
    pub owner: i64,
    /// The worker has to exit after its current task.
    pub retire: bool,
    /// The time at which the worker was requested to exit.
    pub retire_since: i64,
    /// Set if a command quiesces the database and the task of this worker was started last. The value is true if that
    /// was just before the command.
    pub evicted: Option<bool>,
    /// The worker has to reload the configuration. SIGHUP alone is lost on a process that is just starting.
    pub reload: bool,
    pub started_at: i64,
    /// The task that the worker has taken from the queue. It may fail to lock the row.
    pub taken: Option<(Lane, Candidate)>,
    /// The key that the worker has taken from the queue, while it looks for its task and runs it.
    pub key: Option<ShownKey>,
    /// The worker waits for another worker that reads.
    pub waits: bool,
    /// The task that the worker runs, or 0.
    pub task_id: i64,
    pub task_type: Text<SHOWN>,
    pub handler: Text<192>,
    pub busy_since: i64,
    /// What is known of earlier runs of the task.
    pub earlier: Interrupted,
    pub in_flight: u32,
    /// The calls that count towards the limits of providers.
    pub calls: InFlight,
    /// The start that the worker has reserved for the task that it has taken or runs, if its type has limits.
    pub start: Option<StartLimits>,
    /// The worker runs the last step of a task that `starts` counts.
    pub is_last_step: bool,
    /// The tasks that are between the steps of their calls, by type.
    pub(crate) starts: Starts,
    /// The worker is taking over orphaned calls, which it does not count yet.
    pub(crate) takes_over: bool,
    /// The calls that wait until their providers admit them.
    pub queued: QueuedCalls,
    /// The tasks that the worker does not run for a while.
    pub deferred: DeferredTasks,
    /// The worker can take no further task that needs a call.
    pub full: bool,
    pub succeeded: u64,
    pub failed: u64,
    /// The time at which the task was cancelled, if it was.
    pub cancelled_at: i64,
    /// The last tasks that ended or whose call was stored, in a ring. A reader with an older snapshot sees them in
    /// their earlier state.
    pub recent: [i64; MAX_RECENT],
    pub next_recent: usize,
    /// The tasks whose calls were cancelled; 0 for a free entry.
    pub cancels: [i64; MAX_CANCELS],
    pub has_cancels: bool,
}

impl<L: Latch> Slot<L> {
    pub(super) const FREE: Self = Slot {
        state: SlotState::Free,
        generation: 0,
        database: DatabaseId::NONE,
        role: RoleId::NONE,
        number: 0,
        settings: 0,
        stored_settings: 0,
        pid: 0,
        latch: L::NONE,
        owner: 0,
        retire: false,
        retire_since: 0,
        evicted: None,
        reload: false,
        started_at: 0,
        taken: None,
        key: None,
        waits: false,
        task_id: 0,
        task_type: Text::EMPTY,
        handler: Text::EMPTY,
        busy_since: 0,
        earlier: Interrupted::NONE,
        in_flight: 0,
        calls: InFlight::NONE,
        start: None,
        is_last_step: false,
        starts: Starts::NONE,
        takes_over: false,
        queued: QueuedCalls::NONE,
        deferred: DeferredTasks::NONE,
        full: false,
        succeeded: 0,
        failed: 0,
        cancelled_at: 0,
        recent: [0; MAX_RECENT],
        next_recent: 0,
        cancels: [0; MAX_CANCELS],
        has_cancels: false,
    };

    /// True for a process that has attached and is not exiting.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, SlotState::Free | SlotState::Starting)
    }

    /// True if the worker runs the task. A worker that has only taken a task may fail to lock it.
    pub(super) fn shows(&self, database: DatabaseId, task_id: i64) -> bool {
        self.database == database && self.task_id == task_id
    }

    pub(crate) fn shows_key(&self, key: Key) -> bool {
        self.key.is_some_and(|shown| shown.entry.key == key)
    }

    /// The lane of the task or key that the worker has taken.
    pub fn lane(&self) -> Option<Lane> {
        self.taken.map(|(lane, _)| lane).or(self.key.map(|shown| shown.lane))
    }

    /// True if the worker runs a task that has reserved no start and is not counted otherwise.
    pub(crate) fn shows_uncounted(&self) -> bool {
        self.task_id != 0 && self.start.is_none() && !self.is_last_step
    }

    /// True if the worker is busy with a row of the page, and is not expected to be for long.
    pub(super) fn occupies(&self, database: DatabaseId, page: u32, now: i64) -> bool {
        self.database == database
            && self.busy_since + SHORT > now
            && self.taken.is_some_and(|(_, task)| task.address.is_some_and(|address| address.page == page))
    }

    pub fn is_busy(&self) -> bool {
        self.task_id != 0 || self.in_flight > 0
    }

    /// True if the worker has done something, so that its end does not count as a failed start.
    pub(super) fn has_worked(&self, now: i64) -> bool {
        self.succeeded + self.failed > 0 || self.task_id != 0 || self.started_at + STEADY_AFTER < now
    }

    /// How the run of the task ends if the worker ends at `now`.
    pub(super) fn run_end(&self, now: i64) -> RunEnd {
        match self.evicted {
            Some(early) => RunEnd::Evicted { early, now },
            None if self.retire => RunEnd::Left,
            None => RunEnd::Died,
        }
    }

    /// Ends the step of the task.
    pub fn end(&mut self, how: Over) {
        if how != Over::GivenBack {
            self.recent[self.next_recent] = self.task_id;
            self.next_recent = (self.next_recent + 1) % MAX_RECENT;
        }
        self.task_id = 0;
        self.taken = None;
        self.is_last_step = false;
        self.succeeded += u64::from(how == Over::Succeeded);
        self.failed += u64::from(how == Over::Failed);
    }
}
