//! Commands and settings of the administrator's that pg_errand has to live with, and databases that nobody can use.

use std::fs;
use std::time::{Duration, Instant};

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{create_database, install, one, run_one, task};
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};
use crate::mailing::Mailing;

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");

/// How long tasks are run while the log is watched: attempts that are repeated ever more rarely have become rare by then.
const STRETCH: Duration = Duration::from_secs(7);
/// A change of settings counts sooner, however rare such attempts are by then.
const SOON: Duration = Duration::from_secs(4);

/// Runs tasks for a while; the lines that tell of processes in vain.
#[track_caller]
fn noise_while_tasks_run(cluster: &Cluster, client: &mut Client) -> Vec<String> {
    run_one(client, "first");
    let mark = cluster.log_mark();
    let end = Instant::now() + STRETCH;
    while Instant::now() < end {
        let id = task(client, "nap", json!({"seconds": 0.05}));
        wait_status(client, id, "succeeded");
    }
    let log = cluster.log_since(mark);
    let noise = |line: &&str| ["FATAL:", "ERROR:", "exited with exit code"].iter().any(|w| line.contains(w));
    log.lines().filter(noise).map(str::to_owned).collect()
}

/// Two databases, the second without the extension.
const OUT_OF_USE: [&str; 2] = ["with", "without"];

/// Puts [`OUT_OF_USE`] out of use and restarts the server: others are served, and the log stays readable.
#[track_caller]
fn databases_out_of_use_disturb_nobody(at_most: usize, put_out: impl Fn(&Cluster)) {
    for hindered in [false, true] {
        let cluster = Cluster::start(&[ONE_WORKER]);
        let mut client = create_database(&cluster, "app");
        drop(create_database(&cluster, "with"));
        client.batch_execute("create database without").unwrap();
        if hindered {
            // Only `app` has a role that its workers can connect as.
            client.batch_execute("alter database app set pg_errand.role = 'errand_worker'").unwrap();
            cluster.set(&[("pg_errand.role", "nobody")]);
        }
        run_one(&mut client, "before");
        drop(client);
        put_out(&cluster);
        let mut client = cluster.connect("app");
        let noise = noise_while_tasks_run(&cluster, &mut client);
        assert!(noise.len() <= at_most, "hindered: {hindered}; {} lines: {noise:#?}", noise.len());
        // Settings are still read.
        client.batch_execute("alter database app set pg_errand.handler_timeout = '50ms'").unwrap();
        let since = Instant::now();
        eventually("a new setting counts", || {
            let id = task(&mut client, "nap", json!({"seconds": 0.3}));
            let ended = "select count(*) from queues.task where finished_at is null";
            wait_until_sql(&mut client, ended, "0");
            queue::status(&mut client, id) == "failed"
        });
        assert!(since.elapsed() < SOON, "hindered: {hindered}; it counted after {:?}", since.elapsed());
    }
}

/// Runs a statement for each of the databases, and restarts the server.
#[track_caller]
fn change_and_restart(cluster: &Cluster, statement: impl Fn(&str) -> String) {
    for name in OUT_OF_USE {
        cluster.connect("postgres").batch_execute(&statement(name)).unwrap();
    }
    cluster.restart(StopMode::Fast);
}

#[test]
fn an_invalid_database_disturbs_nobody() {
    databases_out_of_use_disturb_nobody(0, |cluster| {
        // What an interrupted DROP DATABASE leaves.
        change_and_restart(cluster, |name| {
            format!("update pg_database set datconnlimit = -2 where datname = '{name}'")
        });
    });
}

#[test]
fn a_database_that_refuses_connections_disturbs_nobody() {
    databases_out_of_use_disturb_nobody(0, |cluster| {
        change_and_restart(cluster, |name| format!("alter database \"{name}\" allow_connections false"));
    });
}

#[test]
fn a_database_whose_files_are_gone_disturbs_nobody() {
    // Each is tried now and then, ever more rarely.
    databases_out_of_use_disturb_nobody(40, |cluster| {
        let mut client = cluster.connect("postgres");
        let oids = OUT_OF_USE.map(|name| {
            let sql = format!("select oid from pg_database where datname = '{name}'");
            one::<u32>(&mut client, &sql)
        });
        drop(client);
        cluster.stop(StopMode::Fast);
        for oid in oids {
            let files = cluster.data_dir().join("base").join(oid.to_string());
            fs::rename(&files, files.with_extension("gone")).unwrap();
        }
        cluster.start_again();
    });
}

#[test]
fn databases_are_served_although_the_first_one_in_the_catalog_is_invalid() {
    let cluster = Cluster::start(&[]);
    let mut client = create_database(&cluster, "app");
    run_one(&mut client, "before");
    client
        .batch_execute("update pg_database set datconnlimit = -2 where datname in ('postgres', 'template1')")
        .unwrap();
    drop(client);
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("app");
    assert!(noise_while_tasks_run(&cluster, &mut client).is_empty());
}

#[test]
fn create_database_takes_all_its_options() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    for (name, options) in [
        ("plain", ""),
        ("template_default", "template default"),
        ("all_default", "template = default owner = default encoding = default connection limit = default"),
        ("from_template", "template template0 encoding 'UTF8'"),
        ("from_own", "template plain"),
    ] {
        let sql = format!("create database {name} {options}");
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let mut client = install(&cluster, "template_default");
    run_one(&mut client, "runs");
}

/// The hint after a line of the log.
#[track_caller]
fn hint_after(cluster: &Cluster, mark: u64, message: &str) -> String {
    cluster.wait_log(mark, message);
    eventually("the hint follows", || {
        let log = cluster.log_since(mark);
        let hint = log.lines().skip_while(|line| !line.contains(message)).find(|line| line.contains("HINT:"));
        hint.map(str::to_owned)
    })
}

#[test]
fn the_hint_for_a_default_role_that_may_not_log_in_can_be_followed() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    // From 17 on it need not.
    if one::<i32>(&mut client, "select current_setting('server_version_num')::int") >= 170_000 {
        return;
    }
    let mark = cluster.log_mark();
    client.batch_execute("alter role errand_worker nologin").unwrap();
    let hint = hint_after(&cluster, mark, "may not log in");
    assert!(hint.contains("Run: ALTER ROLE errand_worker LOGIN;"), "{hint}");
    client.batch_execute("ALTER ROLE errand_worker LOGIN").unwrap();
    run_one(&mut client, "after");
}

#[test]
fn the_hint_for_a_missing_default_role_can_be_followed() {
    let cluster = Cluster::start(&[]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    let mark = cluster.log_mark();
    client.batch_execute("drop owned by errand_worker; drop role errand_worker").unwrap();
    let hint = hint_after(&cluster, mark, "does not exist");
    assert!(hint.contains("Run: CREATE ROLE errand_worker LOGIN;"), "{hint}");
    client.batch_execute("CREATE ROLE errand_worker LOGIN").unwrap();
    run_one(&mut client, "after");
}

/// Locks the table of tasks against everybody, waits until the worker has waited for it for longer than its role may,
/// and releases it.
#[track_caller]
fn hold_up(client: &mut Client, mut meanwhile: impl FnMut()) {
    client.batch_execute("begin; lock table queues.task in access exclusive mode").unwrap();
    meanwhile();
    let waited = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
        where a.backend_type = 'pg_errand worker' and not l.granted
            and clock_timestamp() - l.waitstart > '1 s'";
    wait_until_sql(client, waited, "1");
    client.batch_execute("commit").unwrap();
}

#[test]
fn a_lock_timeout_of_the_role_ends_no_task_and_no_call() {
    let mut mailing = Mailing::start(&[ONE_WORKER]);
    let limit = "alter database postgres set lock_timeout = '100ms'";
    mailing.client.batch_execute(limit).unwrap();
    mailing.deliver("first@mail.test");
    let mark = mailing.cluster.log_mark();
    // The claim waits.
    let mut client = mailing.cluster.connect("postgres");
    client.batch_execute("set lock_timeout = 0").unwrap();
    let function = json!({"db_function": "app.note"});
    let sql = "select queues.enqueue('db_function', $1, now() + '300 ms')";
    let id: i64 = client.query_one(sql, &[&function]).unwrap().get(0);
    hold_up(&mut client, || {});
    wait_status(&mut client, id, "succeeded");
    // The end of a call waits.
    mailing.standin.hold();
    let mail = mailing.send("second@mail.test");
    mailing.wait_held(1);
    hold_up(&mut client, || mailing.standin.release());
    mailing.wait(mail, "succeeded");
    assert_eq!((mailing.seen("success").len(), mailing.number("select count(*) from queues.error")), (2, 0));
    let log = mailing.cluster.log_since(mark);
    assert!(!log.contains("lock timeout"), "{log}");
}

#[test]
fn a_lock_timeout_of_the_role_counts_for_handlers() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("alter database postgres set lock_timeout = '100ms'").unwrap();
    client
        .batch_execute(
            "create function public.tell(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 insert into public.done (label) values (current_setting('lock_timeout'));
                 return '{}';
             end $$",
        )
        .unwrap();
    let id = task(&mut client, "tell", json!({}));
    wait_status(&mut client, id, "succeeded");
    assert_eq!(one::<String>(&mut client, "select label from public.done"), "100ms");
}
