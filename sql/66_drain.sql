-- Draining a database, for deployments: it starts nothing new, and the caller waits until nothing runs.

-- Lets this database start nothing until the transaction ends.
create function errand.begin_drain()
returns void
language c
as 'MODULE_PATHNAME', 'begin_drain_wrapper';

-- What of this database still runs: a task in a worker, a call that was not handled, or a lease of a worker outside.
create function errand.left_to_drain(out what text, out task_id bigint, out pid integer)
returns setof record
language c
as 'MODULE_PATHNAME', 'left_to_drain_wrapper';

-- Pauses the database at once, and waits until nothing of it runs. Returns false if something still runs after _timeout
-- (null: no limit); a notice says what. In both cases the pause lasts until queues.resume, once the transaction has
-- committed. If it rolls back, there was no pause.
create function queues.drain(_timeout interval default '1 minute', _why text default null)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _deadline timestamptz := clock_timestamp() + _timeout;
    _left text;
    _count bigint;
begin
    if _timeout < '0' then
        raise exception 'the timeout % is negative', _timeout
            using errcode = 'invalid_parameter_value',
                  hint = 'Leave _timeout out to wait for a minute, or pass null to wait without a limit.';
    end if;
    perform errand.begin_drain();
    perform errand.begin_pause(null, null, null, coalesce(_why, 'queues.drain'));

    loop
        select count(*) into _count
        from errand.left_to_drain();
        if _count = 0 then
            return true;
        end if;
        exit when clock_timestamp() >= _deadline;
        perform pg_sleep(0.02);
    end loop;

    select
        count(*),
        string_agg(
            case when l.what <> 'task' then l.what || ' of ' else '' end
                || format('task %s', coalesce(nullif(l.task_id, 0)::text, 'that is being claimed'))
                || coalesce(' in process ' || l.pid, ''),
            ', ' order by l.task_id
        ) filter (where l.number <= 10)
    into _count, _left
    from (
        select r.*, row_number() over (order by r.task_id) as number
        from errand.left_to_drain() r
    ) l;
    if _count = 0 then
        return true;
    end if;
    raise notice 'still running: % (% in all)', _left, _count
        using hint = 'The database stays paused when the transaction commits. Call queues.drain again to wait on, or queues.resume to end the pause.';
    return false;
end;
$$;
