-- What queues.health asks: checks of workers, definitions, rights, retention and locks.

-- Returns what keeps the workers of this database from running: nothing if they can run, or if the server is a standby.
-- _version is the version of the extension in this database.
create function errand.problems_of_workers(
    _version text,
    out problem text,
    out explanation text,
    out until timestamptz,
    out hint text
)
returns setof record
volatile
strict
rows 1
language c
as 'MODULE_PATHNAME', 'problems_of_workers_wrapper';

-- Returns what is wrong with task types and providers, so that tasks fail.
create function errand.problems_of_definitions(out explanation text, out hint text)
returns setof record
volatile
rows 1
language c
as 'MODULE_PATHNAME', 'problems_of_definitions_wrapper';

-- The name of the role that the workers of this database connect as.
create function errand.worker_role()
returns text
volatile
language c
as 'MODULE_PATHNAME', 'worker_role_wrapper';

-- Returns what the workers' role lacks of what handlers need to enqueue: the statements that grant it.
create function errand.missing_grants(_role text)
returns setof text
language sql
stable
rows 1
set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('GRANT %s TO %I;', needed.privilege, r.rolname), ' ' order by needed.place)
    from pg_roles r
    cross join lateral (
        select 1, 'USAGE ON SCHEMA queues'
        where not has_schema_privilege(r.oid, 'queues', 'usage')
        union all
        select 2, 'USAGE ON SCHEMA internal'
        where not has_schema_privilege(r.oid, to_regnamespace('internal')::oid, 'usage')
        union all
        select 3, 'EXECUTE ON FUNCTION queues.enqueue'
        where not has_function_privilege(r.oid, 'queues.enqueue'::regproc, 'execute')
        union all
        select 4, 'EXECUTE ON FUNCTION internal.run_function(text, jsonb)'
        where not has_function_privilege(r.oid, to_regprocedure('internal.run_function(text, jsonb)')::oid, 'execute')
    ) as needed (place, privilege)
    where r.rolname = _role
    having count(*) > 0;
$$;

-- The finished task that should have been removed longest ago, among the 1000 with the lowest numbers; no row if none of them has
-- ended. overdue is null if it is kept for ever, and negative before it may be removed.
create function errand.most_overdue(
    out task_id bigint,
    out finished_at timestamptz,
    out overdue interval
)
returns setof record
language sql
volatile
rows 1
set search_path = pg_catalog, pg_temp
as $$
    select
        t.task_id,
        t.finished_at,
        clock_timestamp() - t.finished_at - errand.kept_for(
            case when t.final_status = 'succeeded' then d.keep_succeeded_for else d.keep_failed_for end,
            current_setting('pg_errand.retention', true)::interval
        )
    from (
        select f.task_id, f.task_type, f.finished_at, f.final_status
        from only queues.task f
        order by f.task_id
        limit 1000
    ) t
    left join only queues.task_definition d on d.task_type = t.task_type
    where isfinite(t.finished_at)
    order by 3 desc nulls last
    limit 1;
$$;

-- The problem that handlers wait for locks of other sessions: as an error if all workers do, so that ready tasks do not start.
-- Those that wait for less than 5 seconds, or a minute if not all workers do, are no problem. In PL/pgSQL, since errand.waiting is
-- created later.
create function errand.problems_of_locks(out severity text, out subject text, out explanation text, out hint text)
returns setof record
language plpgsql
volatile
rows 1
set search_path = pg_catalog, pg_temp
as $$
declare
    _all record;
    _first record;
begin
    select count(*) as workers, count(x.pid) as blocked, max(x.blocked_since) as since
    into _all
    from errand.worker_state() w
    left join errand.worker_waits() x on x.pid = w.pid
        and x.blocked_since < clock_timestamp() - interval '5 seconds';
    if _all.blocked = 0 then
        return;
    end if;

    select x.pid, x.blocked_by, x.blocked_since, w.task_id
    into _first
    from errand.worker_waits() x
    join errand.worker_state() w on w.pid = x.pid
    where x.blocked_since is not null
        and w.task_id is not null
    order by x.blocked_since, x.pid
    limit 1;
    if not found then
        return;
    end if;

    if _all.blocked = _all.workers
        and exists (select 1 from errand.waiting() q where q.reason in ('workers_busy', 'behind'))
    then
        severity := 'error';
        explanation := format('All %s workers wait for locks of other sessions, and ready tasks do not start.', _all.workers);
    elsif _first.blocked_since < clock_timestamp() - interval '1 minute' then
        severity := 'warning';
        explanation := format('%s of %s workers wait for locks of other sessions.', _all.blocked, _all.workers);
    else
        return;
    end if;
    subject := 'task ' || _first.task_id;
    explanation := explanation || format(
        ' Task %s has waited in worker %s for process %s since %s.',
        _first.task_id, _first.pid, array_to_string(_first.blocked_by, ', '), _first.blocked_since
    );
    hint := format('See: SELECT * FROM queues.explain(%s);', _first.task_id);
    return next;
end;
$$;
