//! The pages and the files of examples/monitoring, and that they agree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub const ALERTS: &str = include_str!("../../examples/monitoring/alerts.yaml");
pub const PROMETHEUS: &str = include_str!("../../examples/monitoring/prometheus.yaml");
pub const POSTGRES_EXPORTER: &str = include_str!("../../examples/monitoring/postgres_exporter.yaml");
pub const SQL_EXPORTER: &str = include_str!("../../examples/monitoring/sql_exporter.yaml");
pub const ROLE: &str = include_str!("../../examples/monitoring/role.sql");
const DASHBOARD: &str = include_str!("../../examples/monitoring/dashboard.json");
const PAGE: &str = include_str!("../../docs/monitoring.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// Type, labels and help of a metric.
pub type Facts = (String, BTreeSet<String>, String);

/// The rows of the first table below a heading, without its head.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, section) =
        page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The words of a cell that are set as code.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The metrics that docs/monitoring.md lists.
pub fn metrics_of_the_page() -> BTreeMap<String, Facts> {
    let rows = rows(PAGE, "The metrics").into_iter().map(|row| {
        let [name, kind, labels, help] = row[..] else { panic!("{row:?}") };
        (name.trim_matches('`').to_owned(), (kind.to_owned(), words(labels), help.to_owned()))
    });
    rows.collect()
}

/// The problems that docs/operations.md lists.
pub fn problems_of_the_page() -> BTreeSet<String> {
    rows(OPERATIONS, "Is all well?").iter().flat_map(|row| words(row[0])).collect()
}

/// What follows `key` in each line that begins with it; of a block, its lines.
fn yaml_values(text: &str, key: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(value) = line.trim_start().strip_prefix(key) else { continue };
        let indent = line.len() - line.trim_start().len();
        let mut value = value.trim().trim_matches('\'').to_owned();
        if value == "|" {
            value.clear();
            while let Some(more) = lines.next_if(|more| more.len() - more.trim_start().len() > indent) {
                value += more.trim();
                value.push('\n');
            }
        }
        values.push(value);
    }
    values
}

/// The names and expressions of the alerts.
pub fn alerts() -> Vec<(String, String)> {
    let (names, expressions) = (yaml_values(ALERTS, "- alert: "), yaml_values(ALERTS, "expr: "));
    assert_eq!(names.len(), expressions.len());
    names.into_iter().zip(expressions).collect()
}

pub fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

/// The expressions of the dashboard, with their panels, and what its variables ask for.
pub fn dashboard_expressions() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let of_panels = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default().into_iter();
        targets.map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let of_variables = variables.filter_map(|variable| {
        let query = variable["query"]["query"].as_str()?;
        let (asked, label) = query.strip_prefix("label_values(")?.strip_suffix(')')?.rsplit_once(", ")?;
        Some((format!("variable {}", variable["name"]), format!("group by ({label}) ({asked})")))
    });
    of_panels.chain(of_variables).collect()
}

#[test]
fn exporters_pass_on_all_labels() {
    let labels: BTreeSet<_> = metrics_of_the_page().into_values().flat_map(|(_, labels, _)| labels).collect();
    assert!(labels.len() > 10, "{labels:?}");
    for label in labels.iter().map(String::as_str).chain(["datname", "le"]) {
        for file in [POSTGRES_EXPORTER, SQL_EXPORTER] {
            assert!(file.contains(&format!("m.labels ->> '{label}'")), "{label}");
        }
        assert!(POSTGRES_EXPORTER.contains(&format!("- {label}: {{usage: LABEL")), "{label}");
        assert!(SQL_EXPORTER.contains(&format!("\n          - {label}\n")), "{label}");
    }
}

#[test]
fn operations_explains_each_alert() {
    let explained: Vec<_> =
        rows(OPERATIONS, "Alerts").iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let alerts: Vec<_> = alerts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(explained, alerts);
    let runbooks = yaml_values(ALERTS, "runbook: ");
    assert_eq!(runbooks.len(), alerts.len());
    for runbook in runbooks {
        let heading = match runbook.as_str() {
            "docs/operations.md#alerts" => "Alerts",
            "docs/operations.md#is-all-well" => "Is all well?",
            other => panic!("{other}"),
        };
        assert!(OPERATIONS.contains(&format!("\n## {heading}\n")));
    }
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    let datasource = serde_json::json!({"type": "prometheus", "uid": "${datasource}"});
    for panel in panels {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_i64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{} covers another panel", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"], datasource);
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"], datasource);
                assert!(target["refId"].is_string(), "{panel}");
            }
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "instance", "datname", "task_type"]);
    for (panel, expression) in dashboard_expressions() {
        assert!(expression.contains("pg_errand_"), "{panel}");
    }
}
