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
    _adopted bigint;
begin
    update queues.task
    set origin = _here
    where finished_at is null
        and origin <> _here;
    get diagnostics _adopted = row_count;

    perform queues.announce(clock_timestamp());
    perform queues.announce_orphans();
    return _adopted;
end;
$$;
