use super::*;
use std::collections::HashSet;

const NOW: i64 = 1_000;
const READY: TaskState = TaskState {
    is_finished: false,
    is_uncommitted: false,
    is_unadopted: false,
    scheduled_at: 0,
    not_before: None,
    is_leased: false,
    call: None,
    locked_by: None,
    follows: None,
    key_paused: None,
    key_busy: None,
    paused: None,
};
const QUIET: Surroundings = Surroundings {
    is_preloaded: true,
    is_standby: false,
    is_current: true,
    runner: None,
    obstacle: None,
    ahead: 0,
};
const CALL: CallState =
    CallState { worker: Some(7), has_response: false, refusal: None, is_queued: Some(false) };
const BUSY: Busy = Busy { pid: 7, task_id: 3, since: 5 };

fn reason(task: TaskState, around: Surroundings) -> Reason {
    Reason::of(&task, &around, NOW)
}

#[test]
fn the_row_decides_before_the_workers() {
    let around = Surroundings { obstacle: Some(Obstacle::Paused), ahead: 5, ..QUIET };
    let until = Some(NOW + 1);
    assert_eq!(reason(TaskState { is_finished: true, ..READY }, around), Reason::Finished);
    assert_eq!(reason(TaskState { is_unadopted: true, ..READY }, around), Reason::Unadopted);
    assert_eq!(reason(TaskState { scheduled_at: NOW + 2, ..READY }, around), Reason::Scheduled(NOW + 2));
    assert_eq!(reason(TaskState { not_before: until, ..READY }, around), Reason::Deferred(NOW + 1));
    let leased = TaskState { not_before: until, is_leased: true, ..READY };
    assert_eq!(reason(leased, around), Reason::Leased(NOW + 1));
    assert!(reason(leased, around).is_running());
    assert_eq!(reason(TaskState { locked_by: Some(9), ..READY }, around), Reason::Locked(9));
    assert_eq!(reason(TaskState { follows: Some(3), ..READY }, around), Reason::Follows(3));
    let busy = TaskState { key_busy: Some(4), ..READY };
    assert_eq!(reason(busy, around), Reason::KeyBusy(4));
    let paused = TaskState { key_paused: until, ..busy };
    assert_eq!(reason(paused, around), Reason::KeyPaused(NOW + 1));
    assert_eq!(reason(paused, around).until(), until);
    assert_eq!(reason(TaskState { key_paused: Some(NEVER), ..busy }, around).until(), None);
    // The lease, the backoff and the time have passed.
    let past = TaskState { not_before: Some(NOW), is_leased: true, scheduled_at: NOW, ..READY };
    assert_eq!(reason(past, around), Reason::Obstacle(Obstacle::Paused));
}

#[test]
fn what_stops_the_whole_server_comes_before_what_the_row_says() {
    let scheduled = TaskState { scheduled_at: NOW + 2, ..READY };
    assert_eq!(reason(scheduled, Surroundings { is_preloaded: false, ..QUIET }), Reason::NotPreloaded);
    assert_eq!(reason(scheduled, Surroundings { is_standby: true, ..QUIET }), Reason::Standby);
    let finished = TaskState { is_finished: true, ..READY };
    assert_eq!(reason(finished, Surroundings { is_standby: true, ..QUIET }), Reason::Finished);
    assert_eq!(reason(READY, Surroundings { is_current: false, ..QUIET }), Reason::VersionMismatch);
}

#[test]
fn a_ready_task_waits_for_its_turn_only_if_nothing_else_stops_it() {
    assert_eq!(reason(READY, QUIET), Reason::Next);
    assert_eq!(reason(READY, Surroundings { ahead: 2, ..QUIET }), Reason::Behind { tasks: 2, busy: 0 });
    let busy = Some(Obstacle::Busy { workers: 1, first: BUSY, bound: None });
    let behind = reason(READY, Surroundings { obstacle: busy, ahead: 2, ..QUIET });
    assert_eq!(behind, Reason::Behind { tasks: 2, busy: 1 });
    assert_eq!(
        reason(READY, Surroundings { obstacle: busy, ..QUIET }),
        Reason::Obstacle(Obstacle::Busy { workers: 1, first: BUSY, bound: None })
    );
    let broken = Obstacle::Provider(Refusal::Broken(NOW + 3));
    let found = reason(READY, Surroundings { obstacle: Some(broken), ahead: 2, ..QUIET });
    assert_eq!((found, found.until()), (Reason::Obstacle(broken), Some(NOW + 3)));
    assert_eq!(reason(READY, Surroundings { runner: Some(BUSY), ..QUIET }), Reason::Running(BUSY));
}

#[test]
fn a_call_waits_for_its_provider_its_worker_or_another_worker() {
    let called = |call: CallState| TaskState { call: Some(call), ..READY };
    assert_eq!(reason(called(CALL), QUIET), Reason::CallInFlight(7));
    assert_eq!(reason(called(CallState { is_queued: None, ..CALL }), QUIET), Reason::CallOpen(7));
    let refusal = Some(Refusal::Rate(NOW + 4));
    let queued = reason(called(CallState { is_queued: Some(true), refusal, ..CALL }), QUIET);
    assert_eq!((queued, queued.until()), (Reason::CallQueued(7, refusal), Some(NOW + 4)));
    let answered = CallState { has_response: true, ..CALL };
    assert_eq!(reason(called(answered), QUIET), Reason::CallAnswered(7));
    let orphaned = CallState { worker: None, ..answered };
    assert_eq!(reason(called(orphaned), QUIET), Reason::CallOrphaned);
    let paused = Surroundings { obstacle: Some(Obstacle::Paused), ..QUIET };
    assert_eq!(reason(called(orphaned), paused), Reason::Obstacle(Obstacle::Paused));
    assert_eq!(
        reason(called(CALL), Surroundings { runner: Some(BUSY), ..QUIET }),
        Reason::Running(BUSY),
        "its last step runs"
    );
}

/// The words of the table in the documentation.
fn documented() -> Vec<&'static str> {
    let rows = include_str!("../../../../docs/explain.md").lines();
    rows.filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(word, _)| word)).collect()
}

#[test]
fn every_word_is_in_the_documentation_once() {
    let words: HashSet<_> = Reason::WORDS.iter().collect();
    assert_eq!(words.len(), Reason::WORDS.len());
    assert_eq!(documented(), Reason::WORDS);
}

#[test]
fn a_pause_comes_before_what_holds_the_row() {
    let paused =
        |paused| TaskState { paused: Some(paused), locked_by: Some(9), key_paused: Some(NEVER), ..READY };
    let found = reason(paused(Paused::Type(NOW + 1)), QUIET);
    assert_eq!((found.word(), found.until()), ("type_paused", Some(NOW + 1)));
    let found = reason(paused(Paused::Database(NEVER)), QUIET);
    assert_eq!((found.word(), found.until()), ("database_paused", None));
    assert_eq!(reason(paused(Paused::Draining(5)), QUIET).word(), "draining");
    // A task that runs, or is not due, is not kept from anything.
    let scheduled = TaskState { scheduled_at: NOW + 2, ..paused(Paused::Provider(NEVER)) };
    assert_eq!(reason(scheduled, QUIET).word(), "scheduled");
    let called = TaskState { call: Some(CALL), ..paused(Paused::Provider(NEVER)) };
    assert_eq!(reason(called, QUIET).word(), "call_in_flight");
}
