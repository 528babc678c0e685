//! Providers: their state and limits, and their calls.

use crate::facts::{Counted, Facts, Provider, Stats};
use crate::number::short;
use crate::section::types::{number, time};
use crate::table::{Column, moment, name, name_or_none, none, section, table, value};
use crate::text::{MESSAGE, shown};
use crate::time::Zone;
use maud::{Markup, html};

const STATES: [Column; 8] = [
    Column::Text("provider"),
    Column::Text("interface"),
    Column::Text("state"),
    Column::Number("in flight"),
    Column::Number("queued"),
    Column::Number("requests per second"),
    Column::Number("failed in a row"),
    Column::Text("last failure"),
];

pub fn providers(facts: &Facts, zone: Zone) -> Markup {
    section("providers", "Providers", &facts.providers, |providers| {
        let rows: Vec<_> = providers.rows.iter().map(|provider| row(provider, zone)).collect();
        html! {
            @if rows.is_empty() {
                p class="note" { "There is no provider." }
            } @else {
                (table("The state of providers", &STATES, &rows))
            }
            @if let Ok(stats) = &facts.stats { (calls(stats)) }
        }
    })
}

fn row(provider: &Provider, zone: Zone) -> Vec<Markup> {
    vec![
        name(&provider.name),
        name(&provider.interface),
        state(provider, zone),
        html! {
            (number(provider.in_flight))
            @if let Some(most) = provider.max_in_flight { " of " (most) }
        },
        number(provider.queued),
        html! {
            (value(provider.requests_per_second, short))
            @if let Some(burst) = provider.burst { " (burst " (burst) ")" }
        },
        html! {
            (number(provider.consecutive_failures))
            @if let Some(threshold) = provider.breaker_threshold { " of " (threshold) }
        },
        match provider.last_failure_at {
            None => none(),
            Some(at) => html! {
                (moment(zone, at)) ", "
                @match provider.last_status {
                    Some(status) => { "status " (status) }
                    None => "no response",
                }
            },
        },
    ]
}

fn state(provider: &Provider, zone: Zone) -> Markup {
    let Some(state) = &provider.state else { return none() };
    html! {
        span class=(if state == "ok" { "ok" } else { "not-ok" }) { (shown(state, 40)) }
        @if let Some(until) = provider.until { " until " (moment(zone, until)) }
        @if let Some(reason) = &provider.pause_reason { ", " (shown(reason, 40)) }
        @if let Some(role) = &provider.paused_by { " " (name(role)) }
        @if let Some(why) = &provider.paused_why { ": " bdi { (shown(why, MESSAGE)) } }
        @if let Some(breaker) = &provider.breaker {
            @if breaker != "closed" { ", circuit breaker " (shown(breaker, 40)) }
        }
    }
}

const CALLS: [Column; 13] = [
    Column::Text("provider"),
    Column::Text("task type"),
    Column::Number("calls"),
    Column::Number("failed"),
    Column::Number("2xx"),
    Column::Number("3xx"),
    Column::Number("4xx"),
    Column::Number("5xx"),
    Column::Number("no response"),
    Column::Number("deferred"),
    Column::Number("p50"),
    Column::Number("p95"),
    Column::Number("p99, longest"),
];

fn calls(stats: &Stats) -> Markup {
    let rows: Vec<_> = stats.rows.iter().filter(|row| row.kind == "calls").map(row_of_calls).collect();
    html! {
        @if !rows.is_empty() {
            h3 { "Calls" }
            (table("Calls to providers", &CALLS, &rows))
        }
    }
}

fn row_of_calls(row: &Counted) -> Vec<Markup> {
    vec![
        name_or_none(row.provider.as_deref()),
        name(&row.task_type),
        number(row.calls),
        number(row.failed_calls),
        number(row.status_2xx),
        number(row.status_3xx),
        number(row.status_4xx),
        number(row.status_5xx),
        number(row.no_response),
        number(row.deferred),
        time(row.provider_p50),
        time(row.provider_p95),
        html! { (time(row.provider_p99)) ", " (time(row.provider_max)) },
    ]
}
