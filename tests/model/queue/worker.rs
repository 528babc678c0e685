//! A task's path through a worker: claim, handlers, record (`src/worker/{mod,claim,process,record}.rs`).

use super::database::{Call, Status, Wait};
use super::hand::{At, Did, Hand, Step, Then, Why};
use super::state::{InFlight, Slot, State, Task, WORKERS, Worker, WorkerId};
use super::{Kind, Queue};
use crate::broken::Broken;

pub fn steps(model: &Queue, state: &State, id: WorkerId) -> Vec<Step> {
    let worker = &state.workers[id];
    if worker.dying {
        return vec![Step::Detach];
    }
    let may_abort = state.left.aborts > 0;
    match worker.hand {
        Hand::Free if worker.is_up() => {
            (0..state.seen.len()).filter(|task| state.can_claim(*task)).map(Step::Claim).collect()
        }
        Hand::Claimed(_) => vec![Step::Show],
        Hand::Shown(_) | Hand::Failing(_) if worker.slot.cancelled => vec![Step::Stop],
        Hand::Shown(at) => {
            let mut steps = vec![Step::Run(outcome(model, state, at))];
            steps.extend(may_abort.then_some(Step::SerializationFailure));
            steps
        }
        Hand::Failing(_) => vec![Step::Run(Did::FAILED)],
        Hand::Closed(..) => {
            let mut steps = vec![Step::Commit];
            steps.extend(may_abort.then_some(Step::CommitFails));
            steps
        }
        Hand::Half(..) => vec![Step::Commit],
        Hand::Committed(..) => vec![Step::EndSlot],
        // An update waits for the row's lock.
        Hand::RolledBack(at, Why::Cancelled) if !state.is_locked(at.task) => {
            let mut steps = vec![Step::RecordCancel];
            steps.extend(may_abort.then_some(Step::RecordCancelFails));
            steps
        }
        Hand::RolledBack(at, Why::SerializationFailure) if at.last || !state.is_locked(at.task) => {
            vec![Step::GiveBack]
        }
        Hand::RolledBack(_, Why::CommitFailed) => vec![Step::Fail],
        _ => Vec::new(),
    }
}

/// The results of the handlers of this step. One that fails rolls back to its savepoint, and the error handler runs
/// instead in the same transaction, so the model needs no case of its own for it.
fn outcome(model: &Queue, state: &State, at: At) -> Did {
    if at.last {
        let answer = state.call(at.task).and_then(|call| call.answer).expect("an answered call");
        return Did::after_answer(answer, false);
    }
    match model.tasks[at.task] {
        Kind::Function => Did::SUCCEEDED,
        Kind::Call => Did::Call,
    }
}

pub fn take(model: &Queue, state: &mut State, id: WorkerId, step: Step) {
    match (step, state.workers[id].hand) {
        (Step::Claim(task), _) => claim(model, state, id, At { task, last: false }),
        (Step::Show, Hand::Claimed(at)) => show(model, state, id, at),
        (Step::Run(did), Hand::Shown(at)) => {
            let closes = !model.is(Broken::NeverCloses);
            run(state, id, at, did, closes);
        }
        (Step::Run(did), Hand::Failing(at)) => {
            let closes = !model.is(Broken::FailureStaysOpen);
            run(state, id, at, did, closes);
        }
        (Step::Stop, Hand::Shown(at) | Hand::Failing(at)) => roll_back(state, id, at, Why::Cancelled),
        (Step::SerializationFailure, Hand::Shown(at)) => {
            state.left.aborts -= 1;
            roll_back(state, id, at, Why::SerializationFailure);
        }
        (Step::CommitFails, Hand::Closed(at, _)) => {
            state.left.aborts -= 1;
            roll_back(state, id, at, Why::CommitFailed);
        }
        (Step::Commit, Hand::Closed(at, did)) => commit(model, state, id, at, did),
        (Step::Commit, Hand::Half(at, did)) => commit_second_half(model, state, id, at, did),
        (Step::EndSlot, Hand::Committed(task, then)) => end_slot(model, state, id, task, then),
        (Step::RecordCancel, Hand::RolledBack(at, _)) => {
            state.database.commit_row(Wait::ForDisk, at.task, |row| row.finish(Status::Cancelled));
            state.workers[id].hand = Hand::Committed(at.task, Then::Forget);
        }
        (Step::RecordCancelFails, Hand::RolledBack(at, _)) => {
            state.left.aborts -= 1;
            state.workers[id].hand = Hand::Committed(at.task, Then::Nothing);
        }
        (Step::GiveBack, Hand::RolledBack(at, _)) => give_back(model, state, id, at),
        (Step::Fail, Hand::RolledBack(at, _)) if at.last => end_without_handlers(model, state, id, at.task),
        (Step::Fail, Hand::RolledBack(at, _)) => claim_again(model, state, id, at),
        (Step::Detach, _) => detach(model, state, id),
        (step, hand) => unreachable!("{step:?} at {hand:?}"),
    }
}

fn claim(model: &Queue, state: &mut State, id: WorkerId, at: At) {
    if model.is(Broken::RunningMark) {
        state.database.commit_row(Wait::No, at.task, |row| row.running = true);
    }
    state.workers[id].hand = Hand::Claimed(at);
}

/// `Shared::begin`.
fn show(model: &Queue, state: &mut State, id: WorkerId, at: At) {
    let elsewhere = (0..WORKERS).any(|other| other != id && state.workers[other].slot.task == Some(at.task));
    if elsewhere && !model.is(Broken::RunsWhileShownElsewhere) {
        assert!(!at.last, "nobody else has a task whose call this worker has");
        state.workers[id].hand = Hand::Free;
        return;
    }
    let interrupted = std::mem::take(&mut state.interrupted[at.task]);
    let worker = &mut state.workers[id];
    let cancels = worker.slot.cancels;
    let cancelled = interrupted || cancels[at.task];
    worker.slot = Slot { task: Some(at.task), cancelled, closing: false, cancels };
    worker.hand = Hand::Shown(at);
}

fn run(state: &mut State, id: WorkerId, at: At, did: Did, closes: bool) {
    state.note_handler(at.task);
    let worker = &mut state.workers[id];
    worker.slot.closing |= closes;
    worker.hand = Hand::Closed(at, did);
}

fn roll_back(state: &mut State, id: WorkerId, at: At, why: Why) {
    state.workers[id].hand = Hand::RolledBack(at, why);
}

fn commit(model: &Queue, state: &mut State, id: WorkerId, at: At, did: Did) {
    if did != Did::Call && model.is(Broken::EndAfterEffects) {
        state.database.commit_row(Wait::No, at.task, |row| did.leave_effects(row));
        state.workers[id].hand = Hand::Half(at, did);
    } else if did != Did::Call && model.is(Broken::EndBeforeEffects) {
        state.database.commit_row(Wait::No, at.task, |row| did.end(row));
        state.workers[id].hand = Hand::Half(at, did);
    } else {
        write(state, id, at, did);
        let then = if did == Did::Call { Then::Send } else { Then::Forget };
        state.workers[id].hand = Hand::Committed(at.task, then);
    }
}

/// `finish.sql`, or `call_store.sql` and `call_begin.sql`.
pub fn write(state: &mut State, id: WorkerId, at: At, did: Did) {
    let call = Call { owner: state.workers[id].owner, key: state.next_key, open: true, answer: None };
    state.database.commit_row(Wait::No, at.task, |row| {
        if did == Did::Call {
            row.calling = true;
            row.leased = false;
            row.call = Some(call);
        } else {
            did.leave_effects(row);
            did.end(row);
        }
    });
    state.next_key += u8::from(did == Did::Call);
}

fn commit_second_half(model: &Queue, state: &mut State, id: WorkerId, at: At, did: Did) {
    let effects_first = model.is(Broken::EndAfterEffects);
    state.database.commit_row(Wait::No, at.task, |row| {
        if effects_first { did.end(row) } else { did.leave_effects(row) }
    });
    state.workers[id].hand = Hand::Committed(at.task, Then::Forget);
}

/// `MySlot::end`, and what this process knows of the call. A task that is given back keeps its cancellation.
fn end_slot(model: &Queue, state: &mut State, id: WorkerId, task: Task, then: Then) {
    let worker = &mut state.workers[id];
    worker.slot.task = None;
    worker.hand = Hand::Free;
    match then {
        Then::Send if model.is(Broken::SentBeforeFlush) => worker.calls[task] = InFlight::ToSend,
        Then::Send => worker.calls[task] = InFlight::Prepared,
        Then::Forget => worker.calls[task] = InFlight::None,
        Then::Nothing => {
            let cancelled = worker.slot.cancelled && !worker.slot.closing;
            state.interrupted[task] |= cancelled && !model.is(Broken::CancelNotGivenBack);
        }
    }
}

/// `repeat.sql` does not change a task that a worker outside has dequeued meanwhile.
fn give_back(model: &Queue, state: &mut State, id: WorkerId, at: At) {
    if !at.last && model.is(Broken::RepeatTakesLease) {
        state.database.commit_row(Wait::ForDisk, at.task, |row| row.leased = false);
    }
    state.workers[id].hand = Hand::Committed(at.task, Then::Nothing);
}

/// `claim_again.sql`, for the error handler.
fn claim_again(model: &Queue, state: &mut State, id: WorkerId, at: At) {
    let mut row = *state.row(at.task);
    row.leased &= !model.is(Broken::FailureTakesLease);
    let free = row.is_ready() && !state.is_locked(at.task);
    let worker = &mut state.workers[id];
    worker.slot.closing = false;
    worker.hand = if free { Hand::Failing(at) } else { Hand::Committed(at.task, Then::Nothing) };
}

/// If another session has locked the row, this is repeated later.
fn end_without_handlers(model: &Queue, state: &mut State, id: WorkerId, task: Task) {
    let owner = state.workers[id].owner;
    let call = state.call(task).filter(|call| call.open && call.owner == owner);
    let locked = state.is_locked(task);
    if let Some(answer) = call.and_then(|call| call.answer)
        && !locked
    {
        let did = Did::after_answer(answer, true);
        write(state, id, At { task, last: true }, did);
    }
    let later = call.is_some() && locked && !model.is(Broken::LockedCallForgotten);
    let then = if later { Then::Nothing } else { Then::Forget };
    state.workers[id].hand = Hand::Committed(task, then);
}

/// Cancellations that this worker has not processed are passed on.
fn detach(model: &Queue, state: &mut State, id: WorkerId) {
    let slot = std::mem::replace(&mut state.workers[id], Worker::GONE).slot;
    if model.is(Broken::CancelDiesWithWorker) {
        return;
    }
    for (task, interrupted) in state.interrupted.iter_mut().enumerate() {
        *interrupted |= slot.cancels[task];
        *interrupted |= slot.task == Some(task) && slot.cancelled && !slot.closing;
    }
}
