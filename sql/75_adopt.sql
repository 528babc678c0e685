-- Lets the commit announce that there may be orphaned calls.
create function errand.announce_orphans()
returns void
language c
as 'MODULE_PATHNAME', 'announce_orphans_wrapper';

-- Adopts the unadopted tasks, which then run in this database, and returns their number. It is meant for the case that
-- the original database will not run them any more.
create function queues.adopt()
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _here bigint := errand.queue_origin();
    _unadopted bigint;
    _adopted bigint;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
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

    -- There may be an unfinished task of the same unique key here already. Both run, but only one keeps the key.
    update only queues.task t
    set unique_key = null
    where t.finished_at is null
        and t.origin <> _here
        and t.unique_key is not null
        and exists (
            select 1
            from only queues.task o
            where o.unique_key = t.unique_key
                and o.task_type = t.task_type
                and o.finished_at is null
                and (o.origin = _here or o.origin < t.origin)
        );

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
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce(clock_timestamp());
    perform errand.announce_orphans();
    return _adopted;
end;
$$;
