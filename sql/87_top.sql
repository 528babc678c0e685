-- A text that fits into a column of a terminal: without control characters, at most _width characters.
create function errand.cell(_text text, _width integer)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select rpad(
        case
            when char_length(c.shown) > _width then left(c.shown, _width - 1) || '…'
            else c.shown
        end,
        _width
    )
    from (
        select regexp_replace(coalesce(_text, ''), '[[:cntrl:]]', '?', 'g')
    ) as c (shown);
$$;

-- How long ago a time was, in one unit: 12 s, 5 min, 3 h, 2 d. A time in the future counts as now.
create function errand.age_text(_since timestamptz, _now timestamptz)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select case
        when not isfinite(_since) then _since::text
        when s.seconds < 0 then '0 s'
        when s.seconds < 120 then floor(s.seconds) || ' s'
        when s.seconds < 7200 then floor(s.seconds / 60) || ' min'
        when s.seconds < 172800 then floor(s.seconds / 3600) || ' h'
        else floor(s.seconds / 86400) || ' d'
    end
    from (
        select extract(epoch from case when isfinite(_since) then _now - _since end)
    ) as s (seconds);
$$;

-- A text in lines of a terminal: without control characters, each of at most _width characters, broken at spaces if possible.
create function errand.wrapped(_text text, _width integer)
returns setof text
language plpgsql
immutable
rows 2
set search_path = pg_catalog, pg_temp
as $$
declare
    _rest text := regexp_replace(coalesce(_text, ''), '[[:cntrl:]]', '?', 'g');
    _space integer;
    _lines text[] := '{}';
begin
    while char_length(_rest) > _width loop
        _space := _width + 2 - strpos(reverse(substr(_rest, 1, _width + 1)), ' ');
        if _space > _width + 1 or _space < _width / 2 then
            _lines := _lines || substr(_rest, 1, _width);
            _rest := substr(_rest, _width + 1);
        else
            _lines := _lines || substr(_rest, 1, _space - 1);
            _rest := substr(_rest, _space + 1);
        end if;
    end loop;
    return query select unnest(_lines || _rest);
end;
$$;

-- A page about this database for a terminal, made for \watch 1: problems, what runs, what waits and why, providers that are in
-- use or not well, errors of the last hour by the shape of their message, with hints. Of each at most _lines; what is longer than
-- a line of 140 characters continues on the next ones.
create function queues.top(_lines integer default 10)
returns setof text
language sql
volatile
rows 40
security definer
set search_path = pg_catalog, pg_temp
as $$
    with moment as materialized (
        select clock_timestamp() as now
    ),
    waiting as materialized (
        select w.task_type, w.reason, w.tasks, w.oldest, w.until, w.hint
        from queues.waiting w
    ),
    line (section, place, text, note) as (
        select
            1,
            0::bigint,
            format(
                '%s  %s  workers: %s (%s busy)  waiting: %s  last minute: %s tasks/s, %s failed/s',
                current_database(),
                to_char(m.now, 'HH24:MI:SS'),
                w.workers,
                w.busy,
                (select coalesce(sum(q.tasks), 0) from waiting q),
                round(coalesce((t.succeeded + t.failed + t.cancelled) / nullif(t.seconds, 0), 0)::numeric, 1),
                round(coalesce(t.failed / nullif(t.seconds, 0), 0)::numeric, 1)
            ),
            null
        from moment m
        cross join (
            select count(*) as workers, count(*) filter (where state = 'busy') as busy
            from queues.worker
        ) w
        left join queues.throughput('1 minute') t on t.task_type is null
        union all
        select
            2,
            row_number() over (order by h.severity, h.problem),
            format('! %s: %s', h.severity, h.explanation),
            h.hint
        from queues.health h
        union all
        select
            3,
            row_number() over (order by r.since nulls last, r.task_id),
            concat_ws(
                '  ',
                errand.cell(r.task_id::text, 12),
                errand.cell(r.task_type, 20),
                errand.cell(coalesce(r.handler, r.provider), 36),
                errand.cell(r.runs_in, 8),
                errand.cell(r.pid::text, 8),
                errand.age_text(r.since, m.now)
            ),
            nullif(
                concat_ws(
                    '; ',
                    'waits for a lock of process ' || array_to_string(r.blocked_by, ', ') || format(' (%s)', r.waits_for),
                    'leased until ' || to_char(r.until, 'YYYY-MM-DD HH24:MI:SS'),
                    'queue key ' || left(r.queue_key, 100)
                ),
                ''
            )
        from queues.running r
        cross join moment m
        union all
        select
            4,
            row_number() over (order by q.tasks desc, q.task_type, q.reason),
            concat_ws(
                '  ',
                errand.cell(q.tasks::text, 12),
                errand.cell(q.task_type, 20),
                errand.cell(q.reason, 36),
                errand.cell(to_char(q.until, 'MM-DD HH24:MI:SS'), 18),
                errand.age_text(q.oldest, m.now)
            ),
            q.hint
        from waiting q
        cross join moment m
        union all
        select
            5,
            row_number() over (order by p.name),
            concat_ws(
                '  ',
                errand.cell(p.in_flight::text, 12),
                errand.cell(p.name, 20),
                errand.cell(p.state, 36),
                errand.cell(p.queued::text, 18),
                to_char(coalesce(p.paused_until, p.breaker_until, p.next_request_at), 'HH24:MI:SS')
            ),
            null
        from queues.provider_status p
        where p.state <> 'ok'
            or p.in_flight > 0
        union all
        select
            6,
            row_number() over (order by f.failures desc, f.shape),
            concat_ws(
                '  ',
                errand.cell(f.failures::text, 12),
                errand.cell(array_to_string(f.task_types, ', '), 20),
                errand.cell(to_char(f.last_at, 'HH24:MI:SS'), 8),
                left(f.shape, 400)
            ),
            null
        from queues.failures('1 hour') f
    ),
    heading (section, text) as (
        values
            (3, concat_ws('  ', rpad('RUNNING', 12), rpad('type', 20), rpad('handler or provider', 36), rpad('in', 8), rpad('pid', 8), 'for')),
            (4, concat_ws('  ', rpad('WAITING', 12), rpad('type', 20), rpad('reason', 36), rpad('until', 18), 'oldest')),
            (5, concat_ws('  ', rpad('IN FLIGHT', 12), rpad('provider', 20), rpad('state', 36), rpad('queued', 18), 'until')),
            (6, concat_ws('  ', rpad('ERRORS, 1 h', 12), rpad('types', 20), rpad('last', 8), 'shape of the message'))
    )
    select o.text
    from (
        select
            l.section,
            l.place,
            p.part,
            case when p.part > 1 then repeat(' ', 14) else '' end || rtrim(p.text)
        from line l
        -- the lines of the note after those of the text
        cross join lateral (
            select w.part, w.text
            from errand.wrapped(l.text, 126) with ordinality w (text, part)
            union all
            select 1000 + w.part, w.text
            from errand.wrapped(l.note, 126) with ordinality w (text, part)
            where l.note is not null
        ) p
        where l.place <= greatest(_lines, 1)
        union all
        select l.section, max(l.place), 0, format('… %s more', max(l.place) - greatest(_lines, 1))
        from line l
        group by l.section
        having max(l.place) > greatest(_lines, 1)
        union all
        select h.section, -1, 0, ''
        from heading h
        where h.section in (select l.section from line l)
        union all
        select h.section, 0, 0, h.text
        from heading h
        where h.section in (select l.section from line l)
    ) o (section, place, part, text)
    order by o.section, o.place, o.part;
$$;
