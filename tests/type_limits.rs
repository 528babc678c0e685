//! Limits of task types: never more tasks of a type run than `max_running` allows, they start no faster than
//! `starts_per_second`, and what waits for that holds up no other type.

use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;
use standin::{Behaviour, RawServer};

use crate::harness::calling::{ok, register};
use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{Gate, install, one, run_one};
use crate::harness::wait::{eventually, wait_until_sql};

const FOUR_WORKERS: [(&str, &str); 3] =
    [("pg_errand.concurrency", "4"), ("pg_errand.max_workers", "4"), ("pg_errand.max_idle_time", "0")];

/// `capped` takes one of the `places` of its type, each of which is an advisory lock until the end of the transaction,
/// and raises if none is free.
const HANDLERS: &str = "
    create table public.run (
        task_type text,
        label text,
        place int,
        at timestamptz default clock_timestamp()
    );
    grant all on public.run to public;

    create function public.capped(payload jsonb) returns jsonb language plpgsql as $$
    declare
        _class int := hashtext(payload ->> 'task_type');
    begin
        for _place in 1..(payload ->> 'places')::int loop
            if pg_try_advisory_xact_lock(_class, _place) then
                perform pg_sleep((payload ->> 'seconds')::float8);
                perform pg_advisory_xact_lock_shared((payload ->> 'gate')::bigint);
                insert into public.run (task_type, label, place)
                values (payload ->> 'task_type', payload ->> 'label', _place);
                return '{}';
            end if;
        end loop;
        raise exception 'more tasks run than the limit allows';
    end $$;
";

/// Defines a type whose tasks run functions.
#[track_caller]
fn define(client: &mut Client, task_type: &str, max_running: Option<i32>) {
    let sql = "insert into queues.task_definition (task_type, processor, max_running, granted_to)
        values ($1, 'db_function', $2, '{public}')";
    client.execute(sql, &[&task_type, &max_running]).unwrap();
}

/// Enqueues tasks that take one of `places`, in one transaction.
#[track_caller]
fn enqueue(client: &mut Client, task_type: &str, count: i32, places: i32, seconds: f64) {
    let sql = "select count(queues.enqueue($1, jsonb_build_object(
            'task_type', $1::text, 'db_function', 'public.capped',
            'places', $3::int, 'seconds', $4::float8, 'gate', 1, 'label', n)))
        from generate_series(1, $2) n";
    client.execute(sql, &[&task_type, &count, &places, &seconds]).unwrap();
}

#[track_caller]
fn wait_ended(client: &mut Client, task_type: &str, count: i64) {
    let unfinished = format!(
        "select '{task_type}', count(*) - {count} from queues.task where task_type = '{task_type}' and final_status = 'succeeded'"
    );
    eventually(&format!("{count} tasks of type {task_type} have succeeded"), || {
        let error: Option<String> = one(
            client,
            "select max(error_message) from queues.error where error_message like '%limit allows%'",
        );
        assert_eq!(error, None);
        let missing: i64 = client.query_one(&unfinished, &[]).unwrap().get(1);
        if missing == 0 { Ok(()) } else { Err(missing) }
    });
}

fn start(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(settings);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(HANDLERS).unwrap();
    (cluster, client)
}

/// The number of tasks of a type that run or have a call.
fn running(client: &mut Client, task_type: &str) -> i64 {
    let sql = "select count(*) from queues.task_status where status = 'running' and task_type = ";
    one(client, &format!("{sql} '{task_type}'"))
}

#[test]
fn no_more_tasks_of_a_type_run_than_its_limit_allows() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    define(&mut client, "single", Some(1));
    define(&mut client, "triple", Some(3));
    enqueue(&mut client, "single", 100, 1, 0.002);
    enqueue(&mut client, "triple", 100, 3, 0.02);
    wait_ended(&mut client, "single", 100);
    wait_ended(&mut client, "triple", 100);
    // The limit is used, and tasks of one worker at a time keep their order.
    assert_eq!(one::<i32>(&mut client, "select max(place) from public.run where task_type = 'triple'"), 3);
    let misplaced = "select count(*) from (
            select label::int, row_number() over (order by at) from public.run where task_type = 'single'
        ) r (label, place) where label <> place";
    assert_eq!(one::<i64>(&mut client, misplaced), 0);
}

/// Tasks of a type in the order in which they have to start, by label.
const BY_PRIORITY: &str = "
    select array_agg(payload ->> 'label' order by coalesce(priority, 0) desc, scheduled_at, task_id)
    from queues.task where task_type = 'single'";

#[test]
fn tasks_of_a_limited_type_start_by_priority() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    define(&mut client, "single", Some(1));
    let gate = Gate::close(&cluster, "postgres", 1);
    enqueue(&mut client, "single", 1, 1, 0.0);
    eventually("the first one runs", || running(&mut client, "single") == 1);
    let sql = "insert into queues.task (task_type, payload, priority)
        select 'single', jsonb_build_object('task_type', 'single', 'db_function', 'public.capped',
            'places', 1, 'seconds', 0, 'gate', 1, 'label', 'n' || n), n * 7 % 5 - 2
        from generate_series(1, 100) n";
    client.batch_execute(sql).unwrap();
    // Workers that look for other tasks find that none of these may start.
    for _ in 0..5 {
        run_one(&mut client, "other");
    }
    // The first task is running.
    let sql = BY_PRIORITY.replace("from", "filter (where payload ->> 'label' <> '1') from");
    let expected: Vec<String> = one(&mut client, &sql);
    gate.open();
    wait_ended(&mut client, "single", 101);
    let runs = "select array_agg(label order by at) filter (where label <> '1') from public.run";
    assert_eq!(one::<Vec<String>>(&mut client, runs), expected);
}

#[test]
fn workers_outside_get_tasks_of_other_types_by_priority_while_a_type_is_full() {
    let (_cluster, mut client) = start(&[("pg_errand.concurrency", "0")]);
    define(&mut client, "single", Some(1));
    define(&mut client, "free", None);
    let sql = "insert into queues.task (task_type, payload, priority)
        select unnest(array['single', 'free']), jsonb_build_object('label', n), n
        from generate_series(-1, 1) n";
    client.batch_execute(sql).unwrap();
    let mut dequeue = || -> Option<(String, i16)> {
        let sql = "select d.task_type, coalesce(t.priority, 0::smallint)
            from queues.dequeue_next_available_task('{single,free}') d join queues.task t using (task_id)";
        client.query(sql, &[]).unwrap().pop().map(|row| (row.get(0), row.get(1)))
    };
    let dequeued: Vec<_> = std::iter::from_fn(&mut dequeue).collect();
    let of = |task_type: &str, priority| (task_type.to_owned(), priority);
    let expected = [of("single", 1), of("free", 1), of("free", 0), of("free", -1)];
    assert_eq!(dequeued, expected);
    let sql = "select queues.complete_task(task_id) from queues.task where task_type = 'single' and leased";
    client.execute(sql, &[]).unwrap();
    let sql = "select priority is null from queues.dequeue_next_available_task('{single,free}') d
        join queues.task t using (task_id)";
    assert!(one::<bool>(&mut client, sql), "its plain task comes before the one of priority -1");
}

#[test]
fn a_worker_outside_that_gets_no_task_of_a_full_type_locks_none() {
    let (cluster, mut client) =
        start(&[FOUR_WORKERS[0], FOUR_WORKERS[1], FOUR_WORKERS[2], ("pg_errand.poll_interval", "1h")]);
    define(&mut client, "single", Some(1));
    let gate = Gate::close(&cluster, "postgres", 1);
    enqueue(&mut client, "single", 3, 1, 0.0);
    eventually("the first one runs", || running(&mut client, "single") == 1);
    let mut other = cluster.connect("postgres");
    let mut open = other.transaction().unwrap();
    let sql = "select task_id from queues.dequeue_next_available_task('{single}')";
    assert_eq!(open.query_one(sql, &[]).unwrap().get::<_, Option<i64>>(0), None);
    gate.open();
    wait_ended(&mut client, "single", 3);
    open.rollback().unwrap();
    let runs = "select array_agg(label order by at) from public.run";
    assert_eq!(one::<Vec<String>>(&mut client, runs), ["1", "2", "3"]);
}

#[test]
fn more_limited_types_than_lanes_keep_their_limits() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    let names: Vec<String> = (0..24).map(|n| format!("type{n}")).collect();
    names.iter().for_each(|name| define(&mut client, name, Some(1)));
    for _ in 0..5 {
        names.iter().for_each(|name| enqueue(&mut client, name, 2, 1, 0.001));
    }
    names.iter().for_each(|name| wait_ended(&mut client, name, 10));
}

#[test]
fn waiting_tasks_of_a_limited_type_hold_up_no_other_and_cost_no_statement() {
    let (cluster, mut client) = start(&[
        ("shared_preload_libraries", "pg_stat_statements, pg_errand"),
        ("pg_stat_statements.track", "all"),
        ("pg_errand.concurrency", "2"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.poll_interval", "1h"),
    ]);
    client.batch_execute("create extension pg_stat_statements").unwrap();
    let gate = Gate::close(&cluster, "postgres", 1);
    define(&mut client, "single", Some(1));
    enqueue(&mut client, "single", 100_000, 1, 0.0);
    eventually("one of them runs", || running(&mut client, "single") == 1);
    // A worker that has just started sweeps the table and looks for orphaned calls, and writes its first task by statements.
    wait_until_sql(&mut client, "select count(*) from queues.worker", "2");
    for _ in 0..20 {
        run_one(&mut client, "first");
    }
    client.execute("select pg_stat_statements_reset()", &[]).unwrap();
    for _ in 0..20 {
        run_one(&mut client, "next");
    }
    assert_eq!(running(&mut client, "single"), 1);
    let statements = "select coalesce(string_agg(calls || ' times: ' || query, E'\\n'), '')
        from pg_stat_statements
        where query ~ 'queues\\.task t[^;]*for no key update' or query ~ 'order by t.scheduled_at, t.task_id'";
    assert_eq!(one::<String>(&mut client, statements), "");
    gate.open();
    wait_until_sql(&mut client, "select count(*) >= 200 from public.run where task_type = 'single'", "t");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}

#[test]
fn a_change_of_the_limit_takes_effect_while_tasks_wait_and_run() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    define(&mut client, "sized", None);
    let gate = Gate::close(&cluster, "postgres", 1);
    enqueue(&mut client, "sized", 3, 4, 0.0);
    eventually("three run", || running(&mut client, "sized") == 3);
    // They were started without a limit, and count.
    client
        .execute("update queues.task_definition set max_running = 3 where task_type = 'sized'", &[])
        .unwrap();
    enqueue(&mut client, "sized", 200, 4, 0.0);
    run_one(&mut client, "other");
    assert_eq!(running(&mut client, "sized"), 3);
    client
        .execute("update queues.task_definition set max_running = 4 where task_type = 'sized'", &[])
        .unwrap();
    eventually("four run", || running(&mut client, "sized") == 4);
    client
        .execute("update queues.task_definition set max_running = 1 where task_type = 'sized'", &[])
        .unwrap();
    gate.open();
    wait_ended(&mut client, "sized", 203);
    enqueue(&mut client, "sized", 50, 1, 0.002);
    wait_ended(&mut client, "sized", 253);
    client
        .execute("update queues.task_definition set max_running = null where task_type = 'sized'", &[])
        .unwrap();
    let gate = Gate::close(&cluster, "postgres", 1);
    enqueue(&mut client, "sized", 4, 4, 0.0);
    eventually("four run", || running(&mut client, "sized") == 4);
    gate.open();
}

#[test]
fn tasks_start_no_faster_than_their_rate() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    let sql =
        "insert into queues.task_definition (task_type, processor, starts_per_second, burst, granted_to)
        values ('paced', 'db_function', 50, 5, '{public}')";
    client.execute(sql, &[]).unwrap();
    let before: f64 = one(&mut client, "select extract(epoch from clock_timestamp())::float8");
    enqueue(&mut client, "paced", 60, 60, 0.0);
    // Another type starts meanwhile.
    run_one(&mut client, "other");
    wait_ended(&mut client, "paced", 60);
    let sql = "select array_agg(extract(epoch from at)::float8 order by at) from public.run";
    let starts: Vec<f64> = one(&mut client, sql);
    for (count, at) in (1..).zip(&starts) {
        let allowed = 5.0 + (at - before) * 50.0;
        assert!(f64::from(count) <= allowed, "{count} starts within {} s: {starts:?}", at - before);
    }
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let (_cluster, mut client) = start(&[]);
    for (column, value) in [
        ("max_running", "0"),
        ("max_running", "-1"),
        ("starts_per_second", "0"),
        ("starts_per_second", "'NaN'"),
        ("starts_per_second", "'Infinity'"),
        ("burst", "0"),
    ] {
        let sql = format!("update queues.task_definition set {column} = {value} where task_type = 'email'");
        let error = client.execute(&sql, &[]).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::INVALID_PARAMETER_VALUE);
        assert_eq!(error.message(), format!("task type \"email\": {column} has to be above 0, or null"));
        assert!(error.hint().is_some());
    }
    client
        .execute("update queues.task_definition set max_running = 1, starts_per_second = 0.5", &[])
        .unwrap();
}

/// Records the starts and ends of calls' tasks.
const CALL_HANDLERS: &str = "
    create table public.event (task int, step int, at timestamptz default clock_timestamp());
    grant all on public.event to public;
    create function public.begins(payload jsonb) returns jsonb language sql as $$
        insert into public.event (task, step) values ((payload ->> 'n')::int, 1);
        select jsonb_build_object('payload', jsonb_build_object('path', '/x', 'body', jsonb_build_object('n', payload -> 'n')))
    $$;
    create function public.ends(payload jsonb) returns jsonb language sql as $$
        insert into public.event (task, step) values ((payload -> 'original_payload' ->> 'n')::int, -1);
        select '{}'::jsonb
    $$;
";

/// The largest number of calls' tasks between their first and their last step.
const MOST_AT_ONCE: &str =
    "select max(running) from (select sum(step) over (order by at, step) running from public.event) e";

#[track_caller]
fn enqueue_calls(client: &mut Client, task_type: &str, count: i32) {
    let sql = "select count(queues.enqueue($1, jsonb_build_object('task_type', $1::text, 'n', n,
            'before_handler', 'public.begins', 'success_handler', 'public.ends')))
        from generate_series(1, $2) n";
    client.execute(sql, &[&task_type, &count]).unwrap();
}

fn slow_server(delay: u64) -> RawServer {
    RawServer::start(move |_| Behaviour::answer(ok()).after(Duration::from_millis(delay))).unwrap()
}

#[test]
fn calls_in_flight_count_towards_the_limit_of_their_type() {
    let (_cluster, mut client) = start(&FOUR_WORKERS);
    client.batch_execute(CALL_HANDLERS).unwrap();
    let web = RawServer::start(|_| Behaviour::answer(ok()).held()).unwrap();
    register(&mut client, "api", &json!({"base_url": web.url()})).unwrap();
    client.execute("update queues.task_definition set max_running = 3 where task_type = 'api'", &[]).unwrap();
    enqueue_calls(&mut client, "api", 30);
    for round in 0..10 {
        eventually("three are in flight", || (web.held(), web.requests().len()) == (3, 3 * round + 3));
        // Whoever looks for more work has done so when a task of another type is over.
        run_one(&mut client, "other");
        assert_eq!(web.requests().len(), 3 * round + 3);
        web.release();
    }
    wait_ended(&mut client, "api", 30);
    assert_eq!(one::<i64>(&mut client, MOST_AT_ONCE), 3);
}

#[test]
fn workers_that_are_killed_exceed_no_limit_and_lose_no_task() {
    const TASKS: i64 = 300;
    let (cluster, mut client) = start(&FOUR_WORKERS);
    client.batch_execute(CALL_HANDLERS).unwrap();
    let web = slow_server(30);
    register(&mut client, "api", &json!({"base_url": web.url()})).unwrap();
    client.execute("update queues.task_definition set max_running = 3 where task_type = 'api'", &[]).unwrap();
    define(&mut client, "single", Some(1));
    define(&mut client, "double", Some(2));
    enqueue_calls(&mut client, "api", TASKS as i32);
    enqueue(&mut client, "single", TASKS as i32, 1, 0.002);
    enqueue(&mut client, "double", TASKS as i32, 2, 0.002);
    let ended = "select count(*) from queues.task where finished_at is not null";
    for kill in 0..22 {
        let before: i64 = one(&mut client, ended);
        if kill % 10 == 9 {
            cluster.restart(StopMode::Immediate);
            client = cluster.connect("postgres");
        } else {
            let sql = "select count(pg_terminate_backend(pid)) from (
                select pid from queues.worker order by state = 'busy' desc, random() limit 1) w";
            client.execute(sql, &[]).unwrap();
        }
        eventually("tasks go on", || one::<i64>(&mut client, ended) > (before + 5).min(3 * TASKS - 1));
    }
    wait_ended(&mut client, "api", TASKS);
    wait_ended(&mut client, "single", TASKS);
    wait_ended(&mut client, "double", TASKS);
    assert!(one::<i64>(&mut client, MOST_AT_ONCE) <= 3);
    let doubled =
        "select (select count(*) from (select from public.event group by task, step having count(*) > 1) e)
        + (select count(*) from (select from public.run group by task_type, label having count(*) > 1) r)";
    assert_eq!(one::<i64>(&mut client, doubled), 0);
}

#[test]
fn leases_of_workers_outside_count_towards_the_limit() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    define(&mut client, "double", Some(2));
    let gate = Gate::close(&cluster, "postgres", 1);
    enqueue(&mut client, "double", 10, 2, 0.0);
    eventually("two run inside", || running(&mut client, "double") == 2);
    let dequeue = |client: &mut Client| -> Option<i64> {
        one(client, "select task_id from queues.dequeue_next_available_task('{double}')")
    };
    assert_eq!(dequeue(&mut client), None);
    cluster.set(&[("pg_errand.concurrency", "0")]);
    gate.open();
    wait_until_sql(&mut client, "select count(*) from queues.worker", "0");
    let mut other = cluster.connect("postgres");
    let mut open = client.transaction().unwrap();
    let first: Option<i64> = open
        .query_one("select task_id from queues.dequeue_next_available_task('{double}')", &[])
        .unwrap()
        .get(0);
    assert!(first.is_some());
    // Its lease is not visible yet.
    assert_eq!(dequeue(&mut other), None);
    open.commit().unwrap();
    let second = dequeue(&mut other);
    assert!(second.is_some());
    assert_eq!(dequeue(&mut other), None);
    // Workers inside respect the leases, and continue after their ends.
    let gate = Gate::close(&cluster, "postgres", 1);
    cluster.set(&[("pg_errand.concurrency", "4")]);
    run_one(&mut client, "other");
    assert_eq!(running(&mut client, "double"), 2);
    other.execute("select queues.complete_task($1)", &[&first]).unwrap();
    let inside = "select count(*) from queues.worker where task_type = 'double'";
    wait_until_sql(&mut client, inside, "1");
    assert_eq!(dequeue(&mut other), None);
    other.execute("select queues.complete_task($1)", &[&second]).unwrap();
    wait_until_sql(&mut client, inside, "2");
    gate.open();
    wait_ended(&mut client, "double", 10);
}
