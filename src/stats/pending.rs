//! What the current transaction of this process will count when it commits.

use super::buffer;
use crate::pg::callbacks::Ended;
use crate::pg::{backend, transaction};
use pg_errand_stats::{Event, Handle, TaskCount};
use std::cell::RefCell;

struct Pending {
    entry: Handle,
    /// The (sub)transaction that did it.
    level: i32,
    count: TaskCount,
}

thread_local! {
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

/// Adds what the current (sub)transaction has done with a task.
pub fn add(entry: Handle, count: TaskCount) {
    let level = transaction::level();
    PENDING.with_borrow_mut(|pending| {
        // A statement may end a million tasks.
        if let Some(last) = pending.last_mut()
            && (last.entry, last.level) == (entry, level)
            && is_alike(&last.count, &count)
        {
            last.count.others = last.count.others.saturating_add(1);
            last.count.task_id = count.task_id;
        } else {
            pending.push(Pending { entry, level, count });
        }
    });
}

/// True if both say nothing but that a task has ended, in the same way.
fn is_alike(one: &TaskCount, other: &TaskCount) -> bool {
    let plain =
        TaskCount { ended: other.ended, task_id: one.task_id, others: one.others, ..TaskCount::default() };
    let next = TaskCount { task_id: other.task_id, others: 0, ..plain };
    other.ended.is_some() && *one == plain && *other == next
}

/// Counts what a transaction has done, if it has committed. This runs in the middle of the commit: it neither allocates nor
/// fails. What belongs to an entry that was replaced meanwhile is not counted, nor is what a prepared transaction has done.
pub fn at_transaction_end(ended: Ended) {
    PENDING.with_borrow_mut(|pending| {
        if pending.is_empty() {
            return;
        }
        if ended == Ended::Committed {
            let now = backend::now();
            pending.iter().for_each(|one| buffer::count(one.entry, Event::Task(one.count), now));
        }
        pending.clear();
    });
}

/// Drops what a subtransaction at `level` has done that was rolled back; otherwise it belongs to the one around it.
pub fn at_savepoint_end(level: i32, is_kept: bool) {
    PENDING.with_borrow_mut(|pending| {
        if is_kept {
            pending.iter_mut().for_each(|one| one.level = one.level.min(level - 1));
        } else {
            pending.retain(|one| one.level < level);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use pg_errand_stats::Status;

    #[test]
    fn only_ends_about_which_nothing_else_is_known_are_summed_up() {
        let end = |task_id| TaskCount { task_id, ended: Some(Status::Cancelled), ..TaskCount::default() };
        assert!(is_alike(&end(1), &end(2)));
        assert!(is_alike(&TaskCount { others: 5, ..end(1) }, &end(2)));
        assert!(!is_alike(&end(1), &TaskCount { attempts: 1, ..end(2) }));
        assert!(!is_alike(&TaskCount { running: Some(3), ..end(1) }, &end(2)));
        assert!(!is_alike(&end(1), &TaskCount { ended: Some(Status::Failed), ..end(2) }));
        assert!(!is_alike(&TaskCount::default(), &TaskCount::default()));
    }
}
