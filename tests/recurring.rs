//! The example `recurring`: work that enqueues itself again.

use postgres::Client;

use crate::harness::cluster::Cluster;
use crate::harness::queue;
use crate::harness::wait::wait_until_sql;

const INSTALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/recurring/install.sql");

/// The example as it is installed, and two functions to be run again and again: one of them always raises.
#[track_caller]
fn install() -> (Cluster, Client) {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    queue::install(&mut client);
    cluster.psql("postgres", &format!("\\i '{INSTALL}'"));
    client
        .batch_execute(
            "create schema app;
             grant usage on schema app to public;
             create table app.done (name text, at timestamptz default clock_timestamp());
             create function app.work(_payload jsonb) returns jsonb language sql security definer as $$
                 insert into app.done (name) values (_payload ->> 'name') returning '{}'::jsonb
             $$;
             create function app.raises(_payload jsonb) returns jsonb language plpgsql as $$
             begin
                 raise exception 'this work always fails';
             end
             $$;",
        )
        .unwrap();
    (cluster, client)
}

/// Runs `app.FUNCTION` as `name` every second from now on.
fn every_second(client: &mut Client, name: &str, function: &str) {
    let start = "select recurring.start($1, '1 second', 'db_function',
                        jsonb_build_object('db_function', 'app.' || $2::text, 'name', $1::text))";
    client.execute(start, &[&name, &function]).unwrap();
}

#[test]
fn recurring_work_goes_on_whatever_fails() {
    let (_cluster, mut client) = install();
    every_second(&mut client, "works", "work");
    every_second(&mut client, "fails", "raises");
    wait_until_sql(&mut client, "select count(*) >= 3 from app.done", "t");
    let failures =
        "select count(*) >= 3 from queues.error where error_message like '%this work always fails%'";
    wait_until_sql(&mut client, failures, "t");

    // A tick that fails itself is followed by the next one.
    client
        .batch_execute("update recurring.schedule set task_type = 'unknown' where schedule_name = 'works'")
        .unwrap();
    let ticks = "select count(*) >= 2 from queues.error where error_message like '%unknown task type%'";
    wait_until_sql(&mut client, ticks, "t");
    client
        .batch_execute(
            "truncate app.done;
             update recurring.schedule set task_type = 'db_function' where schedule_name = 'works'",
        )
        .unwrap();
    wait_until_sql(&mut client, "select count(*) >= 2 from app.done", "t");
}

#[test]
fn a_schedule_whose_tick_is_gone_is_resumed_by_another_one() {
    let (_cluster, mut client) = install();
    every_second(&mut client, "works", "work");
    wait_until_sql(&mut client, "select count(*) >= 1 from app.done", "t");
    let cancelled =
        "select queues.cancel(tick_task_id) from recurring.schedule where schedule_name = 'works'";
    wait_until_sql(&mut client, cancelled, "t");
    let ended =
        "select t.status from recurring.schedule s join queues.task_status t on t.task_id = s.tick_task_id
                 where s.schedule_name = 'works'";
    wait_until_sql(&mut client, ended, "cancelled");
    client.batch_execute("truncate app.done").unwrap();
    every_second(&mut client, "other", "raises");
    wait_until_sql(&mut client, "select count(*) >= 1 from app.done", "t");
}

#[test]
fn missed_ticks_are_left_out_and_one_that_is_not_due_does_nothing() {
    let (_cluster, mut client) = install();
    let start = "select recurring.start('late', '1 hour', 'db_function',
                        '{\"db_function\": \"app.work\", \"name\": \"late\"}', now() - interval '10 days 30 minutes')";
    client.execute(start, &[]).unwrap();
    wait_until_sql(&mut client, "select count(*) from app.done", "1");
    let next =
        "select tick_number = 241 and status = 'scheduled' and scheduled_at = first_at + interval '241 hours'
                from recurring.schedule join queues.task_status on task_id = tick_task_id";
    wait_until_sql(&mut client, next, "t");
    let early = "select recurring.tick(payload)::text from queues.task
                 where task_id = (select tick_task_id from recurring.schedule)";
    let told: String = client.query_one(early, &[]).unwrap().get(0);
    assert_eq!(told, "{}");
    assert!(client.query_one("select recurring.stop('late')", &[]).unwrap().get::<_, bool>(0));
    assert!(!client.query_one("select recurring.stop('late')", &[]).unwrap().get::<_, bool>(0));
}
