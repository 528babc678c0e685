//! Restoring a dump beside workers: nobody waits for anybody for ever.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{create_database, one, run_one, task};
use crate::harness::queue::wait_status;
use crate::harness::wait::eventually;

/// Runs a program to its end, within the deadline.
#[track_caller]
fn run(command: &mut Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let what = format!("{command:?} ends");
    let status = eventually(&what, || child.try_wait().unwrap());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(status.success() && !said.contains("deadlock"), "{what}: {said}");
}

#[test]
fn a_dump_is_restored_beside_workers_in_every_way() {
    restore_in_every_way(false);
}

#[test]
fn a_dump_with_errors_is_restored_by_several_jobs() {
    restore_in_every_way(true);
}

#[track_caller]
fn restore_in_every_way(with_errors: bool) {
    let cluster =
        Cluster::start(&[("pg_errand.poll_interval", "50ms"), ("pg_errand.max_idle_time", "100ms")]);
    let mut original = create_database(&cluster, "original");
    for n in 0..20 {
        run_one(&mut original, &n.to_string());
    }
    original
        .batch_execute(
            "insert into queues.task (task_type, payload, scheduled_at)
             select 'db_function', '{\"db_function\": \"public.note\"}', now() + interval '1 day'
             from generate_series(1, 500)",
        )
        .unwrap();
    if with_errors {
        let refused = task(&mut original, "refuse", json!({}));
        wait_status(&mut original, refused, "failed");
    }
    let dump = cluster.data_dir().with_file_name("dump");
    let program = |name: &str| {
        let mut command = cluster.client_program(name);
        command.arg("--no-password");
        command
    };
    run(program("pg_dump").args(["--format=directory", "--jobs=2", "--file"]).arg(&dump).arg("original"));

    // Another database is busy all the time.
    let mut busy = create_database(&cluster, "busy");
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let noise = std::thread::spawn(move || {
        while !asked.load(Relaxed) {
            run_one(&mut busy, "noise");
        }
    });
    let mut admin = cluster.connect("postgres");
    let count = "select count(*) from queues.task";
    let expected: i64 = one(&mut original, count);
    for (name, options) in [("parallel", &["--jobs=4"][..]), ("at_once", &["--single-transaction"][..])] {
        admin.batch_execute(&format!("create database {name}")).unwrap();
        run(program("pg_restore").args(options).args(["--exit-on-error", "--dbname", name]).arg(&dump));
        let mut client = cluster.connect(name);
        assert_eq!(one::<i64>(&mut client, count), expected, "{name}");
        run_one(&mut client, "restored");
    }
    // Over a database that is in use, with everything in it dropped before.
    for jobs in ["--jobs=1", "--jobs=4"] {
        let mut client = cluster.connect("parallel");
        run_one(&mut client, "before");
        task(&mut client, "nap", json!({"seconds": 30}));
        drop(client);
        let clean = ["--clean", "--if-exists", jobs, "--exit-on-error", "--dbname", "parallel"];
        run(program("pg_restore").args(clean).arg(&dump));
        let mut client = cluster.connect("parallel");
        assert_eq!(one::<i64>(&mut client, count), expected, "{jobs}");
        run_one(&mut client, "restored again");
    }
    // The rows alone, into tables that workers look at.
    let mut client = create_database(&cluster, "rows");
    client.batch_execute("drop table public.door, public.done").unwrap();
    let only = ["--data-only", "--schema=queues", "--exit-on-error", "--dbname", "rows", "--jobs=2"];
    run(program("pg_restore").args(only).arg(&dump));
    assert_eq!(one::<i64>(&mut client, count), expected);
    stop.store(true, Relaxed);
    noise.join().unwrap();
    let log = cluster.log();
    assert!(!log.contains("deadlock"), "{log}");
}
