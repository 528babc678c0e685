//! What the statistics count of a task, when the transaction that writes its row commits.

use super::ending::Status;
use crate::stats;
use crate::task::{Brief, Task};
use pg_errand_stats::{Status as Ended, TaskCount};

/// Counts the end of a task at `now`.
pub fn ended(task: &Task, status: Status, now: i64) {
    let start = of_start(task.uncounted, task.attempt(), task.started_at, task.ready_at);
    let began_at = if task.uncounted > 0 { Some(task.started_at) } else { task.dequeued_at };
    let running = began_at.map(|began_at| now.saturating_sub(began_at));
    let ended = Some(status_of(status));
    stats::note_task(&task.task_type, TaskCount { task_id: task.id.get(), ended, running, ..start });
}

/// Counts the end of a task whose handlers do not end it: it was cancelled.
pub fn cancelled(brief: &Brief, now: i64) {
    let running = (brief.started_at > 0).then(|| now.saturating_sub(brief.started_at));
    let ended = Some(Ended::Cancelled);
    note(brief, TaskCount { task_id: brief.id.get(), ended, running, ..of_brief(brief) });
}

/// Counts the attempt of a task whose call begins.
pub fn call_began(task: &Task) {
    let start = of_start(task.uncounted, task.attempt(), task.started_at, task.ready_at);
    stats::note_task(&task.task_type, start);
}

/// Counts an attempt after which the task is run again.
pub fn repeated(brief: &Brief) {
    note(brief, TaskCount { is_repeated: true, ..of_brief(brief) });
}

/// Counts an error of a task.
pub fn failed(brief: &Brief) {
    note(brief, TaskCount { errors: 1, ..TaskCount::default() });
}

/// The type of a task is unknown if only its call is known.
fn note(brief: &Brief, count: TaskCount) {
    if !brief.task_type.is_empty() {
        stats::note_task(&brief.task_type, count);
    }
}

fn of_brief(brief: &Brief) -> TaskCount {
    of_start(brief.uncounted, brief.attempt, brief.started_at, brief.ready_at)
}

/// The attempts that the row does not count yet, and how long the task has waited for its first one.
fn of_start(uncounted: i32, attempt: i32, started_at: i64, ready_at: i64) -> TaskCount {
    let is_first = uncounted > 0 && attempt == uncounted;
    let waiting = is_first.then(|| started_at.saturating_sub(ready_at));
    TaskCount { attempts: uncounted, waiting, ..TaskCount::default() }
}

const fn status_of(status: Status) -> Ended {
    match status {
        Status::Succeeded => Ended::Succeeded,
        Status::Failed => Ended::Failed,
        Status::Cancelled => Ended::Cancelled,
    }
}
