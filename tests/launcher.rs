//! The launcher starts workers where there is work, within the limits, and nowhere else.

use std::time::Duration;

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{
    Gate, create_database, done, install, one, run_one, runner, task, wait_asleep, wait_running, worker_pids,
};
use crate::harness::queue::{status, wait_status, workers};
use crate::harness::wait::{eventually, wait_until_sql, within};

/// Nothing is found by polling.
const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
/// Workers leave at once.
const SHORT_STAY: (&str, &str) = ("pg_errand.max_idle_time", "200ms");
/// Workers stay.
const LONG_STAY: (&str, &str) = ("pg_errand.max_idle_time", "0");

#[test]
fn workers_come_with_work_up_to_concurrency_and_leave_when_idle() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY, ("pg_errand.concurrency", "3")]);
    let mut client = install(&cluster, "postgres");
    let launchers =
        "select count(*) from pg_stat_activity where backend_type = 'pg_errand launcher' and datid is null";
    wait_until_sql(&mut client, launchers, "1");
    wait_asleep(&mut client);

    let gate = Gate::close(&cluster, "postgres", 1);
    let tasks: Vec<i64> = (0..5).map(|_| task(&mut client, "gate", json!({"gate": 1}))).collect();
    wait_running(&mut client, 3);
    assert_eq!(workers(&mut client).len(), 3);
    let numbers: Vec<i32> = workers(&mut client).iter().map(|worker| worker.worker_number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    gate.open();
    for id in tasks {
        wait_status(&mut client, id, "succeeded");
    }

    wait_asleep(&mut client);
    run_one(&mut client, "back");
    wait_asleep(&mut client);
    wait_until_sql(&mut client, launchers, "1");
}

#[test]
fn concurrency_follows_reloads_while_tasks_run() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let first = Gate::close(&cluster, "postgres", 1);
    let second = Gate::close(&cluster, "postgres", 2);
    let mut tasks: Vec<i64> = Vec::new();
    for gate in [1, 1, 1, 2, 2, 2] {
        tasks.push(task(&mut client, "gate", json!({"gate": gate})));
    }
    wait_running(&mut client, 1);

    cluster.set(&[("pg_errand.concurrency", "3")]);
    wait_running(&mut client, 3);

    cluster.set(&[("pg_errand.concurrency", "1")]);
    first.open();
    wait_until_sql(&mut client, "select count(*) from queues.worker", "1");
    wait_running(&mut client, 1);
    for id in &tasks[..3] {
        wait_status(&mut client, *id, "succeeded");
    }

    cluster.set(&[("pg_errand.concurrency", "0")]);
    eventually("the only worker is told to pause", || {
        // It goes on with its task until it is done.
        status(&mut client, tasks[3]) == "running"
    });
    second.open();
    wait_status(&mut client, tasks[3], "succeeded");
    wait_asleep(&mut client);
    tasks.push(task(&mut client, "note", json!({"label": "paused"})));
    assert!(
        !within(Duration::from_millis(500), || !worker_pids(&mut client).is_empty()),
        "a pause has workers"
    );
    let ready: i64 = one(&mut client, "select count(*) from queues.task_status where status = 'ready'");
    assert!(ready >= 1, "{ready} tasks are left");

    cluster.set(&[("pg_errand.concurrency", "2")]);
    for id in tasks {
        wait_status(&mut client, id, "succeeded");
    }
}

#[test]
fn the_list_of_databases_follows_reloads() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.databases", "a")]);
    let mut a = create_database(&cluster, "a");
    let mut b = create_database(&cluster, "B, second");
    let waiting = task(&mut b, "note", json!({"label": "later"}));
    run_one(&mut a, "1");
    assert_eq!(status(&mut b, waiting), "ready");

    cluster.set(&[("pg_errand.databases", "no_such_database, \"B, second\"")]);
    wait_status(&mut b, waiting, "succeeded");
    wait_until_sql(&mut a, "select count(*) from queues.worker", "0");
    let waiting = task(&mut a, "note", json!({"label": "2"}));
    run_one(&mut b, "2");
    assert_eq!(status(&mut a, waiting), "ready");

    cluster.set(&[("pg_errand.databases", "")]);
    wait_status(&mut a, waiting, "succeeded");
    run_one(&mut b, "3");
}

/// Waits until the query returns 0 in each of the databases, and sees that there are never more workers than `limit`.
fn work_off(clients: &mut [Client], limit: usize) {
    eventually("all tasks are done", || {
        let pids = worker_pids(&mut clients[0]);
        assert!(pids.len() <= limit, "{} workers at once", pids.len());
        let sql = "select count(*) from queues.task where finished_at is null";
        let left: Vec<i64> = clients.iter_mut().map(|client| one(client, sql)).collect();
        if left.iter().all(|count| *count == 0) { Ok(()) } else { Err(left) }
    });
}

#[test]
fn six_databases_share_two_workers_and_all_get_their_turn() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.max_workers", "2"), ("pg_errand.concurrency", "0")]);
    let mut clients: Vec<Client> = (0..6).map(|n| create_database(&cluster, &format!("share_{n}"))).collect();
    for client in &mut clients {
        for _ in 0..10 {
            task(client, "nap", json!({"seconds": 0.2}));
        }
    }
    cluster.set(&[("pg_errand.concurrency", "2")]);
    work_off(&mut clients, 2);

    let mut first = Vec::new();
    let mut last = Vec::new();
    for client in &mut clients {
        let row = client.query_one("select min(at)::text, max(at)::text from public.done", &[]).unwrap();
        first.push(row.get::<_, String>(0));
        last.push(row.get::<_, String>(1));
    }
    assert!(first.iter().max() < last.iter().min(), "began {first:?}, ended {last:?}");
}

#[test]
fn a_long_task_of_one_database_leaves_the_other_places_to_the_others() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.max_workers", "2")]);
    let mut busy = create_database(&cluster, "busy");
    let mut other = create_database(&cluster, "other");
    // Whichever of the two workers has the long task.
    for first in ["long", "short"] {
        let gate = Gate::close(&cluster, "busy", 1);
        if first == "short" {
            let short = task(&mut busy, "nap", json!({"seconds": 0.5}));
            wait_status(&mut busy, short, "running");
        }
        let long = task(&mut busy, "gate", json!({"gate": 1}));
        wait_status(&mut busy, long, "running");
        for _ in 0..100 {
            task(&mut busy, "nap", json!({"seconds": 0.1}));
        }
        run_one(&mut other, "in between");
        let left: i64 = one(&mut busy, "select count(*) from queues.task where finished_at is null");
        assert!(left > 1, "{first} first: the other database had to wait for all tasks of this one");
        assert_eq!(status(&mut busy, long), "running");
        // Enough of it; the long task's row is locked.
        let rest =
            "update queues.task set scheduled_at = 'infinity' where finished_at is null and task_id <> $1";
        busy.execute(rest, &[&long]).unwrap();
        gate.open();
        wait_until_sql(&mut busy, "select count(*) from queues.worker where state = 'busy'", "0");
    }
}

#[test]
fn an_idle_worker_gives_way_to_another_database() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY, ("pg_errand.max_workers", "1")]);
    let mut a = create_database(&cluster, "a");
    let mut b = create_database(&cluster, "b");
    for round in 0..3 {
        run_one(&mut a, &round.to_string());
        run_one(&mut b, &round.to_string());
    }
    assert!(worker_pids(&mut a).len() <= 1);
}

#[test]
fn max_workers_follows_reloads() {
    let cluster = Cluster::start(&[NO_POLL, ("pg_errand.max_workers", "1"), ("pg_errand.concurrency", "3")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let tasks: Vec<i64> = (0..4).map(|_| task(&mut client, "gate", json!({"gate": 1}))).collect();
    wait_running(&mut client, 1);
    cluster.set(&[("pg_errand.max_workers", "2")]);
    wait_running(&mut client, 2);
    gate.open();
    for id in tasks {
        wait_status(&mut client, id, "succeeded");
    }
    cluster.set(&[("pg_errand.max_workers", "0")]);
    wait_asleep(&mut client);
    let waiting = task(&mut client, "note", json!({}));
    cluster.set(&[("pg_errand.max_workers", "4")]);
    wait_status(&mut client, waiting, "succeeded");
}

#[test]
fn two_databases_are_served_at_once() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut a = create_database(&cluster, "a");
    let mut b = create_database(&cluster, "b");
    let (gate_a, gate_b) = (Gate::close(&cluster, "a", 1), Gate::close(&cluster, "b", 1));
    for client in [&mut a, &mut b] {
        for _ in 0..3 {
            task(client, "gate", json!({"gate": 1}));
        }
    }
    wait_running(&mut a, 2);
    wait_running(&mut b, 2);
    assert_eq!(worker_pids(&mut a).len(), 4);
    assert_eq!(workers(&mut a).len(), 2);
    gate_a.open();
    gate_b.open();
    for client in [&mut a, &mut b] {
        wait_until_sql(client, "select count(*) from public.done", "3");
    }
}

#[test]
fn databases_created_later_are_served() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut first = create_database(&cluster, "first");
    run_one(&mut first, "1");
    let mut later = create_database(&cluster, "later");
    run_one(&mut later, "1");

    drop(install(&cluster, "template1"));
    cluster.psql("postgres", "create database child");
    let mut child = cluster.connect("child");
    run_one(&mut child, "from the template");

    drop(later);
    cluster.psql("postgres", "create database copy template later");
    let mut copy = cluster.connect("copy");
    run_one(&mut copy, "from the copy");
    run_one(&mut cluster.connect("later"), "2");
    let templates = "select count(*) from pg_stat_activity where datname = 'template1' and backend_type like 'pg_errand%'";
    assert_eq!(one::<i64>(&mut first, templates), 0);
}

fn count_lines(cluster: &Cluster, part: &str) -> usize {
    cluster.log().lines().filter(|line| line.contains(part)).count()
}

/// What is logged when the server has no place for another process.
const NO_PLACE: &str = "no background worker slot is free";

#[test]
fn too_few_worker_processes_are_one_log_line_and_tasks_run_when_there_are_places() {
    // Places for the launcher and two more.
    let cluster = Cluster::start(&[
        NO_POLL,
        SHORT_STAY,
        ("max_worker_processes", "3"),
        ("max_logical_replication_workers", "0"),
    ]);
    let mut a = create_database(&cluster, "a");
    let mut b = create_database(&cluster, "b");
    run_one(&mut b, "before");
    wait_asleep(&mut b);
    let gate = Gate::close(&cluster, "a", 1);
    let long: Vec<i64> = (0..2).map(|_| task(&mut a, "gate", json!({"gate": 1}))).collect();
    wait_running(&mut a, 2);
    let waiting = task(&mut b, "note", json!({"label": "waits"}));
    cluster.wait_log(0, NO_PLACE);
    cluster.wait_log(0, "max_worker_processes");
    assert!(cluster.log().contains("HINT:"), "no hint");
    let repeated = within(Duration::from_secs(4), || {
        task(&mut b, "note", json!({"label": "waits, too"}));
        count_lines(&cluster, NO_PLACE) > 1
    });
    assert!(!repeated, "{}", cluster.log());
    assert_eq!(status(&mut b, waiting), "ready");
    gate.open();
    for id in long {
        wait_status(&mut a, id, "succeeded");
    }
    wait_status(&mut b, waiting, "succeeded");
}

/// The launcher needs a process to look at a database before it can start a worker there.
#[test]
fn idle_workers_make_room_for_a_database_that_was_not_looked_at() {
    let cluster = Cluster::start(&[
        NO_POLL,
        ("pg_errand.max_idle_time", "0"),
        ("max_worker_processes", "3"),
        ("max_logical_replication_workers", "0"),
    ]);
    let mut a = create_database(&cluster, "a");
    let gate = Gate::close(&cluster, "a", 1);
    let long: Vec<i64> = (0..2).map(|_| task(&mut a, "gate", json!({"gate": 1}))).collect();
    wait_running(&mut a, 2);
    gate.open();
    for id in long {
        wait_status(&mut a, id, "succeeded");
    }
    let mut b = create_database(&cluster, "b");
    run_one(&mut b, "first");
}

#[test]
fn a_place_too_few_for_the_concurrency_is_one_log_line_however_often_workers_come_and_go() {
    let settings = [("max_worker_processes", "2"), ("max_logical_replication_workers", "0")];
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY, settings[0], settings[1]]);
    let mut client = install(&cluster, "postgres");
    for _ in 0..6 {
        let tasks: Vec<i64> = (0..4).map(|_| task(&mut client, "nap", json!({"seconds": 0.1}))).collect();
        for id in tasks {
            wait_status(&mut client, id, "succeeded");
        }
        wait_asleep(&mut client);
    }
    assert_eq!(count_lines(&cluster, NO_PLACE), 1, "{}", cluster.log());
}

#[test]
fn a_place_that_becomes_free_is_taken_within_seconds_however_long_there_was_none() {
    let settings = [("max_worker_processes", "2"), ("max_logical_replication_workers", "0")];
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY, settings[0], settings[1]]);
    let mut a = create_database(&cluster, "a");
    let mut b = create_database(&cluster, "b");
    let gate = Gate::close(&cluster, "a", 1);
    let long = task(&mut a, "gate", json!({"gate": 1}));
    wait_status(&mut a, long, "running");
    let waiting = task(&mut b, "note", json!({}));
    // Long enough for pauses that double to become long.
    let started = within(Duration::from_secs(16), || status(&mut b, waiting) != "ready");
    assert!(!started, "there was a place");
    gate.open();
    wait_status(&mut a, long, "succeeded");
    let at_once = within(Duration::from_secs(5), || status(&mut b, waiting) == "succeeded");
    assert!(at_once, "the place is not taken");
}

#[test]
fn a_launcher_that_is_cancelled_and_terminated_again_and_again_goes_on() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let held: Vec<i64> = (0..3).map(|_| task(&mut client, "gate", json!({"gate": 1}))).collect();
    wait_running(&mut client, 2);
    let before = worker_pids(&mut client);
    let launcher = "select max(pid) from pg_stat_activity where application_name = 'pg_errand launcher'";
    for round in 0..20 {
        let pid = eventually("there is a launcher", || one::<Option<i32>>(&mut client, launcher));
        let call = if round % 2 == 0 { "pg_cancel_backend" } else { "pg_terminate_backend" };
        client.execute(&format!("select {call}({pid})"), &[]).unwrap();
        if round % 2 == 1 {
            eventually("there is another launcher", || {
                one::<Option<i32>>(&mut client, launcher).filter(|other| *other != pid)
            });
        }
    }
    assert_eq!(worker_pids(&mut client), before, "workers were disturbed");
    gate.open();
    for id in held {
        wait_status(&mut client, id, "succeeded");
    }
    // No more and no fewer workers than before.
    let gate = Gate::close(&cluster, "postgres", 1);
    for _ in 0..3 {
        task(&mut client, "gate", json!({"gate": 1}));
    }
    wait_running(&mut client, 2);
    assert_eq!(worker_pids(&mut client).len(), 2);
    gate.open();
    wait_until_sql(&mut client, "select count(*) from public.done", "6");
    let mut later = create_database(&cluster, "later");
    run_one(&mut later, "of a database created later");
}

#[test]
fn a_worker_killed_by_the_system_costs_no_task() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({"label": "killed"}));
    let other = task(&mut client, "linger", json!({"label": "beside"}));
    runner(&mut client, other);
    let pid = runner(&mut client, id);
    cluster.crash(pid, libc::SIGKILL);
    let mut client = cluster.connect("postgres");
    assert_ne!(runner(&mut client, id), pid);
    client.batch_execute("update public.door set open = true").unwrap();
    for task_id in [id, other] {
        wait_status(&mut client, task_id, "succeeded");
    }
    let mut labels = done(&mut client);
    labels.sort();
    assert_eq!(labels, ["beside", "killed"]);
    run_one(&mut client, "next");
}

#[test]
fn workers_come_back_by_themselves_after_a_restart_and_run_what_waits() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    for mode in [StopMode::Fast, StopMode::Immediate] {
        cluster.set(&[("pg_errand.concurrency", "0")]);
        wait_asleep(&mut client);
        client.batch_execute("truncate public.done").unwrap();
        for label in ["waiting", "waiting"] {
            task(&mut client, "note", json!({"label": label}));
        }
        let scheduled = "insert into queues.task (task_type, payload, scheduled_at) values ('db_function', \
                         '{\"task_type\": \"db_function\", \"db_function\": \"public.note\", \"label\": \"scheduled\"}', \
                         now() + '3 s')";
        client.batch_execute(scheduled).unwrap();
        client.batch_execute("alter system set pg_errand.concurrency = 2").unwrap();
        drop(client);
        cluster.restart(mode);
        client = cluster.connect("postgres");
        eventually("everything runs", || {
            let labels = done(&mut client);
            if labels == ["waiting", "waiting", "scheduled"] { Ok(()) } else { Err(labels) }
        });
    }
}
