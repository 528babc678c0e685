//! Ends of processes, and crashes of the server.

use super::Queue;
use super::cancel::Canceller;
use super::database::Status;
use super::hand::Hand;
use super::state::{State, TASKS, WORKERS, Worker, WorkerId};
use super::worker;
use crate::broken::Broken;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// A worker ends (SIGTERM, or an error that ends the session): its transaction is rolled back first.
    Die(WorkerId),
    /// All processes end, and shared memory is lost. Of the commits since the last flush, this many survive.
    Crash { kept: usize },
    /// The same, with a commit that was flushed but has not become visible.
    CrashIn(WorkerId),
}

pub fn steps(state: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    if state.left.deaths > 0 {
        steps.extend((0..WORKERS).filter(|id| state.workers[*id].is_up()).map(Step::Die));
    }
    if state.left.crashes > 0 {
        steps.extend((0..state.database.remains().len()).map(|kept| Step::Crash { kept }));
        let committing = |id: &WorkerId| matches!(state.workers[*id].hand, Hand::Closed(..));
        steps.extend((0..WORKERS).filter(committing).map(Step::CrashIn));
    }
    steps
}

pub fn take(model: &Queue, state: &mut State, step: Step) {
    match step {
        Step::Die(id) => {
            state.left.deaths -= 1;
            state.workers[id].dying = true;
            state.workers[id].hand = Hand::Free;
        }
        Step::Crash { kept } => crash(model, state, kept),
        Step::CrashIn(id) => {
            let Hand::Closed(at, did) = state.workers[id].hand else { unreachable!() };
            worker::write(state, id, at, did);
            crash(model, state, state.database.remains().len() - 1);
        }
    }
}

fn crash(model: &Queue, state: &mut State, kept: usize) {
    state.left.crashes -= 1;
    state.database.crash(kept);
    state.workers = [Worker::GONE; WORKERS];
    state.interrupted = [false; TASKS];
    state.canceller = Canceller::Done;
    // A worker that was notified of a cancellation no longer knows it.
    for task in 0..TASKS {
        state.seen[task].cancelled = state.row(task).status == Status::Cancelled;
    }
    if model.is(Broken::OwnersRepeat) {
        state.next_owner = 10;
    } else if model.clock_goes_back {
        state.next_owner = 1;
    }
}
