//! Tasks of a higher priority start first, in the database and outside.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{Gate, done, install, one, payload};
use crate::harness::wait::wait_until_sql;

const SETTINGS: [(&str, &str); 2] = [("pg_errand.poll_interval", "1h"), ("pg_errand.concurrency", "1")];
const NOTHING_RUNS_INSIDE: (&str, &str) = ("pg_errand.concurrency", "0");
/// More than are known ahead.
const MANY: i64 = 150;

/// The labels of tasks in the order in which they have to start.
const EXPECTED: &str = "
    select coalesce(array_agg(payload ->> 'label' order by coalesce(priority, 0) desc, scheduled_at, task_id), '{}')
    from queues.task";

/// Enqueues a `note` task of this priority in a transaction of its own.
#[track_caller]
fn note(client: &mut Client, label: &str, priority: i16, scheduled_at: &str) -> i64 {
    let sql = "insert into queues.task (task_type, payload, priority, scheduled_at)
               values ('db_function', $1, $2, $3::text::timestamptz) returning task_id";
    let payload = payload("note", json!({ "label": label }));
    client.query_one(sql, &[&payload, &priority, &scheduled_at]).unwrap().get(0)
}

/// Enqueues so many `note` tasks with one command. `priority` is an expression of their number `n`.
#[track_caller]
fn notes(client: &mut Client, label: &str, count: i64, priority: &str) {
    let sql = format!(
        "insert into queues.task (task_type, payload, priority)
         select 'db_function', jsonb_build_object('db_function', 'public.note', 'label', '{label} ' || n), {priority}
         from generate_series(1, {count}) n"
    );
    client.batch_execute(&sql).unwrap();
}

/// Has the only worker run a task of this priority until the gate is opened.
#[track_caller]
fn hold(cluster: &Cluster, client: &mut Client, label: &str, priority: i16) -> Gate {
    let gate = Gate::close(cluster, "postgres", 1);
    let payload = payload("gate", json!({ "gate": 1, "label": label }));
    let sql = "insert into queues.task (task_type, payload, priority) values ('db_function', $1, $2)";
    client.execute(sql, &[&payload, &priority]).unwrap();
    wait_until_sql(client, "select count(*) from queues.worker where handler = 'public.gate'", "1");
    gate
}

#[track_caller]
fn wait_all(client: &mut Client) {
    wait_until_sql(client, "select count(*) from queues.task where finished_at is null", "0");
}

#[track_caller]
fn assert_in_order(client: &mut Client) {
    wait_all(client);
    let expected: Vec<String> = one(client, EXPECTED);
    assert_eq!(done(client), expected);
}

#[test]
fn tasks_start_by_priority_however_they_are_enqueued() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let gate = hold(&cluster, &mut client, "gate", i16::MAX);
    note(&mut client, "plain", 0, "now");
    note(&mut client, "low", -1, "-infinity");
    notes(&mut client, "plain", MANY, "0");
    note(&mut client, "high", 9, "now");
    notes(&mut client, "mixed", MANY, "n % 7 - 3");
    note(&mut client, "higher", 10, "now");
    note(&mut client, "highest", i16::MAX - 1, "now");
    note(&mut client, "lowest", i16::MIN, "now");
    note(&mut client, "earlier", 9, "-infinity");
    notes(&mut client, "few", 5, "3 - n");
    gate.open();
    assert_in_order(&mut client);
}

#[test]
fn any_number_of_priorities_is_in_use() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let gate = hold(&cluster, &mut client, "gate", i16::MAX);
    notes(&mut client, "many", 100, "n * 37 % 100 - 50");
    for priority in -10..10 {
        note(&mut client, &format!("single {priority}"), priority, "now");
    }
    gate.open();
    assert_in_order(&mut client);
}

#[test]
fn a_task_of_a_higher_priority_starts_next_behind_a_backlog() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let gate = hold(&cluster, &mut client, "gate", i16::MAX);
    notes(&mut client, "plain", 200_000, "null");
    notes(&mut client, "low", 1_000, "1");
    note(&mut client, "urgent", 9, "now");
    gate.open();
    wait_until_sql(&mut client, "select count(*) from public.done where label = 'urgent'", "1");
    assert_eq!(done(&mut client)[..2], ["gate", "urgent"]);
    wait_until_sql(&mut client, "select count(*) from public.done where label like 'low%'", "1000");
    // While plain tasks run, too.
    for n in 1..=3 {
        let label = format!("next {n}");
        let gate = hold(&cluster, &mut client, "held", 8);
        note(&mut client, &label, 9, "now");
        gate.open();
        let count = format!("select count(*) from public.done where label = '{label}'");
        wait_until_sql(&mut client, &count, "1");
        let done = done(&mut client);
        let at = done.iter().position(|other| *other == label).unwrap();
        assert_eq!(done[at - 1], "held", "{label}");
    }
    assert!(one::<i64>(&mut client, "select count(*) from queues.task where finished_at is null") > 0);
}

#[test]
fn a_task_that_falls_due_at_a_higher_priority_starts_next() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    // The lines of both classes are read to their end before.
    note(&mut client, "before", 5, "now");
    wait_all(&mut client);
    let gate = hold(&cluster, &mut client, "gate", i16::MAX);
    notes(&mut client, "plain", MANY, "null");
    notes(&mut client, "low", MANY, "5");
    let due: String = one(&mut client, "select (clock_timestamp() + interval '300 ms')::text");
    note(&mut client, "due", 9, &due);
    wait_until_sql(&mut client, &format!("select clock_timestamp() > '{due}'"), "t");
    gate.open();
    wait_all(&mut client);
    assert_eq!(done(&mut client)[..4], ["before", "gate", "due", "low 1"]);
}

#[test]
fn a_prioritized_task_falls_due_without_a_poll() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    for (label, priority) in [("first", 3), ("second", -3), ("third", 0)] {
        let due: String = one(&mut client, "select (clock_timestamp() + interval '200 ms')::text");
        note(&mut client, label, priority, &due);
        wait_all(&mut client);
    }
    assert_eq!(done(&mut client), ["first", "second", "third"]);
}

#[test]
fn the_priority_of_a_waiting_task_can_be_changed() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let gate = hold(&cluster, &mut client, "gate", i16::MAX);
    notes(&mut client, "plain", MANY, "null");
    notes(&mut client, "high", 20, "7");
    // The first tasks of each class are known ahead.
    gate.open();
    wait_until_sql(&mut client, "select count(*) > 5 from public.done", "t");
    let gate = hold(&cluster, &mut client, "held", 32_000);
    notes(&mut client, "later", 20, "6");
    client
        .batch_execute(
            "update queues.task set priority = 9 where payload ->> 'label' = 'later 20';
             update queues.task set priority = 0 where payload ->> 'label' = 'later 1';
             update queues.task set priority = -1 where payload ->> 'label' in ('later 2', 'plain 149');
             update queues.task set priority = 8
             where finished_at is null and payload ->> 'label' in ('plain 150', 'plain 148')",
        )
        .unwrap();
    let waiting: Vec<String> = one(
        &mut client,
        "select array_agg(payload ->> 'label' order by coalesce(priority, 0) desc, scheduled_at, task_id)
         from queues.task where finished_at is null and payload ->> 'label' <> 'held'",
    );
    gate.open();
    wait_all(&mut client);
    let done = done(&mut client);
    let at = done.iter().position(|label| label == "held").unwrap();
    assert_eq!(done[at + 1..], waiting);
}

#[test]
fn priorities_survive_a_crash() {
    let cluster = Cluster::start(&[SETTINGS[0], NOTHING_RUNS_INSIDE]);
    let mut client = install(&cluster, "postgres");
    notes(&mut client, "mixed", MANY, "n % 5 - 2");
    note(&mut client, "urgent", 9, "now");
    cluster.restart(StopMode::Kill);
    let mut client = cluster.connect("postgres");
    client.batch_execute("alter system set pg_errand.concurrency = 1").unwrap();
    client.batch_execute("select pg_reload_conf()").unwrap();
    assert_in_order(&mut client);
}

#[test]
fn workers_outside_get_the_same_order() {
    let cluster = Cluster::start(&[SETTINGS[0], NOTHING_RUNS_INSIDE]);
    let mut client = install(&cluster, "postgres");
    notes(&mut client, "mixed", 40, "n % 9 - 4");
    note(&mut client, "early", -1, "-infinity");
    let expected: Vec<String> = one(&mut client, EXPECTED);
    note(&mut client, "future", 9, "infinity");
    note(&mut client, "future", 2, "infinity");
    let mut dequeued: Vec<String> = Vec::new();
    loop {
        let sql = "select payload ->> 'label' from queues.dequeue_next_available_task()";
        let Some(label) = client.query_one(sql, &[]).unwrap().get(0) else { break };
        dequeued.push(label);
    }
    assert_eq!(dequeued, expected);
    note(&mut client, "of another type", 9, "now");
    let sql = "select task_id from queues.dequeue_next_available_task(array['email'])";
    assert_eq!(client.query_one(sql, &[]).unwrap().get::<_, Option<i64>>(0), None);
}

#[test]
fn priorities_are_shown_and_plain_tasks_have_none() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let gate = hold(&cluster, &mut client, "gate", i16::MAX);
    let shown: i16 = one(&mut client, "select priority from queues.worker");
    assert_eq!(shown, 32767);
    for (priority, is_null) in [(0, true), (5, false), (-5, false)] {
        let task = note(&mut client, "shown", priority, "infinity");
        let sql = "select t.priority is null, s.priority
                   from queues.task t join queues.task_status s using (task_id) where task_id = $1";
        let row = client.query_one(sql, &[&task]).unwrap();
        assert_eq!((row.get::<_, bool>(0), row.get::<_, i16>(1)), (is_null, priority));
        client.execute("update queues.task set priority = 0 where task_id = $1", &[&task]).unwrap();
        assert!(client.query_one(sql, &[&task]).unwrap().get::<_, bool>(0));
    }
    gate.open();
}
