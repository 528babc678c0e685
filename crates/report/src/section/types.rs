//! Statistics by task type and by handler.

use crate::facts::{Counted, Facts};
use crate::number::{duration, integer, percent};
use crate::table::{Column, name, name_or_none, remark, section, table, value};
use crate::time::Zone;
use maud::{Markup, html};

pub fn types(facts: &Facts, zone: Zone) -> Markup {
    section("types", "Task types and handlers", &facts.stats, |stats| {
        let of = |kind: &str| stats.rows.iter().filter(|row| row.kind == kind).collect::<Vec<_>>();
        let (types, handlers) = (of("type"), of("handler"));
        html! {
            @if types.is_empty() {
                p class="note" { "Nothing was counted on this server yet." }
            } @else {
                @let since = stats.since.map_or_else(String::new, |at| format!(", since {} or later", zone.minute(at)));
                (remark(&format!("From queues.stats{since}: not only of the span above. Those with most tasks, or most time.")))
                (of_types(&types))
            }
            @if !handlers.is_empty() {
                h3 { "Handlers" }
                (of_handlers(&handlers, stats.handler_time.unwrap_or_default()))
            }
        }
    })
}

pub fn number(number: Option<i64>) -> Markup {
    value(number, integer)
}

pub fn time(time: Option<f64>) -> Markup {
    value(time, duration)
}

const TYPES: [Column; 11] = [
    Column::Text("task type"),
    Column::Number("attempts"),
    Column::Number("succeeded"),
    Column::Number("failed"),
    Column::Number("cancelled"),
    Column::Number("waiting p50"),
    Column::Number("p95"),
    Column::Number("p99"),
    Column::Number("running p50"),
    Column::Number("p95"),
    Column::Number("longest"),
];

fn of_types(rows: &[&Counted]) -> Markup {
    let row = |row: &&Counted| {
        vec![
            name(&row.task_type),
            number(row.attempts),
            number(row.succeeded),
            number(row.failed),
            number(row.cancelled),
            time(row.waiting_p50),
            time(row.waiting_p95),
            time(row.waiting_p99),
            time(row.running_p50),
            time(row.running_p95),
            time(row.running_max),
        ]
    };
    table("Task types", &TYPES, &rows.iter().map(row).collect::<Vec<_>>())
}

const HANDLERS: [Column; 9] = [
    Column::Text("handler"),
    Column::Text("invoked as"),
    Column::Text("task type"),
    Column::Number("invocations"),
    Column::Number("errors"),
    Column::Number("share of time"),
    Column::Number("p50"),
    Column::Number("p95"),
    Column::Number("p99"),
];

fn of_handlers(rows: &[&Counted], all: f64) -> Markup {
    let row = |row: &&Counted| {
        vec![
            name_or_none(row.handler.as_deref()),
            name_or_none(row.invoked_as.as_deref()),
            name(&row.task_type),
            number(row.invocations),
            number(row.errors),
            value(row.weight.and_then(|time| percent(time, all)), |share| share),
            time(row.running_p50),
            time(row.running_p95),
            time(row.running_p99),
        ]
    };
    table("Handlers", &HANDLERS, &rows.iter().map(row).collect::<Vec<_>>())
}
