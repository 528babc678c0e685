//! `queues.end_lease` gives back a task whose worker outside is gone.

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, payload, runner, task};
use crate::harness::queue::wait_status;

const SETTINGS: [(&str, &str); 3] =
    [("pg_errand.concurrency", "0"), ("pg_errand.poll_interval", "1h"), ("pg_errand.lease_duration", "24h")];

fn dequeue(client: &mut Client) -> Option<i64> {
    one(client, "select task_id from queues.dequeue_next_available_task()")
}

fn end_lease(client: &mut Client, task_id: i64) -> bool {
    client.query_one("select queues.end_lease($1)", &[&task_id]).unwrap().get(0)
}

fn hint(client: &mut Client, task_id: i64) -> String {
    one(client, &format!("select hint from queues.explain({task_id})"))
}

/// The hint with which `queues.run_next` refuses a task.
fn hint_of_run_next(client: &mut Client, task_id: i64) -> String {
    let refused = client.execute("select queues.run_next($1)", &[&task_id]).unwrap_err();
    refused.as_db_error().unwrap().hint().unwrap_or_default().to_owned()
}

#[test]
fn the_hints_lead_from_a_waiting_task_to_the_end_of_the_lease() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let enqueue = "select queues.enqueue('db_function', $1, _queue_key => 'k')";
    let enqueue = |client: &mut Client| -> i64 {
        client.query_one(enqueue, &[&payload("note", json!({"label": "x"}))]).unwrap().get(0)
    };
    let (first, second) = (enqueue(&mut client), enqueue(&mut client));
    assert_eq!(dequeue(&mut client), Some(first));
    let statement = format!("SELECT queues.end_lease({first});");
    for task in [first, second] {
        assert!(hint(&mut client, task).contains(&statement), "{}", hint(&mut client, task));
    }
    for task in [first, second] {
        assert!(hint_of_run_next(&mut client, task).contains(&statement));
    }
    cluster.set(&[("pg_errand.concurrency", "1")]);
    client.batch_execute(&statement).unwrap();
    wait_status(&mut client, second, "succeeded");
    assert_eq!(
        one::<String>(
            &mut client,
            "select string_agg(attempts::text, ' ' order by task_id) from queues.task"
        ),
        "2 1"
    );
}

#[test]
fn a_task_that_is_given_back_has_its_place_and_its_worker_may_still_end_it() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role \"the operator\" login; select queues.grant_role('\"the operator\"', 'operator')",
        )
        .unwrap();
    let [first, second] =
        ["first", "second"].map(|label| task(&mut client, "note", json!({ "label": label })));
    assert_eq!(dequeue(&mut client), Some(first));
    let mut operator = cluster.connect_as("the operator", "postgres");
    assert!(end_lease(&mut operator, first));
    assert!(!end_lease(&mut operator, first) && !end_lease(&mut operator, second));
    let logged = format!("queues.end_lease({first}) by role \"the operator\": 1 tasks");
    assert!(cluster.log().contains(&logged), "{}", cluster.log());
    assert_eq!(
        (dequeue(&mut client), dequeue(&mut client), dequeue(&mut client)),
        (Some(first), Some(second), None)
    );
    // As after the end of a lease: who ends the task first has ended it.
    assert!(end_lease(&mut client, first));
    client.execute("select queues.complete_task($1)", &[&first]).unwrap();
    assert_eq!(dequeue(&mut client), None);
    assert!(!end_lease(&mut client, first));
    let missing = client.execute("select queues.end_lease(-1)", &[]).unwrap_err();
    assert_eq!(missing.code(), Some(&SqlState::NO_DATA_FOUND));
    // A lease that an operator has ended is not one that a worker has let end.
    assert!(!cluster.log().contains("the lease of task"));
}

#[test]
fn a_task_that_runs_is_not_offered_as_the_next_one() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let enqueue = "select queues.enqueue('db_function', $1, _queue_key => 'k')";
    let [first, second] = [(); 2].map(|()| -> i64 {
        client.query_one(enqueue, &[&payload("gate", json!({"gate": 1}))]).unwrap().get(0)
    });
    runner(&mut client, first);
    let hint = hint_of_run_next(&mut client, second);
    assert!(hint.contains(&format!("queues.explain({first})")) && !hint.contains("run_next"), "{hint}");
    gate.open();
    wait_status(&mut client, second, "succeeded");
}
