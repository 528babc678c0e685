//! A worker inside the database.

use super::Model;
use super::state::{Row, State, TASKS};
use crate::broken::Broken;

/// What a worker is at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hand {
    Free,
    /// It has taken the key from the window.
    Taken,
    /// Its slot shows the key.
    Shown,
    /// No worker outside holds the key's lock.
    Passed,
    /// It has read the rows; the task that may start, if there is one.
    Looked(Option<usize>),
    /// It has locked the task's row.
    Running(usize),
    /// It has also looked for another task of the key.
    LookedOn(usize, bool),
    /// Its transaction is committed.
    Committed(bool),
    /// The call of this task was answered; its last handler runs next.
    Finishing(usize),
    /// It has also looked for another task of the key.
    FinishingLooked(usize, bool),
}

impl Hand {
    /// The task whose row it has locked for a first step.
    pub fn runs(self) -> Option<usize> {
        match self {
            Hand::Running(task) | Hand::LookedOn(task, _) => Some(task),
            _ => None,
        }
    }

    fn finishes(self) -> Option<usize> {
        match self {
            Hand::Finishing(task) | Hand::FinishingLooked(task, _) => Some(task),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    Take,
    Show,
    TryLock,
    Look,
    Start,
    LookOn,
    Commit,
    EndSlot,
    RollBack,
    /// Begins the last step of a task whose call was answered.
    Finish(usize),
    Die,
}

pub fn steps(model: &Model, state: &State, id: usize) -> Vec<Step> {
    let hand = state.hands[id];
    let mut steps = match hand {
        Hand::Free => {
            let is_free = |task: usize| state.hands.iter().all(|hand| hand.finishes() != Some(task));
            let answered =
                |(task, row): (usize, &Row)| (*row == Row::Calling && is_free(task)).then_some(task);
            let finish = state.rows.iter().enumerate().filter_map(answered).map(Step::Finish);
            state.window.then_some(Step::Take).into_iter().chain(finish).collect()
        }
        Hand::Taken if model.is(Broken::LooksBeforeShown) => vec![Step::Look],
        Hand::Taken => vec![Step::Show],
        Hand::Shown => vec![Step::TryLock],
        Hand::Passed => vec![Step::Look],
        Hand::Looked(_) if !state.slots[id].shows => vec![Step::Show],
        Hand::Looked(_) => vec![Step::Start],
        Hand::Running(_) => {
            let roll_back = (state.repeats_left > 0).then_some(Step::RollBack);
            [Step::LookOn].into_iter().chain(roll_back).collect()
        }
        Hand::Finishing(_) => vec![Step::LookOn],
        Hand::LookedOn(..) | Hand::FinishingLooked(..) => vec![Step::Commit],
        Hand::Committed(_) => vec![Step::EndSlot],
    };
    if hand != Hand::Free && state.deaths_left > 0 {
        steps.push(Step::Die);
    }
    steps
}

pub fn take(model: &Model, state: &mut State, id: usize, step: Step) {
    let hand = state.hands[id];
    state.hands[id] = match (step, hand) {
        (Step::Take, _) => {
            state.window = false;
            state.begin_to_look(id);
            Hand::Taken
        }
        (Step::Show, Hand::Looked(next)) => show(state, id, Hand::Looked(next)),
        (Step::Show, _) => show(state, id, Hand::Shown),
        (Step::TryLock, _) if state.is_locked && !model.is(Broken::KeyLockNotTried) => {
            state.unshow(id, false);
            Hand::Free
        }
        (Step::TryLock, _) => Hand::Passed,
        (Step::Look, _) => Hand::Looked(state.next()),
        (Step::Start, Hand::Looked(next)) => start(state, id, next),
        (Step::LookOn, Hand::Running(task)) => Hand::LookedOn(task, state.has_follower(task)),
        (Step::LookOn, Hand::Finishing(task)) => Hand::FinishingLooked(task, state.has_follower(task)),
        (Step::Commit, Hand::LookedOn(task, has_follower)) => {
            state.rows[task] = if model.calls[task] { Row::Calling } else { Row::Ended };
            // While the call is open, the key has no next task.
            Hand::Committed(has_follower && !model.calls[task])
        }
        (Step::Commit, Hand::FinishingLooked(task, has_follower)) => {
            state.rows[task] = Row::Ended;
            state.slots[id].shows = true;
            Hand::Committed(has_follower)
        }
        (Step::EndSlot, Hand::Committed(has_follower)) => {
            state.unshow(id, has_follower);
            Hand::Free
        }
        (Step::RollBack, _) => {
            state.repeats_left -= 1;
            state.unshow(id, true);
            Hand::Free
        }
        (Step::Finish(task), _) => {
            state.slots[id].shows = !model.is(Broken::LooksOnBeforeShown);
            Hand::Finishing(task)
        }
        (Step::Die, _) => {
            state.deaths_left -= 1;
            state.unshow(id, !model.is(Broken::DeathForgetsKey));
            Hand::Free
        }
        (step, hand) => unreachable!("{step:?} at {hand:?}"),
    };
}

/// Shows the key in the worker's slot, unless another slot shows it, whose worker then looks again.
fn show(state: &mut State, id: usize, then: Hand) -> Hand {
    if state.is_shown() {
        state.slots.iter_mut().for_each(|slot| slot.again = slot.shows);
        state.seen[id] = [false; TASKS];
        return Hand::Free;
    }
    state.slots[id].shows = true;
    then
}

fn start(state: &mut State, id: usize, next: Option<usize>) -> Hand {
    match next.filter(|task| state.is_lockable(*task)) {
        Some(task) => {
            state.begin(id, task);
            Hand::Running(task)
        }
        None => {
            state.unshow(id, false);
            Hand::Free
        }
    }
}
