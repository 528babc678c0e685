//! Any free worker runs a task that is ready or falls due, however busy the others are. No test here relies on polling.

use postgres::Client;
use serde_json::{Value, json};

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{
    Gate, done, install, one, payload, run_one, runner, task, wait_asleep, wait_running,
};
use crate::harness::mailing::Mailing;
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
/// Workers stay, idle.
const IDLE: (&str, &str) = ("pg_errand.max_idle_time", "0");
/// Workers leave soon.
const ASLEEP: (&str, &str) = ("pg_errand.max_idle_time", "200ms");
/// A call's time limit that no test lives to see.
const PATIENT: (&str, &str) = ("pg_errand.call_timeout", "10min");

/// Enqueues a task that falls due after a pause.
#[track_caller]
fn task_after(client: &mut Client, pause: &str, handler: &str, fields: Value) -> i64 {
    let sql = "select queues.enqueue('db_function', $1, now() + $2::text::interval)";
    client.query_one(sql, &[&payload(handler, fields), &pause]).unwrap().get(0)
}

/// Waits until two workers are idle, started if need be.
#[track_caller]
fn two_idle_workers(cluster: &Cluster, client: &mut Client) {
    let gate = Gate::close(cluster, "postgres", 99);
    for _ in 0..2 {
        task(client, "gate", json!({"gate": 99, "label": "warm"}));
    }
    wait_running(client, 2);
    gate.open();
    wait_resting(client, 2);
    wait_until_sql(client, "select count(*) from queues.task_status where status = 'running'", "0");
}

/// Waits until so many workers wait for work, and no other is there that doesn't run a task.
#[track_caller]
fn wait_resting(client: &mut Client, count: i64) {
    let sql =
        "select count(*) from pg_stat_activity where backend_type = 'pg_errand worker' and state = 'idle'";
    wait_until_sql(client, sql, &count.to_string());
}

/// Waits until workers have rested for a while, so that the launcher has no reason to look around any more.
#[track_caller]
fn wait_quiet(client: &mut Client) {
    let sql = "select coalesce(bool_and(state = 'idle' and state_change < clock_timestamp() - interval '1.2 s'), true)
        from pg_stat_activity where backend_type = 'pg_errand worker'";
    wait_until_sql(client, sql, "t");
}

/// Does something that wakes a worker, and waits until that has found nothing to do and `count` workers rest again.
#[track_caller]
fn and_rest<R>(client: &mut Client, count: i64, wake: impl FnOnce(&mut Client) -> R) -> R {
    wait_resting(client, count);
    let before: String = one(client, "select clock_timestamp()::text");
    let result = wake(client);
    let sql = format!(
        "select count(*) filter (where state = 'idle') || ',' || (max(state_change) > '{before}')
        from pg_stat_activity where backend_type = 'pg_errand worker'"
    );
    wait_until_sql(client, &sql, &format!("{count},true"));
    result
}

/// Waits until two workers rest, or, where workers don't stay, until there are none.
#[track_caller]
fn settle(cluster: &Cluster, client: &mut Client, setting: (&str, &str)) {
    if setting == ASLEEP {
        run_one(client, "before");
        wait_asleep(client);
    } else {
        two_idle_workers(cluster, client);
    }
}

#[test]
fn a_mail_that_a_full_worker_cannot_take_is_sent_by_another_at_once() {
    let full = ("pg_errand.max_in_flight", "1");
    let mut mailing = Mailing::start(&[NO_POLL, IDLE, PATIENT, full, ("pg_errand.concurrency", "2")]);
    mailing.deliver("first@mail.test");
    // The second worker does not exist in the first round, and is idle in the second.
    for _ in 0..2 {
        mailing.standin.hold();
        mailing.send("held@mail.test");
        mailing.wait_held(1);
        let waiting = "select count(*) from pg_stat_activity
            where backend_type = 'pg_errand worker' and query like 'waiting for 1 %'";
        wait_until_sql(&mut mailing.client, waiting, "1");
        mailing.send("next@mail.test");
        mailing.wait_held(2);
        wait_until_sql(&mut mailing.client, waiting, "2");
        // Both are full: one more mail waits, a function does not.
        let last = mailing.send("last@mail.test");
        mailing.run_function("app.note");
        assert_eq!(mailing.standin.held(), 2);
        mailing.standin.release();
        mailing.wait(last, "succeeded");
        let unfinished = "select count(*) from queues.task where finished_at is null";
        wait_until_sql(&mut mailing.client, unfinished, "0");
        wait_until_sql(&mut mailing.client, "select count(*) from queues.worker where state = 'idle'", "2");
    }
    assert_eq!(mailing.standin.mail_count(), 7);
}

/// Two tasks fall due one after the other, and the first takes for ever.
#[track_caller]
fn a_long_task_holds_up_none_due_soon_after_it(setting: (&str, &str)) {
    let cluster = Cluster::start(&[NO_POLL, setting, ("pg_errand.concurrency", "2")]);
    let mut client = install(&cluster, "postgres");
    for together in [true, false] {
        settle(&cluster, &mut client, setting);
        let gate = Gate::close(&cluster, "postgres", 1);
        if together {
            client.batch_execute("begin").unwrap();
        }
        let long = task_after(&mut client, "400 ms", "gate", json!({"gate": 1}));
        let later = task_after(&mut client, "900 ms", "note", json!({"label": "later"}));
        if together {
            client.batch_execute("commit").unwrap();
        }
        wait_status(&mut client, later, "succeeded");
        assert_eq!(queue::status(&mut client, long), "running");
        gate.open();
        wait_status(&mut client, long, "succeeded");
    }
}

#[test]
fn a_task_that_falls_due_while_all_are_busy_is_not_passed_over_by_one_enqueued_after_it() {
    let cluster = Cluster::start(&[NO_POLL, IDLE, ("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    let gate = Gate::close(&cluster, "postgres", 1);
    let long = task(&mut client, "gate", json!({"gate": 1}));
    wait_running(&mut client, 1);
    let due = task_after(&mut client, "300 ms", "note", json!({"label": "due"}));
    let is_due = format!("select scheduled_at < clock_timestamp() from queues.task where task_id = {due}");
    wait_until_sql(&mut client, &is_due, "t");
    let last = task(&mut client, "note", json!({"label": "last"}));
    gate.open();
    for id in [long, due, last] {
        wait_status(&mut client, id, "succeeded");
    }
}

#[test]
fn after_a_start_a_long_task_holds_up_none_that_falls_due() {
    let cluster = Cluster::start(&[NO_POLL, IDLE]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("alter system set pg_errand.concurrency = 0").unwrap();
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    let long = task(&mut client, "gate", json!({"gate": 1}));
    let due = task_after(&mut client, "5 s", "note", json!({"label": "due"}));
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    cluster.set(&[("pg_errand.concurrency", "2")]);
    wait_running(&mut client, 1);
    wait_status(&mut client, due, "succeeded");
    assert_eq!(queue::status(&mut client, long), "running");
    gate.open();
    wait_status(&mut client, long, "succeeded");
}

#[test]
fn a_task_that_another_session_had_locked_is_found_at_the_next_look() {
    let cluster =
        Cluster::start(&[("pg_errand.poll_interval", "500ms"), IDLE, ("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    let locked = task_after(&mut client, "400 ms", "note", json!({"label": "locked"}));
    let mut other = cluster.connect("postgres");
    let mut transaction = other.transaction().unwrap();
    transaction.execute("select from queues.task where task_id = $1 for update", &[&locked]).unwrap();
    let is_due = format!(
        "select scheduled_at + interval '300 ms' < clock_timestamp() from queues.task where task_id = {locked}"
    );
    wait_until_sql(&mut client, &is_due, "t");
    transaction.rollback().unwrap();
    wait_status(&mut client, locked, "succeeded");
}

#[test]
fn a_task_due_soon_after_a_long_one_is_run_by_another_idle_worker() {
    a_long_task_holds_up_none_due_soon_after_it(IDLE);
}

#[test]
fn a_task_due_soon_after_a_long_one_has_a_worker_started_for_it() {
    a_long_task_holds_up_none_due_soon_after_it(ASLEEP);
}

/// A task takes for ever, started while another one was known to fall due.
#[track_caller]
fn a_long_task_holds_up_none_that_falls_due_meanwhile(setting: (&str, &str)) {
    let cluster = Cluster::start(&[NO_POLL, setting, ("pg_errand.concurrency", "2")]);
    let mut client = install(&cluster, "postgres");
    for _ in 0..2 {
        settle(&cluster, &mut client, setting);
        wait_quiet(&mut client);
        let gate = Gate::close(&cluster, "postgres", 1);
        let enqueue = |client: &mut Client| task_after(client, "900 ms", "note", json!({"label": "due"}));
        let due = if setting == IDLE { and_rest(&mut client, 2, enqueue) } else { enqueue(&mut client) };
        // It takes a worker away, maybe the one that knew of the due time.
        let long = task(&mut client, "gate", json!({"gate": 1}));
        runner(&mut client, long);
        wait_status(&mut client, due, "succeeded");
        assert_eq!(queue::status(&mut client, long), "running");
        gate.open();
        wait_status(&mut client, long, "succeeded");
    }
}

#[test]
fn a_task_that_falls_due_during_a_long_one_is_run_by_another_idle_worker() {
    a_long_task_holds_up_none_that_falls_due_meanwhile(IDLE);
}

#[test]
fn a_task_that_falls_due_during_a_long_one_has_a_worker_started_for_it() {
    a_long_task_holds_up_none_that_falls_due_meanwhile(ASLEEP);
}

/// A task whose first run waits for the gate and then cannot be serialized.
const ONCE_MORE: &str = "
    create sequence public.runs;
    grant usage on sequence public.runs to public;
    create function public.once_more(payload jsonb) returns jsonb language plpgsql as $$
    begin
        if nextval('public.runs') = 1 then
            perform pg_advisory_xact_lock_shared((payload ->> 'gate')::bigint);
            raise exception 'try again' using errcode = 'serialization_failure';
        end if;
        return public.note(payload);
    end $$";

#[test]
fn a_task_to_be_repeated_is_run_by_whichever_worker_is_free() {
    let cluster = Cluster::start(&[NO_POLL, IDLE, ("pg_errand.concurrency", "2")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(ONCE_MORE).unwrap();
    two_idle_workers(&cluster, &mut client);
    let [first_run, other_run, long_run] = [1, 2, 3].map(|number| Gate::close(&cluster, "postgres", number));
    let repeated = task(&mut client, "once_more", json!({"gate": 1, "label": "repeated"}));
    let other = task(&mut client, "gate", json!({"gate": 2, "label": "other"}));
    let first = runner(&mut client, repeated);
    let second = runner(&mut client, other);
    // Both workers are busy; whichever is free first gets this one, and the other one the repetition.
    let long = task(&mut client, "gate", json!({"gate": 3, "label": "long"}));
    first_run.open();
    assert_eq!(runner(&mut client, long), first);
    other_run.open();
    wait_status(&mut client, repeated, "succeeded");
    assert_eq!(queue::status(&mut client, long), "running");
    assert!(
        queue::workers(&mut client).iter().any(|worker| worker.pid == second && worker.task_id.is_none())
    );
    long_run.open();
    wait_status(&mut client, long, "succeeded");
    assert_eq!(done(&mut client)[2..], ["other", "repeated", "long"]);
}

#[test]
fn a_task_brought_forward_runs_at_once() {
    for setting in [IDLE, ASLEEP] {
        let cluster = Cluster::start(&[NO_POLL, setting]);
        let mut client = install(&cluster, "postgres");
        for pause in ["0", "300 ms"] {
            settle(&cluster, &mut client, setting);
            let id = task_after(&mut client, "1 min", "note", json!({"label": "forward"}));
            let put_off = "update queues.task set scheduled_at = now() + '1 h' where task_id = $1";
            client.execute(put_off, &[&id]).unwrap();
            settle(&cluster, &mut client, setting);
            assert_eq!(queue::status(&mut client, id), "scheduled");
            let forward =
                "update queues.task set scheduled_at = now() + $2::text::interval where task_id = $1";
            client.execute(forward, &[&id, &pause]).unwrap();
            wait_status(&mut client, id, "succeeded");
            let early = format!("select dequeued_at < scheduled_at from queues.task where task_id = {id}");
            assert!(!one::<bool>(&mut client, &early));
        }
    }
}

#[test]
fn a_task_put_off_does_not_run_at_its_former_time() {
    let cluster = Cluster::start(&[NO_POLL, ASLEEP]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let id = task_after(&mut client, "300 ms", "note", json!({"label": "put off"}));
    let put_off = "update queues.task set scheduled_at = now() + '1 h' where task_id = $1";
    client.execute(put_off, &[&id]).unwrap();
    let after = task_after(&mut client, "600 ms", "note", json!({"label": "after"}));
    wait_status(&mut client, after, "succeeded");
    eventually("nobody runs it", || queue::status(&mut client, id) == "scheduled");
    assert_eq!(done(&mut client), ["first", "after"]);
}
