-- A page about a span of time, as HTML.

-- The facts that contain no message of a task, read with the privileges of the owner. A section that cannot be read has an
-- error instead. It cannot be called by name without USAGE on the schema.
create function errand.report_facts(_from timestamptz, _to timestamptz)
returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set jit = off
set lock_timeout = '2s'
set client_min_messages = warning
as $$
declare
    _section text;
    _fact jsonb;
    _facts jsonb := '{}';
begin
    if _from is null or _to is null or not isfinite(_from) or not isfinite(_to)
        or _to - _from not between '1 minute' and '366 days'
    then
        raise exception 'the span of a report has to be between a minute and 366 days'
            using errcode = 'invalid_parameter_value',
                  hint = 'Give its beginning and its end, such as: SELECT queues.report(now() - interval ''7 days'', now());';
    end if;
    foreach _section in array array[
        'head', 'problems', 'history', 'stats', 'providers', 'tasks', 'waiting', 'keys', 'pace', 'settings'
    ] loop
        begin
            _fact := case _section
                when 'head' then errand.report_head(_from, _to)
                when 'problems' then errand.report_problems()
                when 'history' then errand.report_history(_from, _to)
                when 'stats' then errand.report_stats()
                when 'providers' then errand.report_providers()
                when 'tasks' then errand.report_tasks(_from, _to)
                when 'waiting' then errand.report_waiting()
                when 'keys' then errand.report_keys()
                when 'pace' then errand.report_pace()
                when 'settings' then errand.report_settings()
            end;
        exception when others then
            _fact := jsonb_build_object('error', sqlerrm);
        end;
        _facts := _facts || jsonb_build_object(_section, _fact);
    end loop;
    return _facts;
end;
$$;

-- The failures of the span by the shape of their message, for those who may read queues.failure. The example is the latest one.
create function errand.report_failures(_from timestamptz, _to timestamptz)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set jit = off
set lock_timeout = '2s'
as $$
begin
    if not has_table_privilege('queues.failure', 'select') then
        return jsonb_build_object('error', 'Messages of tasks need SELECT on queues.failure, which a role of the kind operator has.');
    end if;
    return (
        with newest as materialized (
            select f.error_id, f.task_id, f.task_type, f.failed_at, f.sqlstate, left(f.message, 1000) as message, f.shape
            from queues.failure f
            where f.failed_at >= _from
                and f.failed_at <= _to
            order by f.failed_at desc
            limit 5000
        )
        select jsonb_build_object(
            'examined', (select count(*) from newest),
            'shapes', (select count(distinct n.shape) from newest n),
            'rows', coalesce(jsonb_agg(to_jsonb(r) order by r.failures desc, r.last_at desc), '[]')
        )
        from (
            select
                left(n.shape, 500) as shape,
                count(*) as failures,
                extract(epoch from min(n.failed_at))::float8 as first_at,
                extract(epoch from max(n.failed_at))::float8 as last_at,
                (array_agg(distinct n.task_type) filter (where n.task_type is not null))[1:5] as task_types,
                (array_agg(distinct n.sqlstate) filter (where n.sqlstate is not null))[1:5] as sqlstates,
                (array_agg(n.task_id order by n.error_id desc))[1] as task_id,
                (array_agg(n.message order by n.error_id desc))[1] as message
            from newest n
            group by n.shape
            order by 2 desc, 4 desc
            limit 25
        ) r
    );
exception when others then
    return jsonb_build_object('error', sqlerrm);
end;
$$;

-- The processes for whose locks workers wait, directly or behind other workers, as far as pg_stat_activity shows them to the
-- caller.
create function errand.report_locks()
returns jsonb
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        with recursive wait (worker, pid) as (
            select w.pid, b.pid
            from queues.worker w
            cross join lateral unnest(pg_blocking_pids(w.pid)) as b (pid)
            union
            select w.worker, b.pid
            from wait w
            cross join lateral unnest(pg_blocking_pids(w.pid)) as b (pid)
        )
        select jsonb_build_object('rows', coalesce(jsonb_agg(to_jsonb(l) order by l.workers desc, l.pid), '[]'))
        from (
            select
                w.pid,
                count(*) as workers,
                a.state,
                left(a.query, 300) as query,
                a.usename as role,
                extract(epoch from a.xact_start)::float8 as since,
                extract(epoch from a.state_change)::float8 as changed_at
            from wait w
            left join pg_stat_activity a on a.pid = w.pid
            where cardinality(pg_blocking_pids(w.pid)) = 0
            group by w.pid, a.state, a.query, a.usename, a.xact_start, a.state_change
            order by 2 desc, 1
            limit 5
        ) l
    );
exception when others then
    return jsonb_build_object('error', sqlerrm);
end;
$$;

-- The page that shows these facts.
create function errand.report_page(_facts jsonb)
returns text
immutable
strict
language c
as 'MODULE_PATHNAME', 'report_page_wrapper';

-- A page about a span of time, as HTML that needs nothing else. To save it: psql -Atc "select queues.report()" > report.html
create function queues.report(
    _from timestamptz default now() - interval '1 day',
    _to timestamptz default now()
)
returns text
language sql
volatile
return errand.report_page(
    errand.report_facts(_from, _to)
    operator(pg_catalog.||) pg_catalog.jsonb_build_object('failures', errand.report_failures(_from, _to), 'locks', errand.report_locks())
);
