//! Extensions and databases are created, renamed and dropped while workers are alive.

use std::io::Write;
use std::process::Stdio;

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{
    create_database, done, install, one, payload, run_one, runner, task, wait_asleep, wait_running,
    worker_pids,
};
use crate::harness::queue::{self, enqueue, status, wait_status, workers};
use crate::harness::wait::{eventually, wait_until_sql};

/// Nothing is found by polling, and idle workers stay.
const STAY: [(&str, &str); 2] = [("pg_errand.poll_interval", "1h"), ("pg_errand.max_idle_time", "0")];

/// A worker that runs `linger`, and another one that is idle.
fn busy_and_idle(client: &mut Client, label: &str) -> i64 {
    let id = task(client, "linger", json!({"label": label}));
    runner(client, id);
    run_one(client, "idle");
    eventually("one is busy, one idle", || {
        let states: Vec<String> = workers(client).into_iter().map(|worker| worker.state).collect();
        let mut sorted = states.clone();
        sorted.sort();
        if sorted == ["busy", "idle"] { Ok(()) } else { Err(states) }
    });
    id
}

/// Lets the interrupted task of [`busy_and_idle`] end: it ran once, and others run, too.
fn goes_on(client: &mut Client, id: i64, label: &str) {
    runner(client, id);
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(client, id, "succeeded");
    client.batch_execute("update public.door set open = false").unwrap();
    run_one(client, "next");
    let count: i64 = one(client, &format!("select count(*) from public.done where label = '{label}'"));
    assert_eq!(count, 1, "{label}");
}

#[test]
fn an_extension_that_is_rolled_back_leaves_nothing_behind() {
    let cluster = Cluster::start(&STAY);
    let mut client = cluster.connect("postgres");
    client.batch_execute("begin; create extension pg_errand").unwrap();
    enqueue(&mut client, "db_function", json!({"task_type": "db_function", "db_function": "public.note"}));
    client.batch_execute("rollback").unwrap();
    let left = "select to_regnamespace('queues') is not null or to_regnamespace('internal') is not null \
                or to_regrole('errand_worker') is not null";
    assert!(!one::<bool>(&mut client, left));
    client.batch_execute("begin; savepoint s; create extension pg_errand; rollback to s; commit").unwrap();
    assert!(!one::<bool>(&mut client, left));
    eventually("nobody works here", || worker_pids(&mut client).is_empty());

    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "1");
    let log = cluster.log();
    assert!(!log.contains("ERROR:") && !log.contains("FATAL:") && !log.contains("WARNING:"), "{log}");
}

#[test]
fn the_extension_can_be_dropped_and_created_again() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create function internal.mine() returns int language sql as 'select 1'").unwrap();
    for round in 0..4 {
        run_one(&mut client, &round.to_string());
        client.batch_execute("drop extension pg_errand").unwrap();
        assert!(one::<bool>(&mut client, "select to_regnamespace('queues') is null"));
        assert_eq!(one::<i32>(&mut client, "select internal.mine()"), 1);
        eventually("the workers are gone", || worker_pids(&mut client).is_empty());
        queue::install(&mut client);
    }
    run_one(&mut client, "last");
    let log = cluster.log();
    assert!(!log.contains("ERROR:") && !log.contains("WARNING:"), "{log}");
}

#[test]
fn the_extension_can_be_dropped_while_a_long_handler_runs() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    for _ in 0..2 {
        task(&mut client, "nap", json!({"seconds": 60}));
    }
    wait_running(&mut client, 2);
    client.batch_execute("set statement_timeout = '15s'; drop extension pg_errand cascade").unwrap();
    wait_asleep(&mut client);
    queue::install(&mut client);
    run_one(&mut client, "after");
    assert_eq!(done(&mut client), ["after"]);
}

#[test]
fn a_drop_that_is_rolled_back_brings_the_workers_back() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    let id = busy_and_idle(&mut client, "interrupted");
    client.batch_execute("begin; drop extension pg_errand").unwrap();
    wait_asleep(&mut client);
    client.batch_execute("rollback").unwrap();
    goes_on(&mut client, id, "interrupted");

    client.batch_execute("begin; savepoint s; drop extension pg_errand; rollback to s").unwrap();
    let id = task(&mut client, "linger", json!({"label": "in the same transaction"}));
    client.batch_execute("commit").unwrap();
    goes_on(&mut client, id, "in the same transaction");

    // A session that ends in the middle of it.
    let mut other = cluster.connect("postgres");
    let pid: i32 = one(&mut other, "select pg_backend_pid()");
    other.batch_execute("begin; drop extension pg_errand").unwrap();
    assert!(one::<bool>(&mut client, &format!("select pg_terminate_backend({pid})")));
    run_one(&mut client, "after the session");
}

#[test]
fn a_database_can_be_dropped_while_its_workers_are_alive() {
    let cluster = Cluster::start(&[STAY[0], STAY[1], ("pg_errand.max_workers", "6")]);
    let mut other = create_database(&cluster, "other");
    let untouched = task(&mut other, "linger", json!({"label": "untouched"}));
    let pid = runner(&mut other, untouched);
    for drop_it in ["drop database gone", "drop database gone with (force)"] {
        let mut client = create_database(&cluster, "gone");
        busy_and_idle(&mut client, "never done");
        drop(client);
        other.batch_execute("set statement_timeout = '15s'").unwrap();
        eventually("the test's own session is gone", || {
            one::<i64>(
                &mut other,
                "select count(*) from pg_stat_activity where datname = 'gone' and backend_type = 'client backend'",
            ) == 0
        });
        other.batch_execute(drop_it).unwrap_or_else(|error| panic!("{drop_it}: {error:?}"));
    }
    assert_eq!(runner(&mut other, untouched), pid);
    goes_on(&mut other, untouched, "untouched");
}

#[test]
fn a_database_can_be_renamed_moved_and_copied_while_its_workers_are_alive() {
    let cluster = Cluster::start(&STAY);
    let mut admin = cluster.connect("postgres");
    admin
        .batch_execute("set allow_in_place_tablespaces = on; create tablespace elsewhere location ''")
        .or_else(|error| {
            // Statements of one message share a transaction, which CREATE TABLESPACE refuses.
            let _ = error;
            admin.batch_execute("set allow_in_place_tablespaces = on")?;
            admin.batch_execute("create tablespace elsewhere location ''")
        })
        .unwrap();
    admin.batch_execute("set statement_timeout = '15s'").unwrap();
    drop(create_database(&cluster, "a"));
    let commands = [
        ("alter database a rename to b", "b"),
        ("alter database b set tablespace elsewhere", "b"),
        ("create database copy template b", "b"),
        ("create database second_copy template b strategy file_copy", "b"),
    ];
    let mut name = "a";
    for (command, new_name) in commands {
        let mut client = cluster.connect(name);
        let id = busy_and_idle(&mut client, command);
        drop(client);
        let session = format!(
            "select count(*) from pg_stat_activity where datname = '{name}' and backend_type = 'client backend'"
        );
        wait_until_sql(&mut admin, &session, "0");
        admin.batch_execute(command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
        name = new_name;
        goes_on(&mut cluster.connect(name), id, command);
    }
    let mut copy = cluster.connect("copy");
    run_one(&mut copy, "a new task of the copy");
}

#[test]
fn a_command_that_fails_leaves_the_workers_at_work() {
    let cluster = Cluster::start(&STAY);
    let mut client = create_database(&cluster, "a");
    let mut admin = cluster.connect("postgres");
    admin.batch_execute("create role stranger login createdb").unwrap();
    let id = busy_and_idle(&mut client, "undisturbed");
    let pid = runner(&mut client, id);
    let before = worker_pids(&mut client);

    let mut stranger = cluster.connect_as("stranger", "postgres");
    for command in [
        "drop database a",
        "drop database a with (force)",
        "alter database a rename to mine",
        "alter database a set tablespace pg_default",
        "create database mine template a",
    ] {
        stranger.batch_execute(command).unwrap_err();
    }
    cluster.connect_as("stranger", "a").batch_execute("drop extension pg_errand").unwrap_err();
    admin.batch_execute("drop database no_such_database").unwrap_err();
    admin.batch_execute("drop database if exists no_such_database").unwrap();
    assert_eq!(worker_pids(&mut client), before);
    assert_eq!(runner(&mut client, id), pid);

    // Refused after the workers were stopped, because of the test's session: they come back.
    admin.batch_execute("drop database a").unwrap_err();
    goes_on(&mut client, id, "undisturbed");
    admin.batch_execute("begin; drop database a; commit").unwrap_err();
    admin.batch_execute("rollback").unwrap();
    run_one(&mut client, "after a refusal in a transaction");
}

#[test]
fn a_dump_brings_tasks_errors_and_numbers_along() {
    let cluster = Cluster::start(&STAY);
    let mut client = create_database(&cluster, "original");
    for label in ["1", "2"] {
        run_one(&mut client, label);
    }
    let failed = task(&mut client, "refuse", json!({"label": "3"}));
    wait_status(&mut client, failed, "failed");
    let dump = cluster.client_program("pg_dump").arg("original").output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));

    cluster.psql("postgres", "create database restored");
    let mut psql = cluster.client_program("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "restored"]);
    let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&dump.stdout).unwrap();
    assert!(child.wait().unwrap().success());

    let mut restored = cluster.connect("restored");
    for sql in [
        "select json_agg(t order by task_id)::text from queues.task t",
        "select json_agg(e order by error_id)::text from queues.error e",
        "select json_agg(s order by task_id)::text from queues.task_status s",
    ] {
        assert_eq!(one::<String>(&mut restored, sql), one::<String>(&mut client, sql), "{sql}");
    }
    let new = run_one(&mut restored, "4");
    assert!(new > failed, "{new}");
    let again = task(&mut restored, "refuse", json!({"label": "5"}));
    wait_status(&mut restored, again, "failed");
    assert_eq!(status(&mut client, failed), "failed");
    run_one(&mut client, "original goes on");
    let missing = enqueue(&mut restored, "db_function", payload("no_such_handler", json!({})));
    wait_status(&mut restored, missing, "failed");
}

#[test]
fn what_owns_the_queue_can_be_reassigned_and_dropped_while_its_workers_are_busy() {
    let cluster = Cluster::start(&STAY);
    let mut admin = cluster.connect("postgres");
    admin.batch_execute("create database a; ").unwrap();
    admin.batch_execute("create role boss superuser login; create role chief superuser login").unwrap();
    admin.batch_execute("create role stranger login").unwrap();
    cluster.connect_as("boss", "a").batch_execute("create extension pg_errand").unwrap();
    let mut client = cluster.connect("a");
    client.batch_execute(crate::harness::handlers::HANDLERS).unwrap();
    client.batch_execute("set statement_timeout = '15s'").unwrap();

    let id = busy_and_idle(&mut client, "reassigned");
    let pid = runner(&mut client, id);
    cluster.connect_as("stranger", "a").batch_execute("reassign owned by boss to stranger").unwrap_err();
    assert_eq!(runner(&mut client, id), pid, "a stranger stops nobody's workers");
    client.batch_execute("reassign owned by boss to chief").unwrap();
    goes_on(&mut client, id, "reassigned");

    busy_and_idle(&mut client, "dropped");
    client.batch_execute("drop owned by chief").unwrap();
    wait_asleep(&mut client);
    client.batch_execute("drop owned by chief; drop role chief, boss").unwrap();
    client.batch_execute("create extension pg_errand").unwrap();
    run_one(&mut client, "after");
}

#[test]
fn two_sessions_may_want_the_workers_gone_at_the_same_time() {
    let cluster = Cluster::start(&STAY);
    let mut client = create_database(&cluster, "a");
    let id = busy_and_idle(&mut client, "barred twice");
    let mut first = cluster.connect("a");
    let mut second = cluster.connect("a");
    first.batch_execute("begin; alter extension pg_errand update").unwrap();
    let second = std::thread::spawn(move || {
        second.batch_execute("begin; alter extension pg_errand update").unwrap();
        second
    });
    // Up to 17 it waits for the first one.
    eventually("the second one waits or is done", || {
        let waiting: i64 = one(&mut client, "select count(*) from pg_locks where not granted");
        if waiting == 1 || second.is_finished() { Ok(()) } else { Err(waiting) }
    });
    first.batch_execute("commit").unwrap();
    let mut second = second.join().unwrap();
    let id_too = task(&mut client, "note", json!({"label": "waits"}));
    wait_asleep(&mut client);
    second.batch_execute("rollback").unwrap();
    goes_on(&mut client, id, "barred twice");
    wait_status(&mut client, id_too, "succeeded");
}

#[test]
fn many_databases_are_made_from_one_template_at_the_same_time() {
    let cluster = Cluster::start(&STAY);
    let sessions: Vec<_> = (0..16)
        .map(|n| {
            let mut session = cluster.connect("postgres");
            std::thread::spawn(move || {
                session
                    .batch_execute(&format!("create database made_{n} template template0 strategy wal_log"))
            })
        })
        .collect();
    for session in sessions {
        session.join().unwrap().unwrap();
    }
}

#[test]
fn tasks_of_an_extension_created_anew_are_not_taken_for_those_of_the_former_one() {
    let cluster = Cluster::start(&[STAY[0], STAY[1], ("pg_errand.concurrency", "1")]);
    let mut client = create_database(&cluster, "a");
    let id = task(&mut client, "linger", json!({"label": "former"}));
    for _ in 0..3 {
        let pid = runner(&mut client, id);
        assert!(one::<bool>(&mut client, &format!("select pg_terminate_backend({pid})")));
        eventually("it is gone", || !worker_pids(&mut client).contains(&pid));
        if status(&mut client, id) == "failed" {
            break;
        }
    }
    client.batch_execute("drop extension pg_errand; create extension pg_errand").unwrap();
    let again = run_one(&mut client, "anew");
    assert_eq!(again, id, "numbers begin anew");
    assert_eq!(
        one::<i32>(&mut client, &format!("select attempts from queues.task where task_id = {again}")),
        1
    );
}

#[test]
fn tasks_whose_numbers_begin_anew_are_not_taken_for_those_that_were_truncated() {
    let cluster = Cluster::start(&STAY);
    let mut client = create_database(&cluster, "a");
    let id = task(&mut client, "linger", json!({"label": "former"}));
    runner(&mut client, id);
    cluster.set(&[("pg_errand.concurrency", "0")]);
    let pid = runner(&mut client, id);
    assert!(one::<bool>(&mut client, &format!("select pg_terminate_backend({pid})")));
    eventually("the workers are gone", || worker_pids(&mut client).is_empty());
    client.batch_execute("truncate queues.task restart identity").unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    let again = run_one(&mut client, "anew");
    assert_eq!(again, id);
    let attempts = format!("select attempts from queues.task where task_id = {again}");
    assert_eq!(one::<i32>(&mut client, &attempts), 1);
}
