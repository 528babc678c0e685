//! The steps of a provider call between those of its task (`src/worker/calls/`).

use super::Queue;
use super::database::{Answer, Row, Status, Wait};
use super::hand::{At, Did, Hand};
use super::state::{InFlight, State, TASKS, Task, WORKERS, WorkerId};
use crate::broken::Broken;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// `Calls::send`.
    Send(Task),
    /// The request has reached its time limit.
    TimeOut(Task),
    /// `flush::store_results`.
    StoreAnswers,
    /// `transaction::wait_until_durable`; then `flush::flush` continues the calls that were flushed.
    Flush,
    /// The process is requested to end while it waits for a synchronous standby: a visible commit may not survive.
    WaitBrokenOff,
    /// `call_resume.sql`.
    Resume(Task),
    /// The worker finds that the task has ended (`call_is_open.sql`).
    Forget(Task),
    /// `MySlot::take_cancels`.
    TakeCancel(Task),
    /// `cancel::cancel`.
    GiveUp,
    /// `MySlot::live_owners`.
    ListOwners,
    /// `call_reclaim.sql`.
    TakeOver,
}

pub fn steps(model: &Queue, state: &State, id: WorkerId) -> Vec<Step> {
    let worker = &state.workers[id];
    if !worker.is_up() {
        return Vec::new();
    }
    match worker.hand {
        Hand::Listed { .. } => return vec![Step::TakeOver],
        Hand::Settling => return flush_steps(state),
        Hand::GivingUp(task) if !state.is_locked(task) => return vec![Step::GiveUp],
        Hand::Closed(at, Did::Call) if model.is(Broken::SentBeforeStored) => {
            return vec![Step::Send(at.task)];
        }
        Hand::Free => {}
        _ => return Vec::new(),
    }
    let mut steps: Vec<Step> = (0..TASKS).filter_map(|task| step_of(state, id, task)).collect();
    steps.extend((0..TASKS).filter(|task| worker.slot.cancels[*task]).map(Step::TakeCancel));
    let received = |call: &InFlight| matches!(call, InFlight::Received(_));
    if worker.calls.iter().any(received) {
        steps.push(Step::StoreAnswers);
    } else if worker.calls.contains(&InFlight::Prepared) {
        steps.extend(flush_steps(state));
    }
    let others = |row: &Row| row.call.is_some_and(|call| call.open && call.owner != worker.owner);
    let look = !worker.looked_for_orphans || state.database.rows().iter().any(others);
    steps.extend(look.then_some(Step::ListOwners));
    steps
}

fn flush_steps(state: &State) -> Vec<Step> {
    let mut steps = vec![Step::Flush];
    steps.extend((state.left.deaths > 0).then_some(Step::WaitBrokenOff));
    steps
}

fn step_of(state: &State, id: WorkerId, task: Task) -> Option<Step> {
    match state.workers[id].calls[task] {
        InFlight::None | InFlight::Prepared | InFlight::Received(_) | InFlight::Stored => None,
        InFlight::ToSend => Some(Step::Send(task)),
        InFlight::Waiting => Some(Step::TimeOut(task)),
        InFlight::Answered => match state.call(task) {
            Some(call) if call.open && call.owner == state.workers[id].owner => {
                (!state.is_locked(task)).then_some(Step::Resume(task))
            }
            _ => Some(Step::Forget(task)),
        },
    }
}

pub fn take(model: &Queue, state: &mut State, id: WorkerId, step: Step) {
    match step {
        Step::Send(task) => send(state, id, task),
        Step::TimeOut(task) => state.workers[id].calls[task] = InFlight::Received(Answer::Unknown),
        Step::StoreAnswers => store_answers(model, state, id),
        Step::Flush => {
            state.database.flush();
            go_on(state, id);
        }
        Step::WaitBrokenOff => {
            state.left.deaths -= 1;
            state.workers[id].hand = Hand::Free;
            if model.is(Broken::SentAfterBrokenWait) {
                go_on(state, id);
            } else {
                state.workers[id].dying = true;
            }
        }
        Step::Resume(task) => state.workers[id].hand = Hand::Claimed(At { task, last: true }),
        Step::Forget(task) => state.workers[id].calls[task] = InFlight::None,
        Step::TakeCancel(task) => {
            state.workers[id].slot.cancels[task] &= !model.is(Broken::CancelTakenTooEarly);
            state.workers[id].hand = Hand::GivingUp(task);
        }
        Step::GiveUp => give_up(state, id),
        Step::ListOwners => list_owners(model, state, id),
        Step::TakeOver => take_over(model, state, id),
    }
}

fn send(state: &mut State, id: WorkerId, task: Task) {
    // The key of a request that is sent too early exists before its row.
    let key = state.call(task).map_or(state.next_key, |call| call.key);
    state.provider.receive(task, key, state.workers[id].owner);
    state.workers[id].calls[task] = InFlight::Waiting;
}

fn store_answers(model: &Queue, state: &mut State, id: WorkerId) {
    let owner = state.workers[id].owner;
    let early = model.is(Broken::HandledBeforeFlush);
    let worker = &mut state.workers[id];
    worker.hand = if early { Hand::Free } else { Hand::Settling };
    let calls = &mut worker.calls;
    state.database.commit(Wait::No, |rows| {
        for (row, known) in rows.iter_mut().zip(calls) {
            let InFlight::Received(answer) = *known else { continue };
            // `call_answer.sql`.
            if let Some(call) = row.call.as_mut().filter(|call| call.owner == owner && call.open) {
                call.answer = Some(answer);
            }
            *known = if early { InFlight::Answered } else { InFlight::Stored };
        }
    });
}

/// Everything stored so far is flushed: requests can be sent, and responses passed to handlers.
fn go_on(state: &mut State, id: WorkerId) {
    let worker = &mut state.workers[id];
    worker.hand = Hand::Free;
    for known in &mut worker.calls {
        *known = match *known {
            InFlight::Prepared => InFlight::ToSend,
            InFlight::Stored => InFlight::Answered,
            other => other,
        };
    }
}

fn give_up(state: &mut State, id: WorkerId) {
    let Hand::GivingUp(task) = state.workers[id].hand else { unreachable!() };
    if state.workers[id].calls[task] != InFlight::None {
        state.database.commit_row(Wait::ForDisk, task, |row| row.finish(Status::Cancelled));
    }
    let worker = &mut state.workers[id];
    worker.calls[task] = InFlight::None;
    worker.slot.cancels[task] = false;
    worker.hand = Hand::Free;
}

/// At first, identities are raised above those of open calls (`MySlot::see_owner`).
fn list_owners(model: &Queue, state: &mut State, id: WorkerId) {
    let open = state.database.rows().iter().filter_map(|row| row.call).filter(|call| call.open);
    let last = open.map(|call| call.owner).max().unwrap_or_default();
    if !model.is(Broken::OwnersNotRaised) && !model.is(Broken::OwnersRepeat) {
        state.next_owner = state.next_owner.max(last + 1);
    }
    state.workers[id].looked_for_orphans = true;
    state.workers[id].hand = Hand::Listed { live: state.live_owners(), bound: state.next_owner };
}

fn take_over(model: &Queue, state: &mut State, id: WorkerId) {
    let Hand::Listed { live, bound } = state.workers[id].hand else { unreachable!() };
    state.workers[id].hand = Hand::Free;
    for task in 0..TASKS {
        // `skip locked`.
        let call = state.call(task).filter(|call| call.open && !state.canceller.holds(task));
        if call.is_some_and(|call| is_orphan(model, call.owner, state.workers[id].owner, live, bound)) {
            adopt(model, state, id, task);
        }
    }
}

fn is_orphan(model: &Queue, owner: u8, mine: u8, live: [u8; WORKERS], bound: u8) -> bool {
    if model.is(Broken::TakenOverByTime) {
        return owner != mine;
    }
    (owner < bound || model.is(Broken::NewOwnersTakenForDead)) && !live.contains(&owner)
}

fn adopt(model: &Queue, state: &mut State, id: WorkerId, task: Task) {
    let owner = state.workers[id].owner;
    let new_key = model.is(Broken::NewKeyAtRepeat).then_some(state.next_key);
    state.next_key += u8::from(new_key.is_some());
    state.database.commit_row(Wait::ForDisk, task, |row| {
        let call = row.call.as_mut().expect("an open call");
        call.owner = owner;
        call.key = new_key.unwrap_or(call.key);
    });
    let call = state.call(task).expect("an open call");
    let forgotten = state.provider.has_forgotten(call.key) && !model.is(Broken::AgeIgnored);
    state.workers[id].calls[task] = match call.answer {
        Some(_) => InFlight::Answered,
        None if forgotten => InFlight::Received(Answer::Unknown),
        None => InFlight::ToSend,
    };
}
