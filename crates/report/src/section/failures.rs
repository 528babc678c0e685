//! Failures by the shape of their message.

use crate::facts::{Facts, Failure};
use crate::number::integer;
use crate::table::{Column, moment, none, remark, section, table};
use crate::text::{MESSAGE, NAME, count, shown};
use crate::time::Zone;
use maud::{Markup, html};

/// As many failures are read as errand.report_failures reads.
const EXAMINED: i64 = 5_000;

const COLUMNS: [Column; 5] = [
    Column::Number("failures"),
    Column::Text("message"),
    Column::Text("task types"),
    Column::Text("SQLSTATE"),
    Column::Text("last"),
];

pub fn failures(facts: &Facts, zone: Zone) -> Markup {
    section("failures", "Failures", &facts.failures, |failures| {
        let rows: Vec<_> = failures.rows.iter().map(|failure| row(failure, zone)).collect();
        html! {
            @if rows.is_empty() {
                p class="well" { "There was no failure in this span." }
            } @else {
                (table("Failures by the shape of their message", &COLUMNS, &rows))
                (remark(&about(failures.examined, failures.shapes)))
            }
        }
    })
}

fn about(examined: i64, shapes: i64) -> String {
    let which = if examined >= EXAMINED { "The newest" } else { "All" };
    format!(
        "{which} {} of the span, of {}; at most 25 shapes are shown. Messages of one cause have the same shape: what varies in \
         them is replaced. The example is the latest one.",
        count(examined, "failure"),
        count(shapes, "shape")
    )
}

fn row(failure: &Failure, zone: Zone) -> Vec<Markup> {
    let list = |names: Option<&Vec<String>>| match names {
        Some(names) => html! { bdi { (shown(&names.join(", "), NAME)) } },
        None => none(),
    };
    vec![
        html! { (integer(failure.failures)) },
        html! {
            bdi class="shape" { (shown(&failure.shape, MESSAGE)) }
            @if failure.shape != failure.message {
                p class="example" {
                    @match failure.task_id {
                        Some(task_id) => { "task " (task_id) ": " }
                        None => "for example: ",
                    }
                    bdi { (shown(&failure.message, MESSAGE)) }
                }
            } @else if let Some(task_id) = failure.task_id {
                p class="example" { "task " (task_id) }
            }
        },
        list(failure.task_types.as_ref()),
        list(failure.sqlstates.as_ref()),
        html! {
            (moment(zone, failure.last_at))
            @if failure.failures > 1 { p class="example" { "first " (moment(zone, failure.first_at)) } }
        },
    ]
}
