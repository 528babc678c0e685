//! A worker outside the database.

use super::Model;
use super::state::{Row, State, WORKERS};
use crate::broken::Broken;

/// What the worker outside is at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outside {
    Free,
    /// Its transaction holds the key's lock.
    Locking,
    /// No slot shows the key.
    Passed,
    /// It has updated the row, and not committed.
    Leasing(usize),
    /// Its transaction is committed and announced, and holds the lock for a moment yet. The task that it has leased.
    Unlocking(Option<usize>),
    Working(usize),
    /// The end of its task, or of its lease, is announced next.
    ToAnnounce,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    Begin,
    CheckSlots,
    Lease,
    Commit,
    Abort,
    Unlock,
    Complete,
    /// The lease ends before the task.
    LeaseEnds,
    Announce,
}

pub fn steps(_: &Model, state: &State) -> Vec<Step> {
    match state.outside {
        Outside::Free if state.outside_left > 0 => vec![Step::Begin],
        Outside::Free => vec![],
        Outside::Locking => vec![Step::CheckSlots],
        Outside::Passed => vec![Step::Lease],
        Outside::Leasing(_) => vec![Step::Commit, Step::Abort],
        Outside::Unlocking(_) => vec![Step::Unlock],
        Outside::Working(_) => vec![Step::Complete, Step::LeaseEnds],
        Outside::ToAnnounce => vec![Step::Announce],
    }
}

pub fn take(model: &Model, state: &mut State, step: Step) {
    state.outside = match (step, state.outside) {
        (Step::Begin, _) => {
            state.outside_left -= 1;
            state.is_locked = true;
            state.begin_to_look(WORKERS);
            Outside::Locking
        }
        (Step::CheckSlots, _) if state.is_shown() && !model.is(Broken::SlotsNotChecked) => {
            end_transaction(model, state, None)
        }
        (Step::CheckSlots, _) => Outside::Passed,
        (Step::Lease, _) => match state.next().filter(|task| state.is_lockable(*task)) {
            Some(task) => {
                state.begin(WORKERS, task);
                Outside::Leasing(task)
            }
            None => end_transaction(model, state, None),
        },
        (Step::Commit, Outside::Leasing(task)) => {
            state.rows[task] = Row::Leased;
            end_transaction(model, state, Some(task))
        }
        (Step::Unlock, Outside::Unlocking(leased)) => {
            state.is_locked = false;
            leased.map_or(Outside::Free, Outside::Working)
        }
        (Step::Abort, _) => end_transaction(model, state, None),
        (Step::Complete, Outside::Working(task)) => {
            state.rows[task] = Row::Ended;
            if model.is(Broken::EndOutsideUntold) { Outside::Free } else { Outside::ToAnnounce }
        }
        (Step::LeaseEnds, Outside::Working(task)) => {
            state.rows[task] = Row::Waiting;
            Outside::ToAnnounce
        }
        (Step::Announce, _) => {
            state.announce(model);
            Outside::Free
        }
        (step, outside) => unreachable!("{step:?} at {outside:?}"),
    };
}

/// Ends the transaction. What it has done is visible and announced before it releases the lock.
fn end_transaction(model: &Model, state: &mut State, leased: Option<usize>) -> Outside {
    state.announce(model);
    Outside::Unlocking(leased)
}
