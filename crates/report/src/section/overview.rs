//! What the page is about, the figures that matter most, problems and advice.

use crate::advice;
use crate::facts::{Bin, Facts, Head};
use crate::number::{duration, integer, percent, short};
use crate::table::{name, section};
use crate::text::{MESSAGE, count, shown};
use crate::time::Zone;
use maud::{Markup, html};

pub fn head(head: &Result<Head, String>, zone: Zone) -> Markup {
    html! {
        header {
            p class="product" { "pg_errand report" }
            @match head {
                Ok(head) => (of_server(head, zone)),
                Err(reason) => {
                    h1 { "Report" }
                    p class="note" { "Not here: " (shown(reason, MESSAGE)) }
                }
            }
        }
    }
}

fn of_server(head: &Head, zone: Zone) -> Markup {
    html! {
        h1 { "Database " (name(&head.database)) }
        p class="span" {
            (zone.minute(head.from)) " to " (zone.minute(head.to)) " (" (zone.name()) ")"
        }
        dl class="facts" {
            (fact("Made", &zone.moment(head.made_at)))
            @if let Some(cluster) = &head.cluster { (fact("Cluster", cluster)) }
            (fact("PostgreSQL", &format!("{}, started {}", head.server_version, zone.minute(head.started_at))))
            (fact("pg_errand", &versions(head)))
            (fact("Role of the server", if head.is_standby { "standby" } else { "primary" }))
            (fact("Time zone", &head.time_zone))
        }
        @if !head.is_preloaded {
            p class="note" {
                "The library is not in shared_preload_libraries of this server. What lives in shared memory is not here: workers, \
                 what runs, statistics since the start, the state of providers."
            }
        }
        @if head.is_standby {
            p class="note" {
                "This server is a standby, where no task runs. What lives in the primary's shared memory is not here: workers, \
                 what runs, statistics since the start, the state of providers. The history and the tasks are the primary's."
            }
        }
    }
}

fn versions(head: &Head) -> String {
    match &head.extension_version {
        Some(version) if *version == head.library_version => version.clone(),
        Some(version) => format!("{version}, with the library of version {}", head.library_version),
        None => head.library_version.clone(),
    }
}

fn fact(term: &str, value: &str) -> Markup {
    html! { div { dt { (term) } dd { (name(value)) } } }
}

/// The figures that matter most.
pub fn figures(facts: &Facts) -> Markup {
    let mut cards: Vec<(String, String, &str)> = Vec::new();
    if let (Ok(history), Ok(head)) = (&facts.history, &facts.head) {
        let sum = |of: fn(&Bin) -> i64| history.bins.iter().map(of).sum::<i64>();
        let (ended, failed) = (sum(Bin::ended), sum(|bin| bin.failed));
        let per_second = ended as f64 / (head.to - head.from).max(1.0);
        let share = percent(failed as f64, ended as f64).unwrap_or_else(|| "none".into());
        cards.push((integer(ended), format!("tasks ended, {} per second", short(per_second)), "good"));
        cards.push((
            integer(failed),
            format!("of them failed ({share})"),
            if failed > 0 { "bad" } else { "good" },
        ));
    }
    if let Ok(waiting) = &facts.waiting {
        let due = waiting.tasks - waiting.scheduled;
        cards.push((
            integer(due),
            format!("wait that are due, {} scheduled", integer(waiting.scheduled)),
            "plain",
        ));
    }
    if let Ok(tasks) = &facts.tasks {
        cards.push((integer(tasks.number_running), "run now".into(), "plain"));
    }
    if let (Ok(waiting), Ok(head)) = (&facts.waiting, &facts.head) {
        let due = waiting.rows.iter().filter(|group| group.reason != "scheduled");
        let oldest = due.filter_map(|group| group.oldest).reduce(f64::min).filter(|at| *at < head.made_at);
        let age = oldest.map_or_else(|| "–".into(), |at| duration((head.made_at - at) * 1000.0));
        cards.push((age, "is the age of the oldest that is due".into(), "plain"));
    }
    html! {
        ul class="cards" {
            @for (figure, what, class) in &cards {
                li class=(class) { strong { (figure) } span { (what) } }
            }
        }
    }
}

/// Problems of `queues.health`, and advice.
pub fn problems(facts: &Facts) -> Markup {
    let advice = advice::of(facts);
    section("problems", "Problems and advice", &facts.problems, |problems| {
        html! {
            @if problems.rows.is_empty() && advice.is_empty() {
                p class="well" { "All is well: queues.health has no row, and there is nothing to advise." }
            }
            ul class="problems" {
                @for problem in &problems.rows {
                    li class=(if problem.severity == "error" { "error" } else { "warning" }) {
                        p {
                            strong { (shown(&problem.severity, 20)) ", " (shown(&problem.problem, 60)) } " "
                            (shown(&problem.explanation, MESSAGE))
                        }
                        @if let Some(hint) = &problem.hint { p class="hint" { (shown(hint, MESSAGE)) } }
                    }
                }
                @for sentence in &advice {
                    li class="advice" { p { strong { "advice" } " " (sentence) } }
                }
            }
            @if let Err(reason) = &facts.locks {
                p class="remark" { "Which locks workers wait for is not here: " (shown(reason, MESSAGE)) }
            }
            @if problems.rows.len() == 30 {
                p class="remark" { "At most " (count(30, "problem")) " are shown; queues.health has all." }
            }
        }
    })
}
