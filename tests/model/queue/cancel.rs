//! `queues.cancel` (`sql/70_cancel.sql`) in a session that may still roll back.

use super::Queue;
use super::database::{Status, Wait};
use super::state::{State, TASKS, Task};
use crate::broken::Broken;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Canceller {
    Idle,
    /// The session has read the task, and the owner of its call if the call is open.
    Looked(Task, Option<u8>),
    /// No slot shows the task.
    NotRunning(Task, Option<u8>),
    /// No live worker owns the task's call, if there is one.
    NobodyHasIt(Task, Option<u8>),
    /// The worker that owns its call was notified.
    Told(Task),
    /// The row is locked and changed.
    Changed(Task),
    Done,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    Look(Task),
    /// `errand.cancel_running`.
    TellRunning,
    /// `errand.cancel_call`.
    TellCall,
    /// The row is locked and changed, if it is not locked and unchanged since it was read.
    Change,
    Commit,
    RollBack,
    /// Checks whether the task has just ended otherwise.
    LookAgain,
}

impl Canceller {
    /// True if its transaction holds the lock of the task's row.
    pub fn holds(&self, task: Task) -> bool {
        *self == Canceller::Changed(task)
    }
}

pub fn steps(state: &State) -> Vec<Step> {
    match state.canceller {
        Canceller::Idle => (0..TASKS).map(Step::Look).collect(),
        Canceller::Looked(..) => vec![Step::TellRunning],
        Canceller::NotRunning(..) => vec![Step::TellCall],
        Canceller::NobodyHasIt(..) => vec![Step::Change],
        Canceller::Told(_) => vec![Step::LookAgain],
        Canceller::Changed(_) => vec![Step::Commit, Step::RollBack],
        Canceller::Done => Vec::new(),
    }
}

pub fn take(model: &Queue, state: &mut State, step: Step) {
    state.canceller = match (step, state.canceller) {
        (Step::Look(task), _) => look(state, task),
        (Step::TellRunning, Canceller::Looked(task, owner)) => tell_running(model, state, task, owner),
        (Step::TellCall, Canceller::NotRunning(task, owner)) => tell_call(model, state, task, owner),
        (Step::Change, Canceller::NobodyHasIt(task, owner)) => {
            let unchanged = state.row(task).calling == owner.is_some() && !state.row(task).is_finished();
            if unchanged && !state.is_locked(task) { Canceller::Changed(task) } else { look(state, task) }
        }
        (Step::Commit, Canceller::Changed(task)) => {
            state.database.commit_row(Wait::ForDisk, task, |row| row.finish(Status::Cancelled));
            returns_true(state, task)
        }
        (Step::LookAgain, Canceller::Told(task)) => match state.row(task).status {
            Status::Unfinished | Status::Cancelled => returns_true(state, task),
            _ => Canceller::Done,
        },
        _ => Canceller::Done,
    };
}

fn returns_true(state: &mut State, task: Task) -> Canceller {
    state.seen[task].cancelled = true;
    Canceller::Done
}

fn look(state: &State, task: Task) -> Canceller {
    let row = state.row(task);
    let owner = row.call.filter(|_| row.calling).map(|call| call.owner);
    if row.is_finished() { Canceller::Done } else { Canceller::Looked(task, owner) }
}

fn tell_running(model: &Queue, state: &mut State, task: Task, owner: Option<u8>) -> Canceller {
    let late = model.is(Broken::CancelTooLate);
    let runs = |slot: &super::state::Slot| slot.task == Some(task) && (late || !slot.closing);
    let found = state.workers.iter_mut().find(|worker| !worker.is_gone() && runs(&worker.slot));
    let Some(worker) = found else { return Canceller::NotRunning(task, owner) };
    worker.slot.cancelled = true;
    returns_true(state, task)
}

fn tell_call(model: &Queue, state: &mut State, task: Task, owner: Option<u8>) -> Canceller {
    let found = state.workers.iter_mut().find(|worker| !worker.is_gone() && Some(worker.owner) == owner);
    let Some(worker) = found else { return Canceller::NobodyHasIt(task, owner) };
    // The last handler of the call is running.
    if worker.slot.task == Some(task) && !model.is(Broken::CallCancelledInHandler) {
        return look(state, task);
    }
    worker.slot.cancels[task] = true;
    Canceller::Told(task)
}
