//! `queues.health` has a row for each problem, and none if all is well.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use postgres::error::SqlState;
use postgres::{Client, Row};
use serde_json::json;

use crate::harness::builder::Builder;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, create_database, install, one, run_one, runner, task};
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::{eventually, wait_until_sql, within};

/// The problems, with what they concern.
fn problems(client: &mut Client) -> Vec<String> {
    let sql = "select concat_ws(' ', problem, subject) from queues.health order by 1";
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[track_caller]
fn wait_problems(client: &mut Client, expected: &[&str]) {
    eventually(&format!("the problems are {expected:?}"), || {
        let found = problems(client);
        if found == expected { Ok(()) } else { Err(found) }
    });
}

/// Waits until there is one problem, and returns what is said about it and the hint.
#[track_caller]
fn wait_problem(client: &mut Client, problem: &str) -> (String, String) {
    eventually(&format!("there is the problem {problem}"), || {
        let rows = client.query("select * from queues.health", &[]).unwrap();
        match rows.as_slice() {
            [row] if row.get::<_, String>("problem") == problem => Ok(said(row)),
            _ => Err(rows.iter().map(said).collect::<Vec<_>>()),
        }
    })
}

fn said(row: &Row) -> (String, String) {
    let (explanation, hint): (String, Option<String>) = (row.get("explanation"), row.get("hint"));
    assert!(explanation.ends_with('.'), "{explanation}");
    (explanation, hint.unwrap_or_default())
}

/// Runs `sql`, waits for the problem, follows its hint if it is a statement or else runs `mend`, and waits until all is well.
#[track_caller]
fn is_told_and_mended(client: &mut Client, sql: &str, problem: &str, mend: &str) {
    client.batch_execute(sql).unwrap();
    let (_, hint) = wait_problem(client, problem);
    match hint.strip_prefix("Run: ") {
        Some(statement) if mend.is_empty() => client.batch_execute(statement).unwrap(),
        _ => client.batch_execute(mend).unwrap(),
    }
    wait_problems(client, &[]);
}

#[test]
fn nothing_is_said_of_a_new_installation_at_work_and_at_rest() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    wait_problems(&mut client, &[]);
    run_one(&mut client, "one");
    assert_eq!(problems(&mut client), [""; 0]);
    cluster.set(&[("pg_errand.max_idle_time", "10")]);
    wait_until_sql(&mut client, "select count(*) from queues.worker", "0");
    assert_eq!(problems(&mut client), [""; 0]);
}

#[test]
fn what_keeps_workers_from_running_is_told_with_what_to_do() {
    let cluster = Cluster::start(&[("pg_errand.max_idle_time", "10")]);
    let mut client = install(&cluster, "postgres");
    wait_problems(&mut client, &[]);
    cluster.set(&[("pg_errand.concurrency", "0")]);
    wait_problem(&mut client, "paused");
    cluster.set(&[("pg_errand.concurrency", "1"), ("pg_errand.databases", "other")]);
    wait_problem(&mut client, "not_served");
    cluster.set(&[("pg_errand.databases", "")]);
    wait_problems(&mut client, &[]);
    let told = "revoke connect on database postgres from public";
    is_told_and_mended(&mut client, told, "role_lacks_connect", "");
    is_told_and_mended(&mut client, "select queues.pause(_why => 'release')", "database_paused", "");
    let told = "revoke usage on schema queues from errand_worker;
        revoke execute on function queues.enqueue from errand_worker";
    is_told_and_mended(&mut client, told, "role_lacks_rights", "");
    run_one(&mut client, "works");
}

#[test]
fn a_read_only_database_is_told_with_the_statement_that_works_where_it_is_read() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    let mut elsewhere = cluster.connect("template1");
    elsewhere.batch_execute("set default_transaction_read_only = off").unwrap();
    wait_problems(&mut client, &[]);
    for (who, place) in [
        (
            "alter role errand_worker in database postgres",
            "Run: ALTER ROLE errand_worker IN DATABASE postgres RESET",
        ),
        ("alter role errand_worker", "Run: ALTER ROLE errand_worker RESET"),
        ("alter database postgres", "off: ALTER DATABASE postgres RESET"),
        ("alter role all", "off: ALTER ROLE ALL RESET"),
        ("alter system", "Run: ALTER SYSTEM SET"),
    ] {
        elsewhere.batch_execute(&format!("{who} set default_transaction_read_only = on")).unwrap();
        cluster.reload();
        let (explanation, hint) = wait_problem(&mut client, "read_only");
        assert!(explanation.contains("Database \"postgres\" is read-only"), "{explanation}");
        assert!(hint.contains(place), "{hint}");
        // A new session, in which transactions may be read-only.
        let mut session = cluster.connect("postgres");
        let first = "SET default_transaction_read_only = off";
        if hint.contains(first) {
            session.batch_execute(first).unwrap();
        }
        let (_, statements) = hint.split_once(": ").unwrap();
        for statement in statements.split_inclusive("; ") {
            session.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        cluster.reload();
        wait_problems(&mut client, &[]);
    }
}

#[test]
fn a_lack_of_processes_is_told_while_tasks_wait_for_them_and_no_longer() {
    let settings = [
        ("max_worker_processes", "2"),
        ("max_logical_replication_workers", "0"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.poll_interval", "1h"),
    ];
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    let configured = "too_few_processes max_worker_processes";
    run_one(&mut client, "first");
    wait_problems(&mut client, &[configured]);
    let gate = Gate::close(&cluster, "postgres", 1);
    let long = task(&mut client, "gate", json!({"gate": 1}));
    runner(&mut client, long);
    wait_problems(&mut client, &[configured]);
    let waiting = task(&mut client, "note", json!({"label": "waits"}));
    wait_problems(&mut client, &["no_process postgres", configured]);
    // Its launcher needs a process to look at it.
    let mut other = create_database(&cluster, "other");
    wait_problems(&mut other, &["no_process other", configured]);
    let told = "select explanation || hint from queues.health where problem = 'no_process'";
    assert!(one::<String>(&mut other, told).contains("max_worker_processes (2) are in use"));
    // While the launcher tries to look at the other one, this one still waits.
    let is_told = "select exists (select from queues.health where problem = 'no_process')";
    assert!(!within(Duration::from_secs(3), || !one::<bool>(&mut client, is_told)));
    cluster.set(&[("max_worker_processes", "16")]);
    let of_file = "select bool_and(hint = 'max_worker_processes = 16 is set in the file; restart the server.') from queues.health";
    wait_until_sql(&mut client, of_file, "t");
    gate.open();
    for task_id in [long, waiting] {
        wait_status(&mut client, task_id, "succeeded");
    }
    wait_problems(&mut client, &[configured]);
}

#[test]
fn types_and_providers_that_are_paused_are_told_while_tasks_wait() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    wait_problems(&mut client, &[]);
    client
        .batch_execute(
            "insert into queues.provider (name, interface) values ('partner', 'simulated');
             insert into queues.task_definition (task_type, provider) values ('order', 'partner');
             select queues.pause('db_function', _why => 'a bug'), queues.pause_provider('partner', _why => 'their bug');",
        )
        .unwrap();
    assert_eq!(problems(&mut client), [""; 0]);
    enqueue(&mut client, "db_function", json!({}));
    let (explanation, hint) = wait_problem(&mut client, "type_paused");
    assert!(
        explanation.contains("Role \"postgres\" has paused task type \"db_function\" at "),
        "{explanation}"
    );
    assert!(explanation.ends_with(": a bug; tasks that wait: 1."), "{explanation}");
    client.batch_execute("select queues.pause('db_function', now() + interval '10 minutes')").unwrap();
    wait_problems(&mut client, &[]);
    client.batch_execute("select queues.pause('db_function', now() + interval '2 hours')").unwrap();
    wait_problems(&mut client, &["type_paused db_function"]);
    client.batch_execute(hint.strip_prefix("Run: ").unwrap()).unwrap();
    wait_problems(&mut client, &[]);
    enqueue(&mut client, "order", json!({}));
    let (explanation, hint) = wait_problem(&mut client, "provider_paused_by_operator");
    assert!(explanation.ends_with(": their bug; tasks that wait: 1."), "{explanation}");
    client.batch_execute(hint.strip_prefix("Run: ").unwrap()).unwrap();
    wait_problems(&mut client, &[]);
}

#[test]
fn what_is_wrong_with_rows_and_settings_is_told() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    wait_problems(&mut client, &[]);
    let told = "alter table queues.task set (autovacuum_enabled = off)";
    is_told_and_mended(&mut client, told, "autovacuum_off", "");
    let told = "insert into queues.task_definition (task_type, provider) values ('fax', 'nobody')";
    is_told_and_mended(
        &mut client,
        told,
        "definition_unusable",
        "delete from queues.task_definition where task_type = 'fax'",
    );
    cluster.set(&[("pg_errand.concurrency", "5")]);
    wait_problems(&mut client, &["too_few_workers pg_errand.concurrency"]);
    cluster.set(&[("pg_errand.max_workers", "16")]);
    wait_problems(&mut client, &["too_few_processes max_worker_processes"]);
    cluster.set(&[("pg_errand.max_workers", "8")]);
    wait_problems(&mut client, &[]);

    let file = cluster.data_dir().join("postgresql.conf");
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    writeln!(file, "pg_errand.poll_interval = 'often'").unwrap();
    let (explanation, hint) = wait_problem(&mut client, "setting_not_applied");
    assert!(
        explanation.contains("/postgresql.conf line ")
            && explanation.contains(
                " sets pg_errand.poll_interval to \"often\", which is not applied: a number from 10 "
            ),
        "{explanation}"
    );
    assert!(hint.contains("pg_errand.poll_interval = '30s'"), "{hint}");
    writeln!(file, "pg_errand.poll_interval = '5s'").unwrap();
    for (bad, good) in [
        ("pg_errand.smtp_password = 'hunter2\\n'", "pg_errand.smtp_password = ''"),
        ("pg_errand.secrets = 'hunter2'", "pg_errand.secrets = ''"),
    ] {
        writeln!(file, "{bad}").unwrap();
        let (explanation, hint) = wait_problem(&mut client, "setting_not_applied");
        assert!(explanation.contains("which is not applied: the value is not valid"), "{explanation}");
        assert!(!format!("{explanation}{hint}").contains("hunter2"), "{explanation}");
        writeln!(file, "{good}").unwrap();
        client.batch_execute("select pg_reload_conf()").unwrap();
        wait_problems(&mut client, &[]);
    }
    writeln!(file, "pg_errand.smtp_password = E'hunter2'").unwrap();
    let (explanation, _) = wait_problem(&mut client, "setting_not_applied");
    assert!(explanation.contains("cannot be read") && !explanation.contains("hunter2"), "{explanation}");
}

#[test]
fn tasks_that_cannot_go_or_came_from_elsewhere_are_told() {
    let cluster = Cluster::start(&[("pg_errand.retention", "1h")]);
    let mut client = install(&cluster, "postgres");
    wait_problems(&mut client, &[]);
    let waiting = "insert into queues.task (task_type, payload, enqueued_at, scheduled_at)
        values ('db_function', '{}', now() + interval '1 hour', now() + interval '1 day') returning task_id";
    let task_id: i64 = one(&mut client, waiting);
    let (explanation, _) = wait_problem(&mut client, "clock_set_back");
    assert!(explanation.contains(&format!("Task {task_id} ")), "{explanation}");
    client.execute("update queues.task set enqueued_at = now() where task_id = $1", &[&task_id]).unwrap();
    wait_problems(&mut client, &[]);

    cluster.set(&[("pg_errand.concurrency", "0"), ("pg_errand.retention", "10d")]);
    client
        .batch_execute(
            "insert into queues.task (task_type, payload, finished_at, final_status)
             values ('db_function', '{}', now() - interval '9 days', 'succeeded')",
        )
        .unwrap();
    wait_problems(&mut client, &["paused postgres"]);
    cluster.set(&[("pg_errand.retention", "1d")]);
    eventually("retention is behind", || {
        let found = problems(&mut client);
        if found.len() == 2 && found[1].starts_with("retention_behind task ") { Ok(()) } else { Err(found) }
    });
    client.batch_execute("delete from queues.task where finished_at is not null").unwrap();
    cluster.set(&[("pg_errand.concurrency", "2")]);
    wait_problems(&mut client, &[]);

    drop(client);
    let mut other = cluster.connect("template1");
    eventually("the copy is made", || other.batch_execute("create database copy template postgres"));
    let mut copy = cluster.connect("copy");
    let (explanation, hint) = wait_problem(&mut copy, "unadopted_tasks");
    assert!(explanation.starts_with("1 tasks came from another database"), "{explanation}");
    assert!(explanation.contains("(types: db_function)"), "{explanation}");
    // Both statements can be run; one is enough.
    let delete = hint.rsplit_once("run: ").unwrap().1;
    assert!(delete.starts_with("DELETE") && hint.contains("SELECT queues.adopt();"), "{hint}");
    copy.batch_execute(&format!("begin; {delete}")).unwrap();
    assert_eq!(problems(&mut copy), [""; 0]);
    copy.batch_execute("rollback; select queues.adopt()").unwrap();
    wait_problems(&mut copy, &[]);
}

#[test]
fn monitoring_reads_it_and_nobody_else() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    wait_problems(&mut client, &[]);
    client.batch_execute("create role watcher login in role pg_monitor; create role nobody login").unwrap();
    let mut watcher = cluster.connect_as("watcher", "postgres");
    assert_eq!(problems(&mut watcher), [""; 0]);
    watcher.batch_execute("select * from queues.worker; select * from queues.unadopted").unwrap();
    for (role, sql) in [
        ("nobody", "select * from queues.health"),
        ("nobody", "select * from errand.health()"),
        ("watcher", "select * from errand.health()"),
        ("watcher", "select * from queues.task_status"),
    ] {
        let error = cluster.connect_as(role, "postgres").batch_execute(sql).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{role}: {sql}");
    }
}

#[test]
fn it_is_read_on_standbys_and_without_the_preloaded_library() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    wait_problems(&mut client, &[]);
    let standby = Builder::standby_of(&cluster).start();
    assert_eq!(problems(&mut standby.connect("postgres")), [""; 0]);

    let bare = Cluster::start(&[("shared_preload_libraries", "")]);
    let (_, hint) = wait_problem(&mut install(&bare, "postgres"), "not_preloaded");
    assert!(hint.contains("shared_preload_libraries"), "{hint}");
}
