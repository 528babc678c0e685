-- The facts of queues.report, a function per section. They return no payload and no message of a task. Only the owner calls
-- them, by way of errand.report_facts.

-- Whether the library is preloaded, its version, and which settings hold a secret: never the secrets.
create function errand.library_state(
    out version text,
    out is_preloaded boolean,
    out secrets_set text[]
)
returns setof record
volatile
rows 1
language c
as 'MODULE_PATHNAME', 'library_state_wrapper';

-- Seconds since 1970; null for infinity, which JSON does not have.
create function errand.epoch(_at timestamptz)
returns double precision
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select case when isfinite(_at) then extract(epoch from _at)::double precision end;
$$;

create function errand.report_head(_from timestamptz, _to timestamptz)
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'database', current_database(),
        'cluster', nullif(current_setting('cluster_name'), ''),
        'server_version', current_setting('server_version'),
        'extension_version', e.extversion,
        'library_version', l.version,
        'is_preloaded', l.is_preloaded,
        'is_standby', pg_is_in_recovery(),
        'started_at', errand.epoch(pg_postmaster_start_time()),
        'made_at', errand.epoch(clock_timestamp()),
        'from', errand.epoch(_from),
        'to', errand.epoch(_to),
        'utc_offset', extract(timezone from _to)::bigint,
        'time_zone', current_setting('TimeZone')
    )
    from errand.library_state() l
    left join pg_extension e on e.extname = 'pg_errand';
$$;

create function errand.report_problems()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('rows', coalesce(jsonb_agg(to_jsonb(p) order by p.severity, p.problem), '[]'))
    from (
        select h.problem, h.severity, left(h.explanation, 1000) as explanation, left(h.hint, 1000) as hint
        from queues.health h
        order by h.severity, h.problem
        limit 30
    ) p;
$$;

-- The history in steps of equal length, at most some 400. Minutes are kept for a day; before that there are hours, and the
-- hour that is not over has minutes only. Of times, a step has the highest quantile of its rows.
create function errand.report_history(_from timestamptz, _to timestamptz)
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with span as materialized (
        select
            case
                when _from >= clock_timestamp() - interval '1 day 10 minutes' then 'minute'
                else 'hour'
            end as resolution,
            extract(epoch from _to - _from) as seconds
    ),
    chosen as materialized (
        select
            s.resolution,
            (
                select min(step)
                from unnest('{60,120,300,600,900,1800,3600,7200,14400,21600,43200,86400}'::integer[]) as step
                where step >= s.seconds / 400
                    and (step >= 3600 or s.resolution = 'minute')
            ) as step
        from span s
    ),
    last_hour as materialized (
        select coalesce(max(h.at) + interval '1 hour', '-infinity') as ends_at
        from only queues.stats_history h
        where h.resolution = 'hour'
    ),
    bin as (
        select
            date_bin(make_interval(secs => c.step), h.at, date_trunc('day', _from)) as at,
            sum(h.succeeded) as succeeded,
            sum(h.failed) as failed,
            sum(h.cancelled) as cancelled,
            sum(h.calls) as calls,
            sum(h.failed_calls) as failed_calls,
            max(h.busy_workers) as busy_workers,
            jsonb_build_array(max(h.waiting_p50), max(h.waiting_p95), max(h.waiting_p99)) as waiting,
            jsonb_build_array(max(h.running_p50), max(h.running_p95), max(h.running_p99)) as running,
            jsonb_build_array(max(h.provider_p50), max(h.provider_p95), max(h.provider_p99)) as provider
        from chosen c
        cross join last_hour l
        join only queues.stats_history h on h.at >= date_trunc(c.resolution, _from)
            and h.at < _to
            and (h.resolution = c.resolution or h.resolution = 'minute' and h.at >= l.ends_at)
        group by 1
    )
    select jsonb_build_object(
        'step', (select c.step from chosen c),
        'resolution', (select c.resolution from chosen c),
        'bins', coalesce(
            (
                select jsonb_agg(to_jsonb(b) || jsonb_build_object('at', errand.epoch(b.at)) order by b.at)
                from bin b
            ),
            '[]'
        )
    );
$$;

-- Of types, handlers and providers those with most tasks, time or calls.
create function errand.report_stats()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with stats as materialized (
        select
            s.*,
            case
                when s.provider is not null then 'calls'
                when s.handler is not null then 'handler'
                else 'type'
            end as kind,
            coalesce(s.calls, s.invocations * s.running_mean, s.attempts) as weight
        from queues.stats s
    )
    select jsonb_build_object(
        'since', (select errand.epoch(min(s.stats_since)) from stats s),
        'handler_time', (select sum(s.weight) from stats s where s.kind = 'handler'),
        'rows', coalesce(
            (
                select jsonb_agg(to_jsonb(r) - 'stats_since' order by r.kind, r.place)
                from (
                    select s.*, row_number() over (partition by s.kind order by s.weight desc nulls last, s.task_type) as place
                    from stats s
                ) r
                where r.place <= 40
            ),
            '[]'
        )
    );
$$;

create function errand.report_providers()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('rows', coalesce(jsonb_agg(to_jsonb(p) order by p.name), '[]'))
    from (
        select
            s.name,
            s.interface,
            s.state,
            s.in_flight,
            s.queued,
            errand.epoch(coalesce(s.paused_until, s.breaker_until, s.next_request_at)) as until,
            s.pause_reason,
            s.paused_by,
            left(s.paused_why, 300) as paused_why,
            s.breaker,
            s.consecutive_failures,
            s.last_status,
            errand.epoch(s.last_failure_at) as last_failure_at,
            p.requests_per_second,
            p.burst,
            p.max_in_flight,
            p.breaker_threshold
        from queues.provider_status s
        join only queues.provider p on p.name = s.name
        order by s.in_flight desc nulls last, s.queued desc nulls last, s.name
        limit 40
    ) p;
$$;
