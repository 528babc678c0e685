-- Retries: a person decides that a task that has failed or was cancelled is run again, as a new task.

-- The idempotency key of a call of which it is not known whether the provider has carried it out: there is no response.
create function errand.key_of_unknown_call(_task_id bigint)
returns text
language sql
set search_path = pg_catalog, pg_temp
as $$
    select c.idempotency_key
    from only queues.call c
    where c.task_id = _task_id
        and c.response is null
        and coalesce(c.failure -> 'response', '{}') = '{}';
$$;

-- Enqueues the retry of a task that is locked and has ended, and returns its id. Returns null if an unfinished task has its
-- unique key.
create function errand.enqueue_retry(_task queues.task)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _retry bigint;
begin
    begin
        _retry := queues.enqueue(
            _task.task_type,
            _task.payload,
            _unique_key => _task.unique_key,
            _if_exists => 'error',
            _priority => coalesce(_task.priority, 0::smallint),
            _queue_key => _task.queue_key
        );
    exception when unique_violation then
        -- It may come from an index of a user.
        if _task.unique_key is null then
            raise;
        end if;
        return null;
    end;

    update only queues.task
    set retry_of = _task.task_id,
        idempotency_key = errand.key_of_unknown_call(_task.task_id)
    where task_id = _retry;

    update only queues.task
    set retried_as = _retry
    where task_id = _task.task_id;

    if (
        select count(*)
        from only queues.task t
        where t.task_id = _retry and t.retry_of = _task.task_id
            or t.task_id = _task.task_id and t.retried_as = _retry
    ) < 2 then
        perform errand.refuse_unwritten('queues.task');
    end if;
    return _retry;
end;
$$;

-- Raises the error that says why a task cannot be retried.
create function errand.refuse_retry(_task_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _status text;
begin
    select coalesce(t.final_status, 'unfinished')
    into _status
    from only queues.task t
    where t.task_id = _task_id;

    if not found then
        raise exception 'task % does not exist', _task_id
            using errcode = 'no_data_found',
                  hint = 'It may have been removed, see pg_errand.retention.';
    end if;
    if _status = 'succeeded' then
        raise exception 'task % has succeeded', _task_id
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'To do the same once more, enqueue another task with queues.enqueue.';
    end if;
    raise exception 'task % has not ended', _task_id
        using errcode = 'object_not_in_prerequisite_state',
              hint = format('To learn what it waits for, run: SELECT * FROM queues.explain(%s);', _task_id);
end;
$$;

-- Retries a task that has failed or was cancelled, and returns the id of the new task. It has the same type, payload,
-- priority, unique key and queue key, and is due now. Its call has the idempotency key of the earlier call if there was no
-- response to that one, so that a provider that recognizes the key carries it out once; otherwise a new one.
create function queues.retry(_task_id bigint)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task;
    _retry bigint;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    -- No worker locks a task that has ended, so this waits for other retries only.
    select *
    into _task
    from only queues.task t
    where t.task_id = _task_id
        and t.final_status in ('failed', 'cancelled')
    for no key update;

    if not found then
        perform errand.refuse_retry(_task_id);
    end if;
    if exists (select 1 from only queues.task t where t.task_id = _task.retried_as) then
        raise exception 'task % was retried already, as task %', _task_id, _task.retried_as
            using errcode = 'object_not_in_prerequisite_state',
                  hint = format('If that one has failed, too, run: SELECT queues.retry(%s);', _task.retried_as);
    end if;

    _retry := errand.enqueue_retry(_task);
    if _retry is null then
        raise exception 'a task that has not ended has the unique key of task %', _task_id
            using errcode = 'unique_violation',
                  detail = format('The unique key is "%s".', _task.unique_key),
                  hint = 'Wait for its end, or cancel it with queues.cancel.';
    end if;
    perform errand.log_steering('retry', _task_id::text, 1);
    return _retry;
end;
$$;

-- Retries failed tasks that have no retry yet, and returns their number: of a type, that have failed since a time, or whose
-- last error matches a pattern of LIKE. Those that failed first come first. Tasks are left out while an unfinished one has
-- their unique key. Tasks that are retries themselves are left out unless _retries is true: as long as the cause of the
-- failures remains, a loop would not end. They are found by their errors, so that no index on failed tasks has to be
-- maintained.
create function queues.retry_failed(
    _task_type text default null,
    _since timestamptz default null,
    _error_like text default null,
    _limit integer default 1000,
    _retries boolean default false
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    _task_id bigint;
    _task queues.task;
    _retried bigint := 0;
    _left bigint;
begin
    perform errand.check_selection(_task_type, null, _limit);

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    foreach _task_id in array array(
        select t.task_id
        from only queues.error e
        join only queues.task t on t.task_id = e.task_id
        where t.final_status = 'failed'
            and t.retried_as is null
            and (_retries or t.retry_of is null)
            and (_task_type is null or t.task_type = _task_type)
            and (_since is null or t.finished_at >= _since)
            and (_error_like is null or e.error_message like _error_like)
            -- The last error of its task.
            and not exists (
                select 1
                from only queues.error l
                where l.task_id = e.task_id
                    and l.error_id > e.error_id
            )
            -- The expression is that of the index task_unique.
            and not exists (
                select 1
                from only queues.task u
                where u.unique_key = t.unique_key
                    and u.task_type = t.task_type
                    and u.origin = errand.queue_origin()
                    and case when u.finished_at is not null then u.task_id end is null
            )
        order by e.error_id
        limit _limit
        for no key update of t skip locked
    )
    loop
        select *
        into _task
        from only queues.task t
        where t.task_id = _task_id;
        -- Another one of them may have had the same unique key.
        if errand.enqueue_retry(_task) is not null then
            _retried := _retried + 1;
        end if;
    end loop;

    if not _retries and _retried < _limit then
        select count(*)
        into _left
        from (
            select
            from only queues.task t
            where t.final_status = 'failed'
                and t.retried_as is null
                and t.retry_of is not null
                and (_task_type is null or t.task_type = _task_type)
                and (_since is null or t.finished_at >= _since)
                and (
                    _error_like is null
                    or (
                        select e.error_message
                        from only queues.error e
                        where e.task_id = t.task_id
                        order by e.error_id desc
                        limit 1
                    ) like _error_like
                )
            limit 1000
        ) l;
        if _left > 0 then
            raise notice 'left out, since they are retries themselves: % failed tasks', _left
                using hint = 'To run these again, too, add _retries => true.';
        end if;
    end if;

    perform errand.log_steering(
        'retry_failed',
        concat_ws(
            ', ',
            '_task_type => ' || quote_literal(_task_type),
            '_since => ' || quote_literal(_since),
            '_error_like => ' || quote_literal(_error_like),
            '_limit => ' || _limit,
            case when _retries then '_retries => true' end
        ),
        _retried
    );
    return _retried;
end;
$$;
