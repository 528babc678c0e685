-- 0.4.1: what corrupted, doubled, lost, or let someone in.

set local search_path = pg_catalog, pg_temp;

-- == Tables: src/pg/table.rs ==

-- Raises because a row of this table was not changed, or inserted, though no statement failed; names the
-- triggers and rules that may be the reason.
create function queues.refuse_unwritten(_table regclass, _inserted boolean default false)
returns void
language c
as 'MODULE_PATHNAME', 'refuse_unwritten_wrapper';

-- Ends a task, unless it has ended or a worker inside waits for its provider call.
create function queues.end_task(_task_id bigint, _status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update queues.task
    set finished_at = clock_timestamp(),
        final_status = _status,
        leased = false,
        held_until = null
    where task_id = _task_id
        and finished_at is null
        and not calling;

    if exists (
        select 1
        from queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and not t.calling
    ) then
        perform queues.refuse_unwritten('queues.task');
    end if;
end;
$$;

-- Hands out the next ready task with a lease: one row, all null when nothing is ready. With
-- pg_errand.lease_duration = 0 the task counts as finished by that.
create or replace function queues.dequeue_next_available_task(
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
    _leased_until timestamptz := clock_timestamp() + _lease;
    _here bigint := queues.here();
    _next bigint;
begin
    -- Reading first and changing then would deadlock with REINDEX.
    lock table queues.task in row exclusive mode;

    select r.task_id
    into _next
    from queues.task r
    where r.origin = _here
        and r.finished_at is null
        and not r.calling
        and r.scheduled_at <= clock_timestamp()
        and (r.held_until is null or r.held_until <= clock_timestamp())
    order by r.scheduled_at, r.task_id
    limit 1
    for no key update skip locked;

    if not found then
        return;
    end if;

    update queues.task t
    set dequeued_at = clock_timestamp(),
        attempts = t.attempts + 1,
        leased = true,
        held_until = case when _lease > '0' then _leased_until end,
        finished_at = case when _lease = '0' then clock_timestamp() end,
        final_status = case when _lease = '0' then 'succeeded' end
    where t.task_id = _next
    returning t.task_id, t.task_type, t.payload, t.enqueued_at, t.scheduled_at, t.dequeued_at
    into task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at;

    -- It would be handed out again.
    if exists (
        select 1
        from queues.task t
        where t.task_id = _next
            and t.finished_at is null
            and coalesce(t.held_until, '-infinity') < least(_leased_until, clock_timestamp())
    ) then
        perform queues.refuse_unwritten('queues.task');
    end if;

    if _lease > '0' then
        perform queues.announce(_leased_until);
    end if;
end;
$$;

-- Ends a task as succeeded. No effect on one that has ended, or whose provider call a worker
-- inside is waiting for.
create or replace function queues.complete_task(_task_id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform queues.end_task(_task_id, 'succeeded');
end;
$$;

-- Records an error, of a task or (null) of none in particular. A task that counts as finished only
-- because it was handed out without a lease has failed by that.
create or replace function queues.append_error(task_id bigint, error_message text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    _task queues.task;
begin
    -- Reading first and changing then would deadlock with REINDEX.
    lock table queues.task in row exclusive mode;

    select *
    into _task
    from queues.task t
    where t.task_id = append_error.task_id
    for key share;

    insert into queues.error (task_id, error_message, task_type, attempt)
    values (_task.task_id, coalesce(append_error.error_message, ''), _task.task_type, _task.attempts);

    if not found then
        perform queues.refuse_unwritten('queues.error', _inserted => true);
    end if;

    update queues.task t
    set final_status = 'failed'
    where t.task_id = append_error.task_id
        and t.final_status = 'succeeded'
        and t.leased;

    if exists (
        select 1
        from queues.task t
        where t.task_id = append_error.task_id
            and t.final_status = 'succeeded'
            and t.leased
    ) then
        perform queues.refuse_unwritten('queues.task');
    end if;

    return '{"success": true}';
end;
$$;

-- Records an error and ends the task as failed. On a task that has ended only the error is recorded.
create or replace function queues.fail_task(_task_id bigint, _error_message text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform queues.append_error(_task_id, _error_message);

    perform queues.end_task(_task_id, 'failed');
end;
$$;

-- Cancels a task. A waiting one never runs (unless the caller rolls back); a running one is
-- interrupted at once, whatever its handler catches. No further handler of it is called; a
-- provider call in flight may have been made. False for a task that has ended or does not exist.
create or replace function queues.cancel(_task_id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _finished boolean;
    _calling boolean;
    _owner bigint;
    _told boolean;
begin
    -- Before anything is read: see the worker's claims.
    lock table queues.task in row exclusive mode;

    loop
        select t.finished_at is not null, t.calling, c.owner
        into _finished, _calling, _owner
        from queues.task t
        left join queues.call c on c.task_id = t.task_id
        where t.task_id = _task_id;

        if not found or _finished then
            return false;
        end if;

        if queues.cancel_running(_task_id) then
            return true;
        end if;

        if _calling then
            _told := queues.cancel_call(_owner, _task_id);
            if _told then
                -- Unless it has ended otherwise just before.
                return exists (
                    select 1
                    from queues.task t
                    where t.task_id = _task_id
                        and (t.finished_at is null or t.final_status = 'cancelled')
                );
            end if;
            if _told is null then
                perform pg_sleep(0.002);
                continue;
            end if;
        end if;

        -- The row is free: nobody runs it.
        perform 1
        from queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and t.calling = _calling
        for no key update skip locked;

        if found then
            update queues.task
            set finished_at = clock_timestamp(),
                final_status = 'cancelled',
                calling = false,
                leased = false,
                held_until = null
            where task_id = _task_id;
            if exists (select 1 from queues.task t where t.task_id = _task_id and t.finished_at is null) then
                perform queues.refuse_unwritten('queues.task');
            end if;

            update queues.call
            set request = null
            where task_id = _task_id;
            if exists (select 1 from queues.call c where c.task_id = _task_id and c.request is not null) then
                perform queues.refuse_unwritten('queues.call');
            end if;
            return true;
        end if;

        -- It starts or ends at this very moment, or another session holds its row.
        perform pg_sleep(0.002);
    end loop;
end;
$$;

-- Makes the tasks that came from another database this one's own, so that they are run here. Returns
-- how many. To be called when the original will not run them any more.
create or replace function queues.adopt()
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
    lock table queues.task in row exclusive mode;

    select count(*)
    into _unadopted
    from (
        select 1
        from queues.task t
        where t.finished_at is null
            and t.origin <> _here
        for no key update
    ) t;

    with adopted as (
        update queues.task
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

revoke all on function queues.refuse_unwritten(regclass, boolean), queues.end_task(bigint, text) from public;


-- == Rights of roles ==


-- == Enqueueing, handlers ==


-- == Providers and calls ==


-- == Numbers and sizes ==

-- A payload is measured when it changes, too.
drop trigger task_before_update on queues.task;

create trigger task_before_update
    before update of task_type, scheduled_at, payload on queues.task
    for each row
    execute function queues.task_before_write();

alter table queues.task enable always trigger task_before_update;


-- == Commands and restarts ==

-- Records an error, of a task or (null) of none in particular. A task that counts as finished only
-- because it was handed out without a lease has failed by that.
create or replace function queues.append_error(task_id bigint, error_message text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    _task queues.task;
    _message text := coalesce(append_error.error_message, '');
begin
    if octet_length(_message) > 65536 then
        _message := left(_message, 16384)
            || format('... (truncated, %s bytes in all)', octet_length(_message));
    end if;

    -- Reading first and changing then would deadlock with REINDEX.
    lock table queues.task in row exclusive mode;

    select *
    into _task
    from queues.task t
    where t.task_id = append_error.task_id
    for key share;

    insert into queues.error (task_id, error_message, task_type, attempt)
    values (_task.task_id, _message, _task.task_type, _task.attempts);

    update queues.task t
    set final_status = 'failed'
    where t.task_id = append_error.task_id
        and t.final_status = 'succeeded'
        and t.leased;

    return '{"success": true}';
end;
$$;

