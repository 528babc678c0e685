-- Functions for workers outside the database. They compete with the workers inside.

-- Raises an error if a statement did not fail, but has not updated (or inserted) the row of this table. The error names
-- the triggers and rules that may be the cause.
create function errand.refuse_unwritten(_table regclass, _inserted boolean default false)
returns void
language c
as 'MODULE_PATHNAME', 'refuse_unwritten_wrapper';

-- Warns that a lease has ended before its task. The warning appears once for a database until the server restarts.
create function errand.tell_of_ended_lease(_task_id bigint)
returns void
strict
language c
as 'MODULE_PATHNAME', 'tell_of_ended_lease_wrapper';

-- Lets the commit announce what the end of this task lets start: the task that follows it, if it has a unique key, and the
-- next one of its queue key.
create function errand.announce_follower(_task_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task record;
begin
    select t.task_type, t.unique_key, t.queue_key
    into _task
    from only queues.task t
    where t.task_id = _task_id
        and (t.unique_key is not null or t.queue_key is not null);
    if not found then
        return;
    end if;

    if _task.unique_key is not null then
        perform errand.announce(clock_timestamp());
        perform errand.announce_key(f.task_type, f.queue_key)
        from only queues.task f
        where f.unique_key = _task.unique_key
            and f.task_type = _task.task_type
            and f.follows = _task_id;
    end if;
    perform errand.announce_key(_task.task_type, _task.queue_key);
end;
$$;

-- Dequeues the next ready task of these types, the first one of the highest priority, with a lease. Returns one row, with
-- nulls if no task is ready. By default the types are db_function, email and sms, which every worker outside supports.
-- With pg_errand.lease_duration = 0 the task has succeeded as soon as it is dequeued.
create function queues.dequeue_next_available_task(
    _task_types text[] default null,
    out task_id bigint,
    out task_type text,
    out payload jsonb,
    out enqueued_at timestamptz,
    out scheduled_at timestamptz,
    out dequeued_at timestamptz
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _lease interval := coalesce(current_setting('pg_errand.lease_duration', true), '5min')::interval;
    _now timestamptz;
    _leased_until timestamptz;
    _next bigint;
    _type text;
    _was_leased boolean;
    _unknown text;
    _types text[] := coalesce(_task_types, '{db_function,email,sms}');
    _paused text[];
    _limited text[];
    _attempts integer;
begin
    if _task_types is not null then
        select min(wanted.name)
        into _unknown
        from unnest(_task_types) as wanted (name)
        where not exists (select 1 from only queues.task_definition d where d.task_type = wanted.name);
        if _unknown is not null then
            raise exception 'unknown task type "%"', _unknown
                using errcode = 'invalid_parameter_value',
                      hint = 'Known task types are the rows of queues.task_definition.';
        end if;
    end if;

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;
    -- A volatile function in the condition would not end the index scan at the first task of the future.
    _now := clock_timestamp();

    -- Before a row is locked: workers inside pass over locked rows.
    _paused := errand.paused_types(_types);
    if _paused <> '{}' then
        _types := array(
            select t.name
            from unnest(_types) as t (name)
            where t.name <> all (_paused)
        );
    end if;
    _limited := errand.limited_types(_types);
    if _limited <> '{}' then
        _types := array(
            select t.name
            from unnest(_types) as t (name)
            where t.name <> all (_limited)
                or errand.may_start(t.name)
        );
    end if;

    loop
        select n.task_id, n.task_type, n.was_leased
        into _next, _type, _was_leased
        from errand.lock_next_ready(_types, _now) n;
        if _next is null then
            return;
        end if;
        exit when _type <> all (_limited) or errand.begin_start(_type);
        -- Another task of the type has started meanwhile.
        _types := array_remove(_types, _type);
    end loop;

    -- The lease starts now, after any wait for locks.
    _now := clock_timestamp();
    _leased_until := _now + _lease;

    update only queues.task t
    set dequeued_at = _now,
        attempts = least(t.attempts, 2147483646) + 1,
        leased = true,
        not_before = case when _lease > '0' then _leased_until end,
        finished_at = case when _lease = '0' then _now end,
        final_status = case when _lease = '0' then 'succeeded' end
    where t.task_id = _next
    returning t.task_id, t.task_type, t.payload, t.enqueued_at, t.scheduled_at, t.dequeued_at, t.attempts
    into task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at, _attempts;

    -- A trigger or rule may have suppressed the update; then the task would be handed out again.
    if exists (
        select 1
        from only queues.task t
        where t.task_id = _next
            and t.finished_at is null
            and coalesce(t.not_before, '-infinity') < least(_leased_until, clock_timestamp())
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.count_task(
        task_id,
        task_type,
        _status => case when _lease = '0' then 'succeeded' end,
        _attempts => 1,
        _ready_at => case when _attempts = 1 then greatest(enqueued_at, scheduled_at) end
    );

    if _lease > '0' then
        perform errand.announce(_leased_until);
    else
        perform errand.announce_follower(task_id);
        perform errand.redact(task_id);
    end if;
    if _was_leased then
        perform errand.tell_of_ended_lease(_next);
    end if;
end;
$$;

-- Ends a task, unless it has ended or is between the steps of a provider call.
create function errand.end_task(_task_id bigint, _status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task record;
    _has_ended boolean;
begin
    -- Not by RETURNING, which a rule of a user's does not allow.
    select t.task_type, t.dequeued_at
    into _task
    from only queues.task t
    where t.task_id = _task_id;

    update only queues.task t
    set finished_at = clock_timestamp(),
        final_status = _status,
        leased = false,
        not_before = null
    where t.task_id = _task_id
        and t.finished_at is null
        and not t.calling;
    _has_ended := found;

    if exists (
        select 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and not t.calling
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    if _has_ended then
        perform errand.count_task(_task_id, _task.task_type, _status, _began_at => _task.dequeued_at);
    end if;
    perform errand.announce_follower(_task_id);
    if _status = 'succeeded' then
        perform errand.redact(_task_id);
    end if;
end;
$$;

-- Ends a task as succeeded. Has no effect on a task that has ended or is between the steps of a provider call.
create function queues.complete_task(_task_id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform errand.end_task(_task_id, 'succeeded');
end;
$$;

-- Records an error of a task, or of no task (null). A task that has succeeded only because it was dequeued without a
-- lease becomes failed.
create function queues.append_error(task_id bigint, error_message text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    _task queues.task;
    _message text := coalesce(append_error.error_message, '');
    _has_failed boolean;
begin
    if octet_length(_message) > 65536 then
        _message := left(_message, 16384)
            || format('... (truncated, %s bytes in all)', octet_length(_message));
    end if;

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    select *
    into _task
    from only queues.task t
    where t.task_id = append_error.task_id
    for key share;

    insert into queues.error (task_id, error_message, task_type, attempt)
    values (_task.task_id, _message, _task.task_type, _task.attempts);

    if not found then
        perform errand.refuse_unwritten('queues.error', _inserted => true);
    end if;

    update only queues.task t
    set final_status = 'failed'
    where t.task_id = append_error.task_id
        and t.final_status = 'succeeded'
        and t.leased;
    _has_failed := found;
    perform errand.count_task(
        _task.task_id,
        _task.task_type,
        _status => case when _has_failed then 'failed' end,
        _errors => 1,
        _had_succeeded => _has_failed
    );

    if exists (
        select 1
        from only queues.task t
        where t.task_id = append_error.task_id
            and t.final_status = 'succeeded'
            and t.leased
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    return '{"success": true}';
end;
$$;

-- Records an error and ends the task as failed. If the task has ended already, only the error is recorded.
create function queues.fail_task(_task_id bigint, _error_message text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform queues.append_error(_task_id, _error_message);

    perform errand.end_task(_task_id, 'failed');
end;
$$;
