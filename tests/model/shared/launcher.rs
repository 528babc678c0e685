//! The launcher (`src/launcher/cycle.rs`, `src/launcher/reconcile.rs`), for one database.

use super::memory::WORKERS;
use super::worker::Hand;
use super::{Action, Model, State, Time};
use crate::broken::Broken;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Launcher {
    /// The launcher waits for its latch, or until it has to compare again.
    Waits { until: Option<Time>, again: bool },
    /// The launcher has compared, and is about to act.
    Decided { start: bool, wake: bool, until: Option<Time>, again: bool },
    /// Used only where the process is requested first: `Shared::expect_worker` is next.
    Started,
}

impl Launcher {
    /// After a start of the server, the launcher compares immediately.
    pub const NEW: Launcher = Launcher::Waits { until: None, again: true };
}

pub fn steps(model: &Model, state: &State, actions: &mut Vec<Action>) {
    match state.launcher {
        Launcher::Waits { until, again } => {
            let due = until.is_some_and(|due| due <= state.now);
            // The launcher compares again within a second while there is something to do.
            let has_cause = state.memory.launcher_is_set() || due || again && decide(model, state) != IDLE;
            actions.extend(has_cause.then_some(Action::Compare));
        }
        Launcher::Decided { .. } => actions.push(Action::Act),
        Launcher::Started => actions.push(Action::ExpectWorker),
    }
}

const IDLE: (bool, bool) = (false, false);

/// Whether a worker has to be started, and whether an idle one has to be woken.
fn decide(model: &Model, state: &State) -> (bool, bool) {
    let ready = state.memory.has_idle();
    let due = state.memory.is_due(state.now);
    let has_work = state.memory.entry().has_work(super::memory::micros(state.now));
    let starting = state.hands.contains(&Hand::Starts);
    let has_room = state.hands[..model.workers].contains(&Hand::Gone);
    (has_work && has_room && !starting && !(due && ready), due && ready)
}

pub fn compare(model: &Model, state: &mut State) {
    state.memory.take_launcher_latch();
    let (start, wake) = decide(model, state);
    let again = state.memory.entry().has_work(super::memory::micros(state.now));
    state.launcher = Launcher::Decided { start, wake, until: state.memory.next_due(), again };
}

pub fn act(model: &Model, state: &mut State) {
    let Launcher::Decided { start, wake, until, again } = state.launcher else { unreachable!() };
    // The launcher compares again after it has acted, too.
    let again = again || start || wake;
    state.launcher = Launcher::Waits { until: until.filter(|due| *due > state.now), again };
    if wake {
        state.memory.wake_for_due(model, state.now);
    }
    if start {
        start_worker(model, state);
    }
}

/// `start::start`.
fn start_worker(model: &Model, state: &mut State) {
    // A process that is still rolling back its transaction has released its slot, but uses its place here.
    if state.hands.iter().any(|hand| matches!(hand, Hand::Undoes(_))) {
        return;
    }
    let Some(id) = state.memory.allocate() else { return };
    assert!(id < WORKERS && state.hands[id] == Hand::Gone);
    state.hands[id] = Hand::Starts;
    if model.is(Broken::ExpectedTooLate) {
        state.launcher = Launcher::Started;
    } else {
        state.memory.expect_worker(model, state.now);
    }
}

pub fn expect_worker(model: &Model, state: &mut State) {
    state.memory.expect_worker(model, state.now);
    state.launcher = Launcher::NEW;
}

/// The steps of the launcher as one, where steps in between are not examined.
pub fn quick_steps(model: &Model, state: &State, actions: &mut Vec<Action>) {
    let (start, wake) = decide(model, state);
    actions.extend(start.then_some(Action::Start));
    actions.extend(wake.then_some(Action::WakeForDue));
}

pub fn quick_start(model: &Model, state: &mut State) {
    start_worker(model, state);
    let starting = state.hands.iter().position(|hand| *hand == Hand::Starts);
    if let Some(id) = starting {
        state.memory.attach(id);
        state.hands[id] = Hand::TURNS;
    }
}
