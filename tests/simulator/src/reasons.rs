//! What `queues.explain` would say of a task is never wrong.

use crate::launcher::RETRY;
use crate::row::{index, position, task_id};
use crate::types::{is_of_type, limits_of};
use crate::worker::Hand;
use crate::world::{DATABASE, SLOTS, World, terms};
use pg_errand_queue::{
    Admission, Busy, CallState, Lane, LaneSet, NEVER, Next, Obstacle, Paused, Ready, Reason, SlotState,
    Sources, Surroundings, TaskState, Unavailable,
};

impl<const W: usize, const C: usize> World<W, C> {
    /// Checks the reason of one task, another one with each step.
    pub fn check_reasons(&self) {
        let count = self.rows.len();
        if count == 0 {
            return;
        }
        let task = (self.steps as usize).wrapping_mul(31) % count;
        // The reason of a task that waits for others of its key is that key's.
        let is_next = self.rows[task].key.is_none_or(|key| self.startable(key) == Some(task));
        if self.rows[task].is_committed && is_next {
            self.check_reason(task, self.reason(task));
        }
    }

    /// The reason as `queues.explain` finds it.
    fn reason(&self, task: usize) -> Reason {
        let (state, mut around) = (self.state(task), self.surroundings(task));
        if Reason::of(&state, &around, self.now).is_next() {
            around.ahead = self.first_ones(task).count() as i64;
        }
        Reason::of(&state, &around, self.now)
    }

    /// The reason of a task, whatever comes before it.
    fn own_reason(&self, task: usize) -> Reason {
        Reason::of(&self.state(task), &self.surroundings(task), self.now)
    }

    fn ready(&self, task: usize) -> Ready {
        let row = &self.rows[task];
        let (lane, terms) = match row.lane {
            _ if row.owner.is_some() => (Lane::LOCAL, None),
            lane if lane == Lane::LOCAL || is_of_type(lane) => (lane, None),
            lane => (lane, Some(terms(lane))),
        };
        let limits = limits_of(lane);
        Ready { database: DATABASE, task_id: task_id(task), lane, terms, limits, leased: 0, key: None }
    }

    fn state(&self, task: usize) -> TaskState {
        let row = &self.rows[task];
        TaskState {
            is_finished: row.ends > 0,
            is_uncommitted: false,
            is_unadopted: false,
            scheduled_at: row.scheduled_at,
            not_before: row.not_before,
            is_leased: false,
            call: row.owner.map(|owner| CallState {
                worker: self.shared.worker_of(DATABASE, owner).map(|slot| slot.pid),
                has_response: false,
                refusal: None,
                is_queued: None,
            }),
            locked_by: self.locker(task),
            follows: None,
            key_paused: None,
            key_busy: None,
            paused: self.is_paused(row.lane).then_some(Paused::Type(NEVER)),
        }
    }

    fn locker(&self, task: usize) -> Option<i32> {
        let holder = self.workers.iter().find(|worker| worker.locked() == Some(task));
        self.rows[task].is_locked.then_some(1).or(holder.map(|worker| worker.slot as i32))
    }

    fn surroundings(&self, task: usize) -> Surroundings {
        Surroundings {
            is_preloaded: true,
            is_standby: false,
            is_current: true,
            runner: self.shared.runner_of(DATABASE, task_id(task)),
            obstacle: self.shared.obstacle(&self.journal, &self.ready(task), SLOTS, self.now),
            ahead: 0,
        }
    }

    /// The tasks without a key before this one that are due.
    fn before(&self, task: usize) -> impl Iterator<Item = usize> {
        let place = |index: usize| {
            let ageing = self.ageing_of(self.rows[index].lane);
            ageing.effective(position(&self.rows, index), self.now)
        };
        let own = place(task);
        let is_due = |index: &usize| self.rows[*index].key.is_none() && self.rows[*index].is_ready(self.now);
        (0..self.rows.len()).filter(is_due).filter(move |index| place(*index) < own)
    }

    /// The tasks that `queues.explain` counts before this one.
    fn first_ones(&self, task: usize) -> impl Iterator<Item = usize> {
        let withheld: Vec<i64> = self.shared.withheld(&self.journal, DATABASE, self.now).collect();
        let runs = |index| self.shared.runner_of(DATABASE, task_id(index)).is_some();
        self.before(task).filter(move |index| {
            !runs(*index)
                && !withheld.contains(&task_id(*index))
                && self.locker(*index).is_none()
                && !self.is_paused(self.rows[*index].lane)
                && !self.shared.is_passed_over(&self.ready(*index), self.now)
        })
    }

    /// Tasks that come first may start, and no other task may that comes first.
    fn check_first_ones(&self, task: usize) {
        let counted: Vec<usize> = self.first_ones(task).collect();
        let is_taken = |index: usize| {
            let taken = self.shared.slots_of(DATABASE).filter_map(|slot| slot.taken);
            taken.into_iter().any(|(_, taken)| taken.position.task_id == task_id(index))
        };
        for index in self.before(task) {
            let reason = self.own_reason(index);
            let is_counted = counted.contains(&index);
            assert!(
                is_counted == reason.is_next() || !is_counted && is_taken(index),
                "task {index} before {task}, counted: {is_counted}, is told: {reason:?}"
            );
        }
    }

    fn check_reason(&self, task: usize, reason: Reason) {
        let row = &self.rows[task];
        let runs = |worker: &&crate::worker::Worker| matches!(worker.hand, Hand::Runs(run, _) if run == task);
        let runner = self.workers.iter().find(runs).map(|worker| self.shared.slots[worker.slot].pid);
        let told = match reason {
            Reason::Running(busy) => Some(busy.pid),
            _ => None,
        };
        assert!(
            runner.is_none() || runner == told,
            "task {task} runs in {runner:?}, and is told: {reason:?}"
        );
        if reason.is_next() || matches!(reason, Reason::Behind { .. }) {
            self.check_first_ones(task);
        }
        match reason {
            Reason::Finished => assert!(row.ends > 0),
            Reason::Scheduled(until) | Reason::Deferred(until) => {
                assert!(until > self.now && !row.is_ready(self.now), "{reason:?}: {row:?}");
            }
            Reason::CallOpen(_) | Reason::CallOrphaned => assert!(row.owner.is_some()),
            Reason::Obstacle(obstacle) => self.check_obstacle(task, obstacle),
            Reason::Next => self.check_progress(task, reason),
            _ => {}
        }
    }

    fn check_obstacle(&self, task: usize, obstacle: Obstacle) {
        let row = &self.rows[task];
        let staff = || {
            let of_database = self.shared.slots_of(DATABASE);
            of_database.filter(|slot| slot.is_live() && slot.state != SlotState::Leaving && !slot.retire)
        };
        match obstacle {
            Obstacle::Quiesced(pid) => assert!(self.quiescers.contains(&pid), "{pid} quiesces nothing"),
            Obstacle::Interrupted(until) => {
                let (mut shared, mut journal) = (self.shared.clone(), self.journal.clone());
                // Any slot of the database without a task would be told the same.
                if let Some(slot) = (0..SLOTS).find(|slot| {
                    let slot = &self.shared.slots[*slot];
                    slot.database == DATABASE && slot.task_id == 0
                }) {
                    let begun = shared.begin(&mut journal, slot, task_id(task), "", "", self.now);
                    assert_eq!(begun, Err(Unavailable::Paused(until)), "task {task} is not paused");
                }
            }
            Obstacle::TypeFull(first) => {
                let is_other =
                    |first: Busy| first.task_id != task_id(task) && self.type_of_shown(first) == row.lane;
                assert!(first.is_none_or(is_other), "task {task} of {:?} waits for {first:?}", row.lane);
                self.check_start(row.lane, Admission::Full);
            }
            Obstacle::TypeRate(until) => self.check_start(row.lane, Admission::Wait(until)),
            Obstacle::Provider(_) => self.check_refusal(row.lane),
            Obstacle::Lane(_) if is_of_type(row.lane) => self.check_shut(row.lane),
            Obstacle::Lane(_) => self.check_refusal(row.lane),
            Obstacle::Busy { first, .. } => {
                assert!(staff().all(|slot| slot.task_id != 0 || slot.full), "not all workers are busy");
                assert!(staff().any(|slot| slot.pid == first.pid && slot.task_id == first.task_id));
            }
            Obstacle::Full => assert!(staff().all(|slot| slot.full || slot.task_id != 0)),
            Obstacle::Starting => self.check_progress(task, Reason::Obstacle(obstacle)),
            Obstacle::Failing { until, .. } => assert!(until > self.now),
            _ => {}
        }
    }

    /// The provider of a lane refuses a request, or no task of the lane is handed out.
    fn check_refusal(&self, lane: Lane) {
        let Some(slot) = (0..SLOTS).find(|slot| self.shared.slots[*slot].database == DATABASE) else {
            return;
        };
        let mut shared = self.shared.clone();
        let is_refused = shared.admit(slot, &terms(lane), self.now) != Admission::Admitted;
        assert!(
            is_refused || self.is_shut(slot, lane),
            "lane {lane:?} is open, and its provider admits a request"
        );
    }

    /// True if no task of the lane is handed out.
    fn is_shut(&self, slot: usize, lane: Lane) -> bool {
        let mut queue = self.shared.queue_of(DATABASE).copied();
        let sources = Sources::from(LaneSet::NONE.with(lane));
        queue.as_mut().is_some_and(|queue| queue.take(slot, sources, self.now, |_| false) == Next::Nothing)
    }

    fn check_shut(&self, lane: Lane) {
        assert!(self.is_shut(0, lane), "lane {lane:?} of a type is open");
    }

    /// The start of another task of a type is refused.
    fn check_start(&self, lane: Lane, expected: Admission) {
        let is_free = |slot: &usize| {
            let slot = &self.shared.slots[*slot];
            slot.database == DATABASE && slot.is_live() && slot.start.is_none() && slot.task_id == 0
        };
        let (Some(slot), Some(limits)) = ((0..SLOTS).find(is_free), limits_of(lane)) else { return };
        let admission = self.shared.clone().start(slot, &limits, self.now);
        assert_eq!(admission, expected, "another task of lane {lane:?} starts");
    }

    /// The lane of a task that a worker shows.
    fn type_of_shown(&self, busy: Busy) -> Lane {
        self.rows[index(busy.task_id)].lane
    }

    /// A task that is told to start by itself does so: some process has a step to take.
    fn check_progress(&self, task: usize, reason: Reason) {
        // The launcher tries again to start a worker.
        let is_moving = self.launcher.until <= self.now + RETRY
            || self.launcher_has_cause()
            || !self.sessions.is_empty()
            || (0..self.workers.len()).any(|worker| self.can_step(worker));
        let row = &self.rows[task];
        assert!(is_moving || row.is_disturbed, "task {task} is told {reason:?}, and nothing moves: {row:?}");
    }
}
