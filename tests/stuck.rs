//! A row that cannot be processed stops no other task.

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{create_database, task};
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::wait_until_sql;
use serde_json::json;

/// A trigger of the user's own that refuses what the worker writes of a certain task.
const REFUSAL: &str = "
    create function public.refuse_poison() returns trigger language plpgsql as $$
    begin
        if new.payload ? 'poison' then
            raise exception 'poison';
        end if;
        return new;
    end $$;
    create trigger refuse_poison before update on queues.task for each row
        execute function public.refuse_poison()";

#[test]
fn a_task_whose_end_cannot_be_written_holds_up_no_other() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = create_database(&cluster, "app");
    client.batch_execute(REFUSAL).unwrap();
    let poisoned = task(&mut client, "note", json!({"poison": true, "label": "poison"}));
    for n in 0..5 {
        let id = task(&mut client, "note", json!({"label": n.to_string()}));
        wait_status(&mut client, id, "succeeded");
    }
    client.batch_execute("drop trigger refuse_poison on queues.task").unwrap();
    wait_status(&mut client, poisoned, "succeeded");
    let effects: i64 =
        client.query_one("select count(*) from public.done where label = 'poison'", &[]).unwrap().get(0);
    assert_eq!(effects, 1);
}

/// What the worker writes about calls finds no room on the disk.
const FULL_DISK: &str = "
    create function public.no_room() returns trigger language plpgsql as $$
    begin
        raise exception using errcode = 'disk_full', message = 'no room';
    end $$;
    create trigger no_room before insert on queues.call for each row execute function public.no_room();
    create function public.build(payload jsonb) returns jsonb language sql as $$
        select jsonb_build_object('status', 'succeeded', 'payload', payload -> 'sms') $$";

#[test]
fn a_disk_that_is_full_for_a_while_fails_no_task() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = create_database(&cluster, "app");
    client.batch_execute(FULL_DISK).unwrap();
    let mark = cluster.log_mark();
    let sms = json!({
        "task_type": "sms", "before_handler": "public.build",
        "sms": {"message_id": 1, "to_number": "+4915112345678", "body": "Hi"},
    });
    let message = enqueue(&mut client, "sms", sms);
    let line = cluster.wait_log(mark, "no room");
    assert!(line.contains(&format!("task {message}")), "{line}");
    let other = task(&mut client, "note", json!({"label": "other"}));
    wait_status(&mut client, other, "succeeded");
    client.batch_execute("drop trigger no_room on queues.call").unwrap();
    wait_status(&mut client, message, "succeeded");
    wait_until_sql(&mut client, "select count(*) from queues.error", "0");
}

#[test]
fn reindexing_a_busy_queue_deadlocks_with_nobody() {
    let cluster = Cluster::start(&[]);
    let mut client = create_database(&cluster, "app");
    client
        .batch_execute(
            "insert into queues.task (task_type, payload)
             select 'db_function', '{\"db_function\": \"public.nap\", \"seconds\": 0.01}'
             from generate_series(1, 300)",
        )
        .unwrap();
    for _ in 0..4 {
        client.batch_execute("reindex table queues.task").unwrap();
    }
    wait_until_sql(&mut client, "select count(*) from queues.task_status where status = 'succeeded'", "300");
    wait_until_sql(&mut client, "select count(*) from queues.error", "0");
}

#[test]
fn an_empty_handler_name_is_none() {
    let cluster = Cluster::start(&[]);
    let mut client = create_database(&cluster, "app");
    let names = json!({"label": "a", "success_handler": "", "error_handler": ""});
    let id = task(&mut client, "note", names);
    wait_status(&mut client, id, "succeeded");
    let refused = task(&mut client, "refuse", json!({"error_handler": ""}));
    wait_status(&mut client, refused, "failed");
    wait_until_sql(&mut client, "select count(*) from queues.error", "1");
}

#[test]
fn a_list_that_names_no_database_is_told() {
    let cluster = Cluster::start(&[]);
    let mark = cluster.log_mark();
    cluster.set(&[("pg_errand.databases", "App, postgres")]);
    let line = cluster.wait_log(mark, "do not exist");
    assert!(line.contains("app") && !line.contains("postgres,"), "{line}");
}
