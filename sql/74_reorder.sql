-- Changes the order of waiting tasks.

-- Locks the row of a task, and returns it. Raises an error if a worker runs the task, or if it does not exist.
create function errand.lock_task(_task_id bigint)
returns queues.task
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    -- A worker that only looks whether it may run the task locks it for a moment.
    for _look in 1..50 loop
        select *
        into _task
        from only queues.task t
        where t.task_id = _task_id
        for no key update skip locked;
        exit when found or not exists (select 1 from only queues.task t where t.task_id = _task_id);
        perform pg_sleep(0.002);
    end loop;

    if _task.task_id is null then
        if exists (select 1 from only queues.task t where t.task_id = _task_id) then
            raise exception 'task % is running, or another session has locked it', _task_id
                using errcode = 'object_not_in_prerequisite_state',
                      hint = format('To learn what it does, run: SELECT * FROM queues.explain(%s);', _task_id);
        end if;
        raise exception 'task % does not exist', _task_id
            using errcode = 'no_data_found',
                  hint = 'It may have been removed, see pg_errand.retention.';
    end if;
    return _task;
end;
$$;

-- Locks a task that waits, and returns its row. Raises an error if the task runs, has ended or does not exist.
create function errand.lock_waiting(_task_id bigint)
returns queues.task
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task := errand.lock_task(_task_id);
begin
    if _task.finished_at is not null then
        raise exception 'task % has ended: %', _task_id, _task.final_status
            using errcode = 'object_not_in_prerequisite_state',
                  hint = case
                      when _task.final_status = 'succeeded' then 'Enqueue another task with queues.enqueue.'
                      else format('To run it again, run: SELECT queues.retry(%s);', _task_id)
                  end;
    end if;
    if _task.calling or _task.leased and _task.not_before > clock_timestamp() then
        raise exception 'task % is running', _task_id
            using errcode = 'object_not_in_prerequisite_state',
                  hint = case
                      when _task.calling then format('To learn what it does, run: SELECT * FROM queues.explain(%s);', _task_id)
                      else format('If its worker outside is gone, run: SELECT queues.end_lease(%s);', _task_id)
                  end;
    end if;
    if _task.origin <> errand.queue_origin() then
        raise exception 'task % came from another database, and is unadopted', _task_id
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'To adopt all such tasks, run: SELECT queues.adopt();';
    end if;
    return _task;
end;
$$;

-- Changes when a task starts that is locked and waits.
create function errand.change_order(_task queues.task, _scheduled_at timestamptz, _priority smallint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update only queues.task t
    set scheduled_at = _scheduled_at,
        priority = _priority,
        -- The end of a lease is not a backoff.
        not_before = case when t.leased then t.not_before end
    where t.task_id = _task.task_id;

    if not exists (
        select 1
        from only queues.task t
        where t.task_id = _task.task_id
            and t.scheduled_at = _scheduled_at
            and t.priority is not distinct from nullif(_priority, 0)
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;
end;
$$;

-- Lets a waiting task start as the next one of its lane: it gets the highest priority, and is due before all other tasks of
-- that priority. Limits, pauses and the task that it follows count as before. A task with a queue key has to be the first one
-- of its key.
create function queues.run_next(_task_id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _highest constant smallint := 32767;
    _task queues.task := errand.lock_waiting(_task_id);
    _first bigint;
begin
    -- The expressions are those of the index task_keyed.
    select t.task_id
    into _first
    from only queues.task t
    where t.origin = _task.origin
        and hashtextextended(t.task_type, 0) = hashtextextended(_task.task_type, 0)
        and hashtextextended(t.queue_key, 0) = hashtextextended(_task.queue_key, 0)
        and t.finished_at is null
        and t.queue_key is not null
        and t.task_type = _task.task_type
        and t.queue_key = _task.queue_key
    order by t.scheduled_at, t.task_id
    limit 1;
    if _first <> _task_id then
        raise exception 'task % is not the first one of its queue key', _task_id
            using errcode = 'object_not_in_prerequisite_state',
                  detail = format('Task %s comes before it.', _first),
                  hint = (
                      select case
                          when t.leased and t.not_before > clock_timestamp() then
                              format('It is leased. If its worker outside is gone, run: SELECT queues.end_lease(%s);', _first)
                          when t.calling or exists (select 1 from errand.active_task a where a.task_id = _first) then
                              format('It runs, and has to end first. See: SELECT * FROM queues.explain(%s);', _first)
                          else
                              format('The tasks of a key run in order. Let that one start next, cancel it, or reschedule it: SELECT queues.run_next(%s);', _first)
                      end
                      from only queues.task t
                      where t.task_id = _first
                  );
    end if;

    perform errand.change_order(
        _task,
        least(
            _task.scheduled_at,
            clock_timestamp(),
            (
                select t.scheduled_at - interval '1 microsecond'
                from only queues.task t
                where t.origin = _task.origin
                    and t.priority = _highest
                    and t.finished_at is null
                    and not t.calling
                    and t.queue_key is null
                    and t.task_id <> _task_id
                    and isfinite(t.scheduled_at)
                order by t.scheduled_at
                limit 1
            )
        ),
        _highest
    );
    perform errand.log_steering('run_next', _task_id::text, 1);
end;
$$;

-- Schedules a waiting task at another time; a time in the past counts as now. The backoff of a task that was given back ends.
-- A task with a queue key has its place among those of its key by its new time.
create function queues.reschedule(_task_id bigint, _scheduled_at timestamptz)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task;
begin
    if _scheduled_at is null then
        raise exception 'a task needs a time'
            using errcode = 'null_value_not_allowed',
                  hint = 'Use now() for a task that is due now, and ''infinity'' for one that waits until it is scheduled again.';
    end if;
    _task := errand.lock_waiting(_task_id);
    perform errand.change_order(_task, greatest(_scheduled_at, now()), _task.priority);
    perform errand.log_steering('reschedule', format('%s, %L', _task_id, _scheduled_at), 1);
end;
$$;

-- Ends the lease of a task whose worker outside is gone: it may start again at once, in its place in the order. Returns false if
-- the task is not leased.
create function queues.end_lease(_task_id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task;
    _is_leased boolean;
begin
    select t.leased and t.not_before > clock_timestamp() and not t.calling and t.finished_at is null
    into _is_leased
    from only queues.task t
    where t.task_id = _task_id;
    if _is_leased or not found then
        _task := errand.lock_task(_task_id);
        -- Its worker may have ended it meanwhile.
        _is_leased := _task.leased and _task.not_before > clock_timestamp() and _task.finished_at is null;
    end if;
    if _is_leased is not true then
        raise notice 'task % is not leased', _task_id
            using hint = format('To learn its state, run: SELECT * FROM queues.explain(%s);', _task_id);
        return false;
    end if;

    -- As after a backoff that has ended. Without a time, workers would not look for it.
    update only queues.task t
    set leased = false,
        not_before = clock_timestamp()
    where t.task_id = _task_id;
    if exists (select 1 from only queues.task t where t.task_id = _task_id and t.leased) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce(clock_timestamp());
    if _task.queue_key is not null then
        perform errand.announce_key(_task.task_type, _task.queue_key);
    end if;
    perform errand.log_steering('end_lease', _task_id::text, 1);
    return true;
end;
$$;
