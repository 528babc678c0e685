//! The page: its head, and the sections in their order.

use crate::facts::Facts;
use crate::section::tasks::Clock;
use crate::section::{failures, overview, plots, providers, settings, tasks, types};
use crate::text::{NAME, shown};
use crate::time::Zone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// Nothing is loaded and nothing runs, whatever the facts contain.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

const SECTIONS: [(&str, &str); 9] = [
    ("problems", "Problems"),
    ("time", "Over time"),
    ("failures", "Failures"),
    ("waiting", "Waiting"),
    ("types", "Types"),
    ("providers", "Providers"),
    ("longest", "Longest tasks"),
    ("keys", "Keys"),
    ("settings", "Settings"),
];

pub fn render(facts: &Facts) -> Markup {
    let (zone, now) = facts
        .head
        .as_ref()
        .map_or_else(|_| (Zone::default(), 0.0), |head| (Zone { offset: head.utc_offset }, head.made_at));
    let clock = Clock { now, zone };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                link rel="icon" href="data:,";
                title { (title(facts, zone)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (overview::head(&facts.head, zone))
                nav aria-label="Sections" {
                    ul { @for (id, name) in SECTIONS { li { a href={ "#" (id) } { (name) } } } }
                }
                main {
                    (overview::figures(facts))
                    (overview::problems(facts))
                    (plots::plots(facts, zone))
                    (failures::failures(facts, zone))
                    (tasks::waiting(facts, clock))
                    (types::types(facts, zone))
                    (providers::providers(facts, zone))
                    (tasks::longest(facts, clock))
                    (tasks::keys(facts, clock))
                    (settings::settings(facts))
                }
                footer { p { "Made by queues.report() of pg_errand. docs/report.md says what each section means." } }
            }
        }
    }
}

fn title(facts: &Facts, zone: Zone) -> String {
    match &facts.head {
        Ok(head) => format!("pg_errand: {}, {}", shown(&head.database, NAME), zone.minute(head.made_at)),
        Err(_) => "pg_errand report".into(),
    }
}
