-- How workers outside the database find their next task.

-- Locks the next task without a queue key of these types that is ready at _now: the first one of the highest priority, with
-- ageing of the highest effective priority, if it comes before a position (null: any). All are null if there is none.
create function errand.lock_next_plain(
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
    _priority integer := 32768;
    _below integer;
    _time timestamptz;
    _id bigint;
begin
    if exists (
        select 1
        from only queues.task_definition d
        where d.task_type = any (_task_types)
            and d.priority_ages_every is not null
    ) then
        select n.task_id, n.task_type, n.was_leased
        into task_id, task_type, was_leased
        from errand.lock_next_aged(_task_types, _now, _before_priority, _before_time, _before_id) n;
        return;
    end if;

    -- Each priority in use is found by one search in the index. Plain tasks have priority 0.
    loop
        _below := (
            select max(r.priority)
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is not null
                and r.queue_key is null
                and r.priority < _priority
        );
        _priority := case when _priority > 0 then greatest(_below, 0) else _below end;
        exit when _priority is null or _priority < _before_priority;
        _time := case when _priority = _before_priority then _before_time else 'infinity' end;
        _id := case when _priority = _before_priority then _before_id else 9223372036854775807 end;

        if _priority = 0 then
            select r.task_id, r.task_type, r.leased
            into task_id, task_type, was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is null
                and r.queue_key is null
                and r.task_type = any (_task_types)
                and r.scheduled_at <= _now
                and (r.scheduled_at, r.task_id) < (_time, _id)
                and (r.not_before is null or r.not_before <= _now)
                -- A task that follows another one with its unique key starts after that one's end.
                and not exists (
                    select 1
                    from only queues.task p
                    where p.task_id = r.follows
                        and p.finished_at is null
                )
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        else
            select r.task_id, r.task_type, r.leased
            into task_id, task_type, was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority = _priority
                and r.queue_key is null
                and r.task_type = any (_task_types)
                and r.scheduled_at <= _now
                and (r.scheduled_at, r.task_id) < (_time, _id)
                and (r.not_before is null or r.not_before <= _now)
                and not exists (
                    select 1
                    from only queues.task p
                    where p.task_id = r.follows
                        and p.finished_at is null
                )
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        end if;
        exit when found;
    end loop;
end;
$$;

-- Locks the next task of these types that is ready at _now: the first one of the highest priority, where the next task of a
-- queue key stands for its key. All are null if there is none.
create function errand.lock_next_ready(
    _task_types text[],
    _now timestamptz,
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
    _key record;
begin
    -- An older snapshot would not show what others have started since.
    if current_setting('transaction_isolation') not in ('repeatable read', 'serializable')
        and exists (
            select 1
            from only queues.task t
            where t.origin = _here
                and t.finished_at is null
                and t.queue_key is not null
                and t.scheduled_at <= _now
        )
    then
        for _key in
            select k.*
            from errand.free_keys(_task_types, _now) k
            order by k.priority desc, k.scheduled_at, k.task_id
        loop
            select n.task_id, n.task_type, n.was_leased
            into task_id, task_type, was_leased
            from errand.lock_next_plain(_task_types, _now, _key.priority, _key.scheduled_at, _key.task_id) n;
            exit when task_id is not null;

            select n.task_id, _key.task_type, n.was_leased
            into task_id, task_type, was_leased
            from errand.lock_next_of_key(_key.task_type, _key.queue_key) n;
            exit when task_id is not null;
        end loop;
    end if;

    if task_id is null then
        select n.task_id, n.task_type, n.was_leased
        into task_id, task_type, was_leased
        from errand.lock_next_plain(_task_types, _now, null, null, null) n;
    end if;
end;
$$;
