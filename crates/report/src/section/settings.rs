//! Settings that differ from their defaults, and the limits of task types.

use crate::facts::{Definition, Facts, Setting};
use crate::number::short;
use crate::section::types::number;
use crate::table::{Column, name, name_or_none, section, table, value};
use maud::{Markup, html};

const SETTINGS: [Column; 4] =
    [Column::Text("setting"), Column::Text("value"), Column::Text("default"), Column::Text("set in")];

const DEFINITIONS: [Column; 9] = [
    Column::Text("task type"),
    Column::Number("max_running"),
    Column::Number("starts_per_second"),
    Column::Number("max_running_per_key"),
    Column::Number("starts_per_second_per_key"),
    Column::Text("priority_ages_every"),
    Column::Text("keep_succeeded_for"),
    Column::Text("keep_failed_for"),
    Column::Text("redact_payload"),
];

pub fn settings(facts: &Facts) -> Markup {
    section("settings", "Settings and limits", &facts.settings, |settings| {
        html! {
            @if settings.settings.is_empty() {
                p class="note" { "All settings of pg_errand have their defaults." }
            } @else {
                (table("Settings", &SETTINGS, &settings.settings.iter().map(row).collect::<Vec<_>>()))
            }
            h3 { "Limits of task types" }
            @if settings.definitions.is_empty() {
                p class="note" { "No task type has a limit, or a time of its own for which its tasks are kept." }
            } @else {
                (table("Limits of task types", &DEFINITIONS, &settings.definitions.iter().map(limits).collect::<Vec<_>>()))
            }
        }
    })
}

fn row(setting: &Setting) -> Vec<Markup> {
    vec![
        name(&setting.name),
        match &setting.value {
            Some(value) => name(value),
            None => html! { em { "set" } },
        },
        if setting.value.is_some() {
            name(&setting.default_value)
        } else {
            html! { em { "not set" } }
        },
        name_or_none(setting.source.as_deref()),
    ]
}

fn limits(definition: &Definition) -> Vec<Markup> {
    vec![
        name(&definition.task_type),
        number(definition.max_running),
        html! {
            (value(definition.starts_per_second, short))
            @if let Some(burst) = definition.burst { " (burst " (burst) ")" }
        },
        number(Some(definition.max_running_per_key)),
        value(definition.starts_per_second_per_key, short),
        name_or_none(definition.priority_ages_every.as_deref()),
        name_or_none(definition.keep_succeeded_for.as_deref()),
        name_or_none(definition.keep_failed_for.as_deref()),
        name_or_none(definition.redact_payload.then_some("yes")),
    ]
}
