//! Pauses of task types and of the database.

use postgres::Client;

use super::{FOUR_WORKERS, ended, enqueue, enqueue_many, note, reason, start};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, task, worker_pids};
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};
use serde_json::json;

/// The tasks that began after a time.
fn begun_since(client: &mut Client, task_type: &str, since: &str) -> i64 {
    let sql = "select count(*) from queues.task where dequeued_at >";
    one(client, &format!("{sql} '{since}' and task_type = '{task_type}'"))
}

#[test]
fn a_pause_in_the_middle_of_ten_thousand_tasks_stops_its_type_only() {
    let (cluster, mut client) = start();
    let mut other = cluster.connect("postgres");
    enqueue_many(&mut client, "one", 10_000);
    eventually("some have ended", || ended(&mut client, "one") > 500);
    assert!(one::<bool>(&mut client, "select queues.pause('one', _why => 'the handler is broken')"));
    // A worker may have taken a task before. Once each of them runs a task of the other type, what it had taken has ended.
    let gate = Gate::close(&cluster, "postgres", 1);
    let held = json!({"db_function": "public.gate", "gate": 1, "label": "two"});
    let at_gate = "select count(queues.enqueue('two', $1)) from generate_series(1, 4)";
    client.execute(at_gate, &[&held]).unwrap();
    wait_until_sql(&mut client, "select count(*) from queues.worker where task_type = 'two'", "4");
    let paused_at: String = one(&mut client, "select clock_timestamp()::text");
    let ended_by_then = ended(&mut client, "one");
    assert!(ended_by_then < 10_000, "the pause came too late");
    gate.open();
    // Other types pass, and whatever is enqueued of this one waits.
    enqueue_many(&mut client, "two", 500);
    let late = enqueue(&mut other, "one", "late");
    wait_until_sql(
        &mut client,
        "select count(*) from queues.task where task_type = 'two' and finished_at is null",
        "0",
    );
    assert_eq!((ended(&mut client, "one"), begun_since(&mut client, "one", &paused_at)), (ended_by_then, 0));
    assert_eq!(reason(&mut client, late), "type_paused");
    assert!(one::<bool>(&mut client, "select queues.resume('one')"));
    wait_status(&mut client, late, "succeeded");
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    // Exactly the ledger: each task once.
    let ledger = "select string_agg(label || ' ' || n, ', ' order by label) from
        (select label, count(*) as n from public.done group by label) d";
    assert_eq!(one::<String>(&mut client, ledger), "late 1, one 10000, two 504");
    assert!(!one::<bool>(&mut client, "select queues.resume('one')"));
}

#[test]
fn keyed_prioritized_ageing_and_unique_tasks_of_a_paused_type_wait() {
    let (_cluster, mut client) = start();
    client
        .batch_execute(
            "update queues.task_definition set priority_ages_every = '1 s', max_running = 2 where task_type = 'two';
             select queues.pause('one');
             select queues.pause('two');",
        )
        .unwrap();
    let options =
        ["_queue_key => 'a'", "_queue_key => 'a', _priority => 3", "_priority => 5", "_unique_key => 'u'"];
    for (number, options) in options.iter().cycle().take(8).enumerate() {
        let task_type = if number < 4 { "one" } else { "two" };
        let sql = format!("select queues.enqueue('{task_type}', $1, {options})");
        client.execute(&sql, &[&note(task_type)]).unwrap();
    }
    let passing = enqueue(&mut client, "db_function", "passing");
    wait_status(&mut client, passing, "succeeded");
    client.execute("select queues.resume('one')", &[]).unwrap();
    wait_until_sql(&mut client, "select count(*) from public.done where label = 'one'", "4");
    assert_eq!(ended(&mut client, "two"), 0);
    client.execute("select queues.resume('two')", &[]).unwrap();
    wait_until_sql(&mut client, "select count(*) from public.done where label = 'two'", "4");
}

#[test]
fn a_paused_database_starts_nothing_and_no_process() {
    let cluster = Cluster::start(&[
        ("pg_errand.concurrency", "2"),
        ("pg_errand.max_idle_time", "200ms"),
        ("pg_errand.poll_interval", "1h"),
        ("pg_errand.log_level", "debug"),
    ]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"gate": 1}));
    wait_status(&mut client, running, "running");
    client.batch_execute("select queues.pause()").unwrap();
    let waiting = enqueue(&mut client, "db_function", "waiting");
    gate.open();
    wait_status(&mut client, running, "succeeded");
    eventually("the workers have left", || worker_pids(&mut client).is_empty());
    let mark = cluster.log_mark();
    for _ in 0..50 {
        enqueue(&mut client, "db_function", "more");
    }
    // Also a task that falls due starts no process.
    let sql = "select queues.enqueue('db_function', $1, now() + interval '100 ms')";
    let due: i64 = client.query_one(sql, &[&note("due")]).unwrap().get(0);
    eventually("it is due", || queue::status(&mut client, due) == "ready");
    assert_eq!(reason(&mut client, waiting), "database_paused");
    let said = cluster.log_since(mark);
    assert!(!said.contains("started"), "{said}");
    assert!(worker_pids(&mut client).is_empty());
    assert!(one::<bool>(&mut client, "select queues.resume()"));
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
}

#[test]
fn pauses_end_at_their_time() {
    let (_cluster, mut client) = start();
    client
        .batch_execute(
            "select queues.pause('one', clock_timestamp() + interval '300 ms');
             select queues.pause(_until => clock_timestamp() + interval '600 ms');",
        )
        .unwrap();
    let until: String = one(&mut client, "select max(paused_until)::text from queues.paused");
    let tasks = [enqueue(&mut client, "one", "one"), enqueue(&mut client, "db_function", "other")];
    for task in tasks {
        wait_status(&mut client, task, "succeeded");
    }
    let early = format!("select count(*) from queues.task where dequeued_at < '{until}'");
    assert_eq!(one::<i64>(&mut client, &early), 0);
    wait_until_sql(&mut client, "select count(*) from queues.paused", "0");
}

#[test]
fn without_workers_the_end_of_a_pause_starts_one() {
    let cluster = Cluster::start(&[("pg_errand.max_idle_time", "50ms"), ("pg_errand.poll_interval", "1h")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("select queues.pause(_until => clock_timestamp() + interval '1500 ms')").unwrap();
    let waiting = enqueue(&mut client, "db_function", "waiting");
    eventually("there is no worker", || worker_pids(&mut client).is_empty());
    wait_status(&mut client, waiting, "succeeded");
}

#[test]
fn what_is_rolled_back_changes_nothing_and_rows_changed_by_hand_count() {
    let (_cluster, mut client) = start();
    client.batch_execute("begin; select queues.pause(); select queues.pause('one'); rollback").unwrap();
    let first = enqueue(&mut client, "one", "first");
    wait_status(&mut client, first, "succeeded");
    client.batch_execute("insert into queues.paused (task_type) values ('one')").unwrap();
    let second = enqueue(&mut client, "one", "second");
    let other = enqueue(&mut client, "two", "other");
    wait_status(&mut client, other, "succeeded");
    assert_eq!(queue::status(&mut client, second), "ready");
    client.batch_execute("begin; select queues.resume('one'); rollback").unwrap();
    assert_eq!(reason(&mut client, second), "type_paused");
    client.batch_execute("truncate queues.paused").unwrap();
    wait_status(&mut client, second, "succeeded");
}

#[test]
fn a_session_that_enqueues_with_old_pauses_after_a_resume_does_not_wait_for_the_poll() {
    let (cluster, mut client) = start();
    client.batch_execute("select queues.pause('one')").unwrap();
    let mut other = cluster.connect("postgres");
    let mut transaction = other.transaction().unwrap();
    let sql = "select queues.enqueue('one', $1), queues.enqueue('one', $1, _queue_key => 'a')";
    let row = transaction.query_one(sql, &[&note("old")]).unwrap();
    client.batch_execute("select queues.resume('one')").unwrap();
    transaction.commit().unwrap();
    wait_status(&mut client, row.get(0), "succeeded");
    wait_status(&mut client, row.get(1), "succeeded");
}

#[test]
fn workers_outside_get_nothing_that_is_paused() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    let dequeue = "select task_type from queues.dequeue_next_available_task()";
    client.batch_execute("select queues.enqueue('sms', '{}'); select queues.enqueue('email', '{}')").unwrap();
    client.batch_execute("select queues.enqueue('email', '{}', _queue_key => 'a')").unwrap();
    client.batch_execute("select queues.pause('email')").unwrap();
    assert_eq!(one::<Option<String>>(&mut client, dequeue).as_deref(), Some("sms"));
    assert_eq!(one::<Option<String>>(&mut client, dequeue), None);
    client.batch_execute("select queues.pause(); select queues.resume('email')").unwrap();
    assert_eq!(one::<Option<String>>(&mut client, dequeue), None);
    client.batch_execute("select queues.resume()").unwrap();
    assert_eq!(one::<Option<String>>(&mut client, dequeue).as_deref(), Some("email"));
    // A pause that is over needs no worker to end.
    client.batch_execute("select queues.pause(_until => clock_timestamp() + interval '100 ms')").unwrap();
    eventually("it is over", || one::<Option<String>>(&mut client, dequeue).is_some());
}

#[test]
fn explanations_tell_until_when_who_and_why() {
    let cluster = Cluster::start(&FOUR_WORKERS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("select queues.pause('sms', '2099-01-01 00:00+00', 'the contract ends')").unwrap();
    let task_id: i64 = one(&mut client, "select queues.enqueue('sms', '{}')");
    let row = client
        .query_one(
            "select reason, explanation, until = '2099-01-01 00:00+00', hint from queues.explain($1)",
            &[&task_id],
        )
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "type_paused");
    let said: String = row.get(1);
    assert!(said.contains("by role \"postgres\": the contract ends"), "{said}");
    assert!(row.get::<_, bool>(2));
    assert_eq!(row.get::<_, String>(3), "Run: SELECT queues.resume('sms');");
}
