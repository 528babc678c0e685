-- Metrics for Prometheus, see docs/monitoring.md.

-- Every metric: its name (for histograms, without the suffix), its type, and what it is. Names follow the rules of Prometheus.
create view errand.metric (name, type, help) as
values
    ('pg_errand_info', 'gauge', 'Versions of the extension and of the server, as labels; always 1.'),
    ('pg_errand_is_standby', 'gauge', 'Whether the server is a standby, on which no task runs.'),
    ('pg_errand_tasks_total', 'counter', 'Tasks that have ended.'),
    ('pg_errand_attempts_total', 'counter', 'Starts of tasks.'),
    ('pg_errand_repeated_attempts_total', 'counter', 'Attempts that ended with a serialization failure or a deadlock.'),
    ('pg_errand_errors_total', 'counter', 'Errors of tasks.'),
    ('pg_errand_waiting_seconds', 'histogram', 'Time from when a task may start to its first start.'),
    ('pg_errand_running_seconds', 'histogram', 'Time from the start of the last attempt of a task to its end.'),
    ('pg_errand_handler_seconds', 'histogram', 'Duration of one invocation of a handler.'),
    ('pg_errand_handler_errors_total', 'counter', 'Invocations of a handler that raised an error.'),
    ('pg_errand_provider_seconds', 'histogram', 'Time from sending a request to its complete response.'),
    ('pg_errand_calls_total', 'counter', 'Requests to providers, by the class of the HTTP status of the response.'),
    ('pg_errand_failed_calls_total', 'counter', 'Calls whose result is a failure.'),
    ('pg_errand_deferred_calls_total', 'counter', 'Calls that were sent again because the provider asked to wait.'),
    ('pg_errand_waiting_tasks', 'gauge', 'Tasks that wait, by the reason that queues.explain returns.'),
    ('pg_errand_oldest_ready_age_seconds', 'gauge', 'How long the oldest ready task has been due.'),
    ('pg_errand_running_tasks', 'gauge', 'Tasks that run in a worker, between the steps of a call, or outside.'),
    ('pg_errand_workers', 'gauge', 'Live worker processes of the database.'),
    ('pg_errand_concurrency', 'gauge', 'How many workers the database may have: pg_errand.concurrency.'),
    ('pg_errand_calls_in_flight', 'gauge', 'Requests that were sent and not answered.'),
    ('pg_errand_calls_queued', 'gauge', 'Stored requests that have not been sent.'),
    ('pg_errand_provider_state', 'gauge', 'Whether the provider is in this state.'),
    ('pg_errand_provider_until_timestamp_seconds', 'gauge', 'When the pause, the rate limit or the circuit breaker lets requests pass again.'),
    ('pg_errand_provider_consecutive_failures', 'gauge', 'Failed calls since the last one that succeeded.'),
    ('pg_errand_database_paused', 'gauge', 'Whether an operator has paused the database.'),
    ('pg_errand_type_paused', 'gauge', 'Whether an operator has paused the task type; only paused types.'),
    ('pg_errand_paused_keys', 'gauge', 'Queue keys that are paused.'),
    ('pg_errand_problem', 'gauge', 'Whether queues.health has this problem.'),
    ('pg_errand_retention_overdue_seconds', 'gauge', 'How long the oldest finished task should have been removed.'),
    ('pg_errand_table_bytes', 'gauge', 'Size of a table of the queue with its indexes.'),
    ('pg_errand_stats_entries', 'gauge', 'Used entries of the statistics in shared memory, of all databases.'),
    ('pg_errand_stats_max_entries', 'gauge', 'Entries that the statistics in shared memory have.'),
    ('pg_errand_stats_replaced_total', 'counter', 'Entries of the statistics that were given to another key.'),
    ('pg_errand_stats_uncounted_total', 'counter', 'Events that were not counted because all entries were in use.');

comment on view errand.metric is 'The metrics of queues.metrics, with type and help';

-- The values of the metrics, read with the privileges of the owner: numbers, names and reasons, no payload and no message of a
-- task. The suffix is that of histograms, else ''. Without JIT, which takes longer than the query.
create function errand.samples(
    out metric text,
    out suffix text,
    out labels jsonb,
    out value double precision
)
returns setof record
volatile
rows 500
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
set client_min_messages = warning
as $$
    -- Statistics show long names shortened, so that two may look the same.
    select s.metric, s.suffix, s.labels, sum(s.value)
    from (
        select c.metric, '' as suffix, c.labels, c.value
        from errand.counter_sample c
        union all
        select t.metric, t.suffix, t.labels, t.value
        from errand.time_sample t
    ) s
    group by s.metric, s.suffix, s.labels
    union all
    select q.metric, '', q.labels, q.value
    from errand.queue_sample q
    union all
    select p.metric, '', p.labels, p.value
    from errand.provider_sample p
    union all
    select d.metric, '', d.labels, d.value
    from errand.database_sample d;
$$;

-- The metrics of this database, in the long format: a row for each sample.
create view queues.metrics as
select
    s.metric || s.suffix as name,
    m.type,
    m.help,
    jsonb_build_object('datname', current_database()) || s.labels as labels,
    s.value,
    s.metric as family
from errand.samples() s
join errand.metric m on m.name = s.metric
where s.value is not null;

comment on view queues.metrics is 'Metrics of this database for Prometheus: a row for each sample';
comment on column queues.metrics.name is 'The name of the sample; samples of histograms end with _bucket, _sum or _count';
comment on column queues.metrics.type is 'counter, gauge or histogram';
comment on column queues.metrics.family is 'The name of the metric, without the suffix of histograms';

-- A number as the exposition format has it.
create function errand.metric_number(_value double precision)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select case _value
        when 'infinity' then '+Inf'
        when '-infinity' then '-Inf'
        else _value::text
    end;
$$;

-- The labels of a sample in the exposition format, in the order of their names; le is the last one.
create function errand.metric_labels(_labels jsonb)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        '{' || string_agg(
            format(
                '%s="%s"',
                l.key,
                replace(replace(replace(l.value, E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n')
            ),
            ',' order by l.key = 'le', l.key
        ) || '}',
        ''
    )
    from jsonb_each_text(_labels) l;
$$;

-- The same metrics in the text format that Prometheus reads, for example in a file of node_exporter's textfile collector.
create function queues.metrics_text()
returns text
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
    with sample as materialized (
        select s.family, s.type, s.help, s.name, s.labels, s.value
        from queues.metrics s
    )
    select coalesce(string_agg(f.text, '' order by f.family), '')
    from (
        select
            s.family,
            format(E'# HELP %s %s\n# TYPE %s %s\n', s.family, s.help, s.family, s.type)
                || string_agg(
                    format(E'%s%s %s\n', s.name, errand.metric_labels(s.labels), errand.metric_number(s.value)),
                    '' order by s.labels - 'le', s.name, (s.labels ->> 'le')::double precision
                ) as text
        from sample s
        group by s.family, s.type, s.help
    ) f;
$$;
