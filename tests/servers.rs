//! Transactions that span servers: after a crash, neither is the local part lost alone, nor is it done again.
//!
//! Citus is played by `servers/citus.c`, a library that is built here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{install, one, run_one, task};
use crate::harness::programs::{give_to_server_user, output};
use crate::harness::queue::{errors, status, wait_status};
use crate::harness::run_dir::new_directory;
use crate::harness::wait::eventually;

/// Nothing flushes WAL but commits that wait for it.
const LATE: [(&str, &str); 5] = [
    ("wal_writer_delay", "10s"),
    ("wal_writer_flush_after", "1GB"),
    ("pg_errand.max_idle_time", "0"),
    ("pg_errand.concurrency", "1"),
    ("pg_errand.flush_interval", "-1"),
];

/// The other server.
fn other_server() -> (Cluster, Client) {
    let other = Cluster::start(&[
        ("shared_preload_libraries", ""),
        ("max_prepared_transactions", "5"),
        ("synchronous_commit", "on"),
    ]);
    let mut client = other.connect("postgres");
    client.batch_execute("create table written (label text)").unwrap();
    (other, client)
}

fn connection_string(cluster: &Cluster) -> String {
    format!("host={} user=postgres dbname=postgres", cluster.socket_dir().display())
}

fn written(client: &mut Client) -> i64 {
    one(client, "select count(*) from written")
}

/// Up to where WAL has been flushed.
fn flushed(client: &mut Client) -> String {
    one(client, "select pg_current_wal_flush_lsn()::text")
}

/// Runs a task to its end; true if something was flushed for it.
fn is_flushed_at_its_end(client: &mut Client, handler: &str) -> bool {
    client.batch_execute("set synchronous_commit = off").unwrap();
    let before = flushed(client);
    let id = task(client, handler, json!({ "label": "x" }));
    wait_status(client, id, "succeeded");
    flushed(client) != before
}

/// A handler that writes on another server, by one of PostgreSQL's ways.
fn writes_by(way: &str, local: &mut Client, other: &Cluster) {
    let sql = match way {
        "postgres_fdw" => format!(
            "create extension postgres_fdw;
            create server other foreign data wrapper postgres_fdw options (host '{}', dbname 'postgres');
            create user mapping for postgres server other options (user 'postgres');
            create foreign table public.far (label text) server other options (table_name 'written');
            create function public.far(payload jsonb) returns jsonb language sql security definer as $$
                insert into public.far values (payload ->> 'label');
                select '{{}}'::jsonb
            $$;",
            other.socket_dir().display()
        ),
        _ => format!(
            "create extension dblink;
            create function public.far(payload jsonb) returns jsonb language sql security definer as $$
                select public.dblink_exec('{}', format('insert into written values (%L)', payload ->> 'label'));
                select '{{}}'::jsonb
            $$;",
            connection_string(other)
        ),
    };
    local.batch_execute(&sql).unwrap();
}

#[test]
fn a_task_that_wrote_on_another_server_is_not_run_again_after_a_crash() {
    for way in ["postgres_fdw", "dblink"] {
        let (other, mut far) = other_server();
        let cluster = Cluster::start(&LATE);
        let mut client = install(&cluster, "postgres");
        writes_by(way, &mut client, &other);
        for n in 1..=3 {
            let id = task(&mut client, "far", json!({ "label": format!("{n}") }));
            wait_status(&mut client, id, "succeeded");
            cluster.restart(StopMode::Kill);
            client = cluster.connect("postgres");
            assert_eq!(status(&mut client, id), "succeeded", "{way}");
            run_one(&mut client, "after");
            assert_eq!(written(&mut far), n, "{way}");
        }
    }
}

#[test]
fn a_worker_that_has_used_a_foreign_table_does_not_wait_at_the_ends_of_local_tasks() {
    let (other, _far) = other_server();
    let cluster = Cluster::start(&LATE);
    let mut client = install(&cluster, "postgres");
    writes_by("postgres_fdw", &mut client, &other);
    assert!(is_flushed_at_its_end(&mut client, "far"));
    // The WAL writer flushes every ten seconds, perhaps just now.
    eventually("a local task whose end is not flushed", || !is_flushed_at_its_end(&mut client, "note"));
    assert!(is_flushed_at_its_end(&mut client, "far"));
}

/// Builds the stand-in for Citus; the directory that holds it.
fn build_citus(exports: bool) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/citus.c");
    let dir = new_directory();
    let library = dir.join("citus.so");
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    let headers = output(Command::new(pg_config).arg("--includedir-server"));
    let mut compiler = Command::new("gcc");
    compiler.args(["-O1", "-fPIC", "-shared", "-I", headers.trim()]);
    if exports {
        compiler.arg("-DSTANDIN_EXPORTS");
    }
    output(compiler.arg(&source).arg("-o").arg(&library).arg("-ldl"));
    give_to_server_user(&library);
    dir
}

/// A cluster in which Citus's stand-in writes on another server.
struct Citus {
    cluster: Cluster,
    _other: Cluster,
    far: Client,
}

impl Citus {
    fn start(exports: bool) -> (Self, Client) {
        let (other, far) = other_server();
        let path = format!("{}:$libdir", build_citus(exports).display());
        let server = connection_string(&other);
        let settings = [
            ("shared_preload_libraries", "citus,pg_errand"),
            ("dynamic_library_path", path.as_str()),
            ("citus_standin.server", server.as_str()),
        ];
        let cluster = Cluster::start(&[LATE.as_slice(), &settings].concat());
        let mut client = install(&cluster, "postgres");
        let sql = "create function public.standin_write(text) returns void language c strict
                as 'citus', 'standin_write';
            create function public.standin_deadlock() returns void language c as 'citus', 'standin_deadlock';
            create table public.standin_transaction (gid text);
            grant insert on public.standin_transaction to public;
            create function public.far(payload jsonb) returns jsonb language sql as $$
                select public.standin_write(payload ->> 'label');
                select '{}'::jsonb
            $$;";
        client.batch_execute(sql).unwrap();
        (Citus { cluster, _other: other, far }, client)
    }

    fn hold(&self, place: &str) {
        fs::write(self.cluster.data_dir().join(place), "").unwrap();
    }

    /// Waits until a transaction has come to `place`, kills the server there, starts it again, and ends what was
    /// prepared on the other server as Citus's recovery does.
    fn crash_at(&mut self, place: &str) -> Client {
        let sql = match place {
            "hold_remote" => "select count(*) + (select count(*) from pg_prepared_xacts) from written",
            _ => "select count(*) from written",
        };
        eventually("the other server has its part", || one::<i64>(&mut self.far, sql) > 0);
        self.cluster.stop(StopMode::Kill);
        fs::remove_file(self.cluster.data_dir().join(place)).unwrap();
        self.cluster.start_again();
        let mut client = self.cluster.connect("postgres");
        let prepared: Vec<String> =
            one(&mut self.far, "select coalesce(array_agg(gid), '{}') from pg_prepared_xacts");
        for gid in prepared {
            let known = client
                .query_one("select exists (select from public.standin_transaction where gid = $1)", &[&gid]);
            let end = if known.unwrap().get(0) { "commit" } else { "rollback" };
            self.far.batch_execute(&format!("{end} prepared '{gid}'")).unwrap();
        }
        client
    }
}

/// What clients do to the queue, on the coordinator: SQL, and what tells whether it was kept.
const CHANGES: [(&str, &str); 3] = [
    ("select queues.enqueue('db_function', '{}')", "select count(*) from queues.task where payload = '{}'"),
    (
        "insert into queues.task (task_type, payload) values ('db_function', '{}')",
        "select count(*) from queues.task where payload = '{}'",
    ),
    (
        "select queues.complete_task(max(task_id)) from queues.task",
        "select count(*) from queues.task where final_status = 'succeeded'",
    ),
];

#[test]
fn with_citus_a_change_of_the_queue_and_rows_on_another_node_are_kept_or_lost_together() {
    for (change, kept) in CHANGES {
        for place in ["hold_remote", "hold_done"] {
            let (mut citus, mut client) = Citus::start(true);
            // Enqueued for later, so that only the client ends it.
            client
                .batch_execute(
                    "select queues.enqueue('db_function', '{\"later\": 1}', now() + interval '1 day')",
                )
                .unwrap();
            citus.hold(place);
            let sql = format!("begin; select public.standin_write('x'); {change}; commit");
            // Its connection breaks with the server.
            let session = thread::spawn(move || client.batch_execute(&sql).is_ok());
            let mut client = citus.crash_at(place);
            assert!(!session.join().unwrap());
            let there = written(&mut citus.far);
            assert_eq!(one::<i64>(&mut client, kept), there, "{change} {place}");
            assert_eq!(there, i64::from(place == "hold_done"), "{change} {place}");
        }
    }
}

#[test]
fn with_citus_a_handler_s_rows_on_another_node_and_its_task_s_end_are_kept_or_lost_together() {
    for place in ["hold_remote", "hold_done"] {
        let (mut citus, mut client) = Citus::start(true);
        citus.hold(place);
        let id = task(&mut client, "far", json!({ "label": "once" }));
        let mut client = citus.crash_at(place);
        wait_status(&mut client, id, "succeeded");
        assert_eq!(written(&mut citus.far), 1, "{place}");
    }
}

#[test]
fn a_task_that_citus_cancels_for_a_distributed_deadlock_is_repeated() {
    let (_citus, mut client) = Citus::start(true);
    let sql = "create sequence public.tries;
        grant usage on public.tries to public;
        create function public.entangled(payload jsonb) returns jsonb language plpgsql as $$
        begin
            if nextval('public.tries') < 3 then
                perform public.standin_deadlock();
            end if;
            return '{}';
        end $$;";
    client.batch_execute(sql).unwrap();
    let id = task(&mut client, "entangled", json!({}));
    wait_status(&mut client, id, "succeeded");
    assert_eq!(one::<i64>(&mut client, "select nextval('public.tries')"), 4);
    assert_eq!(errors(&mut client, id), []);
}

#[test]
fn with_a_citus_that_cannot_be_asked_every_end_is_flushed_and_that_is_told_once() {
    let (citus, mut client) = Citus::start(false);
    for _ in 0..2 {
        assert!(is_flushed_at_its_end(&mut client, "note"));
    }
    let log = citus.cluster.log();
    assert_eq!(log.matches("does not tell whether a transaction spans nodes").count(), 1, "{log}");
}
