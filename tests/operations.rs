//! The statements of docs/operations.md by symptom, run on a queue that has such symptoms.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, payload};
use crate::harness::pages::{section, sql_blocks};
use crate::harness::queue::{enqueue, wait_status};

const PAGE: &str = include_str!("../docs/operations.md");

/// Statements in the text of the page.
fn inline_statements(section: &str) -> impl Iterator<Item = &str> {
    let codes = section.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_statement = |code: &str| {
        let is_of_kind = ["select ", "update ", "grant "].iter().any(|kind| code.starts_with(kind));
        is_of_kind && code.ends_with(';')
    };
    codes.filter(move |code| is_statement(code))
}

/// A task that waits, with a queue key, and one that has failed.
fn fixture(client: &mut Client) -> (i64, i64) {
    client.batch_execute("create role support").unwrap();
    let waiting =
        "select queues.enqueue('email', '{}', now() + interval '1 day', _queue_key => 'customer 12')";
    let waiting = one(client, waiting);
    let failed = enqueue(client, "db_function", payload("missing", json!({})));
    wait_status(client, failed, "failed");
    (waiting, failed)
}

#[test]
fn the_statements_by_symptom_run() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let (waiting, failed) = fixture(&mut client);
    let symptoms = section(PAGE, "## By symptom");
    let statements: Vec<&str> = sql_blocks(symptoms).chain(inline_statements(symptoms)).collect();
    assert!(statements.len() > 20, "{statements:?}");
    for statement in statements {
        let sql = statement.replace("4711", &failed.to_string()).replace("4712", &waiting.to_string());
        // The last one is the retry that the statements before have made.
        let sql = sql.replace("4713", "(select max(task_id) from queues.task)");
        let mut transaction = client.transaction().unwrap();
        transaction.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        transaction.rollback().unwrap();
    }
}

#[test]
fn each_symptom_begins_with_statements() {
    let symptoms = section(PAGE, "## By symptom");
    let parts: Vec<&str> = symptoms.split("\n### ").skip(1).collect();
    assert_eq!(parts.len(), 6);
    for part in parts {
        let (heading, text) = part.split_once('\n').unwrap();
        assert!(text.trim_start().starts_with("```sql"), "{heading}");
        let anchor = heading.to_lowercase().replace(' ', "-");
        assert!(symptoms.contains(&format!("[{heading}](#{anchor})")), "{heading}");
    }
}
