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
    Working(usize),
    /// Its transaction is over; it announces the key next.
    ToAnnounce,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    Begin,
    CheckSlots,
    Lease,
    Commit,
    Abort,
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
            give_up(model, state)
        }
        (Step::CheckSlots, _) => Outside::Passed,
        (Step::Lease, _) => match state.next().filter(|task| state.is_lockable(*task)) {
            Some(task) => {
                state.begin(WORKERS, task);
                Outside::Leasing(task)
            }
            None => give_up(model, state),
        },
        (Step::Commit, Outside::Leasing(task)) => {
            state.rows[task] = Row::Leased;
            state.is_locked = false;
            Outside::Working(task)
        }
        (Step::Abort, _) => give_up(model, state),
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

/// Ends the transaction without a task. A worker inside may have turned away from the key because of its lock.
fn give_up(model: &Model, state: &mut State) -> Outside {
    state.is_locked = false;
    if model.is(Broken::KeyLockUntold) { Outside::Free } else { Outside::ToAnnounce }
}
