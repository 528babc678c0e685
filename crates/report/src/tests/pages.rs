use crate::page;
use serde_json::{Value, json};
use std::collections::HashSet;

const HOSTILE: &str = "<script>alert(1)</script>&amp;\"'\u{202e}\u{1b}[31m</td>💣";

/// Facts of a database in which much happens. All names and messages contain `text`.
fn facts(text: &str, rows: usize) -> Value {
    let quantiles = json!([1.5, 20.0, 300.0]);
    let bin = |number: usize| {
        json!({
            "at": 1_000_000_000 + number * 300, "succeeded": 100 + number, "failed": 20, "cancelled": 0, "calls": 5,
            "failed_calls": 1, "busy_workers": 2, "waiting": quantiles, "running": quantiles, "provider": [1, null, null]
        })
    };
    let many = |row: Value| vec![row; rows];
    json!({
        "head": {
            "database": text, "cluster": text, "server_version": "15.20", "extension_version": "0.8.0",
            "library_version": "0.8.1", "is_preloaded": false, "is_standby": true, "started_at": 0,
            "made_at": 1_000_086_400, "from": 1_000_000_000, "to": 1_000_086_400, "utc_offset": 3600,
            "time_zone": text
        },
        "problems": {"rows": many(json!({
            "problem": "database_paused", "severity": "error", "explanation": text, "hint": text
        }))},
        "history": {"step": 300, "bins": (0..rows).map(bin).collect::<Vec<_>>()},
        "stats": {"since": 0, "handler_time": 100_000, "rows": many(json!({
            "kind": "handler", "task_type": text, "handler": text, "invoked_as": "db_function", "invocations": 10,
            "errors": 1, "running_p50": 1.0, "weight": 60_000
        })).into_iter().chain(many(json!({
            "kind": "calls", "task_type": text, "provider": text, "calls": 100, "failed_calls": 50, "status_2xx": 50
        }))).chain(many(json!({"kind": "type", "task_type": text, "attempts": 7}))).collect::<Vec<_>>()},
        "providers": {"rows": many(json!({
            "name": text, "interface": "http", "state": "paused", "in_flight": 1, "queued": 2, "until": 1_000_000_000,
            "pause_reason": "operator", "paused_by": text, "paused_why": text, "breaker": "open",
            "consecutive_failures": 3, "last_status": 500, "last_failure_at": 1_000_000_000,
            "requests_per_second": 2.5, "burst": 3, "max_in_flight": 4, "breaker_threshold": 5
        }))},
        "tasks": {
            "number_running": 100, "examined": 10_000,
            "running": many(json!({"task_id": 1, "task_type": text, "runs_in": "worker", "handler": text, "pid": 7, "queue_key": text, "since": 1_000_000_000})),
            "ended": many(json!({"task_id": 2, "task_type": text, "status": "failed", "queue_key": text, "finished_at": 1_000_000_000, "seconds": 3.5}))
        },
        "waiting": {"tasks": 5010, "scheduled": 10, "rows": many(json!({
            "task_type": text, "reason": "workers_busy", "tasks": 4990, "oldest": 1_000_000_000, "until": null, "hint": text
        }))},
        "keys": {"examined": 200_000, "rows": many(json!({
            "task_type": text, "queue_key": text, "tasks": 12, "oldest": null, "is_paused": true
        }))},
        "pace": {"enqueued": 2000, "ended": 1000},
        "settings": {
            "concurrency": "2",
            "settings": many(json!({"name": "pg_errand.role", "value": text, "default_value": text, "source": "configuration file"})),
            "definitions": many(json!({
                "task_type": text, "max_running": 3, "starts_per_second": 1.5, "burst": 2, "max_running_per_key": 1,
                "starts_per_second_per_key": 1, "priority_ages_every": "00:01:00", "keep_succeeded_for": text,
                "keep_failed_for": null, "redact_payload": true
            }))
        },
        "failures": {"examined": 20_000, "shapes": 30, "rows": many(json!({
            "shape": text, "failures": 3, "first_at": 0, "last_at": 1_000_000_000, "task_types": [text],
            "sqlstates": ["P0001"], "task_id": 9, "message": format!("{text} x")
        }))},
        "locks": {"rows": many(json!({
            "pid": 4711, "workers": 8, "state": "idle in transaction", "query": text, "role": text,
            "since": 1_000_000_000, "changed_at": 1_000_000_000
        }))}
    })
}

/// The tags of a page in their order, without their attributes; and the ids. Panics if a tag is not closed in order.
fn tags(page: &str) -> (Vec<String>, Vec<String>) {
    let (mut open, mut all, mut ids) = (Vec::<&str>::new(), Vec::new(), Vec::new());
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.split_whitespace().next().unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{}", &page[..page.len() - rest.len()]);
        } else if !tag.starts_with('!') {
            if !["meta", "link"].contains(&name) {
                open.push(name);
            }
            all.push(name.to_owned());
        }
        if let Some((_, id)) = tag.split_once(" id=\"") {
            ids.push(id.split('"').next().unwrap().to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    (all, ids)
}

#[test]
fn a_page_is_well_formed_and_names_are_only_text() {
    let page = page(&facts(HOSTILE, 10));
    let (names, ids) = tags(&page);
    assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("script")), "{names:?}");
    assert!(
        page.is_ascii()
            && page.contains("&lt;script&gt;alert(1)")
            && !page.contains(|shown: char| shown.is_control() && shown != '\n')
    );
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
    for reference in
        page.split("aria-labelledby=\"").skip(1).flat_map(|rest| rest.split('"').next().unwrap().split(' '))
    {
        assert!(ids.iter().any(|id| id == reference), "{reference}");
    }
    for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(ids.iter().any(|id| id == link), "{link}");
    }
    // Names without their tags are the same, however hostile.
    assert_eq!(tags(&self::page(&facts("plain", 10))).0, names);
}

/// The numbers of rows that the SQL functions return at most.
const LIMITS: [(&str, &str, usize); 12] = [
    ("problems", "rows", 30),
    ("history", "bins", 440),
    ("stats", "rows", 120),
    ("providers", "rows", 40),
    ("tasks", "running", 20),
    ("tasks", "ended", 15),
    ("waiting", "rows", 40),
    ("keys", "rows", 20),
    ("settings", "settings", 50),
    ("settings", "definitions", 60),
    ("failures", "rows", 25),
    ("locks", "rows", 5),
];

#[test]
fn a_page_with_everything_at_its_longest_is_below_a_megabyte() {
    for text in ["💣", "\"", "&", "é", "x"] {
        let mut facts = facts(&text.repeat(2000), 120);
        facts["history"] = self::facts("", 440)["history"].take();
        for (section, name, limit) in LIMITS {
            facts[section][name].as_array_mut().unwrap().truncate(limit);
        }
        let page = page(&facts);
        assert!(page.len() < 1_000_000, "{text}: {}", page.len());
    }
}

#[test]
fn a_section_that_could_not_be_read_says_so_and_the_others_are_there() {
    let sections = facts("plain", 1);
    for name in sections.as_object().unwrap().keys() {
        let mut facts = sections.clone();
        facts[name] = json!({"error": format!("no {name} <today>")});
        let page = page(&facts);
        tags(&page);
        if name != "pace" {
            assert!(page.contains(&format!("no {name} &lt;today&gt;")), "{name}");
        }
        facts.as_object_mut().unwrap().remove(name);
        tags(&self::page(&facts));
        facts[name] = json!({"rows": 5});
        tags(&self::page(&facts));
    }
    let empty = page(&json!({}));
    assert!(empty.contains("there is no such fact"));
    tags(&empty);
}

#[test]
fn an_empty_database_makes_an_empty_page() {
    let page = page(&facts("plain", 0));
    for sentence in
        ["Nothing has ended in this span", "There was no failure", "Nothing waits", "No task runs"]
    {
        assert!(page.contains(sentence), "{sentence}");
    }
    assert!(!page.contains("<svg"));
}

#[test]
fn lines_have_gaps_and_single_points_are_dots() {
    let mut facts = facts("plain", 1);
    let bin = |at: u64| {
        let mut bin = facts["history"]["bins"][0].clone();
        bin["at"] = at.into();
        bin
    };
    // Two steps, a gap, and one step.
    let bins = [0, 300, 3000].map(|after| bin(1_000_000_000 + after));
    facts["history"]["bins"] = bins.to_vec().into();
    let page = page(&facts);
    let waiting = page.split("id=\"plot-waiting-title\"").nth(1).unwrap();
    let line = waiting.split("class=\"line s1\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(
        (line.matches('M').count(), line.matches('L').count(), line.matches("h0").count()),
        (2, 1, 1),
        "{line}"
    );
    assert!(line.ends_with("h0"), "{line}");
}

#[test]
fn advice_is_given_only_if_it_is_true() {
    let all = page(&facts("plain", 20));
    let sentences = [
        "8 workers wait for a lock of process 4711 of role plain, which is idle in a transaction",
        "The queue grows by about 1,000 tasks per hour",
        "At the pace of the last hour (1,000 per hour) they take 5 h",
        "All 2 workers were busy",
        "of the tasks that ended have failed",
        "50 % of the calls to provider plain have failed",
        "of the time of all handlers is spent in plain",
    ];
    for sentence in sentences {
        assert!(all.contains(sentence), "{sentence}");
    }
    let mut calm = facts("plain", 20);
    calm["pace"] = json!({"enqueued": 1000, "ended": 1000});
    calm["waiting"]["tasks"] = 15.into();
    calm["locks"]["rows"] = json!([]);
    calm["stats"]["rows"] = json!([]);
    for bin in calm["history"]["bins"].as_array_mut().unwrap() {
        bin["failed"] = 0.into();
    }
    let calm = page(&calm);
    assert!(!calm.contains("<strong>advice"), "{calm}");
}

#[test]
fn a_secret_is_shown_as_set() {
    let mut facts = facts("plain", 1);
    facts["settings"]["settings"] =
        json!([{"name": "pg_errand.resend_api_key", "value": null, "default_value": "", "source": null}]);
    let page = page(&facts);
    assert!(page.contains("<bdi>pg_errand.resend_api_key</bdi></td><td><em>set</em></td>"));
}
