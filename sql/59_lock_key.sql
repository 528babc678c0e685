-- How workers outside the database take a task with a queue key. They and the workers inside start none at the same time:
-- one outside locks the key before it counts the workers that show it, and one inside shows the key before it looks
-- whether the key is locked. Both read the rows last. Their plans use indexes only, also if they are made while the table is
-- short or was not analyzed.

-- The next tasks of the keys of these types that may start at _now, the first one of each key: keys that are not paused,
-- of which fewer tasks run than may, and whose rate lets another one start. Each key is found by a search of its own in
-- the index.
create function errand.free_keys(
    _task_types text[],
    _now timestamptz,
    out task_type text,
    out queue_key text,
    out priority integer,
    out scheduled_at timestamptz,
    out task_id bigint
)
returns setof record
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
#variable_conflict use_column
begin
    return query
    with recursive wanted as materialized (
        select
            d.task_type,
            d.max_running_per_key as max_running,
            hashtextextended(d.task_type, 0) as type_digest,
            errand.queue_origin() as origin
        from only queues.task_definition d
        where d.task_type = any (_task_types)
    ),
    key as (
        select w.*, first.queue_key, first.key_digest
        from wanted w
        cross join lateral (
            select t.queue_key, hashtextextended(t.queue_key, 0) as key_digest
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0)) >= (w.origin, w.type_digest)
                and (t.origin, hashtextextended(t.task_type, 0)) <= (w.origin, w.type_digest)
                and t.finished_at is null
                and t.queue_key is not null
            order by t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)
            limit 1
        ) first
        union all
        select k.task_type, k.max_running, k.type_digest, k.origin, next.queue_key, next.key_digest
        from key k
        cross join lateral (
            select t.queue_key, hashtextextended(t.queue_key, 0) as key_digest
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    > (k.origin, k.type_digest, k.key_digest)
                and (t.origin, hashtextextended(t.task_type, 0)) <= (k.origin, k.type_digest)
                and t.finished_at is null
                and t.queue_key is not null
            order by t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)
            limit 1
        ) next
    )
    select k.task_type, k.queue_key, coalesce(next.priority, 0)::integer, next.scheduled_at, next.task_id
    from key k
    cross join lateral (
        select t.priority, t.scheduled_at, t.task_id, t.not_before
        from only queues.task t
        -- Conditions and order name all columns of the index task_keyed, so that no other index comes into question, by
        -- which tasks of other keys would be scanned.
        where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                >= (k.origin, k.type_digest, k.key_digest)
            and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                <= (k.origin, k.type_digest, k.key_digest)
            and t.finished_at is null
            and t.queue_key is not null
            -- If only one runs at a time, the first one keeps its turn also while it is deferred.
            and (k.max_running = 1 or not t.calling and (t.not_before is null or t.not_before <= _now))
        order by
            t.origin,
            hashtextextended(t.task_type, 0),
            hashtextextended(t.queue_key, 0),
            t.scheduled_at,
            t.task_id
        limit 1
    ) next
    where next.scheduled_at <= _now
        and (next.not_before is null or next.not_before <= _now)
        and not exists (
            select 1
            from only queues.paused_key p
            where p.task_type = k.task_type
                and p.queue_key || '' = k.queue_key
                and (p.paused_until is null or p.paused_until > _now)
        )
        and errand.workers_of_key(k.task_type, k.queue_key) + (
            select count(*)
            from only queues.task t
            where t.origin = k.origin
                and t.finished_at is null
                and t.queue_key is not null
                and (t.calling or t.leased)
                and (t.calling or t.not_before > _now)
                and hashtextextended(t.task_type, 0) = k.type_digest
                and hashtextextended(t.queue_key, 0) = k.key_digest
        ) < k.max_running
        and errand.has_key_start(k.task_type, k.queue_key);
end;
$$;

-- The number of tasks of a key that run outside the workers' processes: those between the steps of a provider call, and
-- those that are leased.
create function errand.count_busy_of_key(_task_type text, _queue_key text)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
    select count(*)
    from only queues.task t
    where t.origin = (select errand.queue_origin())
        and t.finished_at is null
        and t.queue_key is not null
        and (t.calling or t.leased)
        and (t.calling or t.not_before > clock_timestamp())
        and hashtextextended(t.task_type, 0) = hashtextextended(_task_type, 0)
        and hashtextextended(t.queue_key, 0) = hashtextextended(_queue_key, 0);
$$;

-- Locks the next task of a key. task_id is null if none may start, or if another session has locked the key.
create function errand.lock_next_of_key(
    _task_type text,
    _queue_key text,
    out task_id bigint,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _most integer;
    _first bigint;
begin
    if not errand.try_key_lock(_task_type, _queue_key) then
        return;
    end if;

    select d.max_running_per_key
    into _most
    from only queues.task_definition d
    where d.task_type = _task_type;
    -- A worker that shows the key from now on finds it locked.
    if errand.workers_of_key(_task_type, _queue_key) + errand.count_busy_of_key(_task_type, _queue_key) >= _most
        or errand.is_key_paused(_task_type, _queue_key)
        or not errand.reserve_key_start(_task_type, _queue_key)
    then
        return;
    end if;

    -- Each statement sees what was committed before it. If only one task runs at a time, it is the first one or none.
    -- Otherwise workers inside may have locked the first ones.
    if _most = 1 then
        _first := (
            select t.task_id
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    >= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
                and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    <= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
                and t.finished_at is null
                and t.queue_key is not null
            order by
                t.origin,
                hashtextextended(t.task_type, 0),
                hashtextextended(t.queue_key, 0),
                t.scheduled_at,
                t.task_id
            limit 1
        );

        select t.task_id, t.leased
        into task_id, was_leased
        from only queues.task t
        where t.task_id = _first
            and t.task_type = _task_type
            and t.queue_key = _queue_key
            and t.finished_at is null
            and not t.calling
            and t.scheduled_at <= clock_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            -- A task that follows another one with its unique key starts after that one's end.
            and not exists (
                select 1
                from only queues.task p
                where p.task_id = t.follows
                    and p.finished_at is null
            )
        for no key update skip locked;
    else
        select t.task_id, t.leased
        into task_id, was_leased
        from only queues.task t
        where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                >= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
            and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                <= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
            and t.finished_at is null
            and t.queue_key is not null
            and t.task_type = _task_type
            and t.queue_key = _queue_key
            and not t.calling
            and t.scheduled_at <= clock_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            and not exists (
                select 1
                from only queues.task p
                where p.task_id = t.follows
                    and p.finished_at is null
            )
        order by
            t.origin,
            hashtextextended(t.task_type, 0),
            hashtextextended(t.queue_key, 0),
            t.scheduled_at,
            t.task_id
        limit 1
        for no key update skip locked;
    end if;

    if task_id is null then
        perform errand.give_back_key_start(_task_type, _queue_key);
    end if;
end;
$$;
