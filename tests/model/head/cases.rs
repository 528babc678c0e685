//! What is enqueued, by whom, and what goes wrong.

use super::{Enqueued, Head, Kind, Left, Task};
use crate::check::assert_holds;

const NOW: Kind = Kind { at: 0, endless: false };
const ENDLESS: Kind = Kind { at: 0, endless: true };
const LATER: Kind = Kind { at: 1, endless: false };
const NO_FAULTS: Left = Left { deaths: 0, crashes: 0, repeats: 0, errors: 0, aborts: 0, locks: 0 };

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

impl Head {
    /// Three tasks in three transactions.
    pub const SMALL: Head = Head {
        tasks: &[NOW, NOW, NOW],
        enqueued: &[one(&[0]), one(&[1]), one(&[2])],
        workers: 2,
        last: 0,
        polls: false,
        left: NO_FAULTS,
        broken: None,
    };
    /// One that endures, and two in one transaction.
    pub const MANY: Head =
        Head { tasks: &[ENDLESS, NOW, NOW], enqueued: &[one(&[0]), many(&[1, 2])], ..Head::SMALL };
    /// One that falls due, one that is ready at about that time, one that was ready before.
    pub const DUE: Head = Head {
        tasks: &[LATER, LATER, NOW],
        enqueued: &[ahead(&[0]), one(&[1]), one(&[2])],
        last: 1,
        ..Head::SMALL
    };
    /// The same, and what is ready at that time is told by the first.
    pub const DUE_MANY: Head = Head { enqueued: &[ahead(&[0]), many(&[1]), one(&[2])], ..Head::DUE };
    pub const UNTOLD: Head =
        Head { enqueued: &[one(&[0]), untold(&[1]), many(&[2])], polls: true, ..Head::SMALL };
    pub const TWO: Head = Head { tasks: &[NOW, NOW], enqueued: &[one(&[0]), one(&[1])], ..Head::SMALL };
    pub const TWO_DUE: Head =
        Head { tasks: &[LATER, NOW], enqueued: &[ahead(&[0]), one(&[1])], last: 1, ..Head::SMALL };
    /// One that endures, and one that falls due.
    pub const LONG_DUE: Head =
        Head { tasks: &[ENDLESS, LATER], enqueued: &[one(&[0]), ahead(&[1])], last: 1, ..Head::SMALL };
    pub const ONE: Head = Head { tasks: &[NOW], enqueued: &[one(&[0])], ..Head::SMALL };
}

#[test]
fn one_worker() {
    assert_holds("head: one worker", Head { workers: 1, ..Head::SMALL });
}

#[test]
fn two_workers() {
    assert_holds("head: two workers", Head::TWO);
}

#[test]
fn deaths() {
    assert_holds("head: deaths", Head::MANY.with(|left| left.deaths = 1));
    assert_holds("head: crashes", Head::MANY.with(|left| left.crashes = 1));
    assert_holds("head: due after a crash", Head::LONG_DUE.with(|left| left.crashes = 1));
}

#[test]
fn due() {
    assert_holds("head: due, one worker", Head { workers: 1, ..Head::DUE });
    assert_holds("head: many due, one worker", Head { workers: 1, ..Head::DUE_MANY });
    assert_holds("head: due", Head::TWO_DUE);
}

#[test]
fn errors() {
    assert_holds("head: errors", Head::TWO.with(|left| left.errors = 1));
    assert_holds("head: failing commits", Head::TWO.with(|left| left.aborts = 1));
    assert_holds("head: repeated", Head { last: 1, ..Head::ONE }.with(|left| left.repeats = 1));
    let one = Head { workers: 1, last: 1, ..Head::TWO };
    assert_holds("head: repeated, one worker", one.with(|left| left.repeats = 1));
}

#[test]
fn not_announced() {
    assert_holds("head: not announced", Head { workers: 1, ..Head::UNTOLD });
    assert_holds("head: locked elsewhere", Head { polls: true, ..Head::TWO }.with(|left| left.locks = 1));
}
