//! Protocols that differ from the real one in one point. Each of them has to yield a counterexample.

use crate::check::assert_broken;
use crate::keys;
use crate::queue::Queue;
use crate::shared::Model;

/// The point in which a protocol differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// A committed mark in the row is the claim, instead of the row's lock.
    RunningMark,
    /// The end is committed after the effects.
    EndAfterEffects,
    /// The end is committed before the effects.
    EndBeforeEffects,
    /// The request is sent before the commit that stores it.
    SentBeforeStored,
    /// The request is sent before its commit is flushed.
    SentBeforeFlush,
    /// A worker that has to exit sends its request, although the wait for the standby was interrupted.
    SentAfterBrokenWait,
    /// The handler is invoked before the commit that stored its response is flushed.
    HandledBeforeFlush,
    /// A call that is taken over gets a new key.
    NewKeyAtRepeat,
    /// A call is taken over whatever its age.
    AgeIgnored,
    /// Calls are taken over after some time, whether or not their worker is alive.
    TakenOverByTime,
    /// Workers that are newer than the list of live ones are treated as dead.
    NewOwnersTakenForDead,
    /// The identities of workers start again with the server.
    OwnersRepeat,
    /// Identities are not raised above those of open calls.
    OwnersNotRaised,
    /// Workers outside are given tasks whose call is open.
    CallsHandedOut,
    /// Workers outside end tasks whose call is open.
    CallsCompletedOutside,
    /// A task is run although another worker's slot shows it.
    RunsWhileShownElsewhere,
    /// The commit is not preceded by the point up to which the task can be cancelled.
    NeverCloses,
    /// A task can be cancelled after that point.
    CancelTooLate,
    /// A call can be given up while its last handler runs.
    CallCancelledInHandler,
    /// The cancellations that a worker has received are lost when it ends.
    CancelDiesWithWorker,
    /// A cancelled call is removed from the slot before its end is committed.
    CancelTakenTooEarly,
    /// A cancellation is lost when its task is given back, for instance after a serialization failure.
    CancelNotGivenBack,
    /// A call whose last commit failed is lost if another session has locked the row at that moment.
    LockedCallForgotten,
    /// A task whose commit failed can be cancelled until it is recorded as failed.
    FailureStaysOpen,
    /// A task that was given back can be claimed, even if a worker outside has dequeued it meanwhile.
    RepeatTakesLease,
    /// A task whose commit failed is ended, even if a worker outside has dequeued it meanwhile.
    FailureTakesLease,
    /// A transaction announces its tasks before they are visible.
    AnnouncedTooEarly,
    /// A worker waits without checking what was announced since it looked for work.
    SettlesUnchecked,
    /// A worker exits without checking whether it was woken.
    LeavesUnchecked,
    /// The work for which a dead worker was woken is not passed on.
    DeathNotPassedOn,
    /// A dying worker releases its slot before its transaction is rolled back.
    SlotGivenBackFirst,
    /// A worker clears its latch just before it waits.
    LatchClearedBeforeWait,
    /// A busy worker is woken like an idle one.
    BusyWorkerWoken,
    /// A worker that finds more tasks than it can run wakes no other worker.
    MoreWorkKept,
    /// A worker that looks for due tasks does not report when the next task falls due.
    DueTimeKept,
    /// The launcher records that a worker will look for work when the worker may have looked already.
    ExpectedTooLate,
    /// The cursor moves to the end of a read, although a task was announced during the read.
    AnnouncedDuringReadForgotten,
    /// A task is added to the window, and the cursor moves after it, although not all other tasks are known.
    HandedOverAmongUnknown,
    /// The same, although a task before it has fallen due that no worker has looked for yet.
    CursorPassesDue,
    /// A read is as of the start of the transaction, which may precede the event for which the cursor moved back.
    ReadAsOfBegin,
    /// The cursor moves after all tasks that are due when a read is published, instead of when they were read.
    CursorAfterSnapshot,
    /// A task for which the full window has no room is not read again.
    DroppedForGood,
    /// After a start of the server, no process looks for due tasks until a worker is idle.
    DueForgottenAtStart,
    /// A worker that takes the last known task wakes no other worker, although a task has fallen due that was not read.
    UnreadKept,
    /// A task falls due, but all tasks still count as known.
    DueKeepsAllKnown,
    /// A task falls due during a read that may have begun earlier, and all tasks count as known.
    DueDuringReadForgotten,
    /// A task falls due, but deferred tasks are not looked for.
    HeldNotLookedFor,
    /// A reader that dies remains the reader.
    DeadReaderStays,
    /// A task that a worker has taken is not handed out again when the worker dies.
    TakenDiesWithWorker,
    /// A reader leaves out tasks that another worker has taken, but may fail to lock.
    TakenCounts,
    /// The same, and a task that a worker failed to lock counts as taken until the worker takes another one.
    TakenForEver,
    /// A task is handed out again before the slot stops showing it.
    PutBackBeforeEnd,
    /// A worker drops a task that the slot of another worker shows.
    ElsewhereForgotten,
    /// A task that is given back, or cannot be locked again for its error handler, is not handed out again.
    GivenBackForgotten,
    /// Known tasks are taken before earlier ones that have to be read.
    KnownOnesFirst,
    /// A worker that polls reads on from the cursor instead of from the start.
    PollReadsOn,
    /// A prioritized task falls due, and only tasks after the cursor are read.
    DuePrioritizedAfterCursor,
    /// Prioritized tasks that are announced do not count as used priorities.
    PrioritiesNotNoted,
    /// A task from the window is run without its row's lock.
    WindowIsClaim,
    /// An announcement is dropped while a worker shows the key, which may have read the rows before.
    DroppedWhileShown,
    /// A worker reads the rows of a key before its slot shows the key.
    LooksBeforeShown,
    /// A worker that ends a task does not hand out its key, although another task waits behind it.
    FollowerIgnored,
    /// The end of a call is not announced to workers that wait for its key.
    CallEndUntold,
    /// A worker does not try the lock that a worker outside holds on a key.
    KeyLockNotTried,
    /// A worker outside does not check whether a slot shows the key.
    SlotsNotChecked,
    /// A worker that finds a key locked does not hand it back.
    LockedKeyDropped,
    /// The end of a task outside is not announced to workers that wait for its key.
    EndOutsideUntold,
    /// The key that a dying worker has taken is not handed out again.
    DeathForgetsKey,
}

fn check(broken: Broken, model: Queue) {
    assert_broken(&format!("{broken:?}"), Queue { broken: Some(broken), ..model });
}

#[test]
fn claims_and_ends() {
    let model = Queue { deaths: 1, ..Queue::SMALL };
    check(Broken::RunningMark, model.clone());
    check(Broken::EndAfterEffects, model.clone());
    check(Broken::EndBeforeEffects, model);
}

#[test]
fn calls() {
    let one = Queue { deaths: 1, crashes: 1, ..Queue::SMALL };
    for broken in [
        Broken::SentBeforeStored,
        Broken::SentBeforeFlush,
        Broken::SentAfterBrokenWait,
        Broken::HandledBeforeFlush,
        Broken::NewKeyAtRepeat,
        Broken::TakenOverByTime,
        Broken::NewOwnersTakenForDead,
    ] {
        check(broken, one.clone());
    }
    let crash = Queue { deaths: 0, ..one.clone() };
    check(Broken::OwnersRepeat, crash.clone());
    check(Broken::OwnersNotRaised, Queue { clock_goes_back: true, ..crash });
    check(Broken::AgeIgnored, Queue { days: 1, crashes: 0, ..one });
}

#[test]
fn outside() {
    let model = Queue { outside: 1, aborts: 1, ..Queue::SMALL };
    for broken in [
        Broken::CallsHandedOut,
        Broken::CallsCompletedOutside,
        Broken::RepeatTakesLease,
        Broken::FailureTakesLease,
    ] {
        check(broken, model.clone());
    }
}

#[test]
fn cancels() {
    let model = Queue { cancels: true, deaths: 1, aborts: 1, ..Queue::SMALL };
    for broken in [
        Broken::RunsWhileShownElsewhere,
        Broken::NeverCloses,
        Broken::CancelTooLate,
        Broken::CallCancelledInHandler,
        Broken::CancelDiesWithWorker,
        Broken::CancelTakenTooEarly,
        Broken::CancelNotGivenBack,
        Broken::LockedCallForgotten,
        Broken::FailureStaysOpen,
    ] {
        check(broken, model.clone());
    }
}

#[test]
fn wake_ups() {
    for broken in [
        Broken::AnnouncedTooEarly,
        Broken::SettlesUnchecked,
        Broken::LeavesUnchecked,
        Broken::DeathNotPassedOn,
        Broken::SlotGivenBackFirst,
        Broken::LatchClearedBeforeWait,
        Broken::BusyWorkerWoken,
        Broken::MoreWorkKept,
        Broken::ExpectedTooLate,
    ] {
        let needs_death = [Broken::DeathNotPassedOn, Broken::SlotGivenBackFirst].contains(&broken);
        check_shared(
            broken,
            Model::READY
                .with(|left| (left.deaths, left.leaves) = (u8::from(needs_death), u8::from(!needs_death))),
        );
    }
    check_shared(Broken::DueTimeKept, Model::DUE_LATER);
}

fn check_shared(broken: Broken, model: Model) {
    assert_broken(&format!("{broken:?}"), Model { broken: Some(broken), ..model });
}

#[test]
fn shared() {
    let one = Model { workers: 1, ..Model::SMALL };
    for broken in [
        Broken::AnnouncedTooEarly,
        Broken::SettlesUnchecked,
        Broken::AnnouncedDuringReadForgotten,
        Broken::HandedOverAmongUnknown,
        Broken::KnownOnesFirst,
    ] {
        check_shared(broken, one.clone());
    }
    check_shared(Broken::DroppedForGood, Model { workers: 1, ..Model::UNTOLD_BETWEEN });
    check_shared(Broken::MoreWorkKept, Model::MANY);
    check_shared(Broken::WindowIsClaim, Model::TWO);
    check_shared(Broken::PollReadsOn, Model { workers: 1, ..Model::UNTOLD });
}

#[test]
fn shared_and_time() {
    let one = Model { workers: 1, ..Model::DUE };
    check_shared(Broken::CursorPassesDue, one.clone());
    check_shared(Broken::DueKeepsAllKnown, one);
    check_shared(Broken::ReadAsOfBegin, Model { workers: 1, ..Model::DUE_MANY });
    check_shared(Broken::CursorAfterSnapshot, Model { workers: 1, ..Model::DUE_MANY });
    check_shared(Broken::DueDuringReadForgotten, Model::TWO_DUE);
    check_shared(Broken::UnreadKept, Model::LONG_DUE);
    check_shared(Broken::DueForgottenAtStart, Model::LONG_DUE.with(|left| left.crashes = 1));
    let repeats = Model { last: 1, ..Model::ONE }.with(|left| left.repeats = 1);
    check_shared(Broken::HeldNotLookedFor, Model { workers: 1, ..repeats.clone() });
    check_shared(Broken::GivenBackForgotten, repeats);
}

#[test]
fn priorities() {
    let due = Model { workers: 1, ..Model::DUE_PRIORITIZED };
    check_shared(Broken::DuePrioritizedAfterCursor, due.clone());
    check_shared(Broken::PrioritiesNotNoted, due);
}

#[test]
fn shared_and_faults() {
    let deaths = Model::TWO.with(|left| left.deaths = 1);
    check_shared(Broken::DeathNotPassedOn, deaths.clone());
    check_shared(Broken::DeadReaderStays, deaths.clone());
    check_shared(Broken::TakenDiesWithWorker, deaths.clone());
    check_shared(Broken::TakenCounts, deaths);
    let locks = Model { workers: 1, polls: true, ..Model::TWO }.with(|left| left.locks = 1);
    check_shared(Broken::TakenForEver, locks);
    check_shared(Broken::PutBackBeforeEnd, Model::TWO.with(|left| left.errors = 1));
    check_shared(Broken::ElsewhereForgotten, Model::TWO.with(|left| left.errors = 1));
    check_shared(Broken::GivenBackForgotten, Model::TWO.with(|left| left.aborts = 1));
}

#[test]
fn keys() {
    let functions = keys::Model::FUNCTIONS;
    let calls = keys::Model::CALLS;
    let outside = keys::Model { outside: 1, ..keys::Model::FUNCTIONS };
    for (broken, model) in [
        (Broken::DroppedWhileShown, functions.clone()),
        (Broken::LooksBeforeShown, calls.clone()),
        (Broken::FollowerIgnored, functions.clone()),
        (Broken::DeathForgetsKey, keys::Model { deaths: 1, ..functions }),
        (Broken::CallEndUntold, calls),
        (Broken::KeyLockNotTried, outside.clone()),
        (Broken::SlotsNotChecked, outside.clone()),
        (Broken::LockedKeyDropped, outside.clone()),
        (Broken::EndOutsideUntold, outside),
    ] {
        assert_broken(&format!("{broken:?}"), keys::Model { broken: Some(broken), ..model });
    }
}
