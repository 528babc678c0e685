//! A secret in a statement is not shown by what records statements: the activity view, the log in all its formats,
//! `pg_stat_statements`.

use std::fs;
use std::path::Path;

use postgres::Client;

use crate::harness::cluster::Cluster;
use crate::harness::wait::{eventually, wait_until_sql};

/// What must be found nowhere.
const VALUE: &str = "Zx9yW8vU-q/3+k=";
/// The part of it that any form of it has.
const MARK: &str = "Zx9yW8vU";

/// Statements that are refused, or not even understood; `@` stands for the secret.
const REFUSED: &[&str] = &[
    "execute p('@')",
    "alter database postgres set pg_errand.resend_api_key = '@'",
    "alter role watcher set pg_errand.resend_api_key = '@'",
    "alter role watcher in database postgres set \"pg_errand\".\"resend_api_key\" = '@'",
    "create function f() returns int language sql set pg_errand.smtp_password = '@' as 'select 1'",
    "alter system set pg_errand.resend_api_key = E'@\\n'",
    "alter system set pg_errand.secrets = '@'",
    "alter system set pg_errand . secrets = '{\"a\": \"@\"'",
    "alter system set pg_errand.resend_apikey = '@'",
    "ALTER SISTEM SET PG_ERRAND.RESEND_API_KEY = '@'",
    "alter system set pg_errand.resend_api_key '@'",
    "alter system set pg_errand.resend_api_key = @",
    "alter system set pg_errand.resend_api_key = '@",
    "alter system set pg_errand.resend_api_key = \"@\" more",
    "set pg_errand.twilio_auth_token = E'@\\t'",
    "select set_config('pg_errand.twilio_auth_token', E'@\\t', false)",
    "select set_config('pg_errand.twilio_auth_token', '@', '@')",
    "select set_config('pg_errand.' || 'twilio_auth_token', '@', false) from nowhere",
    "do $$ begin perform set_config('pg_errand.smtp_password', '@', false); raise 'no %', '@'; end $$",
    "do $$ begin execute 'alter system set pg_errand.smtp_password = ''@'''; end $$",
    "do $$ begin perform set_config('pg_errand.smtp_password', '@' || no_column, false); end $$",
    "select 1; alter system set pg_errand.resend_api_key = '@'; select 1",
    "create user mapping for watcher server pg_errand options (smtp_password '@')",
    "select '@'::int /* pg_errand.smtp_password */",
    "select 1 /* /* */ don't */; alter system set pg_errand.smtp_password = '@'",
    // The CONTEXT of these holds the inner statement.
    "do $$ begin perform set_config('pg_errand.smtp_password', E'@\\n', false); end $$",
    "do $$ begin set pg_errand.smtp_password = E'@\\n'; end $$",
];

/// Statements that do what they say.
const DONE: &[&str] = &[
    "alter system set pg_errand.resend_api_key = '@'",
    "alter system set pg_errand.secrets = '{\"a\": \"@\"}'",
    "set pg_errand.smtp_password = '@'",
    "set session pg_errand.smtp_password to \"@\"",
    "select set_config('pg_errand.twilio_auth_token', '@', false)",
    "do $$ begin perform set_config('pg_errand.smtp_password', '@', false); end $$",
    "do $$ begin set pg_errand.smtp_password = '@'; end $$",
    "prepare q as select set_config('pg_errand.smtp_password', $1, false)",
    "execute q('@')",
    "select /* /* */ @ */ set_config('pg_errand.smtp_password', 'y', false)",
    "prepare p as select set_config('pg_errand.smtp_password', $1 || '@', false)::int",
];

/// All files of the log.
fn logs(cluster: &Cluster) -> String {
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let files = fs::read_dir(cluster.data_dir().join("log")).unwrap();
    files.map(|file| read(&file.unwrap().path())).collect::<String>() + &cluster.log()
}

#[track_caller]
fn assert_hidden(what: &str, text: &str) {
    if let Some(place) = text.find(MARK) {
        let start = text.floor_char_boundary(place.saturating_sub(500));
        let end = text.ceil_char_boundary((place + 200).min(text.len()));
        panic!("{what} shows the secret: {}", &text[start..end]);
    }
}

fn start(libraries: &str) -> (Cluster, Client) {
    let cluster = Cluster::start(&[
        ("shared_preload_libraries", libraries),
        ("pg_errand.concurrency", "0"),
        ("pg_stat_statements.track", "all"),
        ("log_statement", "all"),
        ("log_min_duration_statement", "0"),
        ("log_duration", "on"),
        ("log_error_verbosity", "verbose"),
        ("log_parameter_max_length_on_error", "-1"),
        ("logging_collector", "on"),
        ("log_destination", "stderr,csvlog,jsonlog"),
    ]);
    let mut client = cluster.connect("postgres");
    client
        .batch_execute(
            "create role watcher login in role pg_monitor, pg_read_all_stats;
             create extension pg_stat_statements",
        )
        .unwrap();
    (cluster, client)
}

/// What another session sees of what this one has run last.
fn seen(watcher: &mut Client, pid: i32) -> String {
    watcher.query_one("select query from pg_stat_activity where pid = $1", &[&pid]).unwrap().get(0)
}

#[track_caller]
fn assert_hidden_everywhere(cluster: &Cluster, client: &mut Client) {
    let sql = "select coalesce(string_agg(query, E'\\n'), '') from pg_stat_statements";
    let statements: String = client.query_one(sql, &[]).unwrap().get(0);
    assert_hidden("pg_stat_statements", &statements);
    // The collector writes in its own time: what was logged before this line is there with it.
    client.batch_execute("do $$ begin raise log 'the end of the log'; end $$").unwrap();
    eventually("all formats of the log have been written", || {
        let log = logs(cluster);
        let written = log.matches("LOG:  00000: the end of the log").count();
        let elsewhere = log.matches("the end of the log").count() - written;
        if written > 0 && elsewhere > 4 { Ok(()) } else { Err(log.len()) }
    });
    assert_hidden("the log", &logs(cluster));
}

fn all_statements_are_hidden(libraries: &str) {
    let (cluster, mut client) = start(libraries);
    let mut watcher = cluster.connect_as("watcher", "postgres");
    let pid: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    for (statements, works) in [(DONE, true), (REFUSED, false)] {
        for statement in statements {
            let sql = statement.replace('@', VALUE);
            let result = client.simple_query(&sql);
            assert_eq!(result.is_ok(), works, "{statement}: {result:?}");
            assert_hidden(statement, &seen(&mut watcher, pid));
            // A message of its own for each step.
            let prepared = client.prepare(&sql).and_then(|prepared| {
                assert_hidden(statement, &seen(&mut watcher, pid));
                client.execute(&prepared, &[])
            });
            drop(prepared);
            assert_hidden(statement, &seen(&mut watcher, pid));
            client.batch_execute("deallocate all").unwrap();
            if statement.starts_with("prepare") {
                let _ = client.simple_query(&sql);
            }
        }
    }
    // The parameters of a statement.
    let sql = "select set_config('pg_errand.smtp_password', $1, false), 1 / $2::int";
    client.execute(sql, &[&VALUE, &1]).unwrap();
    client.execute(sql, &[&VALUE, &0]).unwrap_err();
    // The value was understood, and the log tells which setting it was.
    let shown = client.query_one("select current_setting('pg_errand.smtp_password')", &[]).unwrap();
    assert_eq!(shown.get::<_, String>(0), "********");
    let file = fs::read_to_string(cluster.data_dir().join("postgresql.auto.conf")).unwrap();
    assert!(file.contains(VALUE), "{file}");
    assert!(logs(&cluster).contains("alter system set pg_errand.resend_api_key = '***"));
    assert_hidden_everywhere(&cluster, &mut client);
    // What has nothing to do with them is shown as it is.
    client.batch_execute("select 'plain-marker'::int").unwrap_err();
    eventually("the log has it", || {
        let log = logs(&cluster);
        if log.contains("STATEMENT:  select 'plain-marker'::int") { Ok(()) } else { Err(log.len()) }
    });
}

#[test]
fn no_statement_shows_a_secret_with_pg_stat_statements_loaded_before() {
    all_statements_are_hidden("pg_stat_statements, pg_errand");
}

#[test]
fn no_statement_shows_a_secret_with_pg_stat_statements_loaded_after() {
    all_statements_are_hidden("pg_errand, pg_stat_statements");
}

#[test]
fn statements_that_mention_a_secret_do_what_they_say_however_they_are_written() {
    let (cluster, mut client) = start("pg_stat_statements, pg_errand");
    let dollars: String = (0..5000).map(|n| format!("$a{n}$ ")).collect();
    for (sql, expected) in [
        ("select 1 /* /* */ don't */, 'pg_errand.secrets' as a, 5 as b".to_owned(), "1"),
        ("select '\\' || 'x', 'pg_errand.secrets'".to_owned(), "\\x"),
        (
            "select $x$it's$x$, \"a\"\"b\" from (select 'pg_errand.secrets' as \"a\"\"b\") t".to_owned(),
            "it's",
        ),
        (format!("select 2 {} pg_errand.secrets", "-".repeat(100_000)), "2"),
        (format!("select 3 /* pg_errand.secrets {} */", "\"\" ".repeat(50_000)), "3"),
        (format!("select 4 /* pg_errand.secrets {dollars} */"), "4"),
        (format!("select 5 {} pg_errand.secrets {}", "/* ".repeat(10_000), "*/ ".repeat(10_000)), "5"),
    ] {
        for _ in 0..2 {
            let rows = client.simple_query(&sql).unwrap();
            let first = rows.iter().find_map(|row| match row {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            assert_eq!(first.as_deref(), Some(expected), "{}", &sql[..sql.len().min(200)]);
        }
    }
    client.batch_execute("set standard_conforming_strings = off; set escape_string_warning = off").unwrap();
    client.batch_execute("select '\\'', set_config('pg_errand.smtp_password','x',false), '").unwrap_err();
    client.batch_execute("select '\\'', set_config('pg_errand.smtp_password','x',false)").unwrap();
    assert!(!cluster.log().contains("terminated by signal"));
}

#[test]
fn a_statement_that_waits_shows_no_secret_to_who_monitors() {
    let (cluster, mut client) = start("pg_stat_statements, pg_errand");
    let mut watcher = cluster.connect_as("watcher", "postgres");
    client.batch_execute("select pg_advisory_lock(1)").unwrap();
    let mut waiting = cluster.connect("postgres");
    let pid: i32 = waiting.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    for sql in [
        format!("select pg_advisory_xact_lock(1); alter system set pg_errand.resend_api_key = '{VALUE}'"),
        format!("select pg_advisory_xact_lock(1), set_config('pg_errand.smtp_password', '{VALUE}', false)"),
    ] {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| waiting.batch_execute(&sql));
            let waits = format!("select wait_event from pg_stat_activity where pid = {pid}");
            wait_until_sql(&mut client, &waits, "advisory");
            let shown = seen(&mut watcher, pid);
            assert_hidden("the activity", &shown);
            assert!(shown.contains("pg_errand."), "{shown}");
            client.batch_execute("select pg_advisory_unlock(1)").unwrap();
            let _ = thread.join().unwrap();
        });
        client.batch_execute("select pg_advisory_lock(1)").unwrap();
    }
    assert_hidden_everywhere(&cluster, &mut client);
}
