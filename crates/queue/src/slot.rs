//! What is known of a worker process.

use super::database::LONGEST_PAUSE;
use super::{
    Candidate, DatabaseId, InFlight, Interrupted, Lane, Latch, MAX_CANCELS, MAX_RECENT, RoleId, RunEnd, Text,
};

/// A worker that has lived so long did not fail to start, in microseconds: as long as the longest pause before
/// the next one, since a shorter life could be repeated for ever.
const STEADY_AFTER: i64 = LONGEST_PAUSE;

/// A task that has run so long is not a short one, in microseconds.
const SHORT: i64 = 250;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SlotState {
    Free,
    /// Given to a process that has not attached yet.
    Starting,
    Working,
    /// Waits for work; may be woken.
    Idle,
    /// About to end; must not be woken.
    Leaving,
}

/// How a worker is done with the task at hand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Over {
    Succeeded,
    Failed,
    Cancelled,
    /// Its provider is being asked.
    Calling,
    /// It is to be run again.
    GivenBack,
}

/// What came of telling a worker to give up a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CancelReply {
    Marked,
    /// It has too much to give up already, or is just handling the answer.
    NotNow,
}

/// A worker process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot<L> {
    pub state: SlotState,
    /// Tells the uses of a slot apart.
    pub generation: u32,
    pub database: DatabaseId,
    /// The role it connects as.
    pub role: RoleId,
    /// N of `pg_errand worker N`.
    pub number: u32,
    /// What it was started with, see `Desired::settings` …
    pub settings: u64,
    /// … and `Database::settings`.
    pub stored_settings: u64,
    pub pid: i32,
    pub latch: L,
    /// Its identity in `queues.call.owner`.
    pub owner: i64,
    /// It should leave after its current task …
    pub retire: bool,
    /// … and was told so at this time.
    pub retire_since: i64,
    /// Set if a command bars workers and, of the tasks of the database, this worker's was started last; `Some(true)`:
    /// just before the command.
    pub evicted: Option<bool>,
    /// It should reread the configuration: SIGHUP is lost on a process that is just starting.
    pub reload: bool,
    pub started_at: i64,
    /// What it has taken from the queue, whether it turns out to be its task or not.
    pub taken: Option<(Lane, Candidate)>,
    /// It waits for another worker to read on.
    pub waits: bool,
    /// The task at hand; 0: none.
    pub task_id: i64,
    pub task_type: Text<64>,
    pub handler: Text<192>,
    pub busy_since: i64,
    /// What is known of earlier runs of the task at hand.
    pub earlier: Interrupted,
    pub in_flight: u32,
    /// Those that count for a provider's limits.
    pub calls: InFlight,
    /// It can take no further task that needs a call.
    pub full: bool,
    pub succeeded: u64,
    pub failed: u64,
    /// When the task at hand was cancelled, if it was.
    pub cancelled_at: i64,
    /// Tasks that have just ended or gone on to their provider call; a reader whose snapshot is
    /// older sees them as they were before. Written round.
    pub recent: [i64; MAX_RECENT],
    pub next_recent: usize,
    /// Tasks whose provider calls were cancelled; 0: free.
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
        waits: false,
        task_id: 0,
        task_type: Text::EMPTY,
        handler: Text::EMPTY,
        busy_since: 0,
        earlier: Interrupted::NONE,
        in_flight: 0,
        calls: InFlight::NONE,
        full: false,
        succeeded: 0,
        failed: 0,
        cancelled_at: 0,
        recent: [0; MAX_RECENT],
        next_recent: 0,
        cancels: [0; MAX_CANCELS],
        has_cancels: false,
    };

    /// True for a process that has attached and not left.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, SlotState::Free | SlotState::Starting)
    }

    /// True if its worker has this task. One that it has only taken it may not get.
    pub(super) fn shows(&self, database: DatabaseId, task_id: i64) -> bool {
        self.database == database && self.task_id == task_id
    }

    /// True if its worker is busy with a row of this page, and is not likely to be for long.
    pub(super) fn occupies(&self, database: DatabaseId, page: u32, now: i64) -> bool {
        self.database == database
            && self.busy_since + SHORT > now
            && self.taken.is_some_and(|(_, task)| task.address.is_some_and(|address| address.page == page))
    }

    pub fn is_busy(&self) -> bool {
        self.task_id != 0 || self.in_flight > 0
    }

    /// True if the worker was of any use: then its end is no failure to start one.
    pub(super) fn has_worked(&self, now: i64) -> bool {
        self.succeeded + self.failed > 0 || self.task_id != 0 || self.started_at + STEADY_AFTER < now
    }

    /// How the run of the task at hand ends if its worker ends at `now`.
    pub(super) fn run_end(&self, now: i64) -> RunEnd {
        match self.evicted {
            Some(early) => RunEnd::Evicted { early, now },
            None if self.retire => RunEnd::Left,
            None => RunEnd::Died,
        }
    }

    /// The task at hand is over, for now or for good.
    pub fn end(&mut self, how: Over) {
        if how != Over::GivenBack {
            self.recent[self.next_recent] = self.task_id;
            self.next_recent = (self.next_recent + 1) % MAX_RECENT;
        }
        self.task_id = 0;
        self.taken = None;
        self.succeeded += u64::from(how == Over::Succeeded);
        self.failed += u64::from(how == Over::Failed);
    }
}
