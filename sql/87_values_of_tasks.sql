-- The values of queues.metrics, by where they come from. They are views, so that errand.samples reads them as their owner.

-- What the statistics have counted.
create view errand.counter_sample as
with stats as materialized (
    select s.*
    from queues.stats s
)
select c.metric, jsonb_build_object('task_type', s.task_type) || c.labels as labels, c.value::double precision as value
from stats s
cross join lateral (
    values
        ('pg_errand_tasks_total', '{"status": "succeeded"}'::jsonb, s.succeeded),
        ('pg_errand_tasks_total', '{"status": "failed"}', s.failed),
        ('pg_errand_tasks_total', '{"status": "cancelled"}', s.cancelled),
        ('pg_errand_attempts_total', '{}', s.attempts),
        ('pg_errand_repeated_attempts_total', '{}', s.repeated),
        ('pg_errand_errors_total', '{}', s.errors)
) as c (metric, labels, value)
where s.handler is null
    and s.provider is null
union all
select
    'pg_errand_handler_errors_total',
    jsonb_build_object('task_type', s.task_type, 'handler', s.handler, 'invoked_as', s.invoked_as),
    s.errors
from stats s
where s.handler is not null
union all
select
    c.metric,
    jsonb_build_object('task_type', s.task_type, 'provider', s.provider) || c.labels,
    c.value
from stats s
cross join lateral (
    values
        ('pg_errand_calls_total', '{"response": "2xx"}'::jsonb, s.status_2xx),
        ('pg_errand_calls_total', '{"response": "3xx"}', s.status_3xx),
        ('pg_errand_calls_total', '{"response": "4xx"}', s.status_4xx),
        ('pg_errand_calls_total', '{"response": "5xx"}', s.status_5xx),
        ('pg_errand_calls_total', '{"response": "none"}', s.no_response),
        ('pg_errand_failed_calls_total', '{}', s.failed_calls),
        ('pg_errand_deferred_calls_total', '{}', s.deferred)
) as c (metric, labels, value)
where s.provider is not null;

comment on view errand.counter_sample is 'Counters of queues.metrics, from the statistics';

-- The histograms of the statistics, in seconds. Of their buckets the ones from 1 ms to 72 minutes are shown, each four times as
-- long as the one before it.
create view errand.time_sample as
with bucket as materialized (
    select
        case when b.handler is not null then 'pg_errand_handler_seconds' else format('pg_errand_%s_seconds', b.measured) end as metric,
        jsonb_strip_nulls(
            jsonb_build_object(
                'task_type', b.task_type,
                'handler', b.handler,
                'invoked_as', b.invoked_as,
                'provider', b.provider
            )
        ) as labels,
        b.le,
        b.count,
        b.sum
    from queues.stats_buckets b
    where b.le between 1 and 4294968
        or b.le = 'infinity'
)
select
    b.metric,
    '_bucket' as suffix,
    b.labels || jsonb_build_object(
        'le', case when b.le = 'infinity' then '+Inf' else trim_scale(b.le::numeric / 1000)::text end
    ) as labels,
    b.count::double precision as value
from bucket b
union all
select b.metric, c.suffix, b.labels, c.value
from bucket b
cross join lateral (
    values
        ('_sum', b.sum / 1000),
        ('_count', b.count::double precision)
) as c (suffix, value)
where b.le = 'infinity';

comment on view errand.time_sample is 'Histograms of queues.metrics, from the statistics';

-- What waits and what runs. The age is that of queues.oldest_ready.
create view errand.queue_sample as
with waiting as materialized (
    select w.task_type, w.class, w.reason, w.tasks, w.oldest
    from errand.waiting_reason w
)
select
    'pg_errand_waiting_tasks' as metric,
    jsonb_build_object('task_type', w.task_type, 'reason', w.reason) as labels,
    sum(w.tasks)::double precision as value
from waiting w
group by w.task_type, w.reason
union all
select
    'pg_errand_oldest_ready_age_seconds',
    jsonb_build_object('task_type', w.task_type),
    greatest(extract(epoch from clock_timestamp() - min(w.oldest)), 0)
from waiting w
where w.class in ('ready', 'key_ready')
    and isfinite(w.oldest)
group by w.task_type
union all
select
    'pg_errand_running_tasks',
    jsonb_build_object('task_type', r.task_type, 'runs_in', r.runs_in),
    count(*)
from queues.running r
group by r.task_type, r.runs_in;

comment on view errand.queue_sample is 'Metrics of waiting and running tasks';

-- The providers. Where no worker can run, their state is not known, unless an operator has paused them.
create view errand.provider_sample as
with provider as materialized (
    select p.*
    from queues.provider_status p
)
select
    'pg_errand_provider_state' as metric,
    jsonb_build_object('provider', p.name, 'state', s.state) as labels,
    (p.state = s.state)::integer::double precision as value
from provider p
cross join lateral unnest('{ok,paused,secret_missing,broken,probing,full,rate_limited}'::text[]) as s (state)
union all
select c.metric, jsonb_build_object('provider', p.name) || c.labels, c.value
from provider p
cross join lateral (
    values
        ('pg_errand_calls_in_flight', '{}'::jsonb, p.in_flight::double precision),
        ('pg_errand_calls_queued', '{}', p.queued),
        ('pg_errand_provider_consecutive_failures', '{}', p.consecutive_failures),
        (
            'pg_errand_provider_until_timestamp_seconds',
            '{"state": "paused"}',
            -- A pause without an end ends with a command.
            case when p.state = 'paused' then coalesce(extract(epoch from p.paused_until), 'infinity') end
        ),
        (
            'pg_errand_provider_until_timestamp_seconds',
            '{"state": "rate_limited"}',
            extract(epoch from p.next_request_at)
        ),
        (
            'pg_errand_provider_until_timestamp_seconds',
            '{"state": "broken"}',
            extract(epoch from p.breaker_until)
        )
) as c (metric, labels, value);

comment on view errand.provider_sample is 'Metrics of providers';
