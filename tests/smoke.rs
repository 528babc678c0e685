//! Tests of the harness.

use std::process::{Command, Stdio};

use serde_json::json;
use standin::{Options, Standin};

use crate::harness::builder::Builder;
use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::queue;
use crate::harness::wait::{eventually, wait_until_sql};

/// A cluster that needs no extension.
fn plain() -> Builder {
    Cluster::builder().set("shared_preload_libraries", "")
}

#[test]
fn a_cluster_runs_sql() {
    let cluster = Cluster::start(&[("shared_preload_libraries", "")]);
    let mut client = cluster.connect("postgres");
    assert_eq!(client.query_one("select 1", &[]).unwrap().get::<_, i32>(0), 1);
    assert_eq!(cluster.psql("postgres", "create database d;\n\\c d\nselect current_database()"), "d");
    client.batch_execute("create role app login").unwrap();
    wait_until_sql(&mut cluster.connect_as("app", "d"), "select current_user", "app");
}

#[test]
fn settings_come_from_the_test_and_change_at_run_time() {
    let cluster = plain().set("work_mem", "1MB").env("ERRAND_PROBE", "it's here").start();
    let mut client = cluster.connect("postgres");
    wait_until_sql(&mut client, "show work_mem", "1MB");
    wait_until_sql(&mut client, "show listen_addresses", "");
    cluster.set(&[("work_mem", "2MB"), ("search_path", "a")]);
    wait_until_sql(&mut cluster.connect("postgres"), "show work_mem", "2MB");
    let probe = "create temp table o (t text); copy o from program 'printenv ERRAND_PROBE'; select t from o";
    assert_eq!(cluster.psql("postgres", probe), "it's here");
}

#[test]
fn committed_rows_outlive_every_way_to_stop() {
    let cluster = plain().start();
    cluster.psql("postgres", "create table kept (mode text)");
    for mode in
        [StopMode::Smart, StopMode::Fast, StopMode::Immediate, StopMode::Kill, StopMode::KillPostmaster]
    {
        cluster.psql("postgres", &format!("insert into kept values ('{mode:?}')"));
        cluster.restart(mode);
    }
    assert_eq!(cluster.psql("postgres", "select count(*) from kept"), "5");
}

#[test]
fn the_log_is_read_from_a_mark() {
    let cluster = plain().start();
    let mut client = cluster.connect("postgres");
    client.batch_execute("do $$ begin raise log 'first errand'; end $$").unwrap();
    cluster.wait_log(0, "first errand");
    let mark = cluster.log_mark();
    client.batch_execute("do $$ begin raise log 'second errand'; end $$").unwrap();
    assert!(cluster.wait_log(mark, "second errand").contains("client backend"));
    assert!(!cluster.log_since(mark).contains("first errand") && cluster.log().contains("first errand"));
}

#[test]
fn a_crash_is_waited_for() {
    let cluster = plain().start();
    let mut client = cluster.connect("postgres");
    let pid: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    cluster.crash(pid, libc::SIGKILL);
    wait_until_sql(&mut cluster.connect("postgres"), "select pg_is_in_recovery()", "f");
}

#[test]
fn standbys_and_backups_are_clusters_of_their_own() {
    let primary = plain().start();
    primary.psql("postgres", "create table t as select 1 as x");
    let standby = Builder::standby_of(&primary).set("shared_preload_libraries", "").start();
    let mut reader = standby.connect("postgres");
    primary.psql("postgres", "insert into t values (2)");
    wait_until_sql(&mut reader, "select count(*), pg_is_in_recovery() from t", "2");
    let copy = Builder::backup_of(&primary).set("shared_preload_libraries", "").start();
    copy.psql("postgres", "insert into t values (3)");
    assert_eq!(copy.psql("postgres", "select pg_is_in_recovery()"), "f");
    let mut dump = primary.client_program("pg_dump");
    let text = String::from_utf8(dump.arg("postgres").output().unwrap().stdout).unwrap();
    assert!(text.contains("CREATE TABLE public.t") && standby.data_dir() != primary.data_dir());
}

#[test]
#[should_panic(expected = "no_such_column")]
fn a_failing_statement_is_named() {
    let cluster = plain().start();
    cluster.psql("postgres", "select no_such_column");
}

#[test]
#[should_panic(expected = "the server ended with")]
fn a_server_that_does_not_start_is_reported() {
    plain().set("max_connections", "none").start();
}

#[test]
fn the_extension_runs_a_task() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    queue::install(&mut client);
    let missing = json!({"task_type": "db_function", "db_function": "public.no_such_function"});
    let task_id = queue::enqueue(&mut client, "db_function", missing);
    queue::wait_status(&mut client, task_id, "failed");
    assert_eq!(queue::status(&mut client, task_id), "failed");
    let errors = queue::errors(&mut client, task_id);
    assert!(errors.len() == 1 && errors[0].error_message.contains("no_such_function"), "{errors:?}");
    assert!(!queue::workers(&mut client).is_empty());
}

#[test]
fn the_standin_runs_as_a_program() {
    let directory = std::env::temp_dir().join(format!("standin-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let port_file = directory.join("port");
    let mut command = Command::new(env!("CARGO_BIN_EXE_resend-standin"));
    command
        .arg("--port-file")
        .arg(&port_file)
        .arg("--mailbox")
        .arg(directory.join("mailbox"))
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let port = eventually("the port is written", || std::fs::read_to_string(&port_file));
    assert!(port.trim().parse::<u16>().is_ok());
    // SAFETY: kill() touches no memory of this process.
    unsafe { libc::kill(child.id().try_into().unwrap(), libc::SIGTERM) };
    assert!(child.wait().unwrap().success());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_standin_runs_in_a_test() {
    let standin = Standin::start(Options::default()).unwrap();
    assert!(standin.url().starts_with("http://127.0.0.1:") && standin.mails().is_empty());
}
