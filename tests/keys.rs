//! Tasks with a queue key: those of the same type and key run in order, at most so many at a time.

mod changes;
mod input;
mod kills;
mod order;
mod outside;
mod pauses;

use postgres::{Client, GenericClient};
use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one};
use crate::harness::wait::eventually;

/// Nothing runs: tasks wait.
const PAUSED: [(&str, &str); 2] = [("pg_errand.concurrency", "0"), ("pg_errand.poll_interval", "1h")];
/// A task that is not announced would be found after the end of the test.
const FOUR_WORKERS: [(&str, &str); 3] =
    [("pg_errand.concurrency", "4"), ("pg_errand.max_workers", "4"), ("pg_errand.poll_interval", "1h")];

/// `keyed` notes that it runs, in a transaction that holds one of as many locks of its key as `places` says, and then
/// waits for `gate` and sleeps. `flaky` does the same, and every other time then fails with a serialization failure.
const HANDLERS: &str = "
    create table public.run (n bigint generated always as identity, label text, key text, pid int default pg_backend_pid());
    grant all on public.run to public;
    create sequence public.attempt;
    grant all on public.attempt to public;

    create function public.keyed(payload jsonb) returns jsonb language plpgsql as $$
    declare
        place int := 1;
    begin
        while not pg_try_advisory_xact_lock(hashtext(payload ->> 'key'), place) loop
            place := place + 1;
            if place > coalesce((payload ->> 'places')::int, 1) then
                raise exception 'more tasks of key % run than may', payload ->> 'key';
            end if;
        end loop;
        insert into public.run (label, key) values (payload ->> 'label', payload ->> 'key');
        perform pg_advisory_xact_lock_shared((payload ->> 'gate')::bigint);
        perform pg_sleep((payload ->> 'seconds')::float8);
        return '{}';
    end $$;

    create function public.flaky(payload jsonb) returns jsonb language plpgsql as $$
    begin
        perform public.keyed(payload);
        if nextval('public.attempt') % 2 = 0 then
            raise exception 'not this time' using errcode = 'serialization_failure';
        end if;
        return '{}';
    end $$;
";

fn start(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(settings);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(HANDLERS).unwrap();
    (cluster, client)
}

fn payload(handler: &str, key: &str, label: &str, fields: &Value) -> Value {
    let mut payload = fields.clone();
    payload["db_function"] = json!(format!("public.{handler}"));
    payload["key"] = json!(key);
    payload["label"] = json!(label);
    payload
}

/// Enqueues a task; `arguments` are further arguments of `queues.enqueue`.
#[track_caller]
fn enqueue_with(client: &mut impl GenericClient, payload: &Value, key: &str, arguments: &str) -> i64 {
    let sql = format!("select queues.enqueue('db_function', $1, _queue_key => $2 {arguments})");
    client.query_one(&sql, &[payload, &key]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

#[track_caller]
fn enqueue(client: &mut impl GenericClient, key: &str, label: &str) -> i64 {
    enqueue_with(client, &payload("keyed", key, label, &json!({})), key, "")
}

/// Enqueues a task that holds its key until a gate is open.
#[track_caller]
fn gated(client: &mut impl GenericClient, key: &str, label: &str, gate: i64) -> i64 {
    enqueue_with(client, &payload("keyed", key, label, &json!({"gate": gate})), key, "")
}

/// Enqueues this many tasks for each of so many keys, in turns, in one transaction.
#[track_caller]
fn enqueue_many(client: &mut Client, handler: &str, keys: i32, each: i32, fields: &Value) {
    let sql = "select count(*) from queues.enqueue_many((
            select jsonb_agg(jsonb_build_object(
                'task_type', 'db_function',
                'queue_key', 'key ' || k,
                'payload', $3::jsonb || jsonb_build_object('key', 'key ' || k, 'label', k || '/' || n)) order by n, k)
            from generate_series(1, $1) k, generate_series(1, $2) n))";
    client.query_one(sql, &[&keys, &each, &payload(handler, "", "", fields)]).unwrap();
}

/// Waits until every task has ended.
#[track_caller]
fn wait_ended(client: &mut Client) {
    eventually("all tasks have ended", || {
        let left: i64 = one(client, "select count(*) from queues.task where finished_at is null");
        if left == 0 { Ok(()) } else { Err(left) }
    });
}

/// Checks that every task with a key has succeeded and has run once, and none has failed.
#[track_caller]
fn assert_all_ran(client: &mut Client) {
    let error: Option<String> = one(client, "select max(error_message) from queues.error");
    assert_eq!(error, None);
    let wrong = "select count(*) from queues.task t
        where t.queue_key is not null
            and (t.final_status is distinct from 'succeeded'
                or (select count(*) from public.run r where r.label = t.payload ->> 'label') <> 1)";
    assert_eq!(one::<i64>(client, wrong), 0);
    let more = "select (select count(*) from public.run) - (select count(*) from queues.task where queue_key is not null)";
    assert_eq!(one::<i64>(client, more), 0);
}

/// Checks that the tasks of each key have run in order.
#[track_caller]
fn assert_in_order(client: &mut Client) {
    let misplaced = "
        select coalesce(string_agg(format('%s at %s instead of %s', r.label, r.place, t.place), ', '), '')
        from (
            select label, row_number() over (partition by key order by n) as place from public.run
        ) r
        full join (
            select payload ->> 'label' as label,
                row_number() over (partition by queue_key order by scheduled_at, task_id) as place
            from queues.task
            where queue_key is not null and final_status = 'succeeded'
        ) t using (label)
        where r.place is distinct from t.place";
    assert_eq!(one::<String>(client, misplaced), "");
}

/// The labels of the tasks that have run, in order.
#[track_caller]
fn ran(client: &mut Client) -> Vec<String> {
    one(client, "select coalesce(array_agg(label order by n), '{}') from public.run")
}
