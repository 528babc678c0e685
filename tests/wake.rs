//! A commit wakes a worker, and so does a due time. No test here relies on polling.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{
    Gate, done, install, one, run_one, task, wait_asleep, wait_running, worker_pids,
};
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
/// Workers stay, idle.
const IDLE: (&str, &str) = ("pg_errand.max_idle_time", "0");
/// Workers leave at once.
const ASLEEP: (&str, &str) = ("pg_errand.max_idle_time", "50ms");

/// A task as SQL values for task type and payload.
fn values(label: &str) -> String {
    format!(
        "'db_function', '{{\"task_type\": \"db_function\", \"db_function\": \"public.note\", \"label\": \"{label}\"}}'::jsonb"
    )
}

fn wait_done(client: &mut Client, expected: i64) {
    wait_until_sql(client, "select count(*) from public.done", &expected.to_string());
}

/// Waits until workers rest, or until there are none.
fn settle(client: &mut Client, setting: (&str, &str)) {
    if setting == ASLEEP {
        return wait_asleep(client);
    }
    let sql = "select count(*) filter (where state = 'idle') = count(*) and count(*) > 0 from pg_stat_activity \
               where backend_type = 'pg_errand worker'";
    wait_until_sql(client, sql, "t");
}

/// Enqueues in every way there is; each has to be noticed.
fn every_way_starts_tasks_at_once(setting: (&str, &str)) {
    let cluster = Cluster::start(&[NO_POLL, setting]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let mut expected = 1;
    let ways = [
        (1, format!("select queues.enqueue({})", values("function"))),
        (1, format!("insert into queues.task (task_type, payload) values ({})", values("insert"))),
        (
            500,
            format!(
                "insert into queues.task (task_type, payload) select {} from generate_series(1, 500)",
                values("many")
            ),
        ),
        (
            1,
            format!(
                "set session_replication_role = replica; insert into queues.task (task_type, payload) values ({}); reset session_replication_role",
                values("replica")
            ),
        ),
        (1, format!("do $do$ begin perform queues.enqueue({}); end $do$", values("block"))),
        (1, format!("begin; savepoint s; select queues.enqueue({}); release s; commit", values("savepoint"))),
        (
            1,
            format!(
                "do $do$ begin perform queues.enqueue({}); commit; perform pg_sleep(0); end $do$",
                values("procedure")
            ),
        ),
    ];
    for (tasks, sql) in ways {
        settle(&mut client, setting);
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        expected += tasks;
        wait_done(&mut client, expected);
    }
    settle(&mut client, setting);
    let line = "db_function\t{\"task_type\": \"db_function\", \"db_function\": \"public.note\"}\n";
    cluster.psql(
        "postgres",
        &format!("copy queues.task (task_type, payload) from stdin;\n{line}{line}{line}\\.\n"),
    );
    wait_done(&mut client, expected + 3);
}

#[test]
fn an_idle_worker_starts_tasks_as_their_transaction_commits_however_they_came() {
    every_way_starts_tasks_at_once(IDLE);
}

#[test]
fn a_sleeping_pool_starts_tasks_as_their_transaction_commits_however_they_came() {
    every_way_starts_tasks_at_once(ASLEEP);
}

#[test]
fn tasks_of_one_commit_wake_several_workers() {
    for setting in [IDLE, ASLEEP] {
        let cluster = Cluster::start(&[NO_POLL, setting]);
        let mut client = install(&cluster, "postgres");
        let gate = Gate::close(&cluster, "postgres", 1);
        for _ in 0..3 {
            settle_or_new(&mut client, setting);
            client.batch_execute("begin").unwrap();
            let tasks: Vec<i64> = (0..2).map(|_| task(&mut client, "gate", json!({"gate": 1}))).collect();
            client.batch_execute("commit").unwrap();
            wait_running(&mut client, 2);
            for id in tasks {
                assert!(one::<bool>(&mut client, &format!("select queues.cancel({id})")));
                wait_status(&mut client, id, "cancelled");
            }
        }
        gate.open();
    }
}

/// As [`settle`], if there are workers at all.
fn settle_or_new(client: &mut Client, setting: (&str, &str)) {
    if !worker_pids(client).is_empty() {
        settle(client, setting);
    }
}

#[test]
fn nothing_starts_before_the_commit_or_after_a_rollback() {
    let cluster = Cluster::start(&[NO_POLL, IDLE]);
    let mut client = install(&cluster, "postgres");
    let mut other = cluster.connect("postgres");
    other.batch_execute("begin").unwrap();
    task(&mut other, "note", json!({"label": "uncommitted"}));
    run_one(&mut client, "1");
    assert_eq!(done(&mut client), ["1"]);
    other.batch_execute("rollback").unwrap();
    run_one(&mut client, "2");

    other.batch_execute("begin; savepoint s").unwrap();
    task(&mut other, "note", json!({"label": "undone"}));
    other.batch_execute("rollback to s; commit").unwrap();
    run_one(&mut client, "3");

    other.batch_execute("begin").unwrap();
    task(&mut other, "note", json!({"label": "4"}));
    other.batch_execute("savepoint s").unwrap();
    task(&mut other, "note", json!({"label": "undone"}));
    other.batch_execute("rollback to s; commit").unwrap();
    wait_done(&mut client, 4);
    run_one(&mut client, "5");
    assert_eq!(done(&mut client), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_task_that_a_handler_enqueues_starts_at_once() {
    for concurrency in ["1", "2"] {
        let cluster = Cluster::start(&[NO_POLL, ASLEEP, ("pg_errand.concurrency", concurrency)]);
        let mut client = install(&cluster, "postgres");
        let chain = "create function public.chain(payload jsonb) returns jsonb language plpgsql as $$
            begin
                if (payload ->> 'left')::int > 0 then
                    perform queues.enqueue('db_function',
                        payload || jsonb_build_object('left', (payload ->> 'left')::int - 1),
                        now() + (payload ->> 'pause')::interval);
                end if;
                return public.note(payload);
            end $$";
        client.batch_execute(chain).unwrap();
        task(&mut client, "chain", json!({"left": 20, "pause": "0"}));
        wait_done(&mut client, 21);
        task(&mut client, "chain", json!({"left": 3, "pause": "200 ms"}));
        wait_done(&mut client, 25);
    }
}

#[test]
fn a_scheduled_task_starts_when_it_falls_due() {
    for setting in [IDLE, ASLEEP] {
        let cluster = Cluster::start(&[NO_POLL, setting]);
        let mut client = install(&cluster, "postgres");
        let late = format!("select queues.enqueue({}, now() + '1 h')", values("much later"));
        client.batch_execute(&late).unwrap();
        run_one(&mut client, "now");
        for n in 1..=3 {
            settle(&mut client, setting);
            let pause = if n == 3 { "1 s" } else { "300 ms" };
            let id: i64 =
                one(&mut client, &format!("select queues.enqueue({}, now() + '{pause}')", values("due")));
            assert_eq!(status(&mut client, id), "scheduled");
            if n == 3 {
                // Its time is not forgotten over other work.
                run_one(&mut client, "meanwhile");
                settle(&mut client, setting);
            }
            wait_status(&mut client, id, "succeeded");
            let lag = format!(
                "select extract(epoch from started_at - scheduled_at)::float8 from queues.task_status where task_id = {id}"
            );
            let lag: f64 = one(&mut client, &lag);
            assert!((0.0..2.0).contains(&lag), "started {lag} s after its time");
        }
        assert_eq!(
            one::<i64>(&mut client, "select count(*) from queues.task_status where status = 'scheduled'"),
            1
        );
    }
}

#[test]
fn earlier_and_later_times_of_one_commit_are_all_kept() {
    let cluster = Cluster::start(&[NO_POLL, ASLEEP]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    wait_asleep(&mut client);
    let pauses = ["900 ms", "0", "300 ms", "600 ms", "300 ms"];
    let calls: Vec<String> = pauses
        .iter()
        .map(|pause| format!("select queues.enqueue({}, now() + '{pause}');", values(pause)))
        .collect();
    client.batch_execute(&format!("begin; {} commit", calls.concat())).unwrap();
    wait_done(&mut client, 6);
    assert_eq!(done(&mut client), ["first", "0", "300 ms", "300 ms", "600 ms", "900 ms"]);
}

/// Prepares a transaction that enqueues.
fn prepare(client: &mut Client, name: &str) {
    let sql = format!("begin; select queues.enqueue({}); prepare transaction '{name}'", values(name));
    client.batch_execute(&sql).unwrap();
}

#[test]
fn a_prepared_transaction_is_found_after_its_commit() {
    for setting in [IDLE, ASLEEP] {
        let cluster = Cluster::start(&[NO_POLL, setting, ("max_prepared_transactions", "5")]);
        let mut client = install(&cluster, "postgres");
        run_one(&mut client, "first");
        prepare(&mut client, "committed");
        prepare(&mut client, "rolled back");
        run_one(&mut client, "meanwhile");
        settle(&mut client, setting);
        let mut other = cluster.connect("postgres");
        other.batch_execute("rollback prepared 'rolled back'").unwrap();
        other.batch_execute("commit prepared 'committed'").unwrap();
        wait_done(&mut client, 3);
        assert_eq!(done(&mut client), ["first", "meanwhile", "committed"]);
    }
}

#[test]
fn a_transaction_prepared_before_a_restart_is_found_after_its_commit() {
    let cluster = Cluster::start(&[NO_POLL, ASLEEP, ("max_prepared_transactions", "5")]);
    let mut client = install(&cluster, "postgres");
    prepare(&mut client, "before the restart");
    drop(client);
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    // After the first look that a start brings.
    run_one(&mut client, "after the restart");
    wait_asleep(&mut client);
    client.batch_execute("commit prepared 'before the restart'").unwrap();
    wait_done(&mut client, 2);
}

#[test]
fn a_lease_that_ends_wakes_a_worker() {
    for setting in [IDLE, ASLEEP] {
        let cluster = Cluster::start(&[
            NO_POLL,
            setting,
            ("pg_errand.lease_duration", "1500ms"),
            ("pg_errand.concurrency", "0"),
        ]);
        let mut client = install(&cluster, "postgres");
        let id = task(&mut client, "note", json!({"label": "left behind"}));
        let taken: Option<i64> = one(&mut client, "select task_id from queues.dequeue_next_available_task()");
        assert_eq!(taken, Some(id));
        cluster.set(&[("pg_errand.concurrency", "2")]);
        run_one(&mut client, "meanwhile");
        settle(&mut client, setting);
        assert_eq!(done(&mut client), ["meanwhile"]);
        wait_status(&mut client, id, "succeeded");
        assert_eq!(done(&mut client), ["meanwhile", "left behind"]);
        let attempts = format!("select attempts from queues.task_status where task_id = {id}");
        assert_eq!(one::<i32>(&mut client, &attempts), 2);
    }
}

#[test]
fn what_a_dying_worker_was_woken_for_is_passed_on() {
    let cluster = Cluster::start(&[NO_POLL, IDLE, ("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    for round in 0..3 {
        run_one(&mut client, "alive");
        settle(&mut client, IDLE);
        let pids = worker_pids(&mut client);
        assert_eq!(pids.len(), 1);
        cluster.kill(pids[0], libc::SIGSTOP);
        let id = task(&mut client, "note", json!({"label": "woken for"}));
        cluster.kill(pids[0], libc::SIGTERM);
        cluster.kill(pids[0], libc::SIGCONT);
        wait_status(&mut client, id, "succeeded");
        eventually("the worker is gone", || !worker_pids(&mut client).contains(&pids[0]));
        let count: i64 = one(&mut client, "select count(*) from public.done where label = 'woken for'");
        assert_eq!(count, round + 1);
    }
}

#[test]
fn a_task_runs_the_functions_of_its_own_transaction() {
    let cluster = Cluster::start(&[NO_POLL, IDLE, ("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create function public.version() returns text language sql as $$ select '0' $$;
             create function public.tell_version(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 insert into public.done (label) values (public.version());
                 return '{}';
             end $$",
        )
        .unwrap();
    for round in 1..=300 {
        let sql = format!(
            "begin; create or replace function public.version() returns text language sql as $$ select '{round}' $$; \
             select queues.enqueue('db_function', '{{\"db_function\": \"public.tell_version\"}}'); commit"
        );
        client.batch_execute(&sql).unwrap();
        wait_done(&mut client, round);
        let seen: String = one(&mut client, "select label from public.done order by n desc limit 1");
        assert_eq!(seen, round.to_string());
    }
}
