//! The provider, which recognizes idempotency keys for a day.

use super::database::Answer;
use super::hand::{Hand, Then};
use super::state::{InFlight, State, TASKS, Task};

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Provider {
    /// Requests that have been sent and not processed.
    pub requests: Vec<Request>,
    /// The keys of executed requests.
    known: Vec<u8>,
    /// Requests stored before this one are older than the provider remembers.
    forgotten_below: u8,
    /// How often the provider has executed each task's request.
    pub effects: [u8; TASKS],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Request {
    pub task: Task,
    pub key: u8,
    /// The worker that waits for the response.
    pub owner: u8,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    Answer(Request),
    /// A day passes.
    Forget,
}

impl Step {
    pub fn is_fault(self) -> bool {
        self == Step::Forget
    }
}

impl Provider {
    pub fn receive(&mut self, task: Task, key: u8, owner: u8) {
        self.requests.push(Request { task, key, owner });
        self.requests.sort_unstable();
    }

    /// `Orphan::age` against `Provider::remembers_keys_for`.
    pub fn has_forgotten(&self, key: u8) -> bool {
        key < self.forgotten_below
    }

    /// A known request gets the same response again.
    fn answer(&mut self, request: Request) {
        self.requests.retain(|other| *other != request);
        if !self.known.contains(&request.key) {
            self.effects[request.task] += 1;
            self.known.push(request.key);
            self.known.sort_unstable();
        }
    }
}

pub fn steps(state: &State) -> Vec<Step> {
    let mut steps: Vec<Step> = state.provider.requests.iter().copied().map(Step::Answer).collect();
    steps.extend((state.left.days > 0 && is_calm(state)).then_some(Step::Forget));
    steps
}

/// A request is sent immediately after it is stored or taken over, and reaches its time limit long before a day has
/// passed.
fn is_calm(state: &State) -> bool {
    let sends = |call: &InFlight| matches!(call, InFlight::Prepared | InFlight::ToSend | InFlight::Waiting);
    state.provider.requests.is_empty()
        && !state.live().any(|worker| {
            worker.calls.iter().any(sends) || matches!(worker.hand, Hand::Committed(_, Then::Send))
        })
}

pub fn take(state: &mut State, step: Step) {
    match step {
        Step::Answer(request) => {
            state.provider.answer(request);
            let waits = state.workers.iter_mut().find(|worker| worker.owner == request.owner);
            if let Some(call) = waits.map(|worker| &mut worker.calls[request.task])
                && *call == InFlight::Waiting
            {
                *call = InFlight::Received(Answer::Accepted);
            }
        }
        Step::Forget => {
            state.left.days -= 1;
            state.provider.known.clear();
            state.provider.forgotten_below = state.next_key;
        }
    }
}
