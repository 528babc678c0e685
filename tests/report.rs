//! `queues.report`: a page about a span of time, looked at in a browser.

mod fixture;
mod rights;
mod sections;

use std::path::PathBuf;

use postgres::Client;

use crate::harness::browser::Browser;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, task};
use crate::harness::queue::wait_status;
use fixture::{HOSTILE, database_with_a_million_tasks};
use serde_json::json;

const LOOK: &str = include_str!("report/look.js");
const SCREENS: [(u32, &str); 5] =
    [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark"), (1000, "print")];

/// The page for a span, which is SQL for the arguments.
#[track_caller]
pub fn report(client: &mut Client, span: &str) -> String {
    let sql = format!("select queues.report({span})");
    client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// The text of a section, without what is in its tags.
#[track_caller]
pub fn section(page: &str, id: &str) -> String {
    let start = format!("<section id=\"{id}\"");
    let section = page.split(&start).nth(1).unwrap_or_else(|| panic!("no section {id}"));
    let section = section.split("</section>").next().unwrap();
    section
        .split('<')
        .map(|piece| piece.split_once('>').map_or("", |(_, text)| text))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Shows a page on all screens, asserts that nothing is wrong with it, and keeps the images in the target directory.
#[track_caller]
fn look_at(page: &str, name: &str) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = directory.join(format!("report-{name}.html"));
    std::fs::write(&path, page).unwrap();
    let mut browser = Browser::start();
    let mut backgrounds = Vec::new();
    for (width, scheme) in SCREENS {
        browser.open(&path, width, scheme);
        let problems = browser.value(LOOK);
        assert_eq!(problems, json!([]), "{name}, {width} wide, {scheme}: {problems:#}");
        let shot = browser.screenshot();
        std::fs::write(directory.join(format!("report-{name}-{width}-{scheme}.png")), &shot).unwrap();
        backgrounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
        assert_eq!(browser.requested(), [format!("file://{}", path.display())]);
        let tags =
            page.matches("<section").count() + page.matches("<td").count() + page.matches("<svg").count();
        let elements = browser.value("document.querySelectorAll('section, td, svg').length");
        assert_eq!(elements, json!(tags), "{name}");
    }
    assert_ne!(backgrounds[0], backgrounds[1]);
    let printed = browser.print();
    assert!(printed.starts_with(b"%PDF"));
}

#[test]
fn a_page_without_tasks_and_with_one_is_fit_to_be_shown() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    let empty = report(&mut client, "");
    for sentence in ["Nothing has ended in this span", "Nothing waits", "No task runs"] {
        assert!(empty.contains(sentence), "{sentence}");
    }
    look_at(&empty, "empty");
    let only = task(&mut client, "note", json!({}));
    wait_status(&mut client, only, "succeeded");
    let page = report(&mut client, "");
    let types = section(&page, "types");
    assert!(types.contains("db_function") && types.contains("public.note"), "{types}");
    let longest = section(&page, "longest");
    assert!(longest.contains(&format!(" {only} ")) && longest.contains("succeeded"), "{longest}");
    look_at(&page, "one");
}

#[test]
fn a_page_about_a_million_tasks_with_hostile_names_reads_no_whole_table() {
    let (cluster, mut client) = database_with_a_million_tasks();
    for facts in [
        "problems()",
        "tasks(now() - interval '1 day', now())",
        "waiting()",
        "keys()",
        "pace()",
        "failures(now() - interval '1 day', now())",
    ] {
        client.batch_execute(&format!("begin; select errand.report_{facts}")).unwrap();
        let scans = "select pg_stat_get_xact_numscans('queues.task'::regclass)";
        assert_eq!(one::<i64>(&mut client, scans), 0, "sequential scans of {facts}");
        client.batch_execute("commit").unwrap();
    }
    let page = report(&mut client, "");
    assert!(page.len() < 1_000_000, "{}", page.len());
    assert!(page.is_ascii() && !page.contains("<script") && !page.contains("<img"));
    for id in ["failures", "waiting", "keys", "providers"] {
        let section = section(&page, id);
        assert!(section.contains("&lt;script&gt;") || id == "waiting", "{id}: {section}");
        assert!(!section.contains("Not here"), "{id}: {section}");
    }
    assert!(section(&page, "time").contains("Tasks that ended"));
    assert!(section(&page, "problems").contains("of the tasks that ended have failed"));
    look_at(&page, "million");
    // Saved by psql in a terminal of another encoding, it is the same page.
    let statement = "set client_encoding = 'LATIN1'; select queues.report(now() - interval '7 days');";
    let saved = cluster.psql(fixture::DATABASE, statement);
    assert!(saved.starts_with("<!DOCTYPE html>") && saved.ends_with("</html>"));
    assert!(saved.contains("<svg class=\"plot\"") && !saved.contains(HOSTILE));
    look_at(&saved, "week");
}
