//! Many descriptors, many writers, much garbage, and a lock that serializes all commits.

use std::fs;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, run_one, task};
use crate::harness::mailing::Mailing;
use crate::harness::queue::wait_status;
use crate::harness::wait::{eventually, wait_until_sql};

#[test]
fn a_worker_with_more_than_a_thousand_open_files_still_sends_mail() {
    let mut mailing = Mailing::start(&[
        ("pg_errand.concurrency", "1"),
        ("pg_errand.max_idle_time", "0"),
        ("max_files_per_process", "3000"),
        ("max_locks_per_transaction", "256"),
    ]);
    mailing
        .client
        .batch_execute(
            "do $$ begin
                 for n in 1 .. 700 loop
                     execute format('create table app.many_%s (a int primary key)', n);
                 end loop;
             end $$;
             create function app.open_many(_payload jsonb) returns jsonb language plpgsql security definer as $$
             begin
                 for n in 1 .. 700 loop
                     execute format('insert into app.many_%s values (1) on conflict do nothing', n);
                 end loop;
                 return '{}';
             end $$;",
        )
        .unwrap();
    mailing.run_function("app.open_many");
    let pid = mailing.worker_pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(open > 1_024, "{open} files are open");
    let mails: Vec<i64> = (0..40).map(|n| mailing.send(&format!("someone-{n}@mail.test"))).collect();
    for id in mails {
        mailing.wait(id, "succeeded");
    }
    assert_eq!(mailing.worker_pid(), pid);
}

#[test]
fn what_workers_write_is_counted_so_that_autovacuum_comes() {
    let cluster = Cluster::start(&[
        ("autovacuum_naptime", "1s"),
        ("autovacuum_vacuum_threshold", "50"),
        ("autovacuum_vacuum_scale_factor", "0"),
        ("pg_errand.max_idle_time", "0"),
    ]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "select queues.enqueue('db_function', '{\"db_function\": \"public.note\"}') from generate_series(1, 300)",
        )
        .unwrap();
    let counted = "select n_tup_upd >= 300 from pg_stat_user_tables where relid = 'queues.task'::regclass";
    wait_until_sql(&mut client, counted, "t");
    let came =
        "select last_autovacuum is not null from pg_stat_user_tables where relid = 'queues.task'::regclass";
    wait_until_sql(&mut client, came, "t");
}

#[test]
fn no_commit_waits_for_the_lock_of_notify() {
    let cluster = Cluster::start(&[("pg_errand.poll_interval", "1h")]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    cluster.set(&[("synchronous_standby_names", "away")]);
    // A session that keeps that lock, as its commit waits for a standby.
    let mut holder = cluster.connect("postgres");
    let holder_pid: i32 = one(&mut holder, "select pg_backend_pid()");
    let waiting = std::thread::spawn(move || {
        let _ =
            holder.batch_execute("begin; insert into public.door values (false); notify somebody; commit");
    });
    let lock = "select count(*) from pg_locks where locktype = 'object' and classid = 'pg_database'::regclass \
        and objid = 0 and granted";
    wait_until_sql(&mut client, lock, "1");
    client.batch_execute("set synchronous_commit = local").unwrap();
    let mut listener = cluster.connect("postgres");
    listener.batch_execute("set synchronous_commit = local; set lock_timeout = '100ms'").unwrap();
    let blocked = listener.batch_execute("notify somebody").unwrap_err();
    assert_eq!(blocked.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{blocked:?}");

    client.batch_execute("set lock_timeout = '5s'").unwrap();
    for n in 0..20 {
        run_one(&mut client, &n.to_string());
    }
    assert_eq!(one::<i64>(&mut client, lock), 1, "the lock was given back too soon");
    client.batch_execute(&format!("select pg_terminate_backend({holder_pid})")).unwrap();
    waiting.join().unwrap();
}

#[test]
fn catalogs_that_many_change_at_once_stop_no_launcher() {
    let cluster = Cluster::start(&[("pg_errand.max_idle_time", "50ms")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create role someone; create role another").unwrap();
    run_one(&mut client, "before");
    let launcher = "select pid from pg_stat_activity where application_name = 'pg_errand launcher'";
    let pid: i32 = one(&mut client, launcher);
    let end = Instant::now() + Duration::from_secs(2);
    let statements = [
        "alter database postgres set work_mem = '5MB'",
        "alter database postgres reset work_mem",
        "alter role someone set work_mem = '5MB'",
        "grant connect on database postgres to someone",
        "revoke connect on database postgres from someone",
        "alter role another nologin",
    ];
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let mut session = cluster.connect("postgres");
            std::thread::spawn(move || {
                let mut collisions = 0;
                while Instant::now() < end {
                    // «tuple concurrently updated» is for these sessions.
                    collisions += statements.iter().filter(|sql| session.batch_execute(sql).is_err()).count();
                }
                collisions
            })
        })
        .collect();
    while Instant::now() < end {
        run_one(&mut client, "meanwhile");
    }
    let collisions: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(collisions > 0, "nothing collided");
    assert_eq!(one::<i32>(&mut client, launcher), pid);
    let id = task(&mut client, "note", json!({}));
    wait_status(&mut client, id, "succeeded");
    let log = cluster.log();
    let ours = log.lines().filter(|line| line.contains("pg_errand") && line.contains("ERROR:")).count();
    assert_eq!(ours, 0, "{log}");
    eventually("the launcher is there", || {
        one::<i64>(
            &mut client,
            "select count(*) from pg_stat_activity where backend_type = 'pg_errand launcher'",
        ) >= 1
    });
}
