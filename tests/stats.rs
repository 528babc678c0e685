//! Statistics: they agree with the rows, survive a clean restart, and become a history.

use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;
use serde_json::{Value, json};
use standin::Answer;

use crate::harness::calling::Calling;
use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{Gate, install, one, run_one, runner, task};
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::{wait_until_sql, within};

/// Handlers that fail in other ways than `refuse`. `stumble` is rolled back by serialization failures as often as its sequence
/// has not been advanced `times` times; a sequence is not rolled back.
const HANDLERS: &str = "
    create sequence public.stumbles;
    grant usage on sequence public.stumbles to public;
    create function public.stumble(payload jsonb) returns jsonb language plpgsql as $$
    begin
        if nextval('public.stumbles') <= (payload ->> 'times')::int then
            raise exception 'stumbled' using errcode = '40001';
        end if;
        return '{}';
    end $$;
    create function public.unlucky(payload jsonb) returns jsonb language plpgsql as $$
    begin
        raise exception 'unlucky';
    end $$;
    create table public.late (n int unique deferrable initially deferred);
    grant all on public.late to public;
";

/// Ended and repeated tasks as the rows have them, and as they were counted: what differs.
const DIFFERENCES: &str = "
    with rows as (
        select t.task_type,
            count(*) filter (where final_status = 'succeeded') as succeeded,
            count(*) filter (where final_status = 'failed') as failed,
            count(*) filter (where final_status = 'cancelled') as cancelled,
            sum(attempts)::bigint as attempts,
            (select count(*) from queues.error e where e.task_type = t.task_type) as errors
        from queues.task t
        group by t.task_type
    ), counted as (
        select task_type, succeeded, failed, cancelled, attempts, errors
        from queues.stats
        where handler is null and provider is null
    )
    select coalesce(string_agg(d::text, E'\\n'), '')
    from (
        (select 'row', r.* from rows r except all select 'row', c.* from counted c)
        union all
        (select 'counted', c.* from counted c except all select 'counted', r.* from rows r)
    ) d";

/// A counter of one row of the view.
#[track_caller]
fn counter(client: &mut Client, column: &str, condition: &str) -> i64 {
    one(client, &format!("select coalesce(sum({column}), 0)::bigint from queues.stats where {condition}"))
}

#[track_caller]
fn wait_all_ended(client: &mut Client) {
    wait_until_sql(client, "select count(*) from queues.task where finished_at is null", "0");
}

#[test]
fn counts_agree_with_the_rows() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "3")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(HANDLERS).unwrap();
    for n in 0..50 {
        task(&mut client, "note", json!({ "label": n.to_string() }));
    }
    for n in 0..20 {
        let handlers =
            json!({ "label": n, "error_handler": "public.unlucky", "success_handler": "public.note" });
        task(&mut client, if n % 2 == 0 { "refuse" } else { "note" }, handlers);
    }
    task(&mut client, "stumble", json!({"times": 3}));
    enqueue(&mut client, "db_function", json!({"db_function": "public.missing"}));
    enqueue(&mut client, "db_function", json!({}));
    wait_all_ended(&mut client);

    // Cancelled while they run, and while they wait; of the latter, one in a savepoint that is rolled back.
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"gate": 1}));
    runner(&mut client, running);
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({running})")));
    wait_status(&mut client, running, "cancelled");
    gate.open();
    let later: Vec<i64> = (0..6)
        .map(|_| one(&mut client, "select queues.enqueue('db_function', '{}', now() + '1 h')"))
        .collect();
    let [first, second, third, fourth, ..] = later[..] else { unreachable!() };
    client
        .batch_execute(&format!(
            "begin;
             savepoint a; select queues.cancel({first}); rollback to a;
             savepoint b; select queues.cancel({second}); release b;
             select queues.cancel({third});
             commit;
             begin; select queues.cancel({fourth}); rollback;
             do $$ begin
                perform queues.cancel({fourth});
                raise 'undone';
             exception when others then null; end $$;
             select queues.cancel(task_id) from queues.task where finished_at is null"
        ))
        .unwrap();
    assert_eq!(one::<String>(&mut client, DIFFERENCES), "");

    let handlers = "handler is not null and task_type = 'db_function'";
    assert_eq!(counter(&mut client, "invocations", &format!("{handlers} and handler = 'public.stumble'")), 4);
    assert_eq!(counter(&mut client, "errors", &format!("{handlers} and invoked_as = 'error_handler'")), 10);
    let success = format!("{handlers} and invoked_as = 'success_handler' and handler = 'public.note'");
    assert_eq!(counter(&mut client, "invocations", &success), 10);
    assert_eq!(counter(&mut client, "repeated", "true"), 3);
    let of_type =
        "handler is null and provider is null and waiting_p50 <= waiting_p95 and waiting_p95 <= waiting_p99
        and waiting_max > 0 and running_mean > 0 and stats_since < now()";
    assert_eq!(one::<i64>(&mut client, &format!("select count(*) from queues.stats where {of_type}")), 1);
    let total = "select succeeded, failed, cancelled from queues.throughput() where task_type is null";
    let row = client.query_one(total, &[]).unwrap();
    let ended: i64 = one(&mut client, "select count(*) from queues.task");
    assert_eq!(row.get::<_, i64>(0) + row.get::<_, i64>(1) + row.get::<_, i64>(2), ended);
    // The last tasks of each kind.
    let last = "select array_agg(t) from errand.last_ended('db_function', true) t";
    let failed =
        "select array_agg(task_id) from (select task_id from queues.task where final_status = 'failed') f";
    let sorted = |mut tasks: Vec<i64>| {
        tasks.sort_unstable();
        tasks
    };
    assert_eq!(sorted(one(&mut client, last)), sorted(one(&mut client, failed)));
    assert_eq!(one::<i64>(&mut client, "select count(*) from errand.last_ended('db_function')"), 32);
}

#[test]
fn tasks_of_workers_outside_are_counted_when_their_transaction_commits() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    for _ in 0..8 {
        enqueue(&mut client, "db_function", json!({}));
    }
    let dequeue = "select task_id from queues.dequeue_next_available_task()";
    let next = |client: &mut Client| one::<i64>(client, dequeue);
    let done = next(&mut client);
    client
        .batch_execute(&format!("select queues.complete_task({done}); select queues.complete_task({done})"))
        .unwrap();
    let failed = next(&mut client);
    client.batch_execute(&format!("select queues.fail_task({failed}, 'no')")).unwrap();
    // Its lease is lost: the attempt is the second one.
    let lost = next(&mut client);
    client
        .batch_execute(&format!("update queues.task set not_before = now() where task_id = {lost}"))
        .unwrap();
    assert_eq!(next(&mut client), lost);
    client.batch_execute(&format!("begin; select queues.complete_task({lost}); rollback")).unwrap();
    client.batch_execute(&format!("select queues.complete_task({lost})")).unwrap();
    client.batch_execute("set pg_errand.lease_duration = 0").unwrap();
    let (fine, wrong) = (next(&mut client), next(&mut client));
    client.batch_execute(&format!("select queues.append_error({wrong}, 'wrong after all')")).unwrap();
    assert_ne!(fine, wrong);
    client.batch_execute("reset pg_errand.lease_duration; begin").unwrap();
    next(&mut client);
    client
        .batch_execute("rollback; select queues.cancel(task_id) from queues.task where finished_at is null")
        .unwrap();
    assert_eq!(one::<String>(&mut client, DIFFERENCES), "");
    let of_type = "select array[succeeded, failed, cancelled] from queues.stats where handler is null";
    assert_eq!(one::<Vec<i64>>(&mut client, of_type), [3, 2, 3]);
    let waited: i64 = one(
        &mut client,
        "select count from queues.stats_buckets where measured = 'waiting' and le = 'infinity'",
    );
    assert_eq!(waited, 5, "each task waits once for its first start");
}

#[test]
fn calls_are_counted_by_type_and_provider() {
    let mut was_busy = false;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let mut calling = Calling::start(&[], move |request| match request.path() {
        path if path.ends_with("/busy") && !std::mem::replace(&mut was_busy, true) => {
            Answer::json(429, &json!({})).with("Retry-After", "0")
        }
        path if path.ends_with("/broken") => Answer::json(500, &json!({})),
        path if path.ends_with("/slow") => {
            let _ = released.recv();
            Answer::json(200, &json!({}))
        }
        path if path.ends_with("/missing") => Answer::json(404, &json!({})),
        _ => Answer::json(200, &json!({})),
    });
    calling.register("api", json!({}));
    for path in ["/ok", "/ok", "/busy", "/broken", "/missing"] {
        let task_id = calling.call("api", json!({ "path": path }));
        let ended = format!("select finished_at is not null from queues.task where task_id = {task_id}");
        wait_until_sql(&mut calling.client, &ended, "t");
    }
    let client = &mut calling.client;
    assert_eq!(one::<String>(client, DIFFERENCES), "");
    let of_calls = "select array[calls, failed_calls, status_2xx, status_3xx, status_4xx, status_5xx, no_response, deferred]
        from queues.stats where provider = 'api' and task_type = 'api'";
    assert_eq!(one::<Vec<i64>>(client, of_calls), [6, 2, 3, 0, 2, 1, 0, 1]);
    assert!(one::<bool>(
        client,
        "select provider_p50 > 0 and provider_max < 60000 from queues.stats where provider = 'api'"
    ));
    let count: i64 = one(client, "select max(count) from queues.stats_buckets where measured = 'provider'");
    assert_eq!(count, 6);

    // A call that is cancelled in flight: its task's type is known.
    let task_id = calling.call("api", json!({"path": "/slow"}));
    wait_until_sql(&mut calling.client, "select sum(in_flight) from queues.worker", "1");
    assert!(one::<bool>(&mut calling.client, &format!("select queues.cancel({task_id})")));
    wait_status(&mut calling.client, task_id, "cancelled");
    wait_until_sql(&mut calling.client, DIFFERENCES, "");
    drop(release);
}

#[test]
fn a_clean_restart_keeps_the_statistics_and_a_crash_empties_them() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let saved = cluster.data_dir().join("pgsql_tmp.pg_errand.stats");
    let shown =
        "select task_type, handler, attempts, succeeded, invocations, running_max, waiting_mean, stats_since
        from queues.stats order by handler nulls first";
    let of = |client: &mut Client| {
        one::<Value>(client, &format!("select jsonb_agg(to_jsonb(s)) from ({shown}) s"))
    };
    run_one(&mut client, "one");
    run_one(&mut client, "two");
    wait_until_sql(&mut client, "select sum(succeeded) from queues.stats", "2");
    let before = of(&mut client);
    drop(client);
    cluster.stop(StopMode::Fast);
    assert!(saved.exists());
    let file = std::fs::read(&saved).unwrap();
    cluster.start_again();
    assert!(!saved.exists());
    let mut client = cluster.connect("postgres");
    assert_eq!(of(&mut client), before);
    let since: String = one(&mut client, "select min(stats_since)::text from queues.stats");
    run_one(&mut client, "three");
    wait_until_sql(&mut client, "select sum(succeeded) from queues.stats", "3");
    drop(client);

    // A file that is damaged is ignored.
    cluster.stop(StopMode::Fast);
    std::fs::write(&saved, &file[..file.len() / 2]).unwrap();
    let mark = cluster.log_mark();
    cluster.start_again();
    cluster.wait_log(mark, "the saved statistics are ignored: the file is damaged");
    let mut client = cluster.connect("postgres");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.stats"), 0);

    // A worker that is killed takes the statistics with it, and they begin again.
    let gate = Gate::close(&cluster, "postgres", 1);
    let id = task(&mut client, "gate", json!({"gate": 1}));
    let pid = runner(&mut client, id);
    cluster.crash(pid, libc::SIGKILL);
    drop(gate);
    let mut client = cluster.connect("postgres");
    wait_status(&mut client, id, "succeeded");
    wait_until_sql(&mut client, "select sum(succeeded) from queues.stats", "1");
    let later = format!("select min(stats_since) > '{since}' from queues.stats");
    assert!(one::<bool>(&mut client, &later));
}

#[test]
fn statistics_are_reset_and_read_by_those_who_may() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "insert into queues.task_definition (task_type, processor) values ('rare', 'db_function');
             create role watcher login; grant pg_monitor to watcher; create role nobody login",
        )
        .unwrap();
    run_one(&mut client, "one");
    let rare = enqueue(&mut client, "rare", json!({"db_function": "public.note"}));
    wait_status(&mut client, rare, "succeeded");
    wait_until_sql(&mut client, "select sum(succeeded) from queues.stats", "2");
    let mut watcher = cluster.connect_as("watcher", "postgres");
    for view in ["stats", "stats_buckets", "stats_info", "stats_history", "throughput()"] {
        watcher.query(&format!("select * from queues.{view}"), &[]).unwrap();
    }
    let refused = watcher.query("select queues.stats_reset()", &[]).unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let mut nobody = cluster.connect_as("nobody", "postgres");
    assert!(nobody.query("select * from queues.stats", &[]).is_err());
    let refused = watcher.query("select * from queues.throughput('-1 s')", &[]).unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INVALID_PARAMETER_VALUE));

    let mark = cluster.log_mark();
    let before: String = one(&mut client, "select max(stats_since)::text from queues.stats");
    client.execute("select queues.stats_reset('rare')", &[]).unwrap();
    cluster.wait_log(mark, "statistics of task type \"rare\" reset by role \"postgres\"");
    assert_eq!(counter(&mut client, "succeeded", "true"), 1);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.stats where task_type = 'rare'"), 0);
    let again = enqueue(&mut client, "rare", json!({"db_function": "public.note"}));
    wait_status(&mut client, again, "succeeded");
    wait_until_sql(
        &mut client,
        "select succeeded from queues.stats where task_type = 'rare' and handler is null",
        "1",
    );
    let later = format!(
        "select stats_since > '{before}' from queues.stats where task_type = 'rare' and handler is null"
    );
    assert!(one::<bool>(&mut client, &later));
    client.execute("select queues.stats_reset()", &[]).unwrap();
    cluster.wait_log(mark, "statistics reset by role \"postgres\"");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.stats"), 0);
    assert_eq!(
        one::<String>(&mut client, "select array_agg(t)::text from errand.last_ended('rare') t"),
        format!("{{{again},{rare}}}")
    );
}

/// Waits until a query returns true, for longer than a minute.
#[track_caller]
fn wait_a_minute(client: &mut Client, sql: &str) {
    let holds = within(Duration::from_secs(200), || one::<bool>(client, sql));
    assert!(holds, "{sql}");
}

#[test]
fn a_minute_becomes_a_row_and_an_hour_becomes_one() {
    // A worker that leaves before the minute is over leaves the row to the next one.
    let cluster = Cluster::start(&[("pg_errand.concurrency", "2"), ("pg_errand.max_idle_time", "0")]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "one");
    let bad = task(&mut client, "refuse", json!({"label": "bad"}));
    wait_status(&mut client, bad, "failed");
    let written = "select exists (select from queues.stats_history where resolution = 'minute')";
    wait_a_minute(&mut client, written);
    let row = "select succeeded = 1 and failed = 1 and errors = 1 and calls = 0 and waiting_p50 > 0 and running_p99 > 0
        and provider_p50 is null and at = date_trunc('minute', at) and at <= now() - interval '1 minute' + interval '59 s'
        and details -> 'types' -> 'db_function' ->> 'failed' = '1'
        from queues.stats_history";
    assert!(
        one::<bool>(&mut client, row),
        "{}",
        one::<String>(&mut client, "select h::text from queues.stats_history h")
    );
    assert_eq!(
        one::<i64>(&mut client, "select count(*) from queues.stats_history where resolution = 'hour'"),
        0
    );

    // Minutes of earlier hours, and rows that are too old.
    client
        .batch_execute(
            "create temp table first as select * from queues.stats_history;
             insert into queues.stats_history
             select (f).* from (
                 select jsonb_populate_record(f, jsonb_build_object('at', date_trunc('hour', now()) - ago)) as f
                 from first f, unnest(array['10 min', '20 min', '70 min', '50 h', '2 h']::interval[]) ago
             ) s;
             insert into queues.stats_history
             select (f).* from (
                 select jsonb_populate_record(f, jsonb_build_object('at', now() - ago, 'resolution', 'hour')) as f
                 from first f, unnest(array['91 days', '89 days']::interval[]) ago
             ) s",
        )
        .unwrap();
    run_one(&mut client, "two");
    let hours = "select exists (select from queues.stats_history where resolution = 'hour' and at > now() - interval '3 h')
        and not exists (select from queues.stats_history where at < now() - interval '90 days'
            or resolution = 'minute' and at < now() - interval '1 day')";
    wait_a_minute(&mut client, hours);
    let sums = "select succeeded = failed and succeeded in (1, 2)
            and (details -> 'types' -> 'db_function' -> 'running' ->> 'sum')::bigint > 0 and at = date_trunc('hour', at)
        from queues.stats_history where resolution = 'hour' and at > now() - interval '60 h' limit 1";
    assert!(one::<bool>(&mut client, sums));
    let throughput = "select succeeded >= 2 from queues.throughput('1 day') where task_type is null";
    assert!(one::<bool>(&mut client, throughput));
}

#[test]
fn a_history_that_cannot_be_written_is_told_of_once_and_stops_no_worker() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create function public.swallow() returns trigger language plpgsql as 'begin return null; end';
             create trigger swallow before insert on queues.stats_history for each row execute function public.swallow()",
        )
        .unwrap();
    let mark = cluster.log_mark();
    let told = || cluster.log_since(mark).matches("of queues.stats_history cannot be written").count();
    let keep_busy = |client: &mut Client, until: &dyn Fn() -> bool| {
        let holds = within(Duration::from_secs(200), || {
            run_one(client, "more");
            until()
        });
        assert!(holds, "{}", cluster.log_since(mark));
    };
    keep_busy(&mut client, &|| told() == 1);
    let log = cluster.log_since(mark);
    assert!(log.contains("\"swallow\" prevented it"), "{log}");
    // What was not written is in the next row.
    client.batch_execute("drop trigger swallow on queues.stats_history").unwrap();
    let all =
        "select count(*) > 0 and sum(succeeded) >= 1 from queues.stats_history where resolution = 'minute'";
    let mut other = cluster.connect("postgres");
    let other = std::cell::RefCell::new(&mut other);
    keep_busy(&mut client, &|| one::<bool>(&mut other.borrow_mut(), all));
    let sums = "select sum(succeeded)::bigint from queues.stats_history";
    let (counted, known): (i64, i64) = (
        one(&mut client, sums),
        one(&mut client, "select succeeded from queues.stats where handler is null"),
    );
    assert!(counted <= known && counted * 2 > known, "{counted} {known}");
    client.batch_execute("drop table queues.stats_history").unwrap_err();
}
