//! The properties that have to hold in every state.

use super::Queue;
use super::database::{Row, Status};
use super::hand::Hand;
use super::state::{InFlight, State, TASKS, Worker};
use stateright::Property;

pub fn all() -> Vec<Property<Queue>> {
    vec![
        Property::always("a task ends once", |_, state| every_row(state, |row| row.ends <= 1)),
        Property::always("effects and end are there or not there together", |_, state| {
            every_row(state, is_whole)
        }),
        Property::always("the provider does what a task wants once", |_, state: &State| {
            state.provider.effects.iter().all(|effects| *effects <= 1)
        }),
        Property::always("no request goes out before it is on disk", requests_are_stored),
        Property::always("an answer is on disk before its handler runs", answers_are_stored),
        Property::always("no provider is asked again for an answer that is stored", |_, state| {
            every_call(state, |row, known| !asks(known) || row.call.is_none_or(|call| call.answer.is_none()))
        }),
        Property::always("no call is in the hands of two", |_, state| {
            let has = |task: usize| move |worker: &&Worker| worker.calls[task] != InFlight::None;
            (0..TASKS).all(|task| up(state).filter(has(task)).count() <= 1)
        }),
        Property::always("a task is between the steps of its call, or its call is over", |_, state| {
            every_row(state, |row| row.calling == row.has_open_call())
        }),
        Property::always("no handler of a cancelled task is called", |_, state: &State| {
            state.seen.iter().all(|seen| !seen.handled_after_cancel)
        }),
        Property::always("a cancelled task ends as cancelled", cancels_count),
        Property::always("done inside and outside only after a lease has ended", leases_count),
        Property::sometimes("all succeed", |_, state: &State| {
            state.database.rows().iter().all(|row| row.status == Status::Succeeded)
        }),
    ]
}

/// Holds in every state that a crash could leave.
fn every_row(state: &State, holds: fn(&Row) -> bool) -> bool {
    state.database.remains().iter().flatten().all(holds)
}

fn up(state: &State) -> impl Iterator<Item = &Worker> {
    state.workers.iter().filter(|worker| worker.is_up())
}

fn every_call(state: &State, holds: fn(&Row, InFlight) -> bool) -> bool {
    up(state).all(|worker| (0..TASKS).all(|task| holds(state.row(task), worker.calls[task])))
}

fn asks(known: InFlight) -> bool {
    matches!(known, InFlight::ToSend | InFlight::Waiting)
}

fn is_whole(row: &Row) -> bool {
    let inside = |status| row.status == status && !row.ended_outside;
    let handled = row.effects + row.error_effects + u8::from(row.complaint);
    let ended = inside(Status::Succeeded) || inside(Status::Failed);
    handled == u8::from(ended)
        && (row.effects == 0 || inside(Status::Succeeded))
        && (row.error_effects == 0 || inside(Status::Failed))
}

/// Holds unless the call has been taken over since, and another worker has sent its request.
fn requests_are_stored(_: &Queue, state: &State) -> bool {
    state.provider.requests.iter().all(|request| {
        let call = state.database.on_disk()[request.task].call;
        call.is_some_and(|call| call.key == request.key || call.owner != request.owner)
    })
}

fn answers_are_stored(_: &Queue, state: &State) -> bool {
    let answered = |task: usize| state.database.on_disk()[task].call.is_some_and(|c| c.answer.is_some());
    up(state).all(|worker| match worker.hand {
        Hand::Shown(at) | Hand::Closed(at, _) if at.last => answered(at.task),
        _ => true,
    })
}

/// A worker outside may dequeue the task at the moment in which the one inside is interrupted.
fn cancels_count(_: &Queue, state: &State) -> bool {
    state.seen.iter().zip(state.database.rows()).all(|(seen, row)| {
        let counts = matches!(row.status, Status::Unfinished | Status::Cancelled) || row.ended_outside;
        !seen.cancelled || counts
    })
}

fn leases_count(_: &Queue, state: &State) -> bool {
    (0..TASKS).all(|task| {
        let row = state.row(task);
        let inside = row.effects + row.error_effects + state.provider.effects[task];
        let both = inside > 0 && state.seen[task].done_outside > 0;
        !both || state.seen[task].lease_ended
    })
}
