//! `queues.top`: a page for a terminal.

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, task, wait_running};
use crate::harness::queue::wait_status;
use crate::harness::wait::eventually;

fn top(client: &mut Client, lines: i32) -> Vec<String> {
    let rows = client.query("select queues.top($1)", &[&lines]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn has(page: &[String], parts: &[&str]) -> bool {
    page.iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

#[test]
fn the_page_shows_what_runs_waits_fails_and_is_wrong() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    eventually("nothing is wrong", || {
        let page = top(&mut client, 10);
        if page.len() == 1 && page[0].starts_with("postgres  ") { Ok(()) } else { Err(page) }
    });
    let failed = task(&mut client, "refuse", json!({"label": "number 7 \u{1b}[31m\n\"x\""}));
    wait_status(&mut client, failed, "failed");
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"gate": 1}));
    wait_running(&mut client, 1);
    task(&mut client, "note", json!({}));
    client.batch_execute("select queues.enqueue('sms', '{}', 'infinity')").unwrap();
    client.batch_execute("alter table queues.task set (autovacuum_enabled = off)").unwrap();
    let page = top(&mut client, 10);
    for parts in [
        ["workers: 1 (1 busy)", "waiting: 2"].as_slice(),
        &["! warning: autovacuum is off for queues.task"],
        &["              Run: ALTER TABLE queues.task RESET (autovacuum_enabled);"],
        &["RUNNING", "handler or provider"],
        &[&running.to_string(), "db_function", "public.gate", "worker"],
        &["              waits for a lock of process", "(Lock: advisory)"],
        &["1", "db_function", "workers_busy"],
        &[
            "              To see what the workers do, run: SELECT * FROM queues.running; More workers need a higher",
        ],
        &["1", "sms", "scheduled"],
        &["ERRORS, 1 h"],
        &["1", "db_function", "refused: number <n>"],
    ] {
        assert!(has(&page, parts), "{parts:?}: {page:#?}");
    }
    assert!(
        page.iter().all(|line| !line.contains(char::is_control) && line.chars().count() <= 140),
        "{page:#?}"
    );
    let short = top(&mut client, 1);
    assert!(has(&short, &["… 1 more"]) && !has(&short, &["scheduled"]), "{short:#?}");
    gate.open();
}

#[test]
fn only_who_was_granted_it_sees_the_page() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role operator login; create role other login;
             select queues.grant_role('operator', 'operator'); grant usage on schema queues to other",
        )
        .unwrap();
    assert!(has(
        &top(&mut cluster.connect_as("operator", "postgres"), 5),
        &["! error: The database is paused"]
    ));
    let error = cluster.connect_as("other", "postgres").query("select queues.top()", &[]).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[test]
fn long_texts_continue_on_further_lines() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    let wrap = |client: &mut Client, text: &str| -> Vec<String> {
        one(client, &format!("select array(select errand.wrapped('{text}', 10))"))
    };
    assert_eq!(wrap(&mut client, "one two three four"), ["one two", "three four"]);
    assert_eq!(wrap(&mut client, "1234567890 23456789012 4"), ["1234567890", "2345678901", "2 4"]);
    assert_eq!(wrap(&mut client, ""), [""]);
    let reason = "x".repeat(50) + " " + &"word ".repeat(40) + "end";
    client.execute("select queues.pause('sms', _why => $1)", &[&reason]).unwrap();
    client.execute("select queues.pause(_why => $1)", &[&reason]).unwrap();
    client.batch_execute("select queues.enqueue('db_function', '{}', _queue_key => 'k')").unwrap();
    client.batch_execute("select queues.dequeue_next_available_task()").unwrap();
    client.batch_execute("select queues.resume(); select queues.dequeue_next_available_task()").unwrap();
    client.execute("select queues.pause(_why => $1)", &[&reason]).unwrap();
    client.batch_execute("select queues.append_error(null, 'an error')").unwrap();
    let page = top(&mut client, 10);
    for parts in [
        ["! warning: Role \"postgres\" has paused the database"].as_slice(),
        &["              xxx"],
        &["              word word word"],
        &["              end."],
        &["              Run: SELECT queues.resume();"],
        &["              leased until ", "; queue key k"],
        &["ERRORS, 1 h", "last", "shape of the message"],
        &["1", ":", "  an error"],
    ] {
        assert!(has(&page, parts), "{parts:?}: {page:#?}");
    }
    assert!(page.iter().all(|line| line.chars().count() <= 140), "{page:#?}");
}
