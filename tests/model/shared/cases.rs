//! The scenarios: what is enqueued, by which sessions, and which faults happen.

use super::{Enqueued, Kind, Left, Model, Task};
use crate::check::assert_holds;

const NOW: Kind = Kind { at: 0, priority: 0, endless: false };
const ENDLESS: Kind = Kind { at: 0, priority: 0, endless: true };
const LATER: Kind = Kind { at: 1, priority: 0, endless: false };
const HIGH: Kind = Kind { priority: 1, ..NOW };
const LOW: Kind = Kind { priority: -1, ..NOW };
const HIGH_LATER: Kind = Kind { priority: 1, ..LATER };
const NO_FAULTS: Left = Left { deaths: 0, leaves: 0, crashes: 0, repeats: 0, errors: 0, aborts: 0, locks: 0 };

const fn one(tasks: &'static [Task]) -> Enqueued {
    Enqueued { tasks, few: true, announced: true, ahead: false }
}

const fn many(tasks: &'static [Task]) -> Enqueued {
    Enqueued { few: false, ..one(tasks) }
}

const fn ahead(tasks: &'static [Task]) -> Enqueued {
    Enqueued { ahead: true, ..one(tasks) }
}

const fn untold(tasks: &'static [Task]) -> Enqueued {
    Enqueued { announced: false, ..one(tasks) }
}

impl Model {
    /// Three tasks in three transactions.
    pub const SMALL: Model = Model {
        tasks: &[NOW, NOW, NOW],
        enqueued: &[one(&[0]), one(&[1]), one(&[2])],
        workers: 2,
        last: 0,
        polls: false,
        in_full: false,
        left: NO_FAULTS,
        broken: None,
    };
    /// A task without end, and two in one transaction.
    pub const MANY: Model =
        Model { tasks: &[ENDLESS, NOW, NOW], enqueued: &[one(&[0]), many(&[1, 2])], ..Model::SMALL };
    /// A task that falls due, one that is ready at about that time, and one that was ready before.
    pub const DUE: Model = Model {
        tasks: &[LATER, LATER, NOW],
        enqueued: &[ahead(&[0]), one(&[1]), one(&[2])],
        last: 1,
        ..Model::SMALL
    };
    /// The same, but the tasks that are ready at that time are announced by the first one only.
    pub const DUE_MANY: Model = Model { enqueued: &[ahead(&[0]), many(&[1]), one(&[2])], ..Model::DUE };
    pub const UNTOLD: Model =
        Model { enqueued: &[one(&[0]), untold(&[1]), many(&[2])], polls: true, ..Model::SMALL };
    /// A task that is not announced, and two that are announced one by one.
    pub const UNTOLD_BETWEEN: Model =
        Model { enqueued: &[one(&[0]), untold(&[1]), one(&[2])], polls: true, ..Model::SMALL };
    pub const TWO: Model = Model { tasks: &[NOW, NOW], enqueued: &[one(&[0]), one(&[1])], ..Model::SMALL };
    pub const TWO_DUE: Model =
        Model { tasks: &[LATER, NOW], enqueued: &[ahead(&[0]), one(&[1])], last: 1, ..Model::SMALL };
    /// A task without end, and one that falls due.
    pub const LONG_DUE: Model =
        Model { tasks: &[ENDLESS, LATER], enqueued: &[one(&[0]), ahead(&[1])], last: 1, ..Model::SMALL };
    /// A task without end and one with an end, and all steps of the launcher.
    pub const READY: Model =
        Model { tasks: &[ENDLESS, NOW], enqueued: &[one(&[0]), one(&[1])], in_full: true, ..Model::SMALL };
    /// The same, with tasks that fall due one after the other.
    pub const DUE_LATER: Model = Model {
        tasks: &[Kind { endless: true, ..LATER }, Kind { at: 2, ..LATER }],
        enqueued: &[ahead(&[0]), ahead(&[1])],
        last: 2,
        ..Model::READY
    };
    /// Tasks of three priorities in three transactions.
    pub const PRIORITIES: Model = Model { tasks: &[NOW, HIGH, LOW], ..Model::SMALL };
    /// A plain task, and two prioritized ones in one transaction, for which their window has no room.
    pub const MANY_PRIORITIZED: Model =
        Model { tasks: &[NOW, LOW, HIGH], enqueued: &[one(&[0]), many(&[1, 2])], ..Model::SMALL };
    /// A task that falls due at a higher priority than that of a task that was ready before.
    pub const DUE_PRIORITIZED: Model =
        Model { tasks: &[HIGH_LATER, LOW], enqueued: &[ahead(&[0]), one(&[1])], last: 1, ..Model::SMALL };
    pub const ONE: Model = Model { tasks: &[NOW], enqueued: &[one(&[0])], ..Model::SMALL };
}

#[test]
fn one_worker() {
    assert_holds("queue: one worker", Model { workers: 1, ..Model::SMALL });
}

#[test]
fn two_workers() {
    assert_holds("queue: two workers", Model::TWO);
}

#[test]
fn deaths() {
    assert_holds("queue: deaths", Model::MANY.with(|left| left.deaths = 1));
    assert_holds("queue: crashes", Model::MANY.with(|left| left.crashes = 1));
    assert_holds("queue: due after a crash", Model::LONG_DUE.with(|left| left.crashes = 1));
}

#[test]
fn due() {
    assert_holds("queue: due, one worker", Model { workers: 1, ..Model::DUE });
    assert_holds("queue: many due, one worker", Model { workers: 1, ..Model::DUE_MANY });
    assert_holds("queue: due", Model::TWO_DUE);
}

#[test]
fn priorities() {
    assert_holds("queue: priorities, one worker", Model { workers: 1, ..Model::PRIORITIES });
    assert_holds("queue: many prioritized, one worker", Model { workers: 1, ..Model::MANY_PRIORITIZED });
    let due = Model { workers: 1, ..Model::DUE_PRIORITIZED };
    assert_holds("queue: due at a higher priority, one worker", due);
    let two = Model { tasks: &[NOW, HIGH], ..Model::TWO };
    assert_holds("queue: two priorities", two);
}

#[test]
fn errors() {
    assert_holds("queue: errors", Model::TWO.with(|left| left.errors = 1));
    assert_holds("queue: failing commits", Model::TWO.with(|left| left.aborts = 1));
    assert_holds("queue: repeated", Model { last: 1, ..Model::ONE }.with(|left| left.repeats = 1));
    let one = Model { workers: 1, last: 1, ..Model::TWO };
    assert_holds("queue: repeated, one worker", one.with(|left| left.repeats = 1));
}

#[test]
fn not_announced() {
    assert_holds("queue: not announced", Model { workers: 1, ..Model::UNTOLD });
    assert_holds("queue: locked elsewhere", Model { polls: true, ..Model::TWO }.with(|left| left.locks = 1));
}

#[test]
fn wake_ups() {
    assert_holds("queue: ready at once", Model::READY.with(|left| left.leaves = 1));
    assert_holds("queue: due later, one worker", Model { workers: 1, in_full: true, ..Model::TWO_DUE });
}
