-- The facts of queues.report about tasks and limits, see 87_report_facts.sql.

-- Tasks that run, and the slowest among the newest tasks: an index finds these, the table is not read.
create function errand.report_tasks(_from timestamptz, _to timestamptz)
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with newest as materialized (
        select t.task_id, t.task_type, t.final_status, t.dequeued_at, t.finished_at, t.queue_key
        from only queues.task t
        order by t.task_id desc
        limit 10000
    )
    select jsonb_build_object(
        'number_running', (select count(*) from queues.running),
        'running', coalesce(
            (
                select jsonb_agg(to_jsonb(r) || jsonb_build_object('since', errand.epoch(r.since)) order by r.since, r.task_id)
                from (
                    select w.task_id, w.task_type, w.runs_in, w.handler, w.provider, w.since, w.pid, left(w.queue_key, 200) as queue_key
                    from queues.running w
                    order by w.since, w.task_id
                    limit 20
                ) r
            ),
            '[]'
        ),
        'examined', (select count(*) from newest),
        'ended', coalesce(
            (
                select jsonb_agg(to_jsonb(e) order by e.seconds desc, e.task_id)
                from (
                    select
                        n.task_id,
                        n.task_type,
                        n.final_status as status,
                        left(n.queue_key, 200) as queue_key,
                        errand.epoch(n.finished_at) as finished_at,
                        extract(epoch from n.finished_at - n.dequeued_at)::double precision as seconds
                    from newest n
                    where n.finished_at >= _from
                        and n.finished_at <= _to
                        and n.dequeued_at is not null
                    order by n.finished_at - n.dequeued_at desc, n.task_id
                    limit 15
                ) e
            ),
            '[]'
        )
    );
$$;

create function errand.report_waiting()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with waiting as materialized (
        select w.task_type, w.reason, w.tasks, w.oldest, w.until, w.hint
        from queues.waiting w
    )
    select jsonb_build_object(
        'tasks', (select coalesce(sum(w.tasks), 0) from waiting w),
        'scheduled', (select coalesce(sum(w.tasks), 0) from waiting w where w.reason = 'scheduled'),
        'rows', coalesce(
            (
                select jsonb_agg(to_jsonb(r) order by r.tasks desc, r.task_type, r.reason)
                from (
                    select
                        w.task_type,
                        w.reason,
                        w.tasks,
                        errand.epoch(w.oldest) as oldest,
                        errand.epoch(w.until) as until,
                        left(w.hint, 300) as hint
                    from waiting w
                    order by w.tasks desc, w.task_type, w.reason
                    limit 40
                ) r
            ),
            '[]'
        )
    );
$$;

-- The queue keys with the most unfinished tasks. At most 200,000 tasks are read.
create function errand.report_keys()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with keyed as materialized (
        select t.task_type, t.queue_key, t.scheduled_at
        from only queues.task t
        where t.finished_at is null
            and t.queue_key is not null
        limit 200000
    )
    select jsonb_build_object(
        'examined', (select count(*) from keyed),
        'rows', coalesce(jsonb_agg(to_jsonb(k) order by k.tasks desc, k.task_type, k.queue_key), '[]')
    )
    from (
        select
            g.task_type,
            left(g.queue_key, 200) as queue_key,
            g.tasks,
            errand.epoch(g.oldest) as oldest,
            exists (
                select 1
                from only queues.paused_key p
                where p.task_type = g.task_type
                    and p.queue_key = g.queue_key
                    and (p.paused_until is null or p.paused_until > clock_timestamp())
            ) as is_paused
        from (
            select t.task_type, t.queue_key, count(*) as tasks, min(t.scheduled_at) as oldest
            from keyed t
            group by t.task_type, t.queue_key
            order by 3 desc, 1, 2
            limit 20
        ) g
    ) k;
$$;

-- How many tasks were enqueued within the last hour, and how many ended. Task ids rise with the time, so the first one of the
-- hour is found by halving.
create function errand.report_pace()
returns jsonb
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _most constant integer := 300000;
    _since timestamptz := clock_timestamp() - interval '1 hour';
    _low bigint;
    _high bigint;
    _last bigint;
    _middle bigint;
    _found record;
    _enqueued bigint;
begin
    select min(t.task_id), max(t.task_id) + 1, max(t.task_id) into _low, _high, _last from only queues.task t;
    while _low < _high loop
        _middle := _low + (_high - _low) / 2;
        select t.task_id, t.enqueued_at into _found
        from only queues.task t
        where t.task_id >= _middle
        order by t.task_id
        limit 1;
        if _found.enqueued_at < _since then
            _low := _found.task_id + 1;
        else
            _high := _middle;
        end if;
    end loop;
    select count(*) into _enqueued
    from (
        select
        from only queues.task t
        where t.task_id >= _low
        limit _most
    ) r;
    return jsonb_build_object(
        'enqueued', case when _enqueued < _most then _enqueued else _last - _low + 1 end,
        'ended', (
            select coalesce(sum(h.succeeded + h.failed + h.cancelled), 0)
            from only queues.stats_history h
            where h.resolution = 'minute'
                and h.at >= date_trunc('minute', _since)
        )
    );
end;
$$;

-- Settings that differ from their defaults, and limits of task types. Of a secret, only whether it is set.
create function errand.report_settings()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with library as materialized (
        select l.secrets_set
        from errand.library_state() l
    )
    select jsonb_build_object(
        'concurrency', current_setting('pg_errand.concurrency', true),
        'settings', coalesce(
            (
                select jsonb_agg(to_jsonb(o) order by o.name)
                from (
                    select
                        s.name,
                        left(current_setting(s.name, true), 300) as value,
                        concat(left(s.boot_val, 300), s.unit) as default_value,
                        s.source
                    from library l
                    cross join pg_settings s
                    where s.name like 'pg\_errand.%'
                        and s.setting is distinct from s.boot_val
                        and s.name <> all (l.secrets_set)
                    union all
                    select n.name, null, '', null
                    from library l
                    cross join lateral unnest(l.secrets_set) as n (name)
                ) o
            ),
            '[]'
        ),
        'definitions', coalesce(
            (
                select jsonb_agg(to_jsonb(d) order by d.task_type)
                from (
                    select
                        t.task_type,
                        t.max_running,
                        t.starts_per_second,
                        t.burst,
                        t.max_running_per_key,
                        t.starts_per_second_per_key,
                        t.priority_ages_every::text as priority_ages_every,
                        t.keep_succeeded_for::text as keep_succeeded_for,
                        t.keep_failed_for::text as keep_failed_for,
                        t.redact_payload
                    from only queues.task_definition t
                    where num_nonnulls(
                            t.max_running,
                            t.starts_per_second,
                            t.burst,
                            t.starts_per_second_per_key,
                            t.priority_ages_every,
                            t.keep_succeeded_for,
                            t.keep_failed_for
                        ) > 0
                        or t.max_running_per_key <> 1
                        or t.redact_payload
                    order by t.task_type
                    limit 60
                ) d
            ),
            '[]'
        )
    );
$$;
