//! Protocols that differ from the real one in one point; each has to yield a counterexample.

use crate::check::assert_broken;
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
    /// The request is sent before its commit is on disk.
    SentBeforeFlush,
    /// A worker that is to end sends its request, although the wait for the standby was broken off.
    SentAfterBrokenWait,
    /// The handler is called before the commit that stored its answer is on disk.
    HandledBeforeFlush,
    /// A call that is taken over gets a new key.
    NewKeyAtRepeat,
    /// A call is taken over however old it is.
    AgeIgnored,
    /// Calls are taken over after some time, whether their worker lives or not.
    TakenOverByTime,
    /// Workers that are newer than the list of those who live are taken for dead.
    NewOwnersTakenForDead,
    /// Identities of workers start anew with the server.
    OwnersRepeat,
    /// Identities are not raised above those of open calls.
    OwnersNotRaised,
    /// Workers outside get tasks whose call is under way.
    CallsHandedOut,
    /// Workers outside end tasks whose call is under way.
    CallsCompletedOutside,
    /// A task is run although another worker's slot shows it.
    RunsWhileShownElsewhere,
    /// The commit is not preceded by the point from which on there is no cancel.
    NeverCloses,
    /// A task can be cancelled after that point.
    CancelTooLate,
    /// A call can be given up while its last handler runs.
    CallCancelledInHandler,
    /// What a worker was told to cancel is forgotten when it ends.
    CancelDiesWithWorker,
    /// A cancelled call is taken from the slot before its end is committed.
    CancelTakenTooEarly,
    /// A cancel is forgotten when its task is given back, after a serialization failure for instance.
    CancelNotGivenBack,
    /// A call whose last commit failed is forgotten if another session holds the row at that moment.
    LockedCallForgotten,
    /// A task whose commit failed can be cancelled until it is recorded as failed.
    FailureStaysOpen,
    /// A task given back is free, even if a worker outside has got it meanwhile.
    RepeatTakesLease,
    /// A task whose commit failed is ended, even if a worker outside has got it meanwhile.
    FailureTakesLease,
    /// A transaction announces its tasks before they are visible.
    AnnouncedTooEarly,
    /// A worker waits without comparing what was announced since it looked.
    SettlesUnchecked,
    /// A worker leaves without a look at whether it was woken.
    LeavesUnchecked,
    /// What a dead worker was woken for is not passed on.
    DeathNotPassedOn,
    /// A dying worker gives its slot back before its transaction is undone.
    SlotGivenBackFirst,
    /// A worker clears its latch just before it waits.
    LatchClearedBeforeWait,
    /// A worker that is busy is woken like an idle one.
    BusyWorkerWoken,
    /// A worker that finds more than it can run wakes nobody.
    MoreWorkKept,
    /// A worker that looks for what has fallen due does not say when the next task does.
    DueTimeKept,
    /// The launcher notes that a worker will look when the worker may have looked already.
    ExpectedTooLate,
    /// A reader's cursor moves to the end of what it has read, although something was announced meanwhile.
    AnnouncedDuringReadForgotten,
    /// A task is handed over, and the cursor moved after it, although not all others are known.
    HandedOverAmongUnknown,
    /// The same, although something before it has fallen due that nobody has looked for yet.
    CursorPassesDue,
    /// Read as of the begin of the transaction, which may be before what the cursor came back for.
    ReadAsOfBegin,
    /// The cursor moves after all that is due when the batch is taken in, instead of when it was read.
    CursorAfterSnapshot,
    /// A task that the full window has no room for is not read again.
    DroppedForGood,
    /// After a start of the server, nobody looks for what falls due until a worker has nothing to do.
    DueForgottenAtStart,
    /// A worker that takes the last task known, although something has fallen due that was not read, wakes
    /// nobody.
    UnreadKept,
    /// Something falls due, and all is taken to be known all the same.
    DueKeepsAllKnown,
    /// Something falls due while somebody reads, who may have begun before that, and all is taken to be known.
    DueDuringReadForgotten,
    /// Something falls due, and those that were held back are not looked for.
    HeldNotLookedFor,
    /// A reader that dies remains the reader.
    DeadReaderStays,
    /// What a worker took is not handed out again when it dies.
    TakenDiesWithWorker,
    /// A reader leaves out tasks that somebody has taken, and may not get.
    TakenCounts,
    /// The same; and a worker that did not get what it took counts as having it until it takes the next one.
    TakenForEver,
    /// A task is handed out again before the slot stops showing it.
    PutBackBeforeEnd,
    /// A worker forgets a task that another one's slot shows.
    ElsewhereForgotten,
    /// A task that is given back, or cannot be locked again for its error handler, is not handed out again.
    GivenBackForgotten,
    /// Tasks that are known are taken before earlier ones that are to be read.
    KnownOnesFirst,
    /// A worker that polls reads on from the cursor, and not from the start.
    PollReadsOn,
    /// What was taken from the window is run without its row's lock.
    WindowIsClaim,
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
