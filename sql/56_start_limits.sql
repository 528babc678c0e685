-- The limits of task types (max_running, starts_per_second) for workers outside the database.

-- Whether the limits of a type let another task start, of which _leased are leased.
create function errand.has_start(_task_type text, _leased bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'has_start_wrapper';

-- Reserves the start of a task until the transaction ends; false if the limits of its type refuse it. _leased is the
-- number of tasks of the type that are leased.
create function errand.reserve_start(_task_type text, _leased bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'reserve_start_wrapper';

-- The number of leased tasks of a type.
create function errand.count_leases(_task_type text)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
    select count(*)
    from only queues.task t
    where t.finished_at is null
        and t.not_before > clock_timestamp()
        and t.leased
        and t.task_type = _task_type;
$$;

-- Those of these types that have limits.
create function errand.limited_types(_task_types text[])
returns text[]
language sql
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(d.task_type), '{}')
    from only queues.task_definition d
    where d.task_type = any (_task_types)
        and (d.max_running is not null or d.starts_per_second is not null);
$$;

-- Whether a task of a limited type may be dequeued, without reserving its start.
create function errand.may_start(_task_type text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- An older snapshot would not show all leases.
    return current_setting('transaction_isolation') not in ('repeatable read', 'serializable')
        and errand.has_start(_task_type, errand.count_leases(_task_type));
end;
$$;

-- Reserves the start of a task of a limited type; false if it may not be dequeued.
create function errand.begin_start(_task_type text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Until this transaction ends, no other session sees its lease, so none dequeues a task of this type.
    perform 1
    from only queues.task_definition d
    where d.task_type = _task_type
    for no key update skip locked;
    if not found then
        return false;
    end if;
    -- The type is counted after it has been locked.
    return errand.reserve_start(_task_type, errand.count_leases(_task_type));
end;
$$;
