-- Has the commit take over calls whose worker is gone.
create function queues.announce_orphans()
returns void
language c
as 'MODULE_PATHNAME', 'announce_orphans_wrapper';

-- Makes the tasks that came from another database this one's own, so that they are run here. Returns
-- how many. To be called when the original will not run them any more.
create function queues.adopt()
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _here bigint := queues.here();
    _unadopted bigint;
    _adopted bigint;
begin
    -- Reading first and changing then would deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    select count(*)
    into _unadopted
    from (
        select 1
        from only queues.task t
        where t.finished_at is null
            and t.origin <> _here
        for no key update
    ) t;

    with adopted as (
        update only queues.task
        set origin = _here
        where finished_at is null
            and origin <> _here
        returning origin
    )
    select count(*)
    into _adopted
    from adopted a
    where a.origin = _here;

    if _adopted < _unadopted then
        perform queues.refuse_unwritten('queues.task');
    end if;

    perform queues.announce(clock_timestamp());
    perform queues.announce_orphans();
    return _adopted;
end;
$$;
