//! Tasks that wait, that run and that took long, and the queue keys with most of them.

use crate::facts::{Ended, Facts, Group, Key, Running};
use crate::number::{duration, integer};
use crate::table::{Column, moment, name, name_or_none, none, remark, section, table, value};
use crate::text::{MESSAGE, count, shown};
use crate::time::Zone;
use maud::{Markup, html};

/// When the facts were read, and how times are shown.
#[derive(Clone, Copy)]
pub struct Clock {
    pub now: f64,
    pub zone: Zone,
}

impl Clock {
    /// How long ago a time was.
    fn age(self, since: Option<f64>) -> Markup {
        value(since, |since| duration(((self.now - since) * 1000.0).max(0.0)))
    }

    fn moment(self, at: Option<f64>) -> Markup {
        at.map_or_else(none, |at| moment(self.zone, at))
    }
}

const WAITING: [Column; 6] = [
    Column::Number("tasks"),
    Column::Text("task type"),
    Column::Text("reason"),
    Column::Number("oldest for"),
    Column::Text("until"),
    Column::Text("what to do"),
];

pub fn waiting(facts: &Facts, clock: Clock) -> Markup {
    let row = |group: &Group| {
        vec![
            html! { (integer(group.tasks)) },
            name_or_none(group.task_type.as_deref()),
            name(&group.reason),
            clock.age(group.oldest.filter(|at| *at <= clock.now)),
            clock.moment(group.until),
            group.hint.as_deref().map_or_else(none, |hint| html! { (shown(hint, MESSAGE)) }),
        ]
    };
    section("waiting", "What waits, and why", &facts.waiting, |waiting| {
        html! {
            @if waiting.rows.is_empty() {
                p class="well" { "Nothing waits." }
            } @else {
                (table("Tasks that wait", &WAITING, &waiting.rows.iter().map(row).collect::<Vec<_>>()))
                (remark("As in queues.waiting; docs/explain.md has the reasons."))
            }
        }
    })
}

const RUNNING: [Column; 6] = [
    Column::Number("task"),
    Column::Text("task type"),
    Column::Text("handler or provider"),
    Column::Text("in"),
    Column::Number("for"),
    Column::Text("queue key"),
];

const ENDED: [Column; 6] = [
    Column::Number("task"),
    Column::Text("task type"),
    Column::Text("status"),
    Column::Number("ran for"),
    Column::Text("ended"),
    Column::Text("queue key"),
];

pub fn longest(facts: &Facts, clock: Clock) -> Markup {
    let running = |task: &Running| {
        let place =
            task.pid.map_or_else(|| task.runs_in.clone(), |pid| format!("{}, process {pid}", task.runs_in));
        vec![
            html! { (task.task_id) },
            name_or_none(task.task_type.as_deref()),
            name_or_none(task.handler.as_deref().or(task.provider.as_deref())),
            name(&place),
            clock.age(task.since),
            name_or_none(task.queue_key.as_deref()),
        ]
    };
    let ended = |task: &Ended| {
        vec![
            html! { (task.task_id) },
            name(&task.task_type),
            name_or_none(task.status.as_deref()),
            html! { (duration(task.seconds * 1000.0)) },
            clock.moment(task.finished_at),
            name_or_none(task.queue_key.as_deref()),
        ]
    };
    section("longest", "Longest tasks", &facts.tasks, |tasks| {
        html! {
            h3 { "Running now" }
            @if tasks.running.is_empty() {
                p class="note" { "No task runs." }
            } @else {
                (table("Tasks that run", &RUNNING, &tasks.running.iter().map(running).collect::<Vec<_>>()))
                @if tasks.number_running > tasks.running.len() as i64 {
                    (remark(&format!("The longest of {}.", count(tasks.number_running, "task"))))
                }
            }
            h3 { "Ended in the span" }
            @if tasks.ended.is_empty() {
                p class="note" { "None of the newest " (count(tasks.examined, "task")) " has run and ended in this span." }
            } @else {
                (table("The slowest tasks that ended", &ENDED, &tasks.ended.iter().map(ended).collect::<Vec<_>>()))
                (remark(&format!(
                    "Found among the newest {} only, from the start of the last attempt to the end. The longest of all, by type, \
                     is under Task types and handlers.",
                    count(tasks.examined, "task")
                )))
            }
        }
    })
}

const KEYS: [Column; 5] = [
    Column::Number("unfinished"),
    Column::Text("queue key"),
    Column::Text("task type"),
    Column::Number("oldest for"),
    Column::Text("state"),
];

/// As many tasks are read as errand.report_keys reads.
const EXAMINED: i64 = 200_000;

pub fn keys(facts: &Facts, clock: Clock) -> Markup {
    let row = |key: &Key| {
        vec![
            html! { (integer(key.tasks)) },
            name(&key.queue_key),
            name(&key.task_type),
            clock.age(key.oldest.filter(|at| *at <= clock.now)),
            if key.is_paused {
                html! { span class="not-ok" { "paused" } }
            } else {
                none()
            },
        ]
    };
    section("keys", "Queue keys with the longest queues", &facts.keys, |keys| {
        html! {
            @if keys.rows.is_empty() {
                p class="note" { "No unfinished task has a queue key." }
            } @else {
                (table("Queue keys", &KEYS, &keys.rows.iter().map(row).collect::<Vec<_>>()))
                @if keys.examined >= EXAMINED {
                    (remark("More tasks have a queue key than were read, so the numbers are lower bounds."))
                }
            }
        }
    })
}
