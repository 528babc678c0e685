//! A worker inside the database.

use super::Model;
use super::state::{Row, State, TASKS};
use crate::broken::Broken;

/// What a worker is at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hand {
    Free,
    /// It has taken the key from the window, and its slot does not show it yet. Only a broken worker does this.
    Taken,
    /// It has taken the key from the window, and its slot shows it.
    Shown,
    /// No worker outside holds the key's lock.
    Passed,
    /// It has read the rows; the task that may start, if there is one, and whether another one waits behind it.
    Looked(Option<usize>, bool),
    /// It has locked the task's row.
    Running(usize, bool),
    /// Its transaction is committed.
    Committed(bool),
    /// The call of this task was answered; its last handler runs next. The slot does not show the key.
    Finishing(usize),
    /// The end of the task is committed, and the commit announces the key.
    Finished,
}

impl Hand {
    /// The task whose row it has locked for a first step.
    pub fn runs(self) -> Option<usize> {
        match self {
            Hand::Running(task, _) => Some(task),
            _ => None,
        }
    }

    fn finishes(self) -> Option<usize> {
        match self {
            Hand::Finishing(task) => Some(task),
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
    Commit,
    EndSlot,
    Announce,
    RollBack,
    /// Hands back the key that it found locked.
    HandBack,
    /// Begins the last step of a task whose call was answered.
    Finish(usize),
    Die,
}

pub fn steps(state: &State, id: usize) -> Vec<Step> {
    let hand = state.hands[id];
    let mut steps = match hand {
        Hand::Free => {
            let is_free = |task: usize| state.hands.iter().all(|hand| hand.finishes() != Some(task));
            let answered =
                |(task, row): (usize, &Row)| (*row == Row::Calling && is_free(task)).then_some(task);
            let finish = state.rows.iter().enumerate().filter_map(answered).map(Step::Finish);
            state.window.then_some(Step::Take).into_iter().chain(finish).collect()
        }
        Hand::Taken => vec![Step::Look],
        Hand::Shown => vec![Step::TryLock],
        Hand::Passed => vec![Step::Look],
        Hand::Looked(..) if !state.slots[id].shows => vec![Step::Show],
        Hand::Looked(..) => vec![Step::Start],
        Hand::Running(..) => {
            let roll_back = (state.repeats_left > 0).then_some(Step::RollBack);
            [Step::Commit].into_iter().chain(roll_back).collect()
        }
        Hand::Finishing(_) => vec![Step::Commit],
        Hand::Committed(_) => vec![Step::EndSlot],
        Hand::Finished => vec![Step::Announce],
    };
    steps.extend(state.kept[id].then_some(Step::HandBack));
    // A process that dies between a commit and what the commit announces takes the whole server down.
    if !matches!(hand, Hand::Free | Hand::Finished) && state.deaths_left > 0 {
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
            // Under the same lock under which it takes the key.
            if model.is(Broken::LooksBeforeShown) { Hand::Taken } else { show(state, id, Hand::Shown) }
        }
        (Step::Show, looked) => show(state, id, looked),
        (Step::TryLock, _) if state.is_locked && !model.is(Broken::KeyLockNotTried) => {
            state.unshow(id, false);
            state.kept[id] = !model.is(Broken::LockedKeyDropped);
            Hand::Free
        }
        (Step::TryLock, _) => Hand::Passed,
        (Step::Look, _) => {
            let next = state.next();
            Hand::Looked(next, next.is_some_and(|next| state.has_follower(next)))
        }
        (Step::Start, Hand::Looked(next, has_follower)) => start(state, id, next, has_follower),
        (Step::Commit, Hand::Running(task, has_follower)) => {
            state.rows[task] = if model.calls[task] { Row::Calling } else { Row::Ended };
            // While the call is open, the key has no next task.
            Hand::Committed(has_follower && !model.calls[task])
        }
        (Step::Commit, Hand::Finishing(task)) => {
            state.rows[task] = Row::Ended;
            if model.is(Broken::CallEndUntold) { Hand::Free } else { Hand::Finished }
        }
        (Step::Announce, _) => {
            state.announce(model);
            Hand::Free
        }
        (Step::HandBack, hand) => {
            state.kept[id] = false;
            state.announce(model);
            hand
        }
        (Step::EndSlot, Hand::Committed(has_follower)) => {
            state.unshow(id, has_follower && !model.is(Broken::FollowerIgnored));
            Hand::Free
        }
        (Step::RollBack, _) => {
            state.repeats_left -= 1;
            state.unshow(id, true);
            Hand::Free
        }
        (Step::Finish(task), _) => Hand::Finishing(task),
        (Step::Die, _) => {
            state.deaths_left -= 1;
            let has_taken = !matches!(hand, Hand::Finishing(_));
            state.unshow(id, has_taken && !model.is(Broken::DeathForgetsKey));
            // The worker that is started in its place sweeps.
            state.window |= std::mem::take(&mut state.kept[id]);
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

fn start(state: &mut State, id: usize, next: Option<usize>, has_follower: bool) -> Hand {
    match next.filter(|task| state.is_lockable(*task)) {
        Some(task) => {
            state.begin(id, task);
            Hand::Running(task, has_follower)
        }
        None => {
            state.unshow(id, false);
            Hand::Free
        }
    }
}
