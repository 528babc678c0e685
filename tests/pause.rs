//! `queues.pause`, `queues.resume` and `queues.drain`: from the commit of a pause on nothing new starts, what runs goes on
//! to its end, and after it everything starts.

mod drain;
mod input;
mod outlast;
mod providers;
mod types;

use postgres::Client;
use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one};

/// A task that is not announced would be found after the end of the test.
const FOUR_WORKERS: [(&str, &str); 3] =
    [("pg_errand.concurrency", "4"), ("pg_errand.max_workers", "4"), ("pg_errand.poll_interval", "1h")];

/// Task types besides `db_function`.
const TYPES: &str = "
    insert into queues.task_definition (task_type, processor) values ('one', 'db_function'), ('two', 'db_function');
";

fn start() -> (Cluster, Client) {
    let cluster = Cluster::start(&FOUR_WORKERS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(TYPES).unwrap();
    (cluster, client)
}

/// The payload of a task that notes its label.
fn note(label: &str) -> Value {
    json!({"db_function": "public.note", "label": label})
}

/// Enqueues a task that notes its label.
#[track_caller]
fn enqueue(client: &mut Client, task_type: &str, label: &str) -> i64 {
    client.query_one("select queues.enqueue($1, $2)", &[&task_type, &note(label)]).unwrap().get(0)
}

/// Enqueues this many tasks in one transaction.
#[track_caller]
fn enqueue_many(client: &mut Client, task_type: &str, count: i64) {
    let sql = "select count(queues.enqueue($1, $2)) from generate_series(1, $3::bigint)";
    client.query_one(sql, &[&task_type, &note(task_type), &count]).unwrap();
}

/// The number of tasks of a type that have ended.
fn ended(client: &mut Client, task_type: &str) -> i64 {
    let sql = "select count(*) from queues.task where finished_at is not null and task_type = ";
    one(client, &format!("{sql} '{task_type}'"))
}

fn reason(client: &mut Client, task_id: i64) -> String {
    one(client, &format!("select reason from queues.explain({task_id})"))
}
