//! A database in which much has happened.

use postgres::Client;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::install;

/// A name that runs a script where it is not escaped.
pub const HOSTILE: &str =
    "<script>var hostile = 1</script><img src=x onerror=\"hostile=1\">&'\u{202e}\u{1b}é💣";
/// The name of the database.
pub const DATABASE: &str = "shop <b>\"&";

const FILL: &str = "
    set session_replication_role = replica;
    insert into queues.task_definition (task_type, processor, max_running, keep_failed_for)
    select name, 'db_function', 4, '30 days' from unnest('{invoice,reminder,import}'::text[]) name;
    insert into queues.task (task_type, payload, enqueued_at, scheduled_at, dequeued_at, attempts, finished_at, final_status)
    select case when n % 3 = 0 then 'invoice' when n % 7 = 0 then 'reminder' else 'import' end, '{}', at, at, at, 1,
        at + interval '1 ms' * (n % 977), case when n % 400 = 0 then 'failed' else 'succeeded' end
    from generate_series(1, 1000000) n, lateral (select now() - (1000000 - n) * interval '80 ms') x (at);
    insert into queues.error (task_id, error_message, created_at, task_type, handler, attempt, sqlstate)
    select t.task_id,
        case t.task_id % 1200
            when 0 then 'duplicate key ' || t.task_id || ' violates unique constraint \"order_pkey\"'
            when 400 then 'the invoice of customer ' || t.task_id || ' has no address'
            else $hostile || ' ' || repeat('x', 100000)
        end,
        t.finished_at, t.task_type, 'shop.run', 1, case when t.task_id % 1200 = 0 then '23505' else 'P0001' end
    from queues.task t
    where t.final_status = 'failed' and t.task_id > 900000;
    insert into queues.task (task_type, payload, enqueued_at, scheduled_at, queue_key)
    select 'import', '{}', now() - interval '1 min' * (n % 55), now() - interval '1 min' * (n % 55) + case when n % 4 = 0 then interval '1 day' else '0' end,
        case when n % 9 = 0 then $hostile || n % 2 when n % 10 = 0 then 'customer ' || n % 50 end
    from generate_series(1, 100000) n;
    insert into queues.stats_history (at, resolution, succeeded, failed, cancelled, repeated, errors, calls, failed_calls,
        waiting_p50, waiting_p95, waiting_p99, running_p50, running_p95, running_p99, provider_p50, provider_p95, provider_p99,
        busy_workers, details)
    select date_trunc('minute', now()) - step * n, resolution, weight * (500 + 420 * sin(n / 160.0) + (n * 37) % 90)::bigint,
        weight * case when n % 13 < 2 then 260 + n % 90 else 2 end, 0, 0, 0, weight * 40, weight * (n % 5),
        3 + 2 * sin(n / 90.0), 30 + 20 * sin(n / 90.0) + n % 7, 300 + (n * 7919) % 900, 4 + n % 3, 40 + (n * 31) % 25,
        150 + (n * 131) % 200, 120 + (n * 17) % 60, 400 + (n * 101) % 300, 1500 + (n * 53) % 4000, 1 + (n * 7919) % 2, '{}'
    from (values ('minute', interval '1 minute', 1, 1440), ('hour', interval '1 hour', 60, 200)) r (resolution, step, weight, number),
        lateral generate_series(1, r.number) n
    where not (resolution = 'minute' and n between 300 and 420);
    insert into queues.provider (name, base_url, requests_per_second, breaker_threshold, max_in_flight)
    values ($hostile, 'https://api.example.com', 20, 5, 8), ('mail', 'https://mail.example.com', 2.5, null, null);
    reset session_replication_role;
    select queues.pause_provider('mail', _why => $hostile);
    vacuum analyze queues.task;
    analyze queues.error;
    analyze queues.stats_history;";

pub fn database_with_a_million_tasks() -> (Cluster, Client) {
    let cluster =
        Cluster::start(&[("pg_errand.concurrency", "0"), ("pg_errand.resend_api_key", "re_very_secret")]);
    let name = DATABASE.replace('"', "\"\"");
    cluster.connect("postgres").batch_execute(&format!("create database \"{name}\"")).unwrap();
    let mut client = install(&cluster, DATABASE);
    let hostile = format!("'{}'", HOSTILE.replace('\'', "''"));
    for statement in FILL.replace("$hostile", &hostile).split(";\n") {
        client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    client.batch_execute("set session_replication_role = origin").unwrap();
    (cluster, client)
}
