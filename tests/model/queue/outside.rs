//! A worker outside the database (`sql/60_outside.sql`).

use super::Queue;
use super::database::{Row, Status, Wait};
use super::state::{State, TASKS, Task};
use crate::broken::Broken;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Outside {
    /// The number of tasks that the worker will still dequeue.
    left: u8,
    hand: Hand,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Hand {
    Free,
    Has(Task),
    Did(Task),
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// `queues.dequeue_next_available_task`.
    Dequeue(Task),
    Do(Task),
    /// `queues.complete_task`, `queues.fail_task`.
    End(Task, Status),
    /// The worker loses its task, or ends.
    GiveUp,
    /// Time passes.
    LeaseEnds(Task),
}

impl Outside {
    pub fn new(left: u8) -> Outside {
        Outside { left, hand: Hand::Free }
    }
}

pub fn steps(model: &Queue, state: &State) -> Vec<Step> {
    let mut steps: Vec<Step> =
        (0..TASKS).filter(|task| state.row(*task).leased).map(Step::LeaseEnds).collect();
    match state.outside.hand {
        Hand::Free if state.outside.left > 0 => {
            steps.extend((0..TASKS).filter(|task| may_dequeue(model, state, *task)).map(Step::Dequeue));
        }
        Hand::Free => {}
        Hand::Has(task) => steps.extend([Step::Do(task), Step::GiveUp]),
        Hand::Did(task) => {
            if !state.is_locked(task) || state.row(task).calling {
                steps.extend([Status::Succeeded, Status::Failed].map(|status| Step::End(task, status)));
            }
            steps.push(Step::GiveUp);
        }
    }
    steps
}

fn may_dequeue(model: &Queue, state: &State, task: Task) -> bool {
    let mut row = *state.row(task);
    row.calling &= !model.is(Broken::CallsHandedOut);
    row.is_ready() && !state.is_locked(task)
}

pub fn take(model: &Queue, state: &mut State, step: Step) {
    match step {
        Step::Dequeue(task) => {
            state.outside = Outside { left: state.outside.left - 1, hand: Hand::Has(task) };
            state.database.commit_row(Wait::ForDisk, task, |row| row.leased = true);
        }
        Step::Do(task) => {
            state.seen[task].done_outside += 1;
            state.outside.hand = Hand::Did(task);
        }
        Step::End(task, status) => {
            let calls_too = model.is(Broken::CallsCompletedOutside);
            state.database.commit_row(Wait::ForDisk, task, |row| end(row, status, calls_too));
            state.outside.hand = Hand::Free;
        }
        Step::GiveUp => state.outside.hand = Hand::Free,
        Step::LeaseEnds(task) => {
            state.seen[task].lease_ended = true;
            state.database.pass_time(|rows| rows[task].leased = false);
        }
    }
}

fn end(row: &mut Row, status: Status, calls_too: bool) {
    if !row.is_finished() && (calls_too || !row.calling) {
        row.status = status;
        row.ends += 1;
        row.ended_outside = true;
        row.leased = false;
        row.calling = false;
    }
}
