//! What `queues.explain` would say of a task is never wrong.

use crate::launcher::RETRY;
use crate::row::task_id;
use crate::worker::Hand;
use crate::world::{DATABASE, SLOTS, World, terms};
use pg_errand_queue::{
    Admission, CallState, Lane, Next, Obstacle, Ready, Reason, SlotState, Sources, Surroundings, TaskState,
    Unavailable,
};

impl<const W: usize, const C: usize> World<W, C> {
    /// Checks the reason of one task, another one with each step.
    pub fn check_reasons(&self) {
        let count = self.rows.len();
        if count == 0 {
            return;
        }
        let task = (self.steps as usize).wrapping_mul(31) % count;
        if self.rows[task].is_committed {
            self.check_reason(task, self.reason(task));
        }
    }

    /// The reason as `queues.explain` finds it.
    fn reason(&self, task: usize) -> Reason {
        let row = &self.rows[task];
        let (lane, terms) = match row.lane {
            _ if row.owner.is_some() => (Lane::LOCAL, None),
            Lane::LOCAL => (Lane::LOCAL, None),
            lane => (lane, Some(terms(lane))),
        };
        let ready = Ready { database: DATABASE, task_id: task_id(task), lane, terms };
        let holder = self.workers.iter().find(|worker| worker.locked() == Some(task));
        let state = TaskState {
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
            locked_by: row.is_locked.then_some(1).or(holder.map(|worker| worker.slot as i32)),
            follows: None,
        };
        let around = Surroundings {
            is_preloaded: true,
            is_standby: false,
            is_current: true,
            runner: self.shared.runner_of(DATABASE, task_id(task)),
            obstacle: self.shared.obstacle(&self.journal, &ready, SLOTS, self.now),
            ahead: 0,
        };
        Reason::of(&state, &around, self.now)
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
            Obstacle::Provider(_) | Obstacle::Lane(_) => self.check_refusal(row.lane),
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
        let mut queue = self.shared.queue_of(DATABASE).copied();
        let sources = Sources::from(pg_errand_queue::LaneSet::NONE.with(lane));
        let is_shut = queue
            .as_mut()
            .is_some_and(|queue| queue.take(slot, sources, self.now, |_| false) == Next::Nothing);
        assert!(is_refused || is_shut, "lane {lane:?} is open, and its provider admits a request");
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
