-- The order of tasks whose priority rises while they wait (queues.task_definition.priority_ages_every), for workers
-- outside the database. Workers inside keep the same order, see crates/queue/src/ageing.rs.

-- Locks the next task without a queue key of these types that is ready at _now: the one of the highest effective priority,
-- and of these the one that has had it for longest, if it comes before a position (null: any). All are null if there is
-- none.
create function errand.lock_next_aged(
    _task_types text[],
    _now timestamptz,
    _before_priority integer,
    _before_time timestamptz,
    _before_id bigint,
    out task_id bigint,
    out task_type text,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _passed bigint[] := array(select w.task_id from errand.worker_state() w where w.task_id is not null);
    _next bigint;
begin
    loop
        -- Types without ageing have a common order, each other type has one of its own. Only the first task of each
        -- order and priority can be the next one.
        with recursive level (priority) as (
            select max(r.priority)
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is not null
                and r.queue_key is null
            union all
            select (
                select max(r.priority)
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority is not null
                    and r.queue_key is null
                    and r.priority < l.priority
            )
            from level l
            where l.priority is not null
        ),
        types as (
            select array_agg(d.task_type) as names, nullif(greatest(extract(epoch from min(d.priority_ages_every)), 0), 0) as ages_every
            from only queues.task_definition d
            where d.task_type = any (_task_types)
            group by case when d.priority_ages_every is not null then d.task_type end
        ),
        heads as (
            select r.task_id, 0 as priority, extract(epoch from r.scheduled_at) as scheduled_at, y.ages_every
            from types y
            cross join lateral (
                select r.task_id, r.scheduled_at
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority is null
                    and r.queue_key is null
                    and r.task_type = any (y.names)
                    and r.scheduled_at <= _now
                    and (r.not_before is null or r.not_before <= _now)
                    and r.task_id <> all (_passed)
                    -- A task that follows another one with its unique key starts after that one's end.
                    and not exists (
                        select 1
                        from only queues.task p
                        where p.task_id = r.follows
                            and p.finished_at is null
                    )
                order by r.scheduled_at, r.task_id
                limit 1
            ) r
            union all
            select r.task_id, l.priority, extract(epoch from r.scheduled_at), y.ages_every
            from types y
            cross join level l
            cross join lateral (
                select r.task_id, r.scheduled_at
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority = l.priority
                    and r.queue_key is null
                    and r.task_type = any (y.names)
                    and r.scheduled_at <= _now
                    and (r.not_before is null or r.not_before <= _now)
                    and r.task_id <> all (_passed)
                    and not exists (
                        select 1
                        from only queues.task p
                        where p.task_id = r.follows
                            and p.finished_at is null
                    )
                order by r.scheduled_at, r.task_id
                limit 1
            ) r
        )
        select h.task_id
        into _next
        from heads h
        cross join lateral (
            select case
                when h.ages_every is null then 0
                else least(div(extract(epoch from _now) - h.scheduled_at, h.ages_every), 32767 - h.priority)
            end as gained
        ) aged
        cross join lateral (
            select
                -(h.priority + aged.gained) as rank,
                h.scheduled_at + aged.gained * coalesce(h.ages_every, 0) as since
        ) effective
        where _before_priority is null
            or (effective.rank, effective.since, h.task_id)
                < (-_before_priority, extract(epoch from _before_time), _before_id)
        order by effective.rank, effective.since, h.task_id
        limit 1;
        exit when _next is null;

        select r.task_id, r.task_type, r.leased
        into task_id, task_type, was_leased
        from only queues.task r
        where r.task_id = _next
            and r.origin = _here
            and r.finished_at is null
            and not r.calling
            and r.queue_key is null
            and r.task_type = any (_task_types)
            and r.scheduled_at <= _now
            and (r.not_before is null or r.not_before <= _now)
        for no key update skip locked;
        exit when found;
        -- Another worker has it.
        _passed := _passed || _next;
    end loop;
end;
$$;
