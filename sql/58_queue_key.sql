-- Queue keys: tasks of the same type and key run in order, at most max_running_per_key of the task definition at a time.

-- Keys that are paused: workers start none of their tasks.
create table queues.paused_key (
    task_type text not null,
    queue_key text not null,
    -- when the pause ends; null: with queues.resume_key
    paused_until timestamptz,
    reason text,
    paused_by text not null default session_user,
    paused_at timestamptz not null default clock_timestamp()
);

-- With a primary key, foreign keys of users could refer to the table: their actions would run in the functions below.
create unique index paused_key_unique on queues.paused_key (task_type, (queue_key || ''));
-- A publication of all tables needs it.
alter table queues.paused_key replica identity full;

comment on table queues.paused_key is 'Queue keys that are paused, see queues.pause_key';
comment on column queues.paused_key.paused_until is 'When the pause ends; null: with queues.resume_key';

select pg_catalog.pg_extension_config_dump('queues.paused_key', '');

-- Lets the commit announce that a task of this key may start.
create function errand.announce_key(_task_type text, _queue_key text)
returns void
strict
language c
as 'MODULE_PATHNAME', 'announce_key_wrapper';

-- Locks a key until the transaction ends, so that no other session starts a task of it. Returns false if another one
-- has locked it. The end of the transaction is announced to the workers that were refused meanwhile.
create function errand.try_key_lock(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'try_key_lock_wrapper';

-- The number of workers inside that run a task of this key, or are about to.
create function errand.workers_of_key(_task_type text, _queue_key text)
returns integer
strict
language c
as 'MODULE_PATHNAME', 'workers_of_key_wrapper';

-- Whether the rate of a key lets a task start now.
create function errand.has_key_start(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'has_key_start_wrapper';

-- Counts the start of a task of a key; false if its rate lets none start now.
create function errand.reserve_key_start(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'reserve_key_start_wrapper';

-- Revokes a start of errand.reserve_key_start.
create function errand.give_back_key_start(_task_type text, _queue_key text)
returns void
strict
language c
as 'MODULE_PATHNAME', 'give_back_key_start_wrapper';

-- Raises an error unless there is such a task type and the key is one that a task can have.
create function errand.check_key(_task_type text, _queue_key text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform errand.check_task_type(_task_type);
    if coalesce(_queue_key, '') = '' then
        raise exception 'a queue key cannot be empty'
            using errcode = 'invalid_parameter_value',
                  hint = 'Name the key that tasks were enqueued with (_queue_key).';
    end if;
    if octet_length(_queue_key) > 512 then
        raise exception 'the queue key has % bytes', octet_length(_queue_key)
            using errcode = 'invalid_parameter_value',
                  hint = 'A queue key has at most 512 bytes, so no task has this one.';
    end if;
end;
$$;

-- Pauses a key: from the commit on, no task of this type and key starts before _until, or before queues.resume_key.
-- Tasks that run already are not affected. A pause that exists is replaced.
create function queues.pause_key(
    _task_type text,
    _queue_key text,
    _until timestamptz default null,
    _why text default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _end timestamptz := nullif(_until, 'infinity');
begin
    perform errand.check_key(_task_type, _queue_key);
    if _end <= clock_timestamp() then
        raise exception 'the pause would end at %, which is in the past', _end
            using errcode = 'invalid_parameter_value',
                  hint = 'Leave _until out to pause the key until queues.resume_key is called.';
    end if;

    insert into queues.paused_key as p (task_type, queue_key, paused_until, reason)
    values (_task_type, _queue_key, _end, _why)
    on conflict (task_type, (queue_key || '')) do update
    set paused_until = excluded.paused_until,
        reason = excluded.reason,
        paused_by = excluded.paused_by,
        paused_at = excluded.paused_at;

    if not exists (
        select 1
        from only queues.paused_key p
        where p.task_type = _task_type
            and p.queue_key || '' = _queue_key
            and p.paused_until is not distinct from _end
    ) then
        perform errand.refuse_unwritten('queues.paused_key', _inserted => true);
    end if;

    perform errand.announce(_end);
end;
$$;

-- Whether a key is paused now.
create function errand.is_key_paused(_task_type text, _queue_key text)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select 1
        from only queues.paused_key p
        where p.task_type = _task_type
            and p.queue_key || '' = _queue_key
            and (p.paused_until is null or p.paused_until > clock_timestamp())
    );
$$;

-- Ends the pause of a key. Returns false if it is not paused.
create function queues.resume_key(_task_type text, _queue_key text)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _was_paused boolean;
begin
    perform errand.check_key(_task_type, _queue_key);
    _was_paused := errand.is_key_paused(_task_type, _queue_key);

    delete from only queues.paused_key p
    where p.task_type = _task_type
        and p.queue_key || '' = _queue_key;
    if errand.is_key_paused(_task_type, _queue_key) then
        perform errand.refuse_unwritten('queues.paused_key');
    end if;

    perform errand.announce_key(_task_type, _queue_key);
    return _was_paused;
end;
$$;
